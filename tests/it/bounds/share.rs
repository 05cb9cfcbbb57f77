//! What one person holds open at once.

use std::sync::LazyLock;
use std::time::Duration;

use futures::StreamExt;
use reqwest::Response;
use terreau::engines::consul::Consul;
use terreau::engines::http::HttpOptions;

use crate::api::agent::{Agent, user};
use crate::harness::{eventually, shared, unique};

/// Asks to follow; the answer goes on until it is dropped.
async fn follow(agent: &Agent, app: &str, token: &str) -> Response {
    // One client for all, made once: what goes on has a connection of its own anyway.
    static HTTP: LazyLock<reqwest::Client> =
        LazyLock::new(|| reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap());
    let url = format!("{}/v1/apps/{app}/events?follow=true", agent.url);
    HTTP.get(url).bearer_auth(token).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_150_followers_of_one_person_12_are_served_and_others_and_the_agents_session_feel_nothing() {
    let stack = shared().await;
    let name = unique("bounds");
    let agent = Agent::with(stack, &[("name", name.clone())]).await;
    agent.ready().await;
    let (hers, his) = (unique("hers"), unique("his"));
    agent.own(stack, &hers, vec![user("alice")]).await;
    agent.own(stack, &his, vec![user("bob")]).await;
    let (alice, bob) = (agent.login("alice").await, agent.login("bob").await);
    let consul = Consul::new(&stack.consul(), None, &HttpOptions::default()).unwrap();
    let session = async || {
        let all = consul.sessions().await.unwrap();
        all.into_iter().find(|s| s.name == format!("terreau {name}")).map(|s| s.id)
    };
    let before = session().await;
    assert!(before.is_some());

    let answers: Vec<Response> = futures::stream::iter(0..150)
        .map(|_| follow(&agent, &hers, &alice))
        .buffer_unordered(50)
        .collect()
        .await;
    let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|r| r.status() == 200);
    assert_eq!((served.len(), refused.len()), (12, 138));
    for refused in refused {
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()["retry-after"], "5");
        let problem: serde_json::Value = refused.json().await.unwrap();
        assert_eq!(problem["code"], "too_many", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("12 open already"), "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains("end some"), "{problem}");
    }
    // Another person, and she herself for what does not go on.
    assert_eq!(agent.get(&format!("/v1/apps/{his}"), &bob).await.0, 200);
    assert_eq!(follow(&agent, &his, &bob).await.status(), 200);
    assert_eq!(agent.get(&format!("/v1/apps/{hers}/events"), &alice).await.0, 200);
    assert_eq!(follow(&agent, &hers, &alice).await.status(), 429);

    // Gone without a word: all places come back.
    drop(served);
    let mut again = Vec::new();
    eventually("all twelve places came back", Duration::from_secs(40), async || {
        let answer = follow(&agent, &hers, &alice).await;
        if answer.status() == 200 {
            again.push(answer);
        }
        (again.len() == 12).then_some(())
    })
    .await;
    assert_eq!(session().await, before, "the agent has the session that it had");
}
