//! Users, for admins; and how somebody leaves.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{owners, post, token_for};
use crate::access::leave;
use crate::api::agent::{Agent, follow, user};
use crate::harness::{Stack, StackOptions, eventually, unique};

/// On engines of its own: whoever leaves takes along what is theirs, in other tests too.
async fn own() -> (Stack, Agent) {
    let stack = Stack::start(StackOptions::with_proxy()).await;
    let agent = Agent::start(&stack).await;
    agent.ready().await;
    (stack, agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_10_an_admin_lists_people_and_removes_one_whose_apps_go_to_somebody_else() {
    let (stack, agent) = own().await;
    let (alone, shared) = (unique("hers"), unique("theirs"));
    agent.own(&stack, &alone, vec![user("alice")]).await;
    agent.own(&stack, &shared, vec![user("alice"), user("bob")]).await;
    let (root, alice, bob) =
        (agent.login("root").await, agent.login("alice").await, agent.login("bob").await);
    let (_, token) = token_for(&agent, &alice, &["read"], &[&alone]).await;
    for path in ["/v1/users", "/v1/users/alice"] {
        assert_eq!(agent.get(path, &alice).await.0, 403, "{path}");
    }
    let people = agent.get("/v1/users", &root).await.1;
    let of = |login: &str| -> Value {
        people["users"].as_array().unwrap().iter().find(|u| u["user"] == login).unwrap().clone()
    };
    assert_eq!((&of("root")["admin"], &of("guest")["may_log_in"]), (&json!(true), &json!(false)));
    let hers = of("alice")["apps"].as_array().unwrap().clone();
    assert!(hers.contains(&json!(alone)) && hers.contains(&json!(shared)), "{hers:?}");
    let shown = agent.get("/v1/users/alice", &root).await.1;
    assert_eq!(
        (&shown["sessions"], &shown["tokens"], &shown["groups"]),
        (&json!(1), &json!(1), &json!(["devs", "login"]))
    );

    let remove = "/v1/users/alice/remove";
    assert_eq!(post(&agent, remove, &bob, json!({})).await.0, 403);
    let (status, list) = post(&agent, remove, &root, json!({})).await;
    assert_eq!((status, list["code"].as_str()), (409, Some("conflict")), "{list}");
    let text = list.to_string();
    assert!(text.contains(&alone) && !text.contains(&shared) && text.contains("--transfer-to"), "{list}");
    assert_eq!(agent.get("/v1/whoami", &alice).await.0, 200, "nothing was changed");
    for (body, wanted) in [
        (json!({ "transfer_to": "nobody" }), 404),
        (json!({ "transfer_to": "alice" }), 422),
        (json!({ "transfer_to": "guest" }), 409),
        (json!({ "transfer_to": "group:nobodies" }), 404),
        (json!({ "transfer_to": "bob", "cascade": true }), 422),
    ] {
        assert_eq!(post(&agent, remove, &root, body).await.0, wanted);
        assert_eq!(agent.get("/v1/whoami", &alice).await.0, 200, "nothing was changed");
    }
    assert_eq!(
        post(&agent, "/v1/users/root/remove", &root, json!({})).await.0,
        403,
        "nobody removes themselves"
    );
    assert_eq!(post(&agent, "/v1/users/nobody/remove", &root, json!({})).await.0, 404);
    let (status, near) = agent.get("/v1/users/alcie", &root).await;
    assert_eq!((status.as_u16(), near["hint"].as_str()), (404, Some("did you mean alice?")), "{near}");
    let (_, near) = post(&agent, "/v1/users/alcie/remove", &root, json!({})).await;
    assert_eq!(near["hint"].as_str(), Some("did you mean alice?"), "{near}");

    let (status, done) = post(&agent, remove, &root, json!({ "transfer_to": "bob" })).await;
    assert_eq!((status, done["left"].as_str()), (200, Some("login_group")), "{done}");
    for spent in [&alice, &token] {
        assert_eq!(agent.get("/v1/whoami", spent).await.0, 401);
    }
    assert_eq!(owners(&agent, &alone, &bob).await, json!(["bob"]));
    assert_eq!(owners(&agent, &shared, &bob).await, json!(["bob"]));
    let body = json!({ "user": "alice", "password": "canary-of-alice" });
    assert_eq!(agent.call(Method::POST, "/v1/login", None, Some(body)).await.0, 401);
    let again = post(&agent, remove, &root, json!({ "transfer_to": "bob" })).await;
    assert_eq!((again.0, &again.1["left"], &again.1["apps"]), (200, &json!("before"), &json!([])));
}

/// What is left where an agent dies after somebody was taken out and before their apps are seen to.
#[tokio::test(flavor = "multi_thread")]
async fn pt_10_a_removal_that_was_cut_off_is_completed_and_a_cascade_deletes_what_nobody_else_owns() {
    let (stack, agent) = own().await;
    let (alone, shared) = (unique("hers"), unique("theirs"));
    agent.own(&stack, &alone, vec![user("alice")]).await;
    agent.own(&stack, &shared, vec![user("alice"), user("bob")]).await;
    let (root, bob) = (agent.login("root").await, agent.login("bob").await);
    agent.people.group("login", leave, "alice").await;
    let (status, done) = post(&agent, "/v1/users/alice/remove", &root, json!({ "cascade": true })).await;
    assert_eq!((status, done["left"].as_str()), (200, Some("before")), "{done}");
    let apps = done["apps"].as_array().unwrap();
    let deleting = apps.iter().find(|a| a["app"] == alone).unwrap();
    assert_eq!(deleting["what"], "deleting");
    let (_, end) = follow(&agent, deleting["operation"].as_str().unwrap(), &root).await;
    assert_eq!(end["outcome"], "done", "{end}");
    eventually("the app is gone", Duration::from_secs(10), async || {
        (agent.get(&format!("/v1/apps/{alone}"), &root).await.0 == 404).then_some(())
    })
    .await;
    assert_eq!(owners(&agent, &shared, &bob).await, json!(["bob"]), "what bob owns too is his");
}
