//! Events and logs.

use std::time::Duration;

use futures::StreamExt;
use terreau::engines::nomad::{Allocation, Deployment, JobDetail, LogFrom, LogOrigin, LogStream, Topic};
use terreau::engines::{EngineError, Fault};

use super::{Lab, SOON, inert, name, script, sleeper};
use crate::harness::eventually;

#[tokio::test]
async fn an_event_stream_may_begin_past_the_index_asked_for() {
    let lab = Lab::open().await;
    let id = name("flood");
    let mut job = lab.nomad.parse_hcl(&inert(&id, 1)).await.unwrap();
    let first = lab.register(job.clone()).await.unwrap().job_modify_index;
    // The buffer holds 100 changes.
    for n in 0_u64..130 {
        job["Priority"] = (10 + n % 80).into();
        lab.register(job.clone()).await.unwrap();
    }
    let mut events = lab.nomad.events(first, &[Topic::all()]).await.unwrap();
    let begin = async {
        loop {
            let batch = events.next().await.unwrap().unwrap();
            // A heartbeat is of no index.
            if !batch.events.is_empty() {
                return batch;
            }
        }
    };
    let begin = tokio::time::timeout(SOON, begin).await.unwrap();
    assert!(begin.index > first + 1, "asked for {first}, got {}", begin.index);
    lab.stop(&id).await;
}

#[tokio::test]
async fn events_tell_a_rollout_and_a_stream_resumes_by_index() {
    let lab = Lab::open().await;
    let id = name("follow");
    let topics = [Topic::key("Allocation", &id), Topic::key("Deployment", &id), Topic::key("Job", &id)];
    let (_, now) = lab.nomad.jobs_at("default", "", JobDetail::Plain).await.unwrap();
    let mut events = lab.nomad.events(now, &topics).await.unwrap();
    lab.run(&sleeper(&id, 1, "")).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let mut last = 0;
    let mut first = 0;
    let read = async {
        while let Some(batch) = events.next().await {
            let batch = batch.unwrap();
            for event in &batch.events {
                assert_eq!(event.namespace, "default");
                seen.insert(event.topic.clone());
                if first == 0 && event.topic == "Job" {
                    first = event.index;
                }
            }
            let over = batch.events.iter().filter_map(terreau::engines::nomad::Event::object::<Deployment>);
            last = last.max(batch.index);
            if over.into_iter().any(|d| d.job_id == id && d.status == "successful") {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, read).await.unwrap();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["Allocation", "Deployment", "Job"]);

    // Again from the registration: what happened comes back.
    let mut again = lab.nomad.events(first, &topics).await.unwrap();
    let mut instances = 0;
    let read = async {
        while let Some(batch) = again.next().await {
            let batch = batch.unwrap();
            instances +=
                batch.events.iter().filter_map(terreau::engines::nomad::Event::object::<Allocation>).count();
            if batch.index >= last {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, read).await.unwrap();
    assert!(instances > 0);
    lab.stop(&id).await;
}

#[tokio::test]
async fn logs_come_byte_for_byte_from_either_end() {
    let lab = Lab::open().await;
    let id = name("bytes");
    lab.run(&script(&id, "printf '\\000\\377\\r\\n{}\\nlast'; printf oops >&2", "")).await.unwrap();
    let alloc = lab.complete(&id).await;
    assert_eq!(lab.output(&alloc.id, "main").await, b"\0\xff\r\n{}\nlast");
    let read = async |stream, from| -> Vec<u8> {
        let mut logs = lab.nomad.logs(&alloc.id, "main", stream, from).await.unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = logs.next().await {
            all.extend_from_slice(&chunk.unwrap());
        }
        all
    };
    assert_eq!(read(LogStream::Stdout, LogFrom::last(4)).await, b"last");
    let offset = LogFrom::Until { offset: 4, origin: LogOrigin::Start };
    assert_eq!(read(LogStream::Stdout, offset).await, b"{}\nlast");
    assert_eq!(read(LogStream::Stderr, LogFrom::ALL).await, b"oops");
    let files = lab.nomad.files(&alloc.id, "/alloc/logs").await.unwrap();
    assert!(files.iter().any(|f| f.name == "main.stdout.0" && f.size == 11), "{files:?}");
    assert_eq!(lab.nomad.file_stat(&alloc.id, "/alloc/logs/main.stderr.0").await.unwrap().size, 4);
    let missing = lab.nomad.file(&alloc.id, "/alloc/none").await.unwrap_err();
    assert_eq!(missing.fault, Fault::NotFound, "{missing}");
    lab.stop(&id).await;
}

#[tokio::test]
async fn a_followed_log_gives_what_comes_and_does_not_end_with_its_instance() {
    let lab = Lab::open().await;
    let id = name("tail");
    lab.run(&script(&id, "echo one; sleep 2; echo two", "")).await.unwrap();
    let alloc = lab.running(&id).await;
    let mut logs = eventually("the log opens", SOON, async || {
        let from = LogFrom::Follow { offset: 0, origin: LogOrigin::Start };
        lab.nomad.logs(&alloc.id, "main", LogStream::Stdout, from).await.ok()
    })
    .await;
    let mut seen = Vec::new();
    while seen != b"one\ntwo\n" {
        let chunk = tokio::time::timeout(SOON, logs.next()).await.expect("the rest comes");
        seen.extend_from_slice(&chunk.unwrap().unwrap());
    }
    lab.complete(&id).await;
    let more = tokio::time::timeout(Duration::from_secs(3), logs.next()).await;
    assert!(more.is_err(), "who follows must look at the instance too: {more:?}");
    lab.stop(&id).await;
}

#[tokio::test]
async fn a_collected_instance_and_its_logs_are_not_found() {
    let lab = Lab::open().await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    assert!(lab.nomad.allocation(nobody).await.unwrap().is_none());
    let logs: Result<_, EngineError> = lab.nomad.logs(nobody, "main", LogStream::Stdout, LogFrom::ALL).await;
    let gone = logs.err().unwrap();
    assert_eq!(gone.fault, Fault::NotFound, "{gone}");
    assert_eq!(lab.nomad.files(nobody, "/").await.unwrap_err().fault, Fault::NotFound);
    assert!(lab.nomad.deployment(nobody).await.unwrap().is_none());
    assert!(lab.nomad.evaluation(nobody).await.unwrap().is_none());
    assert!(lab.nomad.allocations("default", "no-such-job").await.unwrap().is_empty());
    let stop = lab.nomad.deregister("default", "no-such-job", terreau::engines::nomad::Purge::Keep).await;
    println!("stopping a job that is not there: {stop:?}");
}

#[tokio::test]
async fn an_event_stream_begins_with_a_heartbeat_and_sends_one_every_thirty_seconds() {
    let lab = Lab::open().await;
    let url = format!("{}/v1/event/stream?topic=Job:nobody-{}", lab.nomad_addr, name("x"));
    let mut stream = lab.raw.get(url).send().await.unwrap().bytes_stream();
    let mut beats = Vec::new();
    let begin = tokio::time::Instant::now();
    while beats.iter().filter(|b| **b == b'}').count() < 2 {
        let chunk = tokio::time::timeout(Duration::from_secs(40), stream.next()).await.expect("a heartbeat");
        beats.extend_from_slice(&chunk.unwrap().unwrap());
    }
    assert_eq!(beats.trim_ascii(), b"{}\n{}");
    assert!(begin.elapsed() < Duration::from_secs(40));
}
