//! The examples, as people deploy them.

use std::path::Path;
use std::process::Command;

use crate::cli::run;
use crate::harness::unique;

use super::{AGENT, Person, example, indexes, nothing_leaked, page, running, stack};

/// PT-60, PT-69, PT-70: `examples/static`.
#[tokio::test(flavor = "multi_thread")]
async fn pt_60_the_static_example_goes_online_by_its_route_and_a_second_deploy_changes_nothing() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let name = unique("jardin");
    let (_temp, dir) = example("static", &name);
    let url = person.deploys(&dir);
    assert!(url.contains(&format!("{name}.example.org.localhost")), "{url}");
    let index = std::fs::read_to_string(dir.join("public/index.html")).unwrap();
    let missing = std::fs::read_to_string(dir.join("public/404.html")).unwrap();
    assert_eq!(page(stack, &url).await.unwrap(), (200, index));
    assert_eq!(page(stack, &format!("{url}nowhere")).await.unwrap(), (404, missing));
    // The second time there is nothing to do, and nothing is done.
    let before = indexes(stack, &name).await;
    let again = person.expect(0, &dir, &["deploy"]);
    assert!(again.err.contains("no changes"), "{}", again.err);
    assert_eq!(again.out.trim_end(), url);
    assert_eq!(indexes(stack, &name).await, before);
    assert!(before.len() > 4, "there is something to compare: {before:?}");
    // A changed file is there once the deploy has ended.
    std::fs::write(dir.join("public/index.html"), "spring").unwrap();
    assert_eq!(person.deploys(&dir), url);
    assert_eq!(page(stack, &url).await.unwrap(), (200, "spring".to_owned()));
    // Whoever types its name may delete it.
    let gone = person.asks(&dir, &["delete"], &format!("{name}\n"));
    assert_eq!(gone.code, 0, "{}", gone.err);
    assert_ne!(page(stack, &url).await.unwrap().0, 200);
}

/// PT-01, PT-60: `examples/radicale`, a program by others with a directory account and a volume.
#[tokio::test(flavor = "multi_thread")]
async fn pt_60_people_log_in_to_radicale_and_their_events_outlive_a_new_release() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = tokio::task::block_in_place(|| Command::new(root.join("tests/caldav/venv")).output().unwrap());
    assert!(made.status.success(), "no CalDAV client: {}", String::from_utf8_lossy(&made.stderr));
    let python = String::from_utf8(made.stdout).unwrap().trim_end().to_owned();
    let name = unique("radicale");
    let (_temp, dir) = example("radicale", &name);
    let built = tokio::task::block_in_place(|| Command::new(dir.join("build")).output().unwrap());
    assert!(built.status.success(), "no Radicale: {}", String::from_utf8_lossy(&built.stderr));

    let person = Person::of(stack);
    let url = person.deploys(&dir);
    let (status, text) = page(stack, &format!("{url}.web/")).await.unwrap();
    assert!(status < 400, "{status} {text}");
    let (user, password) = stack.person();
    let caldav = |verb: &str, password: &str| {
        let mut check = Command::new(&python);
        check.arg(root.join("tests/caldav/check.py")).args([url.as_str(), &user, verb, "tour-1"]);
        tokio::task::block_in_place(|| run(check, &format!("{}\n", password.trim_end())))
    };
    let wrong = caldav("write", "not-the-password");
    assert_eq!(wrong.code, 1, "a wrong password is refused: {}{}", wrong.out, wrong.err);
    let written = caldav("write", &password);
    assert_eq!(written.code, 0, "{}{}", written.out, written.err);

    let before = indexes(stack, &name).await;
    let again = person.expect(0, &dir, &["deploy"]);
    assert!(again.err.contains("no changes"), "{}", again.err);
    assert_eq!(indexes(stack, &name).await, before);

    let old = running(stack, &name).await;
    let text = std::fs::read_to_string(dir.join("terreau.hcl")).unwrap();
    let text = text.replace("PYTHONDONTWRITEBYTECODE = \"1\"", "PYTHONDONTWRITEBYTECODE = \"2\"");
    std::fs::write(dir.join("terreau.hcl"), text).unwrap();
    person.deploys(&dir);
    assert_ne!(running(stack, &name).await[0]["ID"], old[0]["ID"], "a new instance runs");
    let kept = caldav("read", &password);
    assert_eq!(kept.code, 0, "{}{}", kept.out, kept.err);
    let plan = person.expect(0, &dir, &["plan", "--json"]).out;
    nothing_leaked(&person, &name, &[plan]).await;
}
