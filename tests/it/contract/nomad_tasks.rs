//! What a task can do and what its templates, environment and configuration become.

use terreau::engines::http::HttpOptions;
use terreau::engines::nomad::{Namespace, Nomad};
use terreau::engines::{EngineError, Fault};

use super::{Lab, SOON, name, script, sleeper};
use crate::harness::eventually;

/// A template of the task's environment.
fn env_template(lines: &str) -> String {
    format!(
        "template {{\n  destination = \"secrets/env\"\n  env = true\n  change_mode = \"noop\"\n  data = <<EOT\n{lines}\nEOT\n}}\n"
    )
}

#[tokio::test]
async fn the_api_socket_of_a_task_is_root_while_access_control_is_off() {
    let lab = Lab::open().await;
    let id = name("socket");
    let hcl = sleeper(&id, 1, "")
        .replace("/bin/sleep", "/bin/sh")
        .replace("[\"100000\"]", "[\"-c\", \"echo $NOMAD_SECRETS_DIR; id -u; exec sleep 100000\"]");
    lab.run(&hcl).await.unwrap();
    let alloc = lab.running(&id).await;
    let said = eventually("the task says where it is", SOON, async || {
        let text = String::from_utf8(lab.output(&alloc.id, "main").await).unwrap();
        (text.lines().count() == 2).then_some(text)
    })
    .await;
    let (dir, uid) = said.trim().split_once('\n').unwrap();
    let socket = format!("{dir}/api.sock");
    let meta = std::fs::metadata(&socket).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta).to_string(), uid, "its own user's");

    let at = |token: Option<&str>| -> Result<Nomad, EngineError> {
        Nomad::new(&format!("unix://{socket}"), token.map(Into::into), None, &HttpOptions::default())
    };
    let refused = at(None).unwrap().leader().await.unwrap_err();
    assert_eq!(refused.fault, Fault::Denied, "{refused}");
    let any_uuid = uuid();
    let root = at(Some(&any_uuid)).unwrap();
    let made = Namespace { name: name("by-task"), ..Namespace::default() };
    root.put_namespace(&made).await.unwrap();
    assert!(root.namespaces().await.unwrap().iter().any(|n| n.name == made.name));
    root.delete_namespace(&made.name).await.unwrap();
    lab.stop(&id).await;
}

fn uuid() -> String {
    let h = hex::encode(rand::random::<[u8; 16]>());
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

#[tokio::test]
async fn a_template_reads_all_keys_and_other_delimiters_make_it_text() {
    let lab = Lab::open().await;
    let id = name("tree");
    let tree = name("somebodys");
    lab.consul.kv_put(&format!("{tree}/secret"), "canary").await.unwrap();
    let text = format!("{{{{ range tree \\\"{tree}\\\" }}}}{{{{ .Key }}}}={{{{ .Value }}}}{{{{ end }}}}");
    // Not the same text twice: 1.7 knows a template by its text alone, whatever its delimiters, and renders one of them.
    let other = format!("literally: {text}");
    let templates = format!(
        "template {{\n destination = \"local/read\"\n data = \"{text}\"\n}}\n\
         template {{\n destination = \"local/literal\"\n left_delimiter = \"<~abcd\"\n right_delimiter = \"abcd~>\"\n data = \"{other}\"\n}}\n"
    );
    let said = lab.printed(&script(&id, "cat local/read; echo; cat local/literal", &templates), &id).await;
    let (read, literal) = said.split_once('\n').unwrap();
    assert_eq!(read, "secret=canary");
    assert_eq!(literal, other.replace("\\\"", "\""));
    lab.consul.delete_tree(&format!("{tree}/")).await.unwrap();
}

#[tokio::test]
async fn to_json_restores_every_value_of_an_environment_line() {
    let lab = Lab::open().await;
    let id = name("tojson");
    let values = [
        "plain",
        "two\nlines\n",
        "\"quoted\" and 'so'",
        "$HOME ${x} $(y) `z`",
        "tab\there",
        "é 🌱 日本",
        "a\\b\\n",
        " spaces ",
        "<&>",
        "# no comment",
        "a=b=c",
        "%{ if true }x%{ endif }",
        "{{ key \"a\" }}",
    ];
    let mut lines = String::new();
    let mut reader = String::new();
    for (n, value) in values.iter().enumerate() {
        lab.consul.kv_put(&format!("{id}/v{n}"), *value).await.unwrap();
        lines.push_str(&format!("V{n}={{{{ key \"{id}/v{n}\" | toJSON }}}}\n"));
        reader.push_str(&format!("printf %s \"$V{n}\" | od -An -v -tx1 | tr -d ' \\n'; echo; "));
    }
    let said = lab.printed(&script(&id, &reader, &env_template(&lines)), &id).await;
    let seen: Vec<String> =
        said.lines().map(|l| String::from_utf8(hex::decode(l).unwrap()).unwrap()).collect();
    assert_eq!(seen, values);
    lab.consul.delete_tree(&format!("{id}/")).await.unwrap();
}

#[tokio::test]
async fn an_environment_line_holds_64_kib_and_a_longer_one_kills_the_task() {
    let lab = Lab::open().await;
    for (size, fine) in [(65_000, true), (66_000, false)] {
        let id = name("longline");
        lab.consul.kv_put(&format!("{id}/v"), "x".repeat(size)).await.unwrap();
        let template = env_template(&format!("V={{{{ key \"{id}/v\" | toJSON }}}}"));
        lab.run(&script(&id, "printf %s \"$V\" | wc -c", &template)).await.unwrap();
        let alloc = lab.complete(&id).await;
        assert_eq!(alloc.client_status == "complete", fine, "{size}: {}", Lab::events_of(&alloc));
        if fine {
            assert_eq!(
                String::from_utf8(lab.output(&alloc.id, "main").await).unwrap().trim(),
                size.to_string()
            );
        }
        lab.stop(&id).await;
        lab.consul.delete_tree(&format!("{id}/")).await.unwrap();
    }
}

#[tokio::test]
async fn a_value_of_several_lines_without_to_json_kills_the_task() {
    let lab = Lab::open().await;
    let id = name("lines");
    lab.consul.kv_put(&format!("{id}/v"), "first\nsecond").await.unwrap();
    let template = env_template(&format!("V={{{{ key \"{id}/v\" }}}}"));
    lab.run(&script(&id, "echo started", &template)).await.unwrap();
    let alloc = lab.failed(&id).await;
    assert!(Lab::events_of(&alloc).contains("Template"), "{}", Lab::events_of(&alloc));
    lab.stop(&id).await;
    lab.consul.delete_tree(&format!("{id}/")).await.unwrap();
}

#[tokio::test]
async fn a_missing_key_makes_the_instance_wait_for_it() {
    let lab = Lab::open().await;
    let id = name("wait");
    let template = env_template(&format!("V={{{{ key \"{id}/v\" | toJSON }}}}"));
    lab.run(&script(&id, "echo \"$V\"", &template)).await.unwrap();
    let waiting = lab.instance(&id, "waits", |a| Lab::events_of(a).contains("Missing")).await;
    assert_eq!(waiting.client_status, "pending");
    assert!(Lab::events_of(&waiting).contains(&format!("kv.block({id}/v)")), "{}", Lab::events_of(&waiting));
    lab.consul.kv_put(&format!("{id}/v"), "here").await.unwrap();
    let alloc = lab.complete(&id).await;
    assert_eq!(lab.output(&alloc.id, "main").await, b"here\n");
    lab.stop(&id).await;
    lab.consul.delete_tree(&format!("{id}/")).await.unwrap();
}

#[tokio::test]
async fn change_mode_restart_restarts_all_instances_at_once() {
    let lab = Lab::open().await;
    let id = name("atonce");
    lab.consul.kv_put(&format!("{id}/v"), "1").await.unwrap();
    let template = format!(
        "template {{\n destination = \"local/v\"\n change_mode = \"restart\"\n splay = \"0s\"\n data = \"{{{{ key \\\"{id}/v\\\" }}}}\"\n}}\n      resources {{"
    );
    lab.run(&sleeper(&id, 2, "").replacen("resources {", &template, 1)).await.unwrap();
    let running = async |restarts: u64| {
        eventually("both run", SOON, async || {
            let all = lab.nomad.allocations("default", &id).await.unwrap();
            let up = all.iter().filter(|a| {
                a.client_status == "running"
                    && a.task_states
                        .get("main")
                        .is_some_and(|t| t.restarts == restarts && t.state == "running")
            });
            (up.count() == 2).then_some(all)
        })
        .await
    };
    running(0).await;
    lab.consul.kv_put(&format!("{id}/v"), "2").await.unwrap();
    let after = running(1).await;
    let mut starts: Vec<i64> = after
        .iter()
        .map(|a| {
            a.task_states["main"].events.iter().filter(|e| e.kind == "Restarting").next_back().unwrap().time
        })
        .collect();
    starts.sort_unstable();
    assert!(starts[1] - starts[0] < 2_000_000_000, "{starts:?}");
    lab.stop(&id).await;
    lab.consul.delete_tree(&format!("{id}/")).await.unwrap();
}

#[tokio::test]
async fn a_template_sequence_in_a_driver_string_is_evaluated_like_an_interpolation() {
    let lab = Lab::open().await;
    let id = name("percent");
    // Doubled for HCL, so that single ones stand in the job that the client reads.
    let hcl = script(&id, "PLACEHOLDER", "").replace(
        "\"PLACEHOLDER\"",
        "\"echo '%%{ if true }yes%%{ endif } $${NOMAD_TASK_NAME} %%%{x} $$${x}'\"",
    );
    let job = lab.nomad.parse_hcl(&hcl).await.unwrap();
    let text = job["TaskGroups"][0]["Tasks"][0]["Config"]["args"][1].as_str().unwrap().to_owned();
    assert_eq!(text, "echo '%{ if true }yes%{ endif } ${NOMAD_TASK_NAME} %%{x} $${x}'");
    lab.register(job).await.unwrap();
    let alloc = lab.complete(&id).await;
    let said = String::from_utf8(lab.output(&alloc.id, "main").await).unwrap();
    assert_eq!(said, "yes main %{x} ${x}\n", "{}", Lab::events_of(&alloc));
    lab.stop(&id).await;
}

#[tokio::test]
async fn raw_exec_mounts_no_volumes() {
    let lab = Lab::open().await;
    if lab.is_oldest().await {
        // 1.7 has no host volumes but those of its configuration file, which these stacks have none of.
        let create = format!("{}/v1/volume/host/create", lab.nomad_addr);
        let answer = lab.raw.put(create).json(&serde_json::json!({})).send().await.unwrap();
        assert!(!answer.status().is_success(), "it has them: try the rest of this test");
        return;
    }
    let volume = name("volume");
    let node = lab.nomad.nodes().await.unwrap().remove(0);
    let body = serde_json::json!({ "Volume": {
        "Name": volume, "Type": "host", "PluginID": "mkdir", "NodeID": node.id,
        "RequestedCapabilities": [{ "AttachmentMode": "file-system", "AccessMode": "single-node-writer" }],
    }});
    let answer =
        lab.raw.put(format!("{}/v1/volume/host/create", lab.nomad_addr)).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    eventually("the volume is ready", SOON, async || {
        let node = lab.nomad.node(&node.id).await.unwrap()?;
        node.host_volumes.contains_key(&volume).then_some(())
    })
    .await;
    let id = name("mount");
    let group = format!(
        "volume \"data\" {{\n type = \"host\"\n source = \"{volume}\"\n access_mode = \"single-node-writer\"\n attachment_mode = \"file-system\"\n}}\n    task \"main\" {{"
    );
    let mount = "volume_mount {\n volume = \"data\"\n destination = \"/data-of-contract\"\n}";
    let hcl = script(&id, "test -e /data-of-contract && echo mounted || echo not mounted", mount).replacen(
        "task \"main\" {",
        &group,
        1,
    );
    lab.run(&hcl).await.unwrap();
    let alloc = lab.complete(&id).await;
    if alloc.client_status == "complete" {
        assert_eq!(lab.output(&alloc.id, "main").await, b"not mounted\n");
    }
    lab.stop(&id).await;
}
