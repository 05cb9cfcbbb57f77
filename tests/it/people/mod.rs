//! Where and who: servers, tokens, owners, users.

mod leaving;
mod servers;
mod tokens;

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::agent::Agent;
use crate::harness::{Stack, shared};

/// An agent with a directory of its own: alice, bob, guest and root, who is an admin.
async fn agent() -> (&'static Stack, Agent) {
    let stack = shared().await;
    let agent = Agent::start(stack).await;
    agent.ready().await;
    (stack, agent)
}

/// A POST, with its status and answer.
async fn post(agent: &Agent, path: &str, token: &str, body: Value) -> (u16, Value) {
    let (status, answer) = agent.call(Method::POST, path, Some(token), Some(body)).await;
    (status.as_u16(), answer)
}

async fn owners(agent: &Agent, app: &str, token: &str) -> Value {
    agent.get(&format!("/v1/apps/{app}/owners"), token).await.1["owners"].clone()
}

/// A token for these verbs on these apps; what it is for is told as `verbs of apps`.
async fn token_for(agent: &Agent, maker: &str, verbs: &[&str], apps: &[&str]) -> (String, String) {
    let body = json!({ "name": "ci", "apps": apps, "verbs": verbs, "expires_in": 3_600 });
    let (status, made) = post(agent, "/v1/tokens", maker, body).await;
    assert_eq!(status, 201, "{made}");
    (made["id"].as_str().unwrap().to_owned(), made["token"].as_str().unwrap().to_owned())
}
