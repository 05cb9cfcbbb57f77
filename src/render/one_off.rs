//! A command that runs once, as a job of its own: what an app's process has (environment, secrets, files, volumes,
//! limits, program's folder), without what makes it the app: services, routes, checks, fixed ports, restarts.

use serde_json::{Map, Value, json};

use super::task::{ENTER, EXEC};
use super::value::doubled;

/// What a shell does before a program that is fed: it makes a pipe, says who reads it, and waits for who feeds it.
const FED: &str = "mkfifo -m 600 \"$NOMAD_TASK_DIR/.terreau-input\" && echo $$ >\"$NOMAD_TASK_DIR/.terreau-input.pid\" \
                   && exec <\"$NOMAD_TASK_DIR/.terreau-input\" && ";

/// Marks such a job; its value is the run's name.
pub const RUN_META: &str = "terreau_run";
/// Holds the agent that a run's end depends on; a run without it goes on by itself.
pub const AGENT_META: &str = "terreau_agent";

/// Hold who began a run, when, until when it may go on (both RFC 3339, UTC), with what process's things, and its
/// program's name.
pub const BY_META: &str = "terreau_by";
/// See [`BY_META`].
pub const BEGUN_META: &str = "terreau_begun";
/// See [`BY_META`].
pub const UNTIL_META: &str = "terreau_until";
/// See [`BY_META`].
pub const PROCESS_META: &str = "terreau_process";
/// See [`BY_META`].
pub const PROGRAM_META: &str = "terreau_program";

/// What runs once.
#[derive(Debug, Clone)]
pub struct OneOff<'a> {
    /// Of this process.
    pub process: &'a str,
    /// The run's name: 8 hex digits.
    pub run: &'a str,
    /// The agent that streams it; `None`: nobody waits for it.
    pub agent: Option<&'a str>,
    /// The program and its arguments.
    pub words: &'a [String],
    /// Whether it reads what is fed to it, through the pipe `.terreau-input` in its task's folder.
    pub reads: bool,
    /// What else its meta says.
    pub notes: &'a [(&'static str, String)],
}

/// The id of a run's job.
pub fn run_job(app: &str, run: &str) -> String {
    format!("{app}-run-{run}")
}

/// True where a job is a run of the app with this identity.
pub fn is_run_of(job: &Value, uid: &str) -> bool {
    job["Meta"][RUN_META].is_string() && job["Meta"]["terreau"] == uid
}

/// The job of a command that runs once, made of the app's own job as rendered; `None` where it has no such process.
pub fn one_off(job: &Value, what: &OneOff<'_>) -> Option<Value> {
    let groups = job.get("TaskGroups")?.as_array()?;
    let mut group = groups.iter().find(|g| g["Name"] == what.process)?.as_object()?.clone();
    group.insert("Count".into(), json!(1));
    group.remove("Update");
    group.insert("RestartPolicy".into(), json!({ "Attempts": 0, "Mode": "fail" }));
    group.insert("ReschedulePolicy".into(), json!({ "Attempts": 0, "Unlimited": false }));
    if let Some(networks) = group.get_mut("Networks").and_then(Value::as_array_mut) {
        networks.iter_mut().filter_map(Value::as_object_mut).for_each(free_ports);
    }
    let tasks = group.get_mut("Tasks")?.as_array_mut()?;
    for task in tasks.iter_mut().filter_map(Value::as_object_mut) {
        task.remove("Services");
        task.remove("ShutdownDelay");
        for template in task.get_mut("Templates").and_then(Value::as_array_mut).into_iter().flatten() {
            // It runs once: a change of the catalogue does not begin it anew.
            template["ChangeMode"] = json!("noop");
        }
        if task.get("Name").is_some_and(|n| n == what.process) {
            set_command(task, what);
        }
    }
    let app = job["ID"].as_str()?;
    let mut meta = Map::new();
    meta.insert("terreau".into(), job["Meta"]["terreau"].clone());
    meta.insert(RUN_META.into(), json!(what.run));
    if let Some(agent) = what.agent {
        meta.insert(AGENT_META.into(), json!(agent));
    }
    for (key, value) in what.notes {
        // Nomad interpolates meta.
        meta.insert((*key).to_owned(), json!(doubled(value)));
    }
    let id = run_job(app, what.run);
    Some(json!({
        "ID": id,
        "Name": id,
        "Namespace": job["Namespace"],
        "Type": "batch",
        "Priority": job["Priority"],
        "Datacenters": job["Datacenters"],
        "Meta": meta,
        "TaskGroups": [group],
    }))
}

/// A fixed port is the app's own: here any will do under its name.
fn free_ports(network: &mut Map<String, Value>) {
    let fixed = network.remove("ReservedPorts");
    let labels = fixed
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|p| json!({ "Label": p["Label"] }));
    let labels: Vec<Value> = labels.collect();
    if labels.is_empty() {
        return;
    }
    match network.get_mut("DynamicPorts").and_then(Value::as_array_mut) {
        Some(ports) => ports.extend(labels),
        None => drop(network.insert("DynamicPorts".into(), labels.into())),
    }
}

fn set_command(task: &mut Map<String, Value>, what: &OneOff<'_>) {
    let Some(config) = task.get_mut("Config").and_then(Value::as_object_mut) else { return };
    // What puts the program into the archive's folder stays before it.
    let enter = if is_wrapped(config) { ENTER } else { "" };
    let fed = if what.reads { FED } else { "" };
    let mut words: Vec<String> = what.words.iter().map(|w| doubled(w)).collect();
    if !(enter.is_empty() && fed.is_empty()) {
        let script = format!("{fed}{enter}{EXEC}");
        words.splice(0..0, ["/bin/sh", "-c", &script, "sh"].map(str::to_owned));
    }
    let mut words = words.into_iter();
    config.insert("command".into(), words.next().into());
    config.insert("args".into(), words.collect::<Vec<_>>().into());
}

/// True where a shell of ours puts a task's program into the archive's folder.
fn is_wrapped(config: &Map<String, Value>) -> bool {
    config.get("command").is_some_and(|c| c == "/bin/sh")
        && config.get("args").is_some_and(|a| {
            a[0] == "-c" && a[1].as_str().and_then(|s| s.strip_prefix(ENTER)).is_some_and(|s| s == EXEC)
        })
}

/// What a shell that Nomad begins in this task does first, to stand where the task's own program starts: nothing where it
/// does already.
pub fn enters(job: &Value, group: &str, task: &str) -> &'static str {
    let named = |all: &Value, name: &str| -> Option<Value> {
        all.as_array()?.iter().find(|one| one["Name"] == name).cloned()
    };
    let config = named(&job["TaskGroups"], group)
        .and_then(|g| named(&g["Tasks"], task))
        .and_then(|t| t["Config"].as_object().cloned());
    if config.is_some_and(|c| is_wrapped(&c)) { ENTER } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> Value {
        json!({
            "ID": "carnet", "Namespace": "default", "Priority": 50, "Datacenters": ["dc1"], "Type": "service",
            "Meta": { "terreau": "uid" },
            "TaskGroups": [{ "Name": "other" }, {
                "Name": "web", "Count": 3, "Update": { "Canary": 1 }, "Constraints": [{ "RTarget": "piranha" }],
                "Networks": [{ "DynamicPorts": [{ "Label": "a_port" }], "ReservedPorts": [{ "Label": "b_port", "Value": 25 }] }],
                "Tasks": [{ "Name": "make_volumes", "Config": { "command": "/bin/mkdir" } }, {
                    "Name": "web", "Driver": "raw_exec", "Services": [{}], "ShutdownDelay": 1,
                    "Config": { "command": "/bin/sh", "args": ["-c", "cd \"$NOMAD_TASK_DIR/app\" && exec \"$@\"", "sh", "./server"] },
                    "Templates": [{ "ChangeMode": "restart" }],
                    "Env": { "A": "b" },
                }],
            }],
        })
    }

    #[test]
    fn a_one_off_has_what_the_process_has_and_is_not_the_app() {
        let words = ["./migrate".to_owned(), "${x}".to_owned()];
        let what = OneOff {
            process: "web",
            run: "1a2b3c4d",
            agent: Some("me"),
            words: &words,
            reads: false,
            notes: &[(BY_META, "a".into())],
        };
        let job = one_off(&app(), &what).unwrap();
        assert_eq!((&job["ID"], &job["Type"]), (&json!("carnet-run-1a2b3c4d"), &json!("batch")));
        assert_eq!(
            job["Meta"],
            json!({ "terreau": "uid", "terreau_run": "1a2b3c4d", "terreau_agent": "me", "terreau_by": "a" })
        );
        let group = &job["TaskGroups"][0];
        assert_eq!((&group["Count"], &group["Update"]), (&json!(1), &Value::Null));
        assert_eq!(
            group["Networks"][0],
            json!({ "DynamicPorts": [{ "Label": "a_port" }, { "Label": "b_port" }] })
        );
        assert_eq!(group["Constraints"], json!([{ "RTarget": "piranha" }]));
        let task = &group["Tasks"][1];
        assert_eq!((&task["Services"], &task["Env"]["A"]), (&Value::Null, &json!("b")));
        assert_eq!(task["Config"]["args"].as_array().unwrap()[3..], [json!("./migrate"), json!("$${x}")]);
        assert_eq!(task["Templates"][0]["ChangeMode"], "noop");
        assert_eq!(group["Tasks"][0]["Config"]["command"], "/bin/mkdir");
        assert!(one_off(&app(), &OneOff { process: "none", ..what.clone() }).is_none());
        let fed = one_off(&app(), &OneOff { reads: true, ..what }).unwrap();
        let args = fed["TaskGroups"][0]["Tasks"][1]["Config"]["args"].clone();
        assert_eq!(args[1], format!("{FED}{ENTER}{EXEC}"));
        assert_eq!(args.as_array().unwrap()[2..], [json!("sh"), json!("./migrate"), json!("$${x}")]);
        assert_eq!((enters(&app(), "web", "web"), enters(&app(), "web", "make_volumes")), (ENTER, ""));
        assert_eq!(enters(&Value::Null, "web", "web"), "");
    }

    #[test]
    fn without_the_archives_folder_the_program_stands_alone() {
        let mut job = app();
        job["TaskGroups"][1]["Tasks"][1]["Config"] = json!({ "image": "x", "command": "a", "args": ["b"] });
        let words = ["sh".to_owned()];
        let what = OneOff { process: "web", run: "0", agent: None, words: &words, reads: false, notes: &[] };
        let config = one_off(&job, &what).unwrap()["TaskGroups"][0]["Tasks"][1]["Config"].clone();
        assert_eq!(config, json!({ "image": "x", "command": "sh", "args": [] }));
    }
}
