//! The task of a process: driver, environment, files, artifact, volumes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::RenderError;
use super::atom::Atom;
use super::scope::{DriverKind, Scope};
use super::spec::{APP_DIR, Artifact, Change, Mount, Role, Task, Template};
use super::value::{argument, doubled, doubled_json, env_line, file, plain_env};
use crate::model::project::{File, Volume};
use crate::model::text::{Piece, Reference, Text};

/// Where the environment that must not stand in the job is written.
const ENV_FILE: &str = "secrets/env";
/// Where the environment that follows the catalogue is written.
const SERVICES_FILE: &str = "secrets/services.env";
/// What a shell does before the program of an unpacked archive begins: it stands in its folder.
pub(super) const ENTER: &str = "cd \"$NOMAD_TASK_DIR/app\" && ";
/// Then it is the program. `exec` leaves no shell behind: signals and exit codes are the program's.
pub(super) const EXEC: &str = "exec \"$@\"";
/// What else is in a task's folders: ours, and Nomad's.
const RESERVED: [&str; 5] = [APP_DIR, ENV_FILE, SERVICES_FILE, "secrets/api.sock", "secrets/nomad_token"];

pub(super) fn main(scope: &Scope<'_>) -> Result<Task, RenderError> {
    let process = scope.process;
    let artifacts = artifacts(scope)?;
    let config = config(scope, !artifacts.is_empty())?;
    let (env, mut templates) = environment(scope)?;
    let mut seen: Vec<String> = Vec::new();
    for file in &scope.project.files {
        if file.processes.is_empty() || file.processes.contains(&process.name) {
            templates.push(written(scope, file, &mut seen)?);
        }
    }
    let mounts = if scope.kind == DriverKind::Exec {
        let mount = |v: &Volume| Mount { volume: v.name.to_string(), destination: v.path.clone() };
        process.volumes.iter().map(mount).collect()
    } else {
        Vec::new()
    };
    Ok(Task {
        name: process.name.to_string(),
        role: Role::Main,
        driver: scope.driver.to_owned(),
        config,
        env,
        artifacts,
        templates,
        services: Vec::new(),
        mounts,
        cpu: process.cpu,
        memory: process.memory,
        kill_timeout: Some(process.stop_timeout),
        // Gone from the catalogue first, then asked to stop: the proxy sends nobody to a process that is ending.
        shutdown_delay: (!process.routes.is_empty()).then_some(scope.bindings.cluster.proxy_reaction),
        logs: process.logs.map(|l| (l.max_files, l.max_file_size)),
    })
}

/// `raw_exec` mounts nothing: a first task makes the directories.
pub(super) fn make_volumes(scope: &Scope<'_>) -> Option<Task> {
    if scope.kind != DriverKind::RawExec || scope.process.volumes.is_empty() {
        return None;
    }
    let mut args = vec!["-p".to_owned(), "--".to_owned()];
    args.extend(scope.process.volumes.iter().map(|v| doubled(&scope.volume_on_node(v))));
    Some(Task {
        // No process can bear this name.
        name: "make_volumes".to_owned(),
        role: Role::Prestart,
        driver: scope.driver.to_owned(),
        config: vec![("command".to_owned(), json!("/bin/mkdir")), ("args".to_owned(), json!(args))],
        env: BTreeMap::new(),
        artifacts: Vec::new(),
        templates: Vec::new(),
        services: Vec::new(),
        mounts: Vec::new(),
        cpu: 10,
        memory: 16,
        kill_timeout: None,
        shutdown_delay: None,
        logs: None,
    })
}

/// The Nomad host volume that an admin declares on the node for a process under `exec`.
pub(super) fn host_volume(scope: &Scope<'_>, volume: &Volume) -> String {
    format!("{}-{}", scope.placement.flat(), volume.name)
}

fn artifacts(scope: &Scope<'_>) -> Result<Vec<Artifact>, RenderError> {
    if scope.project.build.is_none() {
        return Ok(Vec::new());
    }
    let bindings = scope.bindings;
    let artifact = bindings.artifact.as_ref().ok_or(RenderError::MissingArtifact)?;
    let cluster = &bindings.cluster;
    let part = |p: &crate::model::artifact::ArtifactPart| Artifact {
        source: format!(
            "http://{}:{}/{}",
            cluster.artifacts_host,
            cluster.artifacts_port,
            p.key(&bindings.capability)
        ),
        checksum: format!("sha256:{}", p.sha256),
    };
    Ok(artifact.parts.iter().map(part).collect())
}

/// The driver's settings. The member's words are arguments, never part of a shell's program.
fn config(scope: &Scope<'_>, has_artifact: bool) -> Result<Vec<(String, Value)>, RenderError> {
    let process = scope.process;
    let mut words = Vec::with_capacity(process.command.len() + 4);
    for word in &process.command {
        words.push(argument(&scope.atoms(word)?).ok_or_else(|| RenderError::InCommand {
            process: process.name.to_string(),
            reference: culprit(scope, word),
        })?);
    }
    let own = process.driver.as_ref().map(|d| &d.config);
    let mut config: BTreeMap<String, Value> =
        own.into_iter().flatten().map(|(k, v)| (k.clone(), doubled_json(v))).collect();
    match scope.kind {
        DriverKind::RawExec | DriverKind::Exec => {
            if words.is_empty() {
                return Err(RenderError::NoCommand { process: process.name.to_string() });
            }
            if has_artifact {
                // `work_dir` is there in newer Nomad only.
                let script = format!("{ENTER}{EXEC}");
                words.splice(0..0, ["/bin/sh", "-c", &script, "sh"].map(str::to_owned));
            }
        }
        DriverKind::Docker => {
            config.entry("network_mode".to_owned()).or_insert_with(|| json!("host"));
            if has_artifact {
                config.entry("work_dir".to_owned()).or_insert_with(|| json!("/local/app"));
            }
            if !process.volumes.is_empty() {
                let bind =
                    |v: &Volume| json!(format!("{}:{}", doubled(&scope.volume_on_node(v)), doubled(&v.path)));
                let volumes = config.entry("volumes".to_owned()).or_insert_with(|| json!([]));
                if let Some(list) = volumes.as_array_mut() {
                    list.extend(process.volumes.iter().map(bind));
                }
            }
        }
        DriverKind::Other => {}
    }
    let mut out = Vec::with_capacity(config.len() + 2);
    let mut words = words.into_iter();
    if let Some(program) = words.next() {
        out.push(("command".to_owned(), json!(program)));
        let args: Vec<String> = words.collect();
        if !args.is_empty() {
            out.push(("args".to_owned(), json!(args)));
        }
        config.remove("command");
        config.remove("args");
    }
    out.extend(config);
    Ok(out)
}

/// The first reference of a word that cannot stand in a command line.
fn culprit(scope: &Scope<'_>, word: &Text) -> String {
    let hidden = |r: &&Reference| {
        let atoms = scope.atoms(&Text(vec![Piece::Ref((*r).clone())]));
        atoms.is_ok_and(|a| argument(&a).is_none())
    };
    word.references().find(hidden).map(ToString::to_string).unwrap_or_default()
}

/// The plain environment, and the templates of what must not or cannot stand in the job.
fn environment(scope: &Scope<'_>) -> Result<(BTreeMap<String, String>, Vec<Template>), RenderError> {
    let mut plain = BTreeMap::new();
    let (mut pinned, mut following) = (String::new(), String::new());
    if let Some(first) = scope.process.ports.first() {
        plain.insert("PORT".to_owned(), format!("${{NOMAD_PORT_{}}}", first.label()));
    }
    for port in &scope.process.ports {
        plain.insert(variable("PORT_", port.name.as_str()), format!("${{NOMAD_PORT_{}}}", port.label()));
    }
    for volume in &scope.process.volumes {
        plain.insert(variable("VOLUME_", volume.name.as_str()), scope.volume_path(volume));
    }
    let set = &scope.bindings.env_versions;
    for (name, text) in scope.env().into_iter().filter(|(name, _)| !set.contains_key(*name)) {
        let atoms = scope.atoms(text)?;
        // What the member says wins over what is implied.
        plain.remove(name.as_str());
        if atoms.iter().any(|a| matches!(a, Atom::Service(..))) {
            following.push_str(&env_line(name.as_str(), &atoms));
        } else if let Some(value) = plain_env(&atoms) {
            plain.insert(name.to_string(), value);
        } else {
            pinned.push_str(&env_line(name.as_str(), &atoms));
        }
    }
    for (name, version) in set {
        plain.remove(name.as_str());
        let key = Atom::Key(scope.placement.env_version_key(name, *version));
        pinned.push_str(&env_line(name.as_str(), &[key]));
    }
    let mut templates = Vec::with_capacity(2);
    for (data, destination, change) in
        [(pinned, ENV_FILE, Change::Noop), (following, SERVICES_FILE, Change::Restart)]
    {
        if !data.is_empty() {
            templates.push(Template {
                data,
                destination: destination.to_owned(),
                env: true,
                perms: "0600".to_owned(),
                change,
                delimiters: None,
            });
        }
    }
    Ok((plain, templates))
}

/// `PORT_` and `admin-ui` to `PORT_ADMIN_UI`.
fn variable(prefix: &str, name: &str) -> String {
    format!("{prefix}{}", name.replace('-', "_").to_ascii_uppercase())
}

fn written(scope: &Scope<'_>, wanted: &File, seen: &mut Vec<String>) -> Result<Template, RenderError> {
    let atoms = scope.atoms(&wanted.content)?;
    let dir = if wanted.content.is_secret() { "secrets" } else { "local" };
    let destination = format!("{dir}/{}", wanted.name);
    // A file inside the unpacked archive is welcome (it is written after it); one in its place is not.
    let inside_file =
        |r: &str| r != APP_DIR && destination.strip_prefix(r).is_some_and(|d| d.starts_with('/'));
    if RESERVED.iter().any(|r| *r == destination || inside_file(r)) {
        return Err(RenderError::ReservedFile { name: wanted.name.clone() });
    }
    if seen.contains(&destination) {
        return Err(RenderError::Collision { what: "file", name: destination });
    }
    seen.push(destination.clone());
    let follows = atoms.iter().any(|a| matches!(a, Atom::Service(..)));
    let (data, delimiters) = file(&wanted.name, &atoms)?;
    Ok(Template {
        data,
        destination,
        env: false,
        perms: wanted.mode.clone(),
        change: if follows { Change::Restart } else { Change::Noop },
        delimiters: Some(delimiters),
    })
}
