//! Rendering: golden files of whole jobs, and the same jobs on the real Nomad.
//!
//! `UPDATE_GOLDEN=1 cargo test --test it render::` writes the golden files anew.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use terreau::model::artifact::{Artifact, ArtifactPart};
use terreau::model::bindings::Bindings;
use terreau::model::cluster::{Cluster, ProxyKind};
use terreau::model::desired::{Desired, Space};
use terreau::model::names::{EnvName, HostName, PartName, Placement, ProcessName, ProjectName, SecretName};
use terreau::model::project::{
    Build, Check, CheckKind, Driver, File, Logs, Port, Process, Project, Redirect, Route, Secret, SecretKind,
    Use, UseKind, Volume,
};
use terreau::model::sha256_hex;
use terreau::model::text::{Piece, Reference, Text};
use terreau::render::{RenderError, placeholders, render};

use crate::harness::{Stack, eventually, shared, unique};

/// What no escape may change: newline, quotes, dollars, tabs, backslashes, UTF-8 in both forms, template marks, HCL
/// marks, references to Nomad's runtime, and what template tools trim or turn into entities.
const NASTY: &str = " a\n\"b'\\ $HOME $${X} ${NOMAD_ALLOC_ID} ${meta.site} %{if} %%{x}\t<~ ~> {{ key \"x\" }} }} é e\u{301} 🌱 \u{b}<&>\u{2028}#c\n\n ";

fn part(name: &str) -> PartName {
    PartName::new(name).unwrap()
}
fn env(items: &[(&str, Text)]) -> BTreeMap<EnvName, Text> {
    items.iter().map(|(k, v)| (EnvName::new(*k).unwrap(), v.clone())).collect()
}
fn lit(text: &str) -> Piece {
    Piece::Literal(text.to_owned())
}
fn secret_ref(name: &str) -> Piece {
    Piece::Ref(Reference::Secret(SecretName::new(name).unwrap()))
}
fn use_ref(name: &str, field: &str) -> Piece {
    Piece::Ref(Reference::Use { name: part(name), field: field.to_owned() })
}
fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn process(name: &str, command: &[&str]) -> Process {
    Process {
        name: ProcessName::new(name).unwrap(),
        command: command.iter().map(|w| Text::literal(*w)).collect(),
        instances: 1,
        cpu: 20,
        memory: 32,
        ports: Vec::new(),
        checks: Vec::new(),
        routes: Vec::new(),
        volumes: Vec::new(),
        env: BTreeMap::new(),
        restart: None,
        update: None,
        logs: None,
        stop_timeout: Duration::from_secs(10),
        driver: None,
    }
}

fn web() -> Process {
    let mut web = process("web", &["./server", "--verbose"]);
    web.ports.push(Port { name: part("http"), fixed: None });
    web.checks.push(Check {
        port: part("http"),
        kind: CheckKind::Http { path: "/healthz".to_owned() },
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(5),
        grace: None,
    });
    web.routes.push(Route {
        host: host("carnet.example.org"),
        path: None,
        priority: None,
        headers: Vec::new(),
        port: part("http"),
        redirects: Vec::new(),
    });
    web
}

fn project(name: &str, processes: Vec<Process>) -> Project {
    Project {
        name: ProjectName::new(name).unwrap(),
        owners: Vec::new(),
        build: Some(Build::Archive { dir: ".".to_owned() }),
        site_routes: Vec::new(),
        processes,
        env: BTreeMap::new(),
        secrets: Vec::new(),
        files: Vec::new(),
        uses: Vec::new(),
    }
}

fn user_secret(name: &str) -> Secret {
    let kind = SecretKind::User { description: "asked for".to_owned(), example: None };
    Secret { name: SecretName::new(name).unwrap(), kind }
}

/// The samples: name, project, cluster.
fn samples() -> Vec<(&'static str, Project, Cluster)> {
    let cluster = Cluster { dns_domains: vec!["example.org".to_owned()], ..Cluster::default() };
    let raw = Cluster { driver_archive: "raw_exec".to_owned(), ..Cluster::default() };
    let mut list = vec![("web", project("carnet", vec![web()]), cluster.clone())];

    let mut worker = process("worker", &["./work"]);
    worker.instances = 2;
    worker.env = env(&[("QUEUE", Text::literal("mails"))]);
    list.push(("worker", project("carnet", vec![web(), worker]), cluster.clone()));

    let mut talker = process("worker", &["./talk"]);
    talker.logs = Some(Logs { max_files: 20, max_file_size: 50 });
    list.push(("logs", project("talker", vec![talker]), cluster.clone()));

    let mut mail = process("smtp", &["./smtpd"]);
    mail.ports.push(Port { name: part("smtp"), fixed: Some(25) });
    mail.ports.push(Port { name: part("admin-ui"), fixed: None });
    mail.volumes.push(Volume { name: part("spool"), path: "/var/spool".to_owned(), node: None });
    mail.env = env(&[("SPOOL", Text(vec![Piece::Ref(Reference::Volume(part("spool"))), lit("/in")]))]);
    list.push(("volume-raw-exec", project("mail", vec![mail.clone()]), raw.clone()));
    list.push(("volume-exec", project("mail", vec![mail.clone()]), cluster.clone()));
    mail.driver = Some(Driver {
        name: "docker".to_owned(),
        config: BTreeMap::from([
            ("image".to_owned(), json!("exim:4${x}")),
            ("readonly_rootfs".to_owned(), json!(true)),
            ("labels".to_owned(), json!([{ "a.b": "c" }])),
        ]),
    });
    let mut image = project("mail", vec![mail]);
    image.build = None;
    list.push(("volume-docker", image, cluster.clone()));

    let mut uses = project("carnet", vec![web()]);
    uses.uses = vec![
        Use { name: part("ldap"), kind: UseKind::Ldap },
        Use { name: part("media"), kind: UseKind::Bucket { max_size: Some(1 << 30), max_objects: None } },
    ];
    uses.env = env(&[
        ("LDAP_URL", Text(vec![use_ref("ldap", "url")])),
        ("LDAP_HOST", Text(vec![use_ref("ldap", "host"), lit(" "), use_ref("ldap", "port")])),
        ("LDAP_DN", Text(vec![use_ref("ldap", "dn")])),
        ("LDAP_PASSWORD", Text(vec![use_ref("ldap", "password")])),
        ("S3_ENDPOINT", Text(vec![use_ref("media", "endpoint")])),
        ("S3_BUCKET", Text(vec![use_ref("media", "bucket")])),
        ("S3_KEY", Text(vec![use_ref("media", "access_key_id")])),
        ("S3_SECRET", Text(vec![use_ref("media", "secret_access_key")])),
        ("PEER", Text(vec![Piece::Ref(Reference::Service("peer".to_owned()))])),
    ]);
    list.push(("uses", uses, cluster.clone()));
    list.push(("files", nasty_project(), raw));

    let mut site = project("journal", Vec::new());
    site.build = Some(Build::Static {
        dir: "public".to_owned(),
        index: "index.html".to_owned(),
        error: Some("404.html".to_owned()),
    });
    site.site_routes = vec![host("journal.example.org"), host("www.journal.example.org")];
    list.push(("site", site, cluster.clone()));

    let mut traefik = project("carnet", vec![web()]);
    let route = &mut traefik.processes[0].routes[0];
    route.path = Some("/blog".to_owned());
    route.priority = Some(200);
    route.redirects = vec![
        Redirect { host: host("www.carnet.example.org"), path: None, code: 301 },
        Redirect { host: host("old.example.net"), path: Some("/a.b".to_owned()), code: 302 },
    ];
    route.headers = vec![("Strict-Transport-Security".to_owned(), "max-age=1; preload".to_owned())];
    list.push(("headers", traefik.clone(), cluster.clone()));
    list.push(("traefik", traefik, Cluster { proxy: ProxyKind::Traefik, ..cluster }));
    list
}

/// Every kind of value, each with everything nasty in it.
fn nasty_project() -> Project {
    let mut web = process("web", &["./server", "--port", NASTY]);
    web.command[1] = Text(vec![lit("--port=$"), Piece::Ref(Reference::Port(part("http")))]);
    web.ports.push(Port { name: part("http"), fixed: None });
    web.volumes.push(Volume { name: part("data"), path: "/data".to_owned(), node: None });
    let mut p = project("nasty", vec![web]);
    p.secrets = vec![user_secret("pw")];
    p.env = env(&[
        ("PLAIN", Text::literal("a b\n\"c\" $d é <&>")),
        ("NASTY", Text::literal(NASTY)),
        ("SECRET", Text(vec![secret_ref("pw")])),
        ("MIXED", Text(vec![lit(NASTY), secret_ref("pw"), lit("@h/"), Piece::Ref(Reference::Site)])),
        ("MY_PORT", Text(vec![lit("p"), Piece::Ref(Reference::Port(part("http")))])),
        ("EMPTY", Text(Vec::new())),
        ("_FILE", Text(vec![Piece::Ref(Reference::File("etc/app.conf".to_owned()))])),
        ("SECRET_FILE", Text(vec![lit("x$"), Piece::Ref(Reference::File("key.pem".to_owned()))])),
    ]);
    let file = |name: &str, mode: &str, pieces: Vec<Piece>| File {
        name: name.to_owned(),
        content: Text(pieces),
        mode: mode.to_owned(),
        processes: Vec::new(),
    };
    p.files = vec![
        file("etc/app.conf", "0644", vec![lit(NASTY), Piece::Ref(Reference::Site), lit("\n<~")]),
        file("plain.conf", "0640", vec![lit("a = \"b\"\n{{ key \"x\" }}\n")]),
        file("key.pem", "0600", vec![lit("<"), secret_ref("pw"), lit(NASTY)]),
        file("app/inside.txt", "0644", vec![lit("inside the archive's folder\n")]),
    ];
    p
}

fn rendered(project: &Project, cluster: &Cluster) -> (Desired, Vec<String>) {
    let placement = Placement::production(project.name.clone());
    let (bindings, notes) = placeholders(project, &placement, cluster);
    (render(project, &placement, &bindings).unwrap(), notes)
}

#[test]
fn rendered_jobs_are_those_of_the_golden_files() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden");
    let mut wrong = Vec::new();
    for (name, project, cluster) in samples() {
        let (desired, notes) = rendered(&project, &cluster);
        let comment = notes.iter().fold(String::new(), |all, n| all + "# " + n + "\n");
        let hcl = desired.job.as_ref().map_or(String::new(), |j| j.hcl.clone());
        let mut tree = serde_json::to_value(&desired).unwrap();
        if let Some(job) = tree.get_mut("job").and_then(Value::as_object_mut) {
            job.remove("hcl");
        }
        for (ending, text) in [
            ("nomad.hcl", format!("{comment}{hcl}")),
            ("json", format!("{}\n", serde_json::to_string_pretty(&sorted(&tree)).unwrap())),
        ] {
            let path = folder.join(format!("{name}.{ending}"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &text).unwrap();
            } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
                wrong.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "not as in {wrong:?}; UPDATE_GOLDEN=1 writes them anew");
}

/// Keys in order, whatever map the build uses.
fn sorted(v: &Value) -> Value {
    match v {
        Value::Object(map) => {
            let tree: BTreeMap<&String, Value> = map.iter().map(|(k, v)| (k, sorted(v))).collect();
            tree.into_iter().map(|(k, v)| (k.clone(), v)).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        leaf => leaf.clone(),
    }
}

#[test]
fn counts_do_not_change_the_spec_hash_and_everything_else_does() {
    let (_, project, cluster) = samples().remove(0);
    let placement = Placement::production(project.name.clone());
    let (mut bindings, _) = placeholders(&project, &placement, &cluster);
    let hash = |p: &Project, b: &Bindings| render(p, &placement, b).unwrap().job.unwrap().spec_hash;
    let before = hash(&project, &bindings);
    bindings.counts.insert(ProcessName::new("web").unwrap(), 0);
    assert_eq!(hash(&project, &bindings), before);
    let mut other = project.clone();
    other.processes[0].checks[0].timeout = Duration::from_secs(6);
    assert_ne!(hash(&other, &bindings), before);
}

#[test]
fn secrets_are_refused_in_command_lines_and_so_is_what_nomad_would_evaluate_in_tags() {
    let placement = Placement::production(ProjectName::new("carnet").unwrap());
    let attempt = |p: &Project| {
        let (bindings, _) = placeholders(p, &placement, &Cluster::default());
        render(p, &placement, &bindings).unwrap_err()
    };
    let mut p = project("carnet", vec![web()]);
    p.secrets = vec![user_secret("pw")];
    p.processes[0].command.push(Text(vec![lit("--pw="), secret_ref("pw")]));
    assert!(matches!(attempt(&p), RenderError::InCommand { reference, .. } if reference == "secret.pw"));

    let mut p = project("carnet", vec![web()]);
    p.processes[0].routes[0].headers = vec![("X-A".to_owned(), "${node.unique.id}".to_owned())];
    assert!(matches!(attempt(&p), RenderError::Unwritable { what: "header", .. }));

    let mut p = project("carnet", vec![web()]);
    p.env = env(&[("A", Text(vec![secret_ref("nobody-declared-it")]))]);
    assert!(matches!(attempt(&p), RenderError::UnknownReference { .. }));

    for name in ["env", "env/x", "api.sock"] {
        let mut p = project("carnet", vec![web()]);
        p.secrets = vec![user_secret("pw")];
        p.files.push(File {
            name: name.to_owned(),
            content: Text(vec![secret_ref("pw")]),
            mode: "0600".to_owned(),
            processes: Vec::new(),
        });
        assert!(matches!(attempt(&p), RenderError::ReservedFile { .. }), "{name}");
    }
}

#[test]
fn an_app_claims_its_names_in_every_space() {
    let (_, project, cluster) = samples().into_iter().find(|s| s.0 == "uses").unwrap();
    let (desired, _) = rendered(&project, &cluster);
    let names: Vec<(Space, &str)> = desired.names.iter().map(|n| (n.space, n.name.as_str())).collect();
    assert_eq!(
        names,
        [
            (Space::Service, "carnet"),
            (Space::Ldap, "carnet"),
            (Space::Bucket, "carnet-media"),
            (Space::Host, "carnet.example.org"),
            (Space::Secrets, "carnet"),
        ]
    );
}

/// Without what Nomad takes for "not said".
fn said(v: &Value) -> Value {
    match v {
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| (k.clone(), said(v)))
            .filter(|(_, v)| {
                !(v.is_null() || *v == json!("") || *v == json!(0) || *v == json!(false) || *v == json!({}))
            })
            .collect(),
        Value::Array(items) => items.iter().map(said).collect(),
        leaf => leaf.clone(),
    }
}

async fn post(stack: &Stack, path: &str, body: &Value) -> Value {
    let reply = stack.http().post(format!("{}{path}", stack.nomad())).json(body).send().await.unwrap();
    let (status, text) = (reply.status(), reply.text().await.unwrap());
    assert!(status.is_success(), "{path}: {status}: {text}");
    serde_json::from_str(&text).unwrap()
}

async fn get(stack: &Stack, path: &str) -> Option<Value> {
    let reply = stack.http().get(format!("{}{path}", stack.nomad())).send().await.unwrap();
    if reply.status().is_success() { reply.json().await.ok() } else { None }
}

/// The stored job without what a registration adds by itself.
async fn stored(stack: &Stack, id: &str) -> Value {
    let mut job = get(stack, &format!("/v1/job/{id}")).await.unwrap();
    for key in ["CreateIndex", "ModifyIndex", "JobModifyIndex", "SubmitTime", "Version", "Stable", "Status"] {
        job.as_object_mut().unwrap().remove(key);
    }
    job
}

#[tokio::test]
async fn hcl_and_json_are_the_same_job_to_nomad() {
    let stack = shared().await;
    for (name, mut project, mut cluster) in samples() {
        // A job of its own, of which nothing is placed.
        project.name = ProjectName::new(unique("same")).unwrap();
        cluster.sites = vec![stack.site().to_owned()];
        let placement = Placement::production(project.name.clone());
        let (mut bindings, _) = placeholders(&project, &placement, &cluster);
        bindings.counts = project.processes.iter().map(|p| (p.name.clone(), 0)).collect();
        let Some(job) = render(&project, &placement, &bindings).unwrap().job else { continue };

        let parsed = post(stack, "/v1/jobs/parse", &json!({ "JobHCL": job.hcl })).await;
        let (ours, theirs) = (sorted(&said(&job.json)), sorted(&said(&parsed)));
        assert_eq!(pretty(&ours), pretty(&theirs), "{name}");

        let submission = json!({ "Source": job.hcl, "Format": "hcl2" });
        post(stack, "/v1/jobs", &json!({ "Job": job.json, "Submission": submission })).await;
        let first = stored(stack, &job.id).await;
        let plan =
            post(stack, &format!("/v1/job/{}/plan", job.id), &json!({ "Job": parsed, "Diff": true })).await;
        assert_eq!(plan["Diff"]["Type"], "None", "{name}: {:#}", plan["Diff"]);
        post(stack, "/v1/jobs", &json!({ "Job": parsed, "Submission": submission })).await;
        assert_eq!(pretty(&first), pretty(&stored(stack, &job.id).await), "{name}");
        // The region left out is the cluster's own.
        assert_eq!(first["Region"], stack.cluster(), "{name}");
    }
}

fn pretty(v: &Value) -> String {
    serde_json::to_string_pretty(&sorted(v)).unwrap()
}

/// A stack's cluster, as rendering sees it: artifacts come from a server of the test's own.
fn here(stack: &Stack, artifacts_port: u16) -> Cluster {
    Cluster {
        name: stack.cluster().to_owned(),
        sites: vec![stack.site().to_owned()],
        artifacts_host: "localhost".to_owned(),
        artifacts_port,
        driver_archive: "raw_exec".to_owned(),
        volumes_root: stack.dir().join("volumes").to_string_lossy().into_owned(),
        domain: "localhost".to_owned(),
        ..Cluster::default()
    }
}

/// A program that writes down how it was started, and then waits for its end.
const SERVER: &str = "#!/bin/sh\nenv -0 > \"$NOMAD_ALLOC_DIR/seen-env\"\nprintf '%s\\0' \"$PWD\" \"$@\" > \"$NOMAD_ALLOC_DIR/args\"\n\
    cp \"$NOMAD_SECRETS_DIR\"/* \"$NOMAD_ALLOC_DIR\" 2>/dev/null\ncat inside.txt > \"$VOLUME_DATA/inside\"\n\
    trap 'echo stopped > \"$VOLUME_DATA/stopped\"; exit 0' TERM\ntouch \"$NOMAD_ALLOC_DIR/ready\"\nwhile :; do sleep 0.1; done\n";

/// Serves one archive, whatever the path.
async fn serve(archive: Vec<u8>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = axum::Router::new().fallback(move || async move { archive });
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

fn archive() -> (Vec<u8>, Artifact) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(SERVER.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "server", SERVER.as_bytes()).unwrap();
    let bytes = zstd::encode_all(tar.into_inner().unwrap().as_slice(), 3).unwrap();
    let part = ArtifactPart {
        sha256: sha256_hex(&bytes),
        size: bytes.len() as u64,
        ext: "tar.zst".to_owned(),
        entries: 1,
    };
    (bytes, Artifact { parts: vec![part] })
}

/// Puts a service without checks into the catalogue.
async fn offer(stack: &Stack, name: &str, port: u16) {
    let url = format!("{}/v1/agent/service/register", stack.consul());
    let body = json!({ "Name": name, "Address": "127.0.0.1", "Port": port });
    assert!(stack.http().put(url).json(&body).send().await.unwrap().status().is_success());
}

async fn running(stack: &Stack, job: &str) -> String {
    let path = format!("/v1/job/{job}/allocations");
    let mut last = Value::Null;
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        let found = get(stack, &path).await.unwrap_or_default();
        for alloc in found.as_array().into_iter().flatten() {
            let id = alloc["ID"].as_str().unwrap();
            let ready = format!("/v1/client/fs/stat/{id}?path=alloc/ready");
            if alloc["ClientStatus"] == "running" && get(stack, &ready).await.is_some() {
                return id.to_owned();
            }
            last = alloc["TaskStates"].clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "{job} does not run: {last:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn alloc_file(stack: &Stack, alloc: &str, path: &str) -> Vec<u8> {
    let url = format!("{}/v1/client/fs/cat/{alloc}?path={path}", stack.nomad());
    let reply = stack.http().get(url).send().await.unwrap();
    assert!(reply.status().is_success(), "{path}: {}", reply.text().await.unwrap());
    reply.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn an_app_sees_every_value_byte_for_byte_and_its_route_changes_in_place() {
    let stack = shared().await;
    let (bytes, artifact) = archive();
    let cluster = here(stack, serve(bytes).await);
    let mut project = nasty_project();
    project.name = ProjectName::new(unique("nasty")).unwrap();
    // One that the catalogue has from the start, and one that nobody offers yet.
    let (early, late) = (unique("early"), unique("late"));
    offer(stack, &early, 7).await;
    let follow = |name: &String| Piece::Ref(Reference::Service(name.clone()));
    let url = Text(vec![lit("x://"), follow(&early), lit("/")]);
    project.env.insert(EnvName::new("SERVER").unwrap(), url);
    project.env.insert(EnvName::new("LATE").unwrap(), Text(vec![follow(&late)]));
    let placement = Placement::production(project.name.clone());
    let (mut bindings, _) = placeholders(&project, &placement, &cluster);
    bindings.artifact = Some(artifact);
    bindings.env_versions.insert(EnvName::new("PLAIN_SET").unwrap(), 7);
    let nodes = get(stack, "/v1/nodes").await.unwrap();
    bindings.node = Some(nodes[0]["Name"].as_str().unwrap().to_owned());
    let secret = format!("{NASTY}the secret");
    let set_key = placement.env_version_key(&EnvName::new("PLAIN_SET").unwrap(), 7);
    let secret_key = placement.secret_version_key(&SecretName::new("pw").unwrap(), 1);
    for (key, value) in [(secret_key, secret.clone()), (set_key, String::new())] {
        let url = format!("{}/v1/kv/{key}", stack.consul());
        assert!(stack.http().put(url).body(value).send().await.unwrap().status().is_success());
    }
    let job = render(&project, &placement, &bindings).unwrap().job.unwrap();
    assert!(!job.hcl.contains("the secret") && !job.json.to_string().contains("the secret"));
    post(stack, "/v1/jobs", &json!({ "Job": job.json })).await;
    let alloc = running(stack, &job.id).await;

    let env_bytes = alloc_file(stack, &alloc, "alloc/seen-env").await;
    let env_text = String::from_utf8(env_bytes).unwrap();
    let seen: BTreeMap<&str, &str> = env_text.split('\0').filter_map(|line| line.split_once('=')).collect();
    let info = get(stack, &format!("/v1/allocation/{alloc}")).await.unwrap();
    let port = info["AllocatedResources"]["Shared"]["Ports"][0]["Value"].to_string();
    let site = get(stack, &format!("/v1/node/{}", info["NodeID"].as_str().unwrap())).await.unwrap();
    let site = site["Meta"]["site"].as_str().unwrap_or("").to_owned();
    let volume = format!("{}/{}/data", cluster.volumes_root, job.id);
    let dirs = (seen["NOMAD_TASK_DIR"].to_owned(), seen["NOMAD_SECRETS_DIR"].to_owned());
    for (name, want) in [
        ("PLAIN", "a b\n\"c\" $d é <&>".to_owned()),
        ("NASTY", NASTY.to_owned()),
        ("SECRET", secret.clone()),
        ("MIXED", format!("{NASTY}{secret}@h/{site}")),
        ("MY_PORT", format!("p{port}")),
        ("PORT", port.clone()),
        ("PORT_HTTP", port.clone()),
        ("EMPTY", String::new()),
        ("PLAIN_SET", String::new()),
        ("_FILE", format!("{}/etc/app.conf", dirs.0)),
        ("SECRET_FILE", format!("x${}/key.pem", dirs.1)),
        ("VOLUME_DATA", volume.clone()),
    ] {
        assert_eq!(seen.get(name).copied(), Some(want.as_str()), "{name}");
    }
    assert_eq!(seen.get("SERVER"), Some(&"x://127.0.0.1:7/"));
    assert!(!seen.contains_key("LATE"), "no line while nobody offers the service");

    let args = alloc_file(stack, &alloc, "alloc/args").await;
    let args: Vec<String> = String::from_utf8(args).unwrap().split('\0').map(str::to_owned).collect();
    // HCL, by which Nomad's client reads arguments, brings text into Unicode's form C.
    let composed = NASTY.replace("e\u{301}", "é");
    assert_eq!(args[..3], [format!("{}/app", dirs.0), format!("--port=${port}"), composed]);

    let file = alloc_file(stack, &alloc, "web/local/etc/app.conf").await;
    assert_eq!(String::from_utf8(file).unwrap(), format!("{NASTY}{site}\n<~"));
    let file = alloc_file(stack, &alloc, "web/local/plain.conf").await;
    assert_eq!(String::from_utf8(file).unwrap(), "a = \"b\"\n{{ key \"x\" }}\n");
    let file = alloc_file(stack, &alloc, "alloc/key.pem").await;
    assert_eq!(String::from_utf8(file).unwrap(), format!("<{secret}{NASTY}"));
    let inside = std::fs::read_to_string(format!("{volume}/inside")).unwrap();
    assert_eq!(inside, "inside the archive's folder\n");

    let catalogue = format!("{}/v1/catalog/service/{}-web", stack.consul(), job.id);
    let entry = eventually("the service is in the catalogue", Duration::from_secs(20), async || {
        let list: Value = stack.http().get(&catalogue).send().await.ok()?.json().await.ok()?;
        list.get(0).cloned()
    })
    .await;
    assert_eq!(entry["ServiceAddress"], "127.0.0.1", "address_mode = \"host\" works on loopback");
    assert_eq!(entry["ServicePort"].to_string(), port);
    assert!(entry["ServiceID"].as_str().unwrap().starts_with(&format!("_nomad-task-{alloc}-")));

    // A route, a check and a header change without a restart.
    let process = &mut project.processes[0];
    process.routes.push(Route {
        host: host(&format!("{}.localhost", job.id)),
        path: Some("/x".to_owned()),
        priority: Some(7),
        headers: vec![("X-Frame-Options".to_owned(), "a; b".to_owned())],
        port: part("http"),
        redirects: Vec::new(),
    });
    process.checks.push(Check {
        port: part("http"),
        kind: CheckKind::Http { path: "/y".to_owned() },
        interval: Duration::from_secs(3),
        timeout: Duration::from_secs(4),
        grace: None,
    });
    let changed = render(&project, &placement, &bindings).unwrap().job.unwrap();
    assert_ne!(changed.spec_hash, job.spec_hash);
    let body = json!({ "Job": changed.json, "Diff": true });
    let plan = post(stack, &format!("/v1/job/{}/plan", job.id), &body).await;
    let updates = &plan["Annotations"]["DesiredTGUpdates"]["web"];
    assert_eq!(
        (&updates["InPlaceUpdate"], &updates["DestructiveUpdate"]),
        (&json!(1), &json!(0)),
        "{updates}"
    );

    // A service that comes is followed, by a restart in place.
    offer(stack, &late, 8).await;
    eventually("the late service is seen", Duration::from_secs(40), async || {
        let text = String::from_utf8(alloc_file(stack, &alloc, "alloc/seen-env").await).ok()?;
        text.split('\0').any(|line| line == "LATE=127.0.0.1:8").then_some(())
    })
    .await;
    std::fs::remove_file(format!("{volume}/stopped")).unwrap();

    // Stopped by SIGTERM, which reaches the program itself.
    let url = format!("{}/v1/job/{}?purge=true", stack.nomad(), job.id);
    assert!(stack.http().delete(url).send().await.unwrap().status().is_success());
    eventually("the program saw the signal", Duration::from_secs(60), async || {
        std::fs::read_to_string(format!("{volume}/stopped")).ok()
    })
    .await;
}

#[tokio::test]
async fn the_printed_job_runs_unchanged_with_nomads_own_command() {
    let stack = shared().await;
    let mut sleeper =
        process("worker", &["/bin/sh", "-c", "touch \"$NOMAD_ALLOC_DIR/ready\"; exec sleep 1000"]);
    sleeper.instances = 1;
    let mut project = project(&unique("by-hand"), vec![sleeper]);
    project.build = None;
    let placement = Placement::production(project.name.clone());
    let (bindings, _) = placeholders(&project, &placement, &here(stack, 1));
    let job = render(&project, &placement, &bindings).unwrap().job.unwrap();
    let file = tempfile::Builder::new().suffix(".nomad.hcl").tempfile().unwrap();
    std::fs::write(file.path(), &job.hcl).unwrap();
    let output = tokio::process::Command::new(&stack.engines.nomad.path)
        .args(["job", "run", "-detach"])
        .arg(file.path())
        .env("NOMAD_ADDR", stack.nomad())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    running(stack, &job.id).await;
    let body = json!({ "Job": job.json, "Diff": true });
    let plan = post(stack, &format!("/v1/job/{}/plan", job.id), &body).await;
    assert_eq!(plan["Diff"]["Type"], "None", "{:#}", plan["Diff"]);
    let url = format!("{}/v1/job/{}?purge=true", stack.nomad(), job.id);
    stack.http().delete(url).send().await.unwrap();
}
