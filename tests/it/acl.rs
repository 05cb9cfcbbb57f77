//! The agent on engines with ACLs: the policies of `policies/nomad` and `policies/consul` are enough for an app's whole
//! life, and reach no further.
//!
//! Everybody else here (the tests, the proxy, Nomad) goes without a token: Consul's default token and Nomad's anonymous
//! policy let them. Whoever sends a token is held to it.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::Home;
use crate::harness::{Part, Stack, StackOptions, eventually, unique};
use crate::login::log_in;

/// Calls an engine; gives status and body (`null` where it is no JSON).
async fn call(stack: &Stack, method: Method, url: &str, token: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = stack.http().request(method, url);
    if !token.is_empty() {
        request = request.header("x-consul-token", token).header("x-nomad-token", token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let Ok(reply) = request.send().await else { return (0, Value::Null) };
    (reply.status().as_u16(), reply.json().await.unwrap_or(Value::Null))
}

fn policy(engine: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("policies/{engine}/terreau-agent.hcl"));
    std::fs::read_to_string(file).unwrap()
}

fn rewrite(file: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, change(text)).unwrap();
}

/// What opens Nomad: the token that may do all, and the agent's; and the agent's for Consul.
struct Tokens {
    root: String,
    nomad: String,
    consul: String,
}

/// A stack whose engines have ACLs on, with an agent that holds the two policies.
async fn guarded() -> (Stack, Tokens) {
    let stack = Stack::start(StackOptions::only(&[Part::Sandbox])).await;
    let manager = "00000000-0000-4000-8000-0000000000aa";
    rewrite(&stack.layout.path("consul.json"), |text| {
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["acl"] = json!({
            "enabled": true,
            "default_policy": "deny",
            "tokens": {"master": manager, "default": manager},
        });
        config.to_string()
    });
    rewrite(&stack.layout.path("nomad.hcl"), |text| text + "acl {\n  enabled = true\n}\n");

    stack.start_part(Part::Consul).await;
    let consul = stack.consul();
    let rules = json!({"Name": "terreau-agent", "Rules": policy("consul")});
    let (status, made) =
        call(&stack, Method::PUT, &format!("{consul}/v1/acl/policy"), manager, Some(rules)).await;
    assert_eq!(status, 200, "Consul takes the policy: {made}");
    let wanted = json!({"Description": "the agent", "Policies": [{"Name": "terreau-agent"}]});
    let (_, token) =
        call(&stack, Method::PUT, &format!("{consul}/v1/acl/token"), manager, Some(wanted)).await;
    let for_consul = token["SecretID"].as_str().unwrap_or_else(|| panic!("{token}")).to_owned();

    let nomad = stack.nomad();
    let open = async {
        let root = eventually("Nomad's ACLs are bootstrapped", Duration::from_secs(40), async || {
            let (_, made) = call(&stack, Method::POST, &format!("{nomad}/v1/acl/bootstrap"), "", None).await;
            made["SecretID"].as_str().map(str::to_owned)
        })
        .await;
        let all = "namespace \"*\" { policy = \"write\" }\nnode { policy = \"write\" }\n\
                   agent { policy = \"write\" }\noperator { policy = \"write\" }\n"
            .to_owned();
        for (name, rules) in [("anonymous", all), ("terreau-agent", policy("nomad"))] {
            let url = format!("{nomad}/v1/acl/policy/{name}");
            let (status, _) =
                call(&stack, Method::POST, &url, &root, Some(json!({"Name": name, "Rules": rules}))).await;
            assert_eq!(status, 200, "Nomad takes the policy {name}");
        }
        let wanted = json!({"Name": "the agent", "Type": "client", "Policies": ["terreau-agent"]});
        let (_, token) =
            call(&stack, Method::POST, &format!("{nomad}/v1/acl/token"), &root, Some(wanted)).await;
        let token = token["SecretID"].as_str().unwrap_or_else(|| panic!("{token}")).to_owned();
        (root, token)
    };
    let ((), (root, for_nomad)) = tokio::join!(stack.start_part(Part::Nomad), open);

    for (engine, token) in [("nomad", &for_nomad), ("consul", &for_consul)] {
        let file = stack.layout.path(&format!("{engine}-token"));
        std::fs::write(&file, token).unwrap();
        rewrite(&stack.agent_config(), |text| {
            let table = format!("[{engine}]\n");
            assert!(text.contains(&table), "{text}");
            text.replace(&table, &format!("{table}token_file = \"{}\"\n", file.display()))
        });
    }
    stack.start_part(Part::Proxy).await;
    stack.start_part(Part::Agent).await;
    (stack, Tokens { root, nomad: for_nomad, consul: for_consul })
}

const DESCRIPTOR: &str = r#"project "NAME" {
  build "archive" {
    dir = "app"
  }
  process "web" {
    command = ["/usr/bin/python3", "-m", "http.server", port.http]
    port "http" {}
    check "http" {
      path = "/"
    }
    route "NAME.example.org" {}
    env {
      KEY    = secret.key
      LDAP   = uses.ldap.password
      BUCKET = uses.bucket.bucket
      ROUND  = "1"
    }
  }
  secret "key" {
    type = "generated"
  }
  uses "ldap" {}
  uses "bucket" {}
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_policies_are_enough_for_an_app_s_whole_life_and_reach_no_further() {
    let (stack, tokens) = guarded().await;
    let home = Home::new();
    let (user, password) = stack.person();
    assert_eq!(log_in(&home, &stack, &user, password.trim_end()).code, 0);
    let dir = tempfile::tempdir().unwrap();
    let name = unique("guarded");
    std::fs::create_dir(dir.path().join("app")).unwrap();
    std::fs::write(dir.path().join("app/index.html"), "hello").unwrap();
    let file = dir.path().join("terreau.hcl");
    std::fs::write(&file, DESCRIPTOR.replace("NAME", &name)).unwrap();
    let expect = |code: i32, args: &[&str]| {
        let ran = tokio::task::block_in_place(|| home.run_in(dir.path(), args, ""));
        assert_eq!(ran.code, code, "{args:?}\nout: {}\nerr: {}", ran.out, ran.err);
        ran
    };
    expect(0, &["deploy"]);
    expect(0, &["plan"]);
    rewrite(&file, |text| text.replace("ROUND  = \"1\"", "ROUND  = \"2\""));
    expect(10, &["plan"]);
    expect(0, &["deploy"]);
    assert!(expect(0, &["status"]).out.contains("running"));
    expect(0, &["logs"]);
    assert_eq!(expect(0, &["exec", "--", "echo", "inside"]).out, "inside\n");
    assert_eq!(expect(0, &["run", "--", "echo", "once"]).out, "once\n");
    expect(0, &["rollback", "1"]);

    // The cluster's own secrets, other people's keys, other services: none of the agent's business.
    let (consul, nomad) = (stack.consul(), stack.nomad());
    for path in ["/v1/kv/secrets/consul/x", "/v1/kv/secrets/nomad/x", "/v1/kv/somebody/else"] {
        let (status, _) =
            call(&stack, Method::PUT, &format!("{consul}{path}"), &tokens.consul, Some(json!(1))).await;
        assert_eq!(status, 403, "{path}");
    }
    for (token, url) in [
        (&tokens.consul, format!("{consul}/v1/acl/tokens")),
        (&tokens.nomad, format!("{nomad}/v1/acl/tokens")),
        (&tokens.nomad, format!("{nomad}/v1/operator/keyring/keys")),
    ] {
        let (status, _) = call(&stack, Method::GET, &url, token, None).await;
        assert_eq!(status, 403, "{url}");
    }

    // With less, a deploy says who refused what, and nothing is half done; with the policy back it goes through.
    let url = format!("{nomad}/v1/acl/policy/terreau-agent");
    let less = json!({"Name": "terreau-agent", "Rules": "namespace \"*\" { policy = \"read\" }\nnode { policy = \"read\" }\nagent { policy = \"read\" }"});
    assert_eq!(call(&stack, Method::POST, &url, &tokens.root, Some(less)).await.0, 200);
    rewrite(&file, |text| text.replace("ROUND  = \"2\"", "ROUND  = \"3\""));
    let refused = tokio::task::block_in_place(|| home.run_in(dir.path(), &["deploy"], ""));
    assert_ne!(refused.code, 0, "{}", refused.err);
    assert!(refused.err.contains("nomad") && refused.err.contains("403"), "{}", refused.err);
    println!("{}", refused.err);
    let whole = json!({"Name": "terreau-agent", "Rules": policy("nomad")});
    assert_eq!(call(&stack, Method::POST, &url, &tokens.root, Some(whole)).await.0, 200);
    expect(0, &["deploy"]);
    // PT-71: what keeps apps apart here is said, and no more.
    let found = expect(0, &["doctor"]);
    assert!(found.out.contains("Isolation (Nomad's ACLs on, Consul's on)"), "{}", found.out);
    assert!(found.out.contains("holds          Nomad: the code of an app has no rights"), "{}", found.out);
    assert!(!found.out.contains("code: Nomad's access control is off"), "{}", found.out);
    expect(0, &["delete", "--yes"]);
    expect(6, &["status"]);
}
