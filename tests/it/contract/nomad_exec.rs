//! Programs run in instances, and files read by offset.

use std::time::Duration;

use terreau::engines::Fault;
use terreau::engines::nomad::{ExecOutput, ExecReader, Terminal};

use super::{Lab, SOON, name, script};
use crate::harness::{eventually, unique};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

async fn soon(output: &mut ExecReader) -> ExecOutput {
    tokio::time::timeout(SOON, output.next()).await.expect("it says something").unwrap()
}

#[tokio::test]
async fn the_end_of_a_program_on_pipes_is_told_only_once_its_input_is_closed() {
    let lab = Lab::open().await;
    let id = name("exec");
    lab.run(&script(&id, "sleep 1000", "")).await.unwrap();
    let alloc = lab.running(&id).await;
    let command = words(&["sh", "-c", "echo hi; exit 7"]);
    let (mut input, mut output) = lab.nomad.exec(&alloc.id, "main", &command, Terminal::No).await.unwrap();
    assert_eq!(soon(&mut output).await, ExecOutput::Stdout("hi\n".into()));
    let silent = tokio::time::timeout(Duration::from_secs(3), output.next()).await;
    assert!(silent.is_err(), "it has ended and nobody says so: {silent:?}");
    input.end_of_input().await.unwrap();
    assert_eq!(soon(&mut output).await, ExecOutput::Exited(7));

    // On a terminal it is told at once.
    let (_input, mut output) = lab.nomad.exec(&alloc.id, "main", &command, Terminal::Yes).await.unwrap();
    assert_eq!(soon(&mut output).await, ExecOutput::Stdout("hi\r\n".into()));
    assert_eq!(soon(&mut output).await, ExecOutput::Exited(7));

    let none = words(&["no-such-program"]);
    let (mut input, mut output) = lab.nomad.exec(&alloc.id, "main", &none, Terminal::No).await.unwrap();
    input.end_of_input().await.unwrap();
    let why = tokio::time::timeout(SOON, output.next()).await.expect("it says why").unwrap_err();
    assert!(why.fault == Fault::Invalid && why.message.contains("no-such-program"), "{why}");
    lab.stop(&id).await;
}

#[tokio::test]
async fn a_silent_program_outlives_the_socket_that_it_was_begun_by() {
    let lab = Lab::open().await;
    let (id, word) = (name("outlives"), unique("word"));
    lab.run(&script(&id, "sleep 1000", "")).await.unwrap();
    let alloc = lab.running(&id).await;
    let runs = || {
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(Result::ok)
            .any(|p| std::fs::read(p.path().join("cmdline")).is_ok_and(|l| l.starts_with(word.as_bytes())))
    };
    let command = words(&["bash", "-c", &format!("exec -a {word} sleep 8")]);
    let (mut input, output) = lab.nomad.exec(&alloc.id, "main", &command, Terminal::No).await.unwrap();
    eventually("it runs", SOON, async || runs().then_some(())).await;
    input.close().await;
    drop((input, output));
    let ended = tokio::time::timeout(Duration::from_secs(3), async {
        while runs() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(ended.await.is_err(), "nomad ends it: then we need not");
    lab.stop(&id).await;
}

#[tokio::test]
async fn a_file_is_read_by_offset_and_one_that_is_gone_is_no_content() {
    let lab = Lab::open().await;
    let id = name("parts");
    lab.run(&script(&id, "printf 0123456789", "")).await.unwrap();
    let alloc = lab.complete(&id).await;
    let path = "/alloc/logs/main.stdout.0";
    eventually("it is written", SOON, async || {
        lab.nomad.file_stat(&alloc.id, path).await.ok().filter(|f| f.size == 10)
    })
    .await;
    assert_eq!(&lab.nomad.file_part(&alloc.id, path, 3, 4).await.unwrap()[..], b"3456");
    // More than there is: it is said that less came, and nothing is taken for it.
    assert_eq!(lab.nomad.file_part(&alloc.id, path, 8, 4).await.unwrap_err().fault, Fault::Broken);
    let gone = lab.nomad.file_part(&alloc.id, "/alloc/logs/main.stdout.7", 0, 4).await.unwrap_err();
    assert_eq!(gone.fault, Fault::NotFound, "{gone}");
    lab.stop(&id).await;
}
