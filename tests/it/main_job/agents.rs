//! Deploys, seen through agents and links that end.

use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Part, eventually};

use super::{AGENT, Load, Person, Project, nothing_leaked, page, running, stack};

/// PT-73, while no other test of this room runs.
#[tokio::test(flavor = "multi_thread")]
async fn pt_73_an_agent_that_is_killed_and_comes_back_knows_everything_and_apps_never_notice() {
    let _alone = AGENT.write().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new();
    let url = person.deploys(app.path());
    let look = || {
        let log = person.expect(0, app.path(), &["logs"]).out;
        (person.status(app.path()), log, person.expect(0, app.path(), &["releases"]).out)
    };
    let before = look();
    let load = Load::on(stack, &url);
    stack.kill(Part::Agent).await;
    let away = person.expect(7, app.path(), &["status"]);
    assert!(away.err.contains(&stack.api()), "{}", away.err);
    stack.start_part(Part::Agent).await;
    assert_eq!(look(), before);
    let bodies = load.end(Duration::ZERO).await;
    assert_eq!(bodies.keys().collect::<Vec<_>>(), ["one"]);

    // With no agent at all, an instance that is lost comes back, and finds its artifact.
    stack.kill(Part::Agent).await;
    let old = running(stack, &app.name).await[0]["ID"].as_str().unwrap().to_owned();
    let stop = format!("{}/v1/allocation/{old}/stop", stack.nomad());
    assert!(stack.http().post(stop).send().await.unwrap().status().is_success());
    eventually("another instance serves", Duration::from_secs(40), async || {
        let live = running(stack, &app.name).await;
        let other = live.iter().any(|a| a["ID"] != old.as_str());
        (other && page(stack, &url).await.unwrap() == (200, "one".to_owned())).then_some(())
    })
    .await;
    stack.start_part(Part::Agent).await;
    let after = eventually("it is known to run", Duration::from_secs(20), async || {
        let status = person.status(app.path());
        (status["status"] == "running").then_some(status)
    })
    .await;
    assert_eq!((&after["urls"], &after["release"]), (&before.0["urls"], &before.0["release"]));
    nothing_leaked(&person, &app.name, &[]).await;
}

/// A proxy that ends every connection after so long, whatever passes: as one with a timeout of its own does.
async fn impatient(to: &str, patience: Duration) -> String {
    let to = to.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let to = to.clone();
            tokio::spawn(tokio::time::timeout(patience, async move {
                let Ok(mut agent) = TcpStream::connect(to).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut agent).await;
            }));
        }
    });
    url
}

/// A deploy that outlasts the proxy between person and agent several times over.
async fn outlasts(app_takes: Duration, patience: Duration) {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let through = impatient(&stack.api(), patience).await;
    let person = Person::at(stack, &through);
    let app = Project::new();
    app.version(&format!("slow-{}", app_takes.as_secs()));
    let began = Instant::now();
    let id = person.expect(0, app.path(), &["deploy", "--detach"]).out;
    assert!(began.elapsed() < app_takes, "the id comes at once");
    let end = person.expect(0, app.path(), &["operations", "follow", id.trim_end()]);
    assert!(began.elapsed() > app_takes);
    assert!(!end.err.contains("timed out"), "{}", end.err);
    let (status, body) = page(stack, end.out.trim_end()).await.unwrap();
    assert_eq!((status, body), (200, format!("slow-{}", app_takes.as_secs())));
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_68_a_deploy_that_outlasts_every_proxy_in_between_is_told_as_it_ends() {
    outlasts(Duration::from_secs(9), Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: scripts/test --full"]
async fn pt_68_a_deploy_of_a_minute_and_a_half_is_told_as_it_ends() {
    outlasts(Duration::from_secs(95), Duration::from_secs(20)).await;
}
