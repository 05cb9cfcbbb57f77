//! Tokens for programs.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{agent, owners, post, token_for};
use crate::access::leave;
use crate::api::agent::user;
use crate::harness::{eventually, unique};
use crate::tour::{Person, Project};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_an_app_that_is_not_there_is_made_with_a_warning() {
    let person = Person::of(crate::login::stack().await);
    let app = Project::new();
    person.deploys(app.path());
    let make = |of: &str| {
        let args = ["tokens", "create", "ci", "--app", of, "--verb", "deploy"];
        let made = tokio::task::block_in_place(|| person.home.run(&args));
        assert_eq!(made.code, 0, "{}", made.err);
        assert_eq!(made.out.lines().count(), 1, "the token alone is data: {}", made.out);
        made.err
    };
    let typo = format!("{}x", app.name);
    let said = make(&typo);
    for wanted in [
        format!("there is no app {typo} yet"),
        "first deploy".to_owned(),
        format!("did you mean {}?", app.name),
    ] {
        assert!(said.contains(&wanted), "{wanted} in {said}");
    }
    let said = make(&app.name);
    assert!(!said.contains("there is no app"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_its_verbs_on_its_apps_and_makes_no_tokens() {
    let (stack, agent) = agent().await;
    let (app, other) = (unique("hers"), unique("hers"));
    agent.own(stack, &app, vec![user("alice"), user("bob")]).await;
    agent.own(stack, &other, vec![user("alice")]).await;
    let alice = agent.login("alice").await;
    let (id, token) = token_for(&agent, &alice, &["deploy", "transfer"], &[&app]).await;

    let (status, me) = agent.get("/v1/whoami", &token).await;
    assert_eq!((status.as_u16(), me["user"].as_str()), (200, Some("alice")));
    assert_eq!(me["scope"], format!("deploy, transfer of {app}"));
    assert_eq!(agent.get(&format!("/v1/apps/{app}"), &token).await.0, 200, "deploy brings read along");
    assert_eq!(
        post(&agent, &format!("/v1/apps/{app}/owners"), &token, json!({ "add": ["root"] })).await.0,
        200
    );

    // Refused with its scope; and one that is not there reads like one that is hers.
    for path in
        [format!("/v1/apps/{other}"), format!("/v1/apps/{}", unique("none")), format!("/v1/apps/{app}/logs")]
    {
        let (status, answer) = agent.get(&path, &token).await;
        assert_eq!((status.as_u16(), answer["code"].as_str()), (403, Some("not_allowed")), "{answer}");
        assert!(
            answer["detail"].as_str().unwrap().contains(&format!("is for deploy, transfer of {app}")),
            "{answer}"
        );
    }
    let listed = agent.get("/v1/projects", &token).await.1;
    let names: Vec<_> =
        listed["projects"].as_array().unwrap().iter().map(|p| p["app"].as_str().unwrap()).collect();
    assert_eq!(names, [app.as_str()]);
    let more = json!({ "name": "x", "apps": [app], "verbs": ["read"], "expires_in": 3_600 });
    assert_eq!(post(&agent, "/v1/tokens", &token, more).await.0, 403);
    assert_eq!(agent.get("/v1/tokens", &token).await.0, 403);

    // Listed without its secret, for its maker; ended by its maker alone.
    let list = agent.get("/v1/tokens", &alice).await.1;
    let made = list["tokens"].as_array().unwrap().iter().find(|t| t["id"] == json!(id));
    assert_eq!(made.expect("it is listed")["verbs"], json!(["deploy", "transfer"]));
    assert!(!list.to_string().contains(token.split_once('.').unwrap().1));
    let bob = agent.login("bob").await;
    assert_eq!(agent.get("/v1/tokens", &bob).await.1["tokens"], json!([]));
    assert_eq!(agent.get("/v1/tokens?all=true", &bob).await.0, 403);
    let path = format!("/v1/tokens/{}", &id[..8]);
    assert_eq!(agent.call(Method::DELETE, &path, Some(&bob), None).await.0, 404);
    assert_eq!(agent.call(Method::DELETE, &path, Some(&alice), None).await.0, 204);
    assert_eq!(agent.get("/v1/whoami", &token).await.0, 401);
    assert!(!agent.log().contains(token.split_once('.').unwrap().1), "no token stands in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_no_more_than_its_maker_and_ends_with_their_account() {
    let (stack, agent) = agent().await;
    let (app, foreign) = (unique("hers"), unique("his"));
    agent.own(stack, &app, vec![user("alice"), user("bob")]).await;
    agent.own(stack, &foreign, vec![user("bob")]).await;
    let (alice, bob) = (agent.login("alice").await, agent.login("bob").await);
    let of = |apps: Value, verbs: Value, expires_in: u64| json!({ "name": "ci", "apps": apps, "verbs": verbs, "expires_in": expires_in });
    for (body, wanted) in [
        (of(json!([foreign]), json!(["read"]), 3_600), 404),
        (of(json!([app]), json!(["rawJob"]), 3_600), 403),
        (of(json!([app]), json!(["fly"]), 3_600), 422),
        (of(json!([app]), json!([]), 3_600), 422),
        (of(json!([]), json!(["read"]), 3_600), 422),
        (of(json!([app]), json!(["users"]), 3_600), 422),
        (of(json!([app]), json!(["read"]), 1), 422),
        (of(json!([app]), json!(["read"]), 400 * 86_400), 422),
    ] {
        let (status, answer) = post(&agent, "/v1/tokens", &alice, body).await;
        assert_eq!(status, wanted, "{answer}");
    }
    let (_, token) = token_for(&agent, &alice, &["read"], &[&app]).await;
    let path = format!("/v1/apps/{app}/owners");
    assert_eq!(agent.get(&path, &token).await.0, 200);
    assert_eq!(post(&agent, &path, &bob, json!({ "remove": ["alice"] })).await.0, 200);
    assert_eq!(agent.get(&path, &token).await.0, 404, "she lost the right, and so did it");
    assert_eq!(post(&agent, &path, &bob, json!({ "add": ["alice"] })).await.0, 200);
    assert_eq!(owners(&agent, &app, &token).await, json!(["bob", "alice"]));
    agent.people.group("login", leave, "alice").await;
    eventually("the token of somebody who is out", Duration::from_mins(1), async || {
        (agent.get(&path, &token).await.0 == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_come_and_go_and_the_last_one_stays() {
    let (stack, agent) = agent().await;
    let app = unique("hers");
    agent.own(stack, &app, vec![user("alice")]).await;
    let (alice, bob) = (agent.login("alice").await, agent.login("bob").await);
    let path = format!("/v1/apps/{app}/owners");
    assert_eq!(post(&agent, &path, &bob, json!({ "add": ["bob"] })).await.0, 404);
    let (status, last) = post(&agent, &path, &alice, json!({ "remove": ["alice"] })).await;
    assert_eq!(status, 422, "{last}");
    assert!(last["detail"].as_str().unwrap().contains("no owner left"), "{last}");
    for nobody in ["nobody", "group:nobodies"] {
        let (status, answer) = post(&agent, &path, &alice, json!({ "add": [nobody] })).await;
        assert_eq!((status, &answer["code"]), (404, &json!("not_found")), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("in the directory"), "{answer}");
    }
    // In the directory, and not in the group whose members may use Terreau.
    for body in [json!({ "add": ["guest"] }), json!({ "only": "guest" })] {
        let (status, answer) = post(&agent, &path, &alice, body).await;
        assert_eq!((status, &answer["code"]), (409, &json!("conflict")), "{answer}");
        let said = answer["detail"].as_str().unwrap();
        assert!(said.contains("guest may not log in here") && said.contains("its group login"), "{said}");
        assert!(answer["hint"].as_str().unwrap().contains("can put guest into the group login"), "{answer}");
    }
    let (status, all) =
        post(&agent, &path, &alice, json!({ "add": ["group:devs", "bob"], "remove": ["alice"] })).await;
    assert_eq!((status, &all["owners"]), (200, &json!(["bob", "group:devs"])));
    assert_eq!(
        owners(&agent, &app, &alice).await,
        json!(["bob", "group:devs"]),
        "she still is, by her group"
    );
    let (status, all) = post(&agent, &path, &bob, json!({ "only": "alice" })).await;
    assert_eq!((status, &all["owners"]), (200, &json!(["alice"])));
    assert_eq!(agent.get(&path, &bob).await.0, 404);

    // The log knows whom a change was about, whoever made it.
    let root = agent.login("root").await;
    let (_, told) = agent.get(&format!("/v1/audit?login=bob&app={app}"), &root).await;
    let entries = told["entries"].as_array().unwrap();
    let seen: Vec<(&Value, &Value)> = entries.iter().map(|e| (&e["login"], &e["about"])).collect();
    assert_eq!(
        seen,
        [
            (&json!("bob"), &json!(["alice", "bob", "group:devs"])),
            (&json!("alice"), &json!(["bob", "group:devs", "alice"])),
        ]
    );
}
