//! Every change is audited: each route that changes something is asked for once, and the log knows who, from where, what
//! and on what. A route that is new stands in neither list, and fails the test.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::agent::{Agent, follow};
use crate::cli::{Home, Ran, run};
use crate::harness::{Stack, StackOptions, eventually, unique};

/// Routes that leave no record of their own, and why.
const NONE: &[(&str, &str)] = &[
    (
        "POST /v1/login",
        "opens a session of whoever asks: the agent's log tells of it, and no app or other person is concerned",
    ),
    ("DELETE /v1/login", "ends the asker's own session"),
    ("POST /v1/apps/{app}/plan", "writes nothing"),
    ("POST /v1/apps/{app}/diff", "writes nothing"),
    (
        "POST /v1/apps/{app}/uploads",
        "what is uploaded is nothing's until a deploy names it, and goes by itself",
    ),
    ("PUT /v1/apps/{app}/uploads/{sha256}", "as above"),
    ("POST /v1/apps/{app}/uploads/{sha256}/complete", "as above"),
    (
        "POST /v1/apps/{app}/hooks/{hook}/test",
        "sends a message that says it is a test, to whom the record of the hook names",
    ),
    (
        "POST /v1/doctor",
        "told once for each thing that is mended: the room of the doctor asserts its records",
    ),
    ("GET /v1/apps/{app}/connect", "told once for many connections: the room of streams asserts its record"),
];

/// A person's requests to an agent, each with the record that it leaves.
struct Walk {
    agent: Agent,
    home: Home,
    alice: String,
    root: String,
    app: String,
    done: BTreeSet<String>,
}

impl Walk {
    async fn log(&self) -> Vec<Value> {
        let (status, page) = self.agent.get("/v1/audit?limit=1000", &self.root).await;
        assert_eq!(status, 200, "{page}");
        page["entries"].as_array().unwrap().clone()
    }

    fn alice(&self, args: &[&str]) -> Ran {
        tokio::task::block_in_place(|| {
            run(self.home.command(self.home.dir.path(), args), "canary-of-alice\n")
        })
    }

    /// Of these records: one of this verb, by this person, on the app or about somebody.
    fn assert_told(
        &self,
        route: &str,
        new: &[Value],
        (login, verb, person): (&str, &str, Option<&str>),
    ) -> Value {
        let found = new.iter().find(|e| e["verb"] == verb && e["login"] == login);
        let entry = found.unwrap_or_else(|| panic!("{route}: no record of {verb} by {login} in {new:#?}"));
        assert!(entry["address"].as_str().unwrap().contains("127.0.0.1"), "{route}: {entry}");
        assert!(!entry["summary"].as_str().unwrap().is_empty(), "{route}: {entry}");
        let at: jiff::Timestamp = entry["at"].as_str().unwrap().parse().unwrap();
        assert!(jiff::Timestamp::now().duration_since(at).as_secs() < 600, "{route}: {entry}");
        match person {
            Some(person) => assert_eq!(entry["person"], person, "{route}: {entry}"),
            None => assert_eq!(entry["app"], self.app.as_str(), "{route}: {entry}"),
        }
        entry.clone()
    }

    /// Does something, and gives the records that are new then.
    async fn watched<T>(&mut self, route: &str, act: impl AsyncFnOnce(&Self) -> T) -> (T, Vec<Value>) {
        let id = |e: &Value| e["id"].as_str().unwrap().to_owned();
        let before: BTreeSet<String> = self.log().await.iter().map(id).collect();
        let did = act(self).await;
        let mut new = self.log().await;
        new.retain(|e| !before.contains(&id(e)));
        self.done.insert(route.to_owned());
        (did, new)
    }

    /// Asks for a route until it is accepted (a lock that was just given back is shut for a moment), waits for the end of
    /// the operation, and looks for its record.
    async fn does(
        &mut self,
        route: &str,
        fill: &[(&str, &str)],
        body: Option<Value>,
        (who, verb, person): (&str, &str, Option<&str>),
    ) -> Value {
        let (method, template) = route.split_once(' ').unwrap();
        let mut path = template.replace("{app}", &self.app);
        for (name, value) in fill {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        let method: Method = method.parse().unwrap();
        let token = if who == "root" { self.root.clone() } else { self.alice.clone() };
        let ask = async |walk: &Self| {
            let answer = eventually(route, Duration::from_secs(60), async || {
                let (status, answer) =
                    walk.agent.call(method.clone(), &path, Some(&token), body.clone()).await;
                assert!(status.is_success() || status == 409 || status == 503, "{route}: {status} {answer}");
                if !status.is_success() {
                    println!("audited: {route} is asked again: {status} {answer}");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                status.is_success().then_some(answer)
            })
            .await;
            if let Some(operation) = answer["operation"].as_str() {
                follow(&walk.agent, operation, &token).await;
            }
            answer
        };
        let (answer, new) = self.watched(route, ask).await;
        let told = self.assert_told(route, &new, (who, verb, person));
        if let Some(operation) = answer["operation"].as_str()
            && !matches!(verb, "cancel" | "abandon")
        {
            assert_eq!(told["id"], operation, "{route}: {told}");
        }
        answer
    }
}

impl Walk {
    /// A deploy that never gets healthy: its operation.
    async fn hangs(&self) -> String {
        let hangs = descriptor(&self.app, "never", "").replace("path = \"/\"", "path = \"/none\"");
        let (body, path) = (json!({ "descriptor": hangs }), format!("/v1/apps/{}/deploy", self.app));
        eventually("a deploy is accepted", Duration::from_secs(60), async || {
            let (status, answer) =
                self.agent.call(Method::POST, &path, Some(&self.alice), Some(body.clone())).await;
            assert!(status.is_success() || status == 409, "{answer}");
            answer["operation"].as_str().map(str::to_owned)
        })
        .await
    }
}

fn descriptor(app: &str, says: &str, process: &str) -> String {
    format!(
        r#"project "{app}" {{
  process "web" {{
    command = ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", port.http]
    port "http" {{}}
    check "http" {{ path = "/" }}
    route "{app}.example.org" {{}}
    env = {{ SAYS = "{says}", KEY = secret.key }}
    {process}
  }}
  secret "key" {{ type = "user" }}
}}
"#
    )
}

/// Every route of the document that changes something, or runs something: streams that are asked for by GET are such.
async fn routes(agent: &Agent) -> BTreeSet<String> {
    let (_, document) = agent.call(Method::GET, "/v1/openapi.json", None, None).await;
    let mut found = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, route) in methods.as_object().unwrap().iter().filter(|(m, _)| *m != "parameters") {
            let is_stream = route["responses"].get("101").is_some();
            if method != "get" || is_stream {
                found.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_changes_something_leaves_a_record_with_who_from_where_what_and_on_what() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::start(StackOptions::with_proxy()).await));
    let agent = Agent::with(stack, &[("webhooks.allow", "127.0.0.0/8".to_owned())]).await;
    agent.ready().await;
    let (alice, root) = (agent.login("alice").await, agent.login("root").await);
    let app = unique("told");
    let mut walk = Walk { agent, home: Home::new(), alice, root, app: app.clone(), done: BTreeSet::new() };
    let logged_in =
        walk.alice(&["login", "--server", &walk.agent.url, "--user", "alice", "--password-stdin"]);
    assert_eq!(logged_in.code, 0, "{}", logged_in.err);
    let hers = |verb: &'static str| ("alice", verb, None);

    let deploy = "POST /v1/apps/{app}/deploy";
    let of = |says: &str, process: &str| json!({ "descriptor": descriptor(&app, says, process) });
    let mut first = of("one", "");
    first["secrets"] = json!({ "key": "canary-of-key" });
    walk.does(deploy, &[], Some(first), hers("deploy")).await;
    walk.does("POST /v1/apps/{app}/env", &[], Some(json!({ "set": { "A": "1" } })), hers("configure")).await;
    let set = json!({ "set": { "key": "canary-of-another-key" } });
    walk.does("POST /v1/apps/{app}/secrets", &[], Some(set), hers("configure")).await;
    let (_, file) = walk.agent.get(&format!("/v1/apps/{app}/releases/1/export"), &walk.alice).await;
    let import = json!({ "file": file.to_string(), "deploy": true });
    walk.does("POST /v1/apps/{app}/import", &[], Some(import), hers("deploy")).await;
    walk.does("POST /v1/apps/{app}/rollback", &[], Some(json!({})), hers("rollback")).await;

    // Canaries that wait for a person.
    let held = "instances = 2\n    update { promote = \"manual\" }";
    for (says, route, verb) in
        [("two", "POST /v1/apps/{app}/promote", "promote"), ("three", "POST /v1/apps/{app}/revert", "revert")]
    {
        walk.does(deploy, &[], Some(of(says, "instances = 2")), hers("deploy")).await;
        walk.does(deploy, &[], Some(of(&format!("{says} held"), held)), hers("deploy")).await;
        walk.does(route, &[], None, hers(verb)).await;
    }

    // A change that somebody else turns back.
    let begun = walk.hangs().await;
    let id = [("id", begun.as_str())];
    walk.does("POST /v1/operations/{id}/cancel", &id, None, ("root", "cancel", None)).await;

    for (route, body, verb) in [
        ("POST /v1/apps/{app}/restart", Some(json!({})), "restart"),
        ("POST /v1/apps/{app}/scale", Some(json!({ "counts": { "web": 1 } })), "scale"),
        ("POST /v1/apps/{app}/stop", None, "stop"),
        ("POST /v1/apps/{app}/start", None, "start"),
        ("POST /v1/apps/{app}/maintenance", Some(json!({ "on": true })), "maintenance"),
        ("POST /v1/apps/{app}/owners", Some(json!({ "add": ["bob"] })), "transfer"),
    ] {
        walk.does(route, &[], body, hers(verb)).await;
    }
    // Values are seen, which is told like a change. The values are in the answers: those are not looked at here.
    for (route, names) in [("env", json!(["A"])), ("secrets", json!(["key"]))] {
        let url = format!("{}/v1/apps/{app}/{route}/reveal", walk.agent.url);
        let named = format!("POST /v1/apps/{{app}}/{route}/reveal");
        let (status, new) = walk
            .watched(&named, async |w| {
                let request = w.agent.http.post(url).bearer_auth(&w.alice);
                request.json(&json!({ "names": names })).send().await.unwrap().status()
            })
            .await;
        assert_eq!(status, 200, "{named}");
        walk.assert_told(&named, &new, hers("reveal"));
    }

    let hook = json!({ "url": "http://127.0.0.1:9/", "on": ["deploy"] });
    let made = walk.does("POST /v1/apps/{app}/hooks", &[], Some(hook), hers("hook-add")).await;
    let id = [("hook", made["id"].as_str().unwrap())];
    walk.does("DELETE /v1/apps/{app}/hooks/{hook}", &id, None, hers("hook-remove")).await;

    // Programs in it.
    eventually("an instance runs", Duration::from_secs(60), async || {
        (walk.alice(&["exec", &app, "--", "/bin/true"]).code == 0).then_some(())
    })
    .await;
    let (ran, new) =
        walk.watched("GET /v1/apps/{app}/exec", async |w| w.alice(&["exec", &app, "--", "/bin/true"])).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    walk.assert_told("exec", &new, hers("exec"));
    let detached = ["run", &app, "--detach", "--", "/bin/sleep", "1000"];
    let (ran, new) = walk.watched("GET /v1/apps/{app}/run", async |w| w.alice(&detached)).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    walk.assert_told("run", &new, hers("run"));
    let name = [("run", ran.out.trim())];
    walk.does("POST /v1/apps/{app}/runs/{run}/stop", &name, None, hers("run-stop")).await;

    // People, and their tokens.
    let token = json!({ "name": "ci", "apps": [app], "verbs": ["read"], "expires_in": 3_600 });
    let told = ("alice", "token-create", Some("alice"));
    let made = walk.does("POST /v1/tokens", &[], Some(token), told).await;
    let id = [("token", made["id"].as_str().unwrap())];
    walk.does("DELETE /v1/tokens/{token}", &id, None, ("alice", "token-revoke", Some("alice"))).await;
    let bob = [("user", "bob")];
    let told = ("root", "remove", Some("bob"));
    walk.does("POST /v1/users/{user}/remove", &bob, Some(json!({})), told).await;
    // A change that an admin leaves half-way.
    let begun = walk.hangs().await;
    let id = [("id", begun.as_str())];
    walk.does("POST /v1/operations/{id}/abandon", &id, None, ("root", "abandon", None)).await;
    walk.does("DELETE /v1/apps/{app}", &[], None, hers("delete")).await;

    // Nothing is left out, and nothing is listed that is not there.
    let all = routes(&walk.agent).await;
    let none: BTreeSet<String> = NONE.iter().map(|(route, _)| (*route).to_owned()).collect();
    let missing: Vec<_> = all.iter().filter(|r| !walk.done.contains(*r) && !none.contains(*r)).collect();
    assert!(missing.is_empty(), "these routes are neither walked nor in NONE: {missing:?}");
    let gone: Vec<_> = walk.done.iter().chain(&none).filter(|r| !all.contains(*r)).collect();
    assert!(gone.is_empty(), "these are no routes: {gone:?}");
    let both: Vec<_> = walk.done.intersection(&none).collect();
    assert!(both.is_empty(), "these do leave a record: {both:?}");
    let log = walk.log().await;
    assert!(!format!("{log:?}").contains("canary-"), "no value stands in the log");
}
