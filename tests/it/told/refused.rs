//! Where nothing is sent to, and who may not ask for it.

use reqwest::Method;
use serde_json::{Value, json};

use super::Receiver;
use crate::api::agent::{Agent, user};
use crate::harness::{shared, unique};

async fn post(agent: &Agent, path: &str, token: &str, body: Value) -> (u16, Value) {
    let (status, answer) = agent.call(Method::POST, path, Some(token), Some(body)).await;
    (status.as_u16(), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_an_address_inside_of_the_cluster_however_it_is_named() {
    let stack = shared().await;
    let agent = Agent::with(stack, &[("webhooks.allow", "198.51.100.7/32".to_owned())]).await;
    agent.ready().await;
    let alice = agent.login("alice").await;
    let app = unique("hers");
    agent.own(stack, &app, vec![user("alice")]).await;
    let receiver = Receiver::start().await;
    let path = format!("/v1/apps/{app}/hooks");
    let port = receiver.port;
    for url in [
        receiver.url(),
        format!("http://localhost:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://[::1]:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        stack.consul(),
        format!("{}/v1/jobs", stack.nomad()),
    ] {
        let (status, answer) = post(&agent, &path, &alice, json!({ "url": url })).await;
        assert_eq!(status, 422, "{url}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains("public addresses alone"), "{url}: {answer}");
    }
    // One that was made while it was allowed: looked at again each time.
    let open = Agent::with(stack, &[("webhooks.allow", "127.0.0.0/8, ::1/128".to_owned())]).await;
    open.ready().await;
    let hers = open.login("alice").await;
    let named = format!("http://localhost:{port}/");
    let (status, made) = post(&open, &path, &hers, json!({ "url": named })).await;
    assert_eq!(status, 201, "{made}");
    let test = format!("{path}/{}/test", made["id"].as_str().unwrap());
    assert_eq!(post(&open, &test, &hers, json!({})).await.1["delivered"], true);
    let (_, came) = post(&agent, &test, &alice, json!({})).await;
    assert_eq!(came["delivered"], false, "{came}");
    assert!(came["error"].as_str().unwrap().contains("public addresses alone"), "{came}");
    assert_eq!(receiver.all().await.len(), 1);

    // Redirects are not followed, wherever they lead.
    let other = Receiver::start().await;
    *receiver.moved.lock().await = other.url();
    for status in [301, 302, 307, 308] {
        receiver.answers(status);
        let (_, came) = post(&open, &test, &hers, json!({})).await;
        assert_eq!((&came["delivered"], &came["status"]), (&json!(false), &json!(status)), "{came}");
        assert!(came["error"].as_str().unwrap().contains("not followed"), "{came}");
    }
    assert_eq!(other.all().await.len(), 0);
    assert!(!open.log().contains(made["secret"].as_str().unwrap()), "the log tells a secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_their_owners_and_nobody_elses() {
    let stack = shared().await;
    let agent = Agent::start(stack).await;
    agent.ready().await;
    let (alice, bob) = (agent.login("alice").await, agent.login("bob").await);
    let (hers, his) = (unique("hers"), unique("his"));
    agent.own(stack, &hers, vec![user("alice")]).await;
    agent.own(stack, &his, vec![user("bob")]).await;
    let receiver = Receiver::start().await;
    let path = format!("/v1/apps/{hers}/hooks");
    let (status, made) =
        post(&agent, &path, &alice, json!({ "url": receiver.url(), "on": ["deploy"] })).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap();
    let none = unique("none");
    for (method, rest) in [
        (Method::GET, String::new()),
        (Method::POST, String::new()),
        (Method::DELETE, format!("/{id}")),
        (Method::POST, format!("/{id}/test")),
    ] {
        let ask = async |app: &str| {
            let body = (method == Method::POST).then(|| json!({ "url": "http://127.0.0.1:9/" }));
            agent.call(method.clone(), &format!("/v1/apps/{app}/hooks{rest}"), Some(&bob), body).await
        };
        let ((status, answer), (_, absent)) = (ask(&hers).await, ask(&none).await);
        let say = |a: &Value, app: &str| a["detail"].to_string().replace(app, "X");
        assert_eq!((status.as_u16(), say(&answer, &hers)), (404, say(&absent, &none)), "{method} {rest}");
    }
    // By another app's path it is not there either.
    let his_path = format!("/v1/apps/{his}/hooks/{id}");
    assert_eq!(agent.call(Method::DELETE, &his_path, Some(&bob), None).await.0, 404);
    // A token for reading reads no hooks; one for this does.
    for (verbs, wanted) in [(["read"], 403), (["notify"], 200)] {
        let body = json!({ "name": "ci", "apps": [hers], "verbs": verbs, "expires_in": 3_600 });
        let (_, token) = post(&agent, "/v1/tokens", &alice, body).await;
        assert_eq!(agent.get(&path, token["token"].as_str().unwrap()).await.0, wanted, "{verbs:?}");
    }
    let (status, list) = agent.get(&path, &alice).await;
    assert_eq!((status.as_u16(), &list["hooks"][0]["on"]), (200, &json!(["deploy"])));
    assert!(!list.to_string().contains("whsec_"), "{list}");
    // An app that comes after it under the freed name is another one.
    let consul = format!("{}/v1/kv/terreau/v1/app/default/production/{hers}", stack.consul());
    let mut later: Value =
        stack.http().get(format!("{consul}?raw")).send().await.unwrap().json().await.unwrap();
    later["uid"] = json!("1".repeat(26));
    stack.http().put(&consul).json(&later).send().await.unwrap();
    assert_eq!(agent.get(&path, &alice).await.1["hooks"], json!([]), "it has inherited a hook");
    assert_eq!(agent.call(Method::DELETE, &format!("{path}/{id}"), Some(&alice), None).await.0, 404);
    let (status, made) = post(&agent, &path, &alice, json!({ "url": receiver.url() })).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(agent.get(&path, &alice).await.1["hooks"].as_array().unwrap().len(), 1);
    for wrong in [
        json!({ "url": receiver.url(), "on": ["fly"] }),
        json!({ "url": receiver.url(), "secret": "canary" }),
        json!({ "url": format!("http://127.0.0.1/{}", "x".repeat(2_000)) }),
        json!({ "url": 1 }),
        json!({ "uri": "x" }),
    ] {
        assert_eq!(post(&agent, &path, &alice, wrong.clone()).await.0, 422, "{wrong}");
    }
}
