//! Listing what is set: masked, unless the person asks to see it.

use super::{
    At, Context, ExitStatus, Failure, Ran, Revealed, What, app_path, harmless, local, printer, reveal,
    waiting,
};
use crate::cli::args::ConfigListArgs;
use crate::cli::client::{Client, escaped};
use crate::cli::site;
use crate::model::Placement;
use crate::model::wire::{ConfigHistory, EnvList, EnvOrigin, EnvView, SecretList, SecretType, SecretView};

/// What stands for a value that is not shown; as long for every value.
const MASK: &str = "********";
/// Longer values are cut in tables.
const WIDTH: usize = 60;

/// `terreau env list`
pub(super) fn env(args: &ConfigListArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async {
        let list: EnvList = client.get(&app_path(&app, "/env")).await?;
        let is_staged = |v: &EnvView| v.staged && v.serving.is_some();
        let shown = shown(What::Env, args, list.env.iter().any(is_staged), &app, &client).await?;
        if args.json {
            let mut json = serde_json::to_value(&list).map_err(|e| cannot(&e))?;
            let entries = json.get_mut("env").and_then(serde_json::Value::as_array_mut);
            for entry in entries.into_iter().flatten() {
                let name = entry["name"].as_str().unwrap_or_default().to_owned();
                if let Some(shown) = shown.as_ref().filter(|_| entry["origin"] == "set") {
                    shown.put(&name, entry);
                }
            }
            cx.printer.json(&json)?;
            return Ok(ExitStatus::Done);
        }
        if list.env.is_empty() && site::is_site(&app, &client).await {
            cx.printer
                .say(format!("{app} is a static site: it has no process that could read an environment"));
            return Ok(ExitStatus::Done);
        }
        if list.env.is_empty() {
            cx.printer.say(format!("{app} has no environment yet: terreau env set NAME=VALUE"));
            return Ok(ExitStatus::Done);
        }
        let rows: Vec<Vec<String>> = list.env.iter().map(|v| env_row(v, shown.as_ref())).collect();
        cx.printer.data(printer::table(&["NAME", "VALUE", "ORIGIN", "VERSION", "WHEN", "WHO"], &rows))?;
        waits(list.env.iter().map(|v| (v.staged, v.held)), &app, cx);
        Ok(ExitStatus::Done)
    })
}

/// Values that may be shown.
struct Shown {
    /// What the next release gets.
    next: Revealed,
    /// What runs, where that is something else.
    runs: Option<Revealed>,
}

impl Shown {
    /// Puts the values of one name into its entry.
    fn put(&self, name: &str, entry: &mut serde_json::Value) {
        if let Some(value) = self.next.values.get(name) {
            entry["value"] = value.expose().into();
        }
        if entry["staged"] == true
            && let Some(value) = self.runs.as_ref().and_then(|r| r.values.get(name))
        {
            entry["serving_value"] = value.expose().into();
        }
    }
}

fn env_row(v: &EnvView, shown: Option<&Shown>) -> Vec<String> {
    let value = match v.origin {
        EnvOrigin::Set => masked(&v.name, v.staged, shown),
        EnvOrigin::Descriptor => one_line(v.value.as_deref().unwrap_or_default()),
        EnvOrigin::Platform => String::new(),
    };
    let mut origin = match v.origin {
        // It runs on until then.
        EnvOrigin::Set if v.unset => format!("set (unset, {})", until(v.held)),
        EnvOrigin::Set => "set".to_owned(),
        EnvOrigin::Descriptor => "descriptor".to_owned(),
        EnvOrigin::Platform => "platform".to_owned(),
    };
    if let Some(process) = &v.process {
        origin = format!("{origin} ({})", harmless(process));
    }
    if v.staged && !v.unset {
        origin = format!("{origin}, {}", until(v.held));
    }
    if v.hidden_by_set {
        origin.push_str(", replaced by what is set");
    }
    let version = match (v.version, v.serving) {
        (Some(n), Some(runs)) if v.staged => format!("{n} ({runs} runs)"),
        (Some(n), _) => n.to_string(),
        (None, _) => String::new(),
    };
    let when = v.at.as_deref().map(printer::when).unwrap_or_default();
    vec![harmless(&v.name), value, origin, version, when, harmless(v.by.as_deref().unwrap_or_default())]
}

/// What a value that does not run yet waits for, in a word.
fn until(is_held: bool) -> &'static str {
    if is_held { "held" } else { "staged" }
}

/// Says how what waits comes to run. `all`: of each value, whether it is staged, and held.
fn waits(all: impl Iterator<Item = (bool, bool)>, app: &Placement, cx: &Context) {
    let staged: Vec<bool> = all.filter(|(staged, _)| *staged).map(|(_, held)| held).collect();
    if staged.contains(&true) {
        cx.printer.hint(format!(
            "what is held comes with `terreau deploy {app} --promote`, and goes with `terreau deploy {app} --revert`"
        ));
    }
    if staged.contains(&false) {
        cx.printer.hint(format!("what is staged comes with the next release: terreau deploy {app}"));
    }
}

/// `terreau secret list`
pub(super) fn secrets(args: &ConfigListArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async {
        let list: SecretList = client.get(&app_path(&app, "/secrets")).await?;
        let is_staged = |v: &SecretView| v.kind == SecretType::User && v.staged && v.serving.is_some();
        let shown = shown(What::Secret, args, list.secrets.iter().any(is_staged), &app, &client).await?;
        if args.json {
            let mut json = serde_json::to_value(&list).map_err(|e| cannot(&e))?;
            let entries = json.get_mut("secrets").and_then(serde_json::Value::as_array_mut);
            for entry in entries.into_iter().flatten() {
                let name = entry["name"].as_str().unwrap_or_default().to_owned();
                if let Some(shown) = &shown {
                    shown.put(&name, entry);
                }
            }
            cx.printer.json(&json)?;
            return Ok(ExitStatus::Done);
        }
        if list.secrets.is_empty() {
            cx.printer.say(format!("the release of {app} that runs declares no secret"));
            return Ok(ExitStatus::Done);
        }
        let rows: Vec<Vec<String>> = list.secrets.iter().map(|v| secret_row(v, shown.as_ref())).collect();
        cx.printer
            .data(printer::table(&["NAME", "VALUE", "TYPE", "VERSION", "WHEN", "WHO", "WHAT"], &rows))?;
        waits(list.secrets.iter().map(|v| (v.staged, v.held)), &app, cx);
        Ok(ExitStatus::Done)
    })
}

fn secret_row(v: &SecretView, shown: Option<&Shown>) -> Vec<String> {
    let kind = match v.kind {
        SecretType::User => "user",
        SecretType::Generated => "generated",
        SecretType::Credential => "credential",
    };
    let kind = if v.staged { format!("{kind}, {}", until(v.held)) } else { kind.to_owned() };
    let value = match (v.version, v.kind) {
        (None, _) => String::new(),
        (Some(_), SecretType::User) => masked(&v.name, v.staged, shown),
        (Some(_), _) => MASK.to_owned(),
    };
    let version = match (v.version, v.serving) {
        (Some(n), Some(runs)) if v.staged => format!("{n} ({runs} runs)"),
        (Some(n), _) => n.to_string(),
        (None, _) => String::new(),
    };
    let when = v.at.as_deref().map(printer::when).unwrap_or_default();
    let by = harmless(v.by.as_deref().unwrap_or_default());
    vec![
        harmless(&v.name),
        value,
        kind,
        version,
        when,
        by,
        one_line(v.description.as_deref().unwrap_or_default()),
    ]
}

/// `terreau env history`, `terreau secret history`
pub(super) fn history(
    what: What,
    name: Option<&str>,
    app: Option<&Placement>,
    json: bool,
    cx: &Context,
) -> Ran {
    let app = local::app(app, cx.printer)?;
    let client = cx.client()?;
    waiting(async {
        let query = name.map(|n| format!("?name={}", escaped(n))).unwrap_or_default();
        let list: ConfigHistory =
            client.get(&app_path(&app, &format!("{}/history{query}", what.path()))).await?;
        if json {
            cx.printer.json(&list)?;
            return Ok(ExitStatus::Done);
        }
        if list.versions.is_empty() {
            let why = match name {
                None => format!("nobody has set anything yet; `{} set` does", what.command()),
                Some(name) => nothing_of(what, name, &app, &client).await,
            };
            cx.printer.say(why);
            return Ok(ExitStatus::Done);
        }
        let runs = |name: &str| list.versions.iter().any(|v| v.name == name && v.serving);
        let rows: Vec<Vec<String>> = list
            .versions
            .iter()
            .map(|v| {
                let state = match (v.current, v.serving) {
                    (true, true) => "runs",
                    // There is nothing left for a release to take away.
                    (true, false) if v.what == "unset" && (v.release.is_some() || !runs(&v.name)) => "",
                    (true, false) => "staged",
                    (false, true) => "runs still",
                    (false, false) => "",
                };
                let came = match (v.release, v.current) {
                    (Some(r), _) => format!("release {r}"),
                    (None, true) if v.what != "unset" || runs(&v.name) => "staged".to_owned(),
                    // Another value took its place before any release, or what it was to end never ran.
                    (None, _) => "none".to_owned(),
                };
                vec![
                    harmless(&v.name),
                    v.version.to_string(),
                    harmless(&v.what),
                    state.to_owned(),
                    printer::when(&v.at),
                    harmless(&v.by),
                    came,
                ]
            })
            .collect();
        cx.printer
            .data(printer::table(&["NAME", "VERSION", "WHAT", "STATE", "WHEN", "WHO", "CAME WITH"], &rows))?;
        Ok(ExitStatus::Done)
    })
}

/// What is said of a name that has no version.
async fn nothing_of(what: What, name: &str, app: &Placement, client: &Client) -> String {
    if what == What::Secret
        && let Ok(list) = client.get::<SecretList>(&app_path(app, "/secrets")).await
        && let Some(found) = list.secrets.iter().find(|s| s.name == name && s.kind != SecretType::User)
    {
        let made = format!("the value of secret {name} of {app} is made by the server: nobody sets it");
        return match found.kind {
            SecretType::Generated => format!("{made}; {}", SecretType::ANEW),
            _ => made,
        };
    }
    let how = match what {
        What::Env => format!("{name}=VALUE"),
        What::Secret => name.to_owned(),
    };
    format!("nobody has set {name} of {app} yet; `{} set {how}` does", what.command())
}

async fn shown(
    what: What,
    args: &ConfigListArgs,
    is_staged: bool,
    app: &Placement,
    client: &Client,
) -> Result<Option<Shown>, Failure> {
    if !args.show {
        return Ok(None);
    }
    let next = reveal(what, At::Next, app, client).await?;
    let runs = if is_staged { Some(reveal(what, At::Serving, app, client).await?) } else { None };
    Ok(Some(Shown { next, runs }))
}

/// A value, or what stands for it; of one that is staged also what runs.
fn masked(name: &str, staged: bool, shown: Option<&Shown>) -> String {
    let Some(shown) = shown else { return MASK.to_owned() };
    let of = |r: &Revealed| r.values.get(name).map(|v| one_line(v.expose()));
    let runs = shown.runs.as_ref().filter(|_| staged).and_then(of);
    match (of(&shown.next), runs) {
        (Some(next), Some(runs)) => format!("{next} ({runs} runs)"),
        (Some(value), None) | (None, Some(value)) => value,
        (None, None) => MASK.to_owned(),
    }
}

/// A value in a table: its beginning, on one line. `export` gives it whole.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(WIDTH)
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect();
    if text.chars().nth(WIDTH).is_some() {
        line.push('…');
    }
    line
}

fn cannot(e: &serde_json::Error) -> Failure {
    Failure::failed("cannot write the answer as JSON").because(e.to_string())
}
