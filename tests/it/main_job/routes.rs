//! Routes: several hosts, paths, redirects, headers, and hosts that belong to somebody else.

use serde_json::json;

use super::{AGENT, Person, Project, stack};
use crate::harness::{Stack, unique};

/// Asks the proxy and follows nothing.
async fn ask(stack: &Stack, host: &str, path: &str) -> reqwest::Response {
    let client =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    client.get(format!("{}{path}", stack.proxy())).header("host", host).send().await.unwrap()
}

fn location(reply: &reqwest::Response) -> &str {
    reply.headers()["location"].to_str().unwrap()
}

/// An app of two processes, with hosts of its owner's.
fn describe(app: &Project, own: &str) {
    let text = format!(
        r#"project "{name}" {{
  build "archive" {{
    dir = "app"
  }}
  process "web" {{
    command = ["python3", "server.py"]
    port "http" {{}}
    check "http" {{}}
    route "{own}" {{
      headers = {{ "X-Frame-Options" = "DENY; always" }}
      redirect "www.{own}" {{}}
      redirect "old.{own}" {{
        path = "/blog"
        code = 302
      }}
    }}
    route "{name}.example.org" {{}}
    env {{
      PORT = port.http
    }}
  }}
  process "api" {{
    command = ["sh", "-c", "echo api > version; exec python3 server.py"]
    port "http" {{}}
    check "http" {{}}
    route "{own}" {{
      path = "/api"
    }}
    env {{
      PORT = port.http
    }}
  }}
}}
"#,
        name = app.name
    );
    std::fs::write(app.path().join("terreau.hcl"), text).unwrap();
}

/// PT-70, but for TLS, which is the cluster's proxy's.
#[tokio::test(flavor = "multi_thread")]
async fn pt_70_an_app_has_own_domains_paths_and_redirects_and_nobody_elses() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new();
    let own = format!("{}.family.example", unique("own"));
    describe(&app, &own);
    let url = person.deploys(app.path());
    assert!(url.contains(&own), "the first route is the app's URL, not a redirect: {url}");
    let status = person.status(app.path());
    let port = stack.proxy().rsplit(':').next().unwrap().to_owned();
    let at = |host: &str, path: &str| format!("http://{host}.localhost:{port}{path}");
    let routes = [at(&own, "/"), at(&format!("{}.example.org", app.name), "/"), at(&own, "/api")];
    assert_eq!(status["urls"], json!(routes), "each route with its path: {status}");
    let words = person.expect(0, app.path(), &["status"]).out;
    assert!(routes.iter().all(|r| words.lines().any(|l| l.trim() == r)), "{words}");

    let page = ask(stack, &own, "/").await;
    assert_eq!(page.headers()["x-frame-options"], "DENY; always");
    assert_eq!(page.text().await.unwrap(), "one");
    assert_eq!(ask(stack, &own, "/api/v1").await.text().await.unwrap(), "api", "the longer path wins");
    assert_eq!(ask(stack, &format!("{}.example.org", app.name), "/").await.text().await.unwrap(), "one");

    let sent = ask(stack, &format!("www.{own}"), "/a/b?c=d").await;
    assert_eq!(sent.status(), 301);
    assert!(location(&sent).ends_with(&format!("{own}/a/b?c=d")) && !location(&sent).contains("www."));
    let sent = ask(stack, &format!("old.{own}"), "/blog/2024").await;
    assert_eq!(sent.status(), 302);
    assert!(location(&sent).ends_with("/2024"), "{}", location(&sent));
    assert_eq!(ask(stack, &format!("old.{own}"), "/other").await.status(), 404, "only below /blog");

    // What somebody holds, redirects included, is not available to others, and who holds it is not said.
    let second = Project::new();
    for taken in [own.clone(), format!("www.{own}")] {
        second.describe(&taken, "");
        let refused = person.expect(5, second.path(), &["deploy"]);
        assert!(refused.err.contains(&format!("host {taken} is not available")), "{}", refused.err);
        assert!(!refused.err.contains(&format!(" {}", app.name)), "{}", refused.err);
    }

    // Whoever deploys an environment is told that it has routes of its own.
    let env = format!("{}@staging", app.name);
    let refused = person.expect(5, app.path(), &["deploy", &env]);
    assert!(refused.err.contains(&format!("host {own} is not available\n")), "{}", refused.err);
    assert!(refused.err.contains(&format!("terreau deploy {env} --file staging.hcl")), "{}", refused.err);

    // Nor is a host at which a service answers that nobody made with Terreau.
    let foreign = unique("foreign");
    let host = format!("{foreign}.example.org");
    let body = json!({ "ID": foreign, "Name": foreign, "Port": 1, "Tags": [format!("tricot {host}/x 10")] });
    let registered =
        stack.http().put(format!("{}/v1/agent/service/register", stack.consul())).json(&body).send().await;
    assert!(registered.unwrap().status().is_success());
    second.describe(&host, "");
    let refused = person.expect(5, second.path(), &["deploy"]);
    assert!(refused.err.contains("is not available") && refused.err.contains(&foreign), "{}", refused.err);
    second.describe(&second.host(), "");
    person.deploys(second.path());

    // A host that is given up is free, and what was redirected can become a route.
    app.describe(&app.host(), "");
    person.deploys(app.path());
    second.describe(&format!("www.{own}"), "");
    let url = person.deploys(second.path());
    assert!(url.contains(&format!("www.{own}")), "{url}");
    for one in [&app, &second] {
        person.expect(0, one.path(), &["delete", "--yes"]);
    }
}
