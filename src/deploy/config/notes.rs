//! What people should know of configuration before it surprises them: what is staged and comes with a deploy, and which of
//! two values of one name wins. Names only, never a value that was set.

use std::collections::BTreeSet;

use crate::deploy::{Error, history};
use crate::model::head::Head;
use crate::model::names::EnvName;
use crate::model::project::{Process, Project, SecretKind};
use crate::model::text::Text;
use crate::model::{Placement, Release, nearest};
use crate::plan::Plan;

/// Notes of a deploy's plan: the staged values that it takes, set ones that hide what only the descriptor can know, and what
/// changes in the descriptor and is not used, as another value is set. `release`: the one that runs.
pub(in crate::deploy) fn config_notes(
    head: &Head,
    release: Option<&Release>,
    project: &Project,
    plan: &Plan,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(names) = staged(head, release, project, |_| true) {
        notes.push(if plan.is_empty() {
            // Else there would be a change.
            format!("staged values that nothing which runs reads wait for the next release: {names}")
        } else {
            format!("staged values come with it: {names}")
        });
    }
    let before = release.and_then(history::project);
    for name in head.env.keys() {
        if hidden(project, name).iter().any(|h| h.is_ours) {
            notes.extend(wins(project, name));
        } else {
            notes.extend(covered(before.as_ref(), project, name));
        }
    }
    notes
}

/// Says of a value that is set that another one is new in the descriptor, and not used.
fn covered(before: Option<&Project>, project: &Project, name: &EnvName) -> Option<String> {
    let of = |project: &Project, process: &Process| {
        process.env.get(name).or_else(|| project.env.get(name)).cloned()
    };
    let was = |process: &Process| {
        let before = before?;
        of(before, before.processes.iter().find(|p| p.name == process.name)?)
    };
    let new = project.processes.iter().filter(|p| of(project, p).is_some_and(|is| was(p) != Some(is)));
    let new: Vec<&str> = new.map(|p| p.name.as_str()).collect();
    (!new.is_empty()).then(|| {
        format!(
            "env {name} of process {} is covered by `env set`; the descriptor's value is not used: terreau env unset {name} \
             takes it back",
            new.join(", ")
        )
    })
}

/// The names of what is staged, where something is: what the next release has another version of than the one that runs.
pub(in crate::deploy) fn staged(
    head: &Head,
    release: Option<&Release>,
    project: &Project,
    is_told: impl Fn(&str) -> bool,
) -> Option<String> {
    let mut parts = Vec::new();
    let mut say = |what: &str, names: Vec<&str>| {
        let names: Vec<&str> = names.into_iter().filter(|n| is_told(n)).collect();
        if !names.is_empty() {
            parts.push(format!("{what} {}", names.join(", ")));
        }
    };
    let runs = release.map(|r| &r.bindings);
    let set = head.env.iter().filter(|(n, v)| runs.and_then(|r| r.env_versions.get(*n)) != Some(*v));
    say("env", set.map(|(n, _)| n.as_str()).collect());
    if let Some(runs) = runs {
        let gone = runs.env_versions.keys().filter(|n| !head.env.contains_key(*n));
        say("env no longer set", gone.map(EnvName::as_str).collect());
        let given = project.secrets.iter().filter(|s| matches!(s.kind, SecretKind::User { .. }));
        let staged = given.filter(|s| {
            let (now, then) = (head.secrets.get(&s.name), runs.secret_versions.get(&s.name));
            then.is_some() && now.is_some() && now != then
        });
        say("secret", staged.map(|s| s.name.as_str()).collect());
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Refuses to unset what is not set: whoever mistypes a name must not set off a release with all that is staged.
pub(super) fn all_set(
    app: &Placement,
    head: &Head,
    project: Option<&Project>,
    unset: &BTreeSet<EnvName>,
) -> Result<(), Error> {
    let Some(name) = unset.iter().find(|n| !head.env.contains_key(*n)) else { return Ok(()) };
    let is_said =
        |p: &Project| p.env.contains_key(name) || p.processes.iter().any(|p| p.env.contains_key(name));
    let hint = match nearest(name.as_str(), head.env.keys().map(EnvName::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None if project.is_some_and(is_said) => {
            format!("{name} stands in the descriptor: take it out of there, and deploy")
        }
        None => format!("`terreau env list --app {app}` shows what is set"),
    };
    Err(Error::Absent { why: format!("no value is set for {name} of {app}: nothing was changed"), hint })
}

/// What a value that is set hides in one process.
struct Hidden {
    /// In words.
    what: String,
    /// True where Terreau makes the value: nobody can know it beforehand.
    is_ours: bool,
    /// True where it says at which port the process must listen.
    is_port: bool,
}

/// Says which one wins where a name is set that the descriptor gives too.
pub(super) fn wins(project: &Project, name: &EnvName) -> Vec<String> {
    let hidden = hidden(project, name);
    let Some(first) = hidden.first() else { return Vec::new() };
    let mut said = format!("what is set for {name} wins over {}", first.what);
    if hidden.len() > 1 {
        said = format!("{said} (and in {} processes more)", hidden.len() - 1);
    }
    if hidden.iter().any(|h| h.is_port) {
        said.push_str(
            "; a process that listens at another port than the one that it is given does not get healthy",
        );
    } else if hidden.iter().any(|h| h.is_ours) {
        said.push_str("; what Terreau gives there is not known to the process then");
    }
    vec![format!("{said}; terreau env unset {name} takes it back")]
}

fn hidden(project: &Project, name: &EnvName) -> Vec<Hidden> {
    project.processes.iter().filter_map(|p| in_process(project, p, name)).collect()
}

fn in_process(project: &Project, process: &Process, name: &EnvName) -> Option<Hidden> {
    let of = format!("of process {}", process.name);
    if let Some(text) = process.env.get(name).or_else(|| project.env.get(name)) {
        let references: Vec<String> = text.references().map(ToString::to_string).collect();
        let is_port = references.iter().any(|r| r.starts_with("port."));
        let what = match references.as_slice() {
            [] => format!("the descriptor's value {of}"),
            all => format!("{} in the descriptor {of}", all.join(", ")),
        };
        return Some(Hidden { what, is_ours: is_ours(text), is_port });
    }
    let upper = |s: &str| s.replace('-', "_").to_ascii_uppercase();
    let is_one =
        |p: &crate::model::project::Port| name.as_str() == format!("PORT_{}", upper(p.name.as_str()));
    let is_port = (name.as_str() == "PORT" && !process.ports.is_empty()) || process.ports.iter().any(is_one);
    let what = format!("the number that Terreau gives {of}");
    is_port.then_some(Hidden { what, is_ours: true, is_port })
}

fn is_ours(text: &Text) -> bool {
    text.references().next().is_some()
}
