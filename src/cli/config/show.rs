//! Listing what is set: masked, unless the person asks to see it.

use std::collections::BTreeMap;

use super::{
    Context, ExitStatus, Failure, Ran, Revealed, What, app_path, harmless, local, printer, reveal, waiting,
};
use crate::cli::args::ConfigListArgs;
use crate::cli::client::{Client, escaped};
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
        let shown = shown(What::Env, args, &app, &client).await?;
        if args.json {
            let mut json = serde_json::to_value(&list).map_err(|e| cannot(&e))?;
            let entries = json.get_mut("env").and_then(serde_json::Value::as_array_mut);
            for entry in entries.into_iter().flatten() {
                let name = entry["name"].as_str().unwrap_or_default().to_owned();
                if let Some(value) = shown.as_ref().and_then(|s| s.values.get(&name))
                    && entry["origin"] == "set"
                {
                    entry["value"] = value.expose().into();
                }
            }
            cx.printer.json(&json)?;
            return Ok(ExitStatus::Done);
        }
        if list.env.is_empty() {
            cx.printer.say(format!("{app} has no environment yet: terreau env set NAME=VALUE"));
            return Ok(ExitStatus::Done);
        }
        let rows: Vec<Vec<String>> = list.env.iter().map(|v| env_row(v, shown.as_ref())).collect();
        cx.printer.data(printer::table(&["NAME", "VALUE", "ORIGIN", "VERSION", "WHEN", "WHO"], &rows))?;
        if list.env.iter().any(|v| v.staged) {
            cx.printer.hint(format!("what is staged comes with the next release: terreau deploy {app}"));
        }
        Ok(ExitStatus::Done)
    })
}

fn env_row(v: &EnvView, shown: Option<&Revealed>) -> Vec<String> {
    let value = match v.origin {
        EnvOrigin::Set if v.unset => String::new(),
        EnvOrigin::Set => masked(&v.name, shown),
        EnvOrigin::Descriptor => one_line(v.value.as_deref().unwrap_or_default()),
        EnvOrigin::Platform => String::new(),
    };
    let mut origin = match v.origin {
        EnvOrigin::Set if v.unset => "unset".to_owned(),
        EnvOrigin::Set => "set".to_owned(),
        EnvOrigin::Descriptor => "descriptor".to_owned(),
        EnvOrigin::Platform => "platform".to_owned(),
    };
    if let Some(process) = &v.process {
        origin = format!("{origin} ({})", harmless(process));
    }
    if v.staged {
        origin.push_str(", staged");
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

/// `terreau secret list`
pub(super) fn secrets(args: &ConfigListArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async {
        let list: SecretList = client.get(&app_path(&app, "/secrets")).await?;
        let shown = shown(What::Secret, args, &app, &client).await?;
        if args.json {
            let mut json = serde_json::to_value(&list).map_err(|e| cannot(&e))?;
            let entries = json.get_mut("secrets").and_then(serde_json::Value::as_array_mut);
            for entry in entries.into_iter().flatten() {
                let name = entry["name"].as_str().unwrap_or_default().to_owned();
                if let Some(value) = shown.as_ref().and_then(|s| s.values.get(&name)) {
                    entry["value"] = value.expose().into();
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
        Ok(ExitStatus::Done)
    })
}

fn secret_row(v: &SecretView, shown: Option<&Revealed>) -> Vec<String> {
    let kind = match v.kind {
        SecretType::User => "user",
        SecretType::Generated => "generated",
        SecretType::Credential => "credential",
    };
    let kind = if v.staged { format!("{kind}, staged") } else { kind.to_owned() };
    let value = match (v.version, v.kind) {
        (None, _) => String::new(),
        (Some(_), SecretType::User) => masked(&v.name, shown),
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
        let rows: Vec<Vec<String>> = list
            .versions
            .iter()
            .map(|v| {
                let state = match (v.current, v.serving) {
                    (true, true) => "runs",
                    (true, false) if v.what == "unset" && v.release.is_some() => "",
                    (true, false) => "staged",
                    (false, true) => "runs still",
                    (false, false) => "",
                };
                let came = match (v.release, v.current) {
                    (Some(r), _) => format!("release {r}"),
                    (None, true) => "staged".to_owned(),
                    // Another value took its place before any release.
                    (None, false) => "none".to_owned(),
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
        && list.secrets.iter().any(|s| s.name == name && s.kind != SecretType::User)
    {
        return format!("the value of secret {name} of {app} is made by the server: nobody sets it");
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
    app: &Placement,
    client: &Client,
) -> Result<Option<Revealed>, Failure> {
    if args.show { reveal(what, app, client).await.map(Some) } else { Ok(None) }
}

fn masked(name: &str, shown: Option<&Revealed>) -> String {
    let none = BTreeMap::new();
    let values = shown.map_or(&none, |s| &s.values);
    match values.get(name) {
        Some(value) => one_line(value.expose()),
        None => MASK.to_owned(),
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
