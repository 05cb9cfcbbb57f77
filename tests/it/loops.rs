//! What agents do in the background: all of it is listed, goes round, and says why where it does not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::api::agent::Agent;
use crate::harness::{Part, Stack, StackOptions, eventually};

/// Every loop of an agent, and whether only the one that leads goes round.
const LOOPS: [(&str, bool); 11] = [
    ("agent-record", false),
    ("audit-export", true),
    ("consul-checks", false),
    ("drift", true),
    ("leader", true),
    ("log-keeper", true),
    ("nomad-events", false),
    ("readiness", false),
    ("session", false),
    ("sweep", true),
    ("tidy", true),
];
const PATIENCE: Duration = Duration::from_secs(120);

/// Each loop's state, of one agent.
fn states(agent: &Value) -> BTreeMap<&str, &str> {
    let loops = agent["loops"].as_array().unwrap();
    loops.iter().map(|l| (l["name"].as_str().unwrap(), l["state"].as_str().unwrap())).collect()
}

/// As it must be: `consul-checks` and `webhooks` rest where nobody waits for them.
fn is_well(agent: &Value) -> bool {
    let (leads, found) = (agent["leads"] == true, states(agent));
    LOOPS.iter().all(|(name, by_leader)| match (*name, found.get(name).copied()) {
        ("consul-checks", Some(state)) => matches!(state, "works" | "rests"),
        (_, Some(state)) => state == if *by_leader && !leads { "rests" } else { "works" },
        (_, None) => false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_loop_of_every_agent_is_listed_and_one_that_fails_says_why_until_it_works_again() {
    let stack = Stack::start(StackOptions::engines()).await;
    let (one, two) = tokio::join!(Agent::start(&stack), Agent::start(&stack));
    one.ready().await;
    two.ready().await;
    // Each has a directory of its own.
    let tokens = [(&one, one.login("root").await), (&two, two.login("root").await)];
    let of = async |agent: &Agent| {
        let (_, token) = tokens.iter().find(|(a, _)| a.url == agent.url).unwrap();
        agent.get("/v1/loops", token).await.1["agents"].clone()
    };

    // Both agents answer for both; what the other told last may be a minute old, but tells each change within seconds.
    for agent in [&one, &two] {
        let agents = eventually("both agents are well", PATIENCE, async || {
            let found = of(agent).await;
            let all = found.as_array()?;
            (all.len() == 2 && all.iter().all(is_well)).then(|| found.clone())
        })
        .await;
        assert_eq!((&agents[0]["leads"], &agents[1]["leads"]), (&true.into(), &false.into()), "{agents}");
        let mut names: Vec<&str> = LOOPS.map(|(name, _)| name).to_vec();
        names.push("webhooks");
        for agent in agents.as_array().unwrap() {
            assert_eq!(
                states(agent).into_keys().collect::<Vec<_>>(),
                names,
                "what is listed, and what this test knows"
            );
        }
    }
    let alice = one.login("alice").await;
    assert_eq!(one.get("/v1/loops", &alice).await.0, 403);

    stack.kill(Part::Nomad).await;
    let why = eventually("nomad's events fail, as the other agent told it", PATIENCE, async || {
        let found = of(&one).await;
        let other = found.as_array()?.iter().find(|a| two.url.ends_with(a["address"].as_str().unwrap()))?;
        let events = other["loops"].as_array()?.iter().find(|l| l["name"] == "nomad-events")?;
        (events["state"] == "fails").then(|| events["error"].as_str().unwrap().to_owned())
    })
    .await;
    assert!(why.contains("nomad"), "{why}");
    let (_, figures) = two.get("/metrics", "canary-of-metrics").await;
    let figures = figures.as_str().unwrap();
    let failing =
        figures.lines().find(|l| l.starts_with("terreau_loop_failures_total{loop=\"nomad-events\"}"));
    let count: u64 =
        failing.unwrap_or_else(|| panic!("{figures}")).rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!(count > 0, "{figures}");
    assert!(figures.contains("terreau_loop_last_success_timestamp_seconds{loop=\"session\"} "), "{figures}");

    stack.start_part(Part::Nomad).await;
    eventually("nomad's events are heard again", PATIENCE, async || {
        of(&two).await.as_array()?.iter().all(is_well).then_some(())
    })
    .await;
    // Told once where it began, and once where it ended: not at each try.
    let log = two.log();
    let told = |what: &str| {
        let lines = log.lines().filter(|l| l.contains("nomad-events") && l.contains(what));
        lines.filter(|l| !l.contains("DEBUG")).count()
    };
    assert_eq!((told("a loop fails"), told("a loop works again")), (1, 1), "{log}");
}
