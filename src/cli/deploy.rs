//! `terreau deploy`: packs, uploads what is missing, asks for missing secrets, and watches until the app answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use http::Method;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::args::DeployArgs;
use super::client::{Client, app_path, problem_failure};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::follow::{self, Form, Then};
use super::local::{self, Descriptor};
use super::shapes::NoChange;
use super::{commit, config, hidden, plan, turn, upload, waiting};
use crate::model::project::SecretKind;
use crate::model::wire::{Accepted, AppStatus, DeployRequest, Hidden, PlanRequest, Unchanged};
use crate::model::{Placement, SecretName, nearest};
use crate::plan::{Obstacle, Plan, refusal};

/// A deploy is accepted within this time.
const LONGEST: Duration = Duration::from_mins(15);

/// What a server answers to a change.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// 202.
    Accepted(Accepted),
    /// 200.
    Unchanged(Unchanged),
}

/// Runs it.
pub fn run(args: &DeployArgs, cx: &Context) -> Ran {
    let then = if args.detach { Then::Detach } else { Then::Follow };
    let form = if args.json { Form::Json } else { Form::Words };
    if args.promote || args.revert {
        return decide_held(args, cx, then, form);
    }
    if let Some(path) = &args.plan {
        let file = plan::load(path)?;
        if args.app.app.as_ref().is_some_and(|app| *app != file.app) {
            return Err(Failure::usage(format!("{} is a plan for {}", path.display(), file.app)));
        }
        let client = cx.client()?;
        if client.server().as_str() != file.server {
            return Err(Failure::usage(format!(
                "{} was made by {}, and {} is meant now",
                path.display(),
                file.server,
                client.server()
            )));
        }
        return waiting(async {
            let request = DeployRequest {
                descriptor: file.descriptor,
                artifact: file.artifact,
                ticket: file.ticket,
                token: Some(file.plan.token.to_string()),
                message: args.message.clone(),
                source: None,
                secrets: given(args, None)?,
            };
            let answer =
                turn::take(cx, &client, args.turn, async || submit(&client, &file.app, &request).await)
                    .await?;
            go_on(cx, &client, &file.app, answer, args, then).await
        });
    }
    let descriptor = local::load(args.file.file.as_deref(), cx.printer)?;
    let app = local::app_of(&descriptor, args.app.app.as_ref())?;
    // Not being logged in is found before a large folder is packed.
    let client = cx.client()?;
    let given = given(args, Some(&descriptor))?;
    let packed = upload::pack(&descriptor, cx.printer)?;
    let source = commit::of(descriptor.folder());
    waiting(async {
        // Also what is uploaded is asked again after a wait: where the other one's was the first deploy, its capability
        // has become the app's.
        let answer = turn::take(cx, &client, args.turn, async || {
            let mut request = DeployRequest {
                descriptor: descriptor.text.clone(),
                artifact: packed.as_ref().map(|p| p.artifact.clone()),
                ticket: None,
                token: None,
                message: args.message.clone(),
                source: source.clone(),
                secrets: given.clone(),
            };
            let asked = asked(&descriptor, &request);
            // Before anything is uploaded.
            if (packed.is_some() || !asked.is_empty())
                && let Some(plan) = foreseen(&client, &app, &request, !asked.is_empty()).await?
            {
                none_in_the_way(&plan, &descriptor, &client)?;
                request.secrets.extend(missing_secrets(cx, &app, &plan, asked).await?);
            }
            if let Some(packed) = &packed {
                request.ticket = Some(upload::send(&client, &app, packed, cx.printer).await?);
            }
            submit(&client, &app, &request).await
        })
        .await?;
        go_on(cx, &client, &app, answer, args, then).await
    })
}

/// `--promote`, `--revert`: what becomes of held canaries.
fn decide_held(args: &DeployArgs, cx: &Context, then: Then, form: Form) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    let path = app_path(&app, if args.promote { "/promote" } else { "/revert" });
    waiting(async {
        let it: Accepted = turn::take(cx, &client, args.turn, async || {
            client.read(client.send(client.request(Method::POST, &path)).await?).await
        })
        .await?;
        follow::accepted(cx, &client, &it, then, form).await
    })
}

/// Sends a deploy.
async fn submit(client: &Client, app: &Placement, request: &DeployRequest) -> Result<Answer, Failure> {
    // Values that come with it are looked for in an artifact of any size first.
    let patient = client.clone().patient()?;
    let sent = patient.request(Method::POST, &app_path(app, "/deploy")).timeout(LONGEST).json(request);
    patient.read(patient.send(sent).await?).await
}

async fn go_on(
    cx: &Context,
    client: &Client,
    app: &Placement,
    answer: Answer,
    args: &DeployArgs,
    then: Then,
) -> Ran {
    let form = if args.json { Form::Json } else { Form::Words };
    match answer {
        Answer::Accepted(it) => follow::accepted(cx, client, &it, then, form).await,
        Answer::Unchanged(it) => {
            let ran = unchanged(cx, client, app, &it, form).await?;
            not_kept(cx, args.message.as_deref());
            Ok(ran)
        }
    }
}

/// Says that there was nothing to do; the URL is printed all the same, for scripts.
pub async fn unchanged(cx: &Context, client: &Client, app: &Placement, it: &Unchanged, form: Form) -> Ran {
    let status: Option<AppStatus> = client.get(&app_path(app, "")).await.ok();
    let url = status.and_then(|s| s.urls.into_iter().next());
    cx.printer.say(format!("no changes: release {} of {app} runs already", it.release));
    match form {
        Form::Json => cx.printer.json(&NoChange { unchanged: true, release: it.release, url })?,
        Form::Words => {
            if let Some(url) = url {
                cx.printer.data(harmless(&url))?;
            }
        }
    }
    Ok(ExitStatus::Done)
}

/// Says that what somebody wrote for the list of releases stands nowhere, where no release was made.
pub fn not_kept(cx: &Context, message: Option<&str>) {
    if message.is_some() {
        cx.printer.warn("nothing changed: no release was made, and the message was not kept");
    }
}

/// The values of `--secret-file`. Without the descriptor at hand the server says what is declared.
fn given(args: &DeployArgs, descriptor: Option<&Descriptor>) -> Result<BTreeMap<String, Hidden>, Failure> {
    let files = args.secret_files().map_err(Failure::usage)?;
    let of_input = files.iter().filter(|(_, file)| file.as_os_str() == "-").count();
    if of_input > 1 {
        return Err(Failure::usage(
            "standard input holds the value of one secret, and several are to be read from it",
        ));
    }
    let mut values = BTreeMap::new();
    for (name, file) in &files {
        if let Some(descriptor) = descriptor {
            declared(descriptor, name)?;
        }
        if file.as_os_str() != "-" && !file.is_file() {
            // Its name may be a value that was given by mistake.
            return Err(Failure::failed(format!(
                "the file that --secret-file names for {name} is not there"
            ))
            .hint(
                "NAME=FILE names a file with the value in it, not the value; NAME=- reads standard input",
            ));
        }
        let value = config::secret_value(file)?;
        if value.expose().is_empty() {
            return Err(Failure::failed(format!("{} is empty: nothing was deployed", file.display()))
                .because(format!("it was to be the value of secret {name}")));
        }
        if values.insert(name.to_string(), value).is_some() {
            return Err(Failure::usage(format!("secret {name} is given twice")));
        }
    }
    Ok(values)
}

/// Refuses a value for what is no secret that people give.
fn declared(descriptor: &Descriptor, name: &SecretName) -> Result<(), Failure> {
    let all = &descriptor.project.secrets;
    let kind = all.iter().find(|s| s.name == *name).map(|s| &s.kind);
    let path = descriptor.path.display();
    match kind {
        Some(SecretKind::User { .. }) => Ok(()),
        Some(SecretKind::Generated { .. }) => Err(Failure::usage(format!(
            "secret {name} is generated: its value is made by the server, not given"
        ))),
        None => {
            let users = all.iter().filter(|s| matches!(s.kind, SecretKind::User { .. }));
            let failure = Failure::usage(format!("{path} declares no secret {name}"));
            Err(match nearest(name.as_str(), users.map(|s| s.name.as_str())) {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure.hint(format!("declare it: secret \"{name}\" {{ type = \"user\" }}")),
            })
        }
    }
}

/// A `user` secret that no value was given for, with what is said of it.
struct Asked<'a> {
    name: String,
    description: &'a str,
    example: Option<&'a str>,
}

fn asked<'a>(descriptor: &'a Descriptor, request: &DeployRequest) -> Vec<Asked<'a>> {
    let all = descriptor.project.secrets.iter().filter_map(|s| match &s.kind {
        SecretKind::User { description, example } => {
            Some(Asked { name: s.name.to_string(), description, example: example.as_deref() })
        }
        SecretKind::Generated { .. } => None,
    });
    all.filter(|s| !request.secrets.contains_key(&s.name)).collect()
}

/// What the server says of a deploy before it is asked for; `None` where it does not say, and the deploy itself is asked.
async fn foreseen(
    client: &Client,
    app: &Placement,
    request: &DeployRequest,
    may_ask: bool,
) -> Result<Option<Plan>, Failure> {
    let question = PlanRequest {
        descriptor: request.descriptor.clone(),
        artifact: request.artifact.clone(),
        ticket: None,
    };
    match plan::ask(client, app, &question).await {
        // While somebody else is at it, the upload need not wait; and what an engine says to the plan alone stops no deploy.
        // What a person is asked for needs the plan.
        Err(failure) if !may_ask && (failure.busy.is_some() || failure.status == ExitStatus::EngineAway) => {
            Ok(None)
        }
        // Who may deploy and not plan; and a name that is somebody else's, which the deploy says better.
        Err(failure) if matches!(failure.status, ExitStatus::NotAllowed | ExitStatus::NotFound) => Ok(None),
        plan => plan.map(Some),
    }
}

/// Refuses, as the server would, what cannot be deployed as it is; but for secrets, whose values come with the deploy.
fn none_in_the_way(plan: &Plan, descriptor: &Descriptor, client: &Client) -> Result<(), Failure> {
    let secrets = &descriptor.project.secrets;
    let comes = |o: &&Obstacle| o.code == "missing" && secrets.iter().any(|s| s.name.as_str() == o.target);
    let list: Vec<Obstacle> = plan.obstacles.iter().filter(|o| !comes(o)).cloned().collect();
    if list.is_empty() { Ok(()) } else { Err(problem_failure(refusal(&list), client.server())) }
}

/// Asks for the values of `user` secrets that the server does not have. Values are never shown.
async fn missing_secrets(
    cx: &Context,
    app: &Placement,
    plan: &Plan,
    asked: Vec<Asked<'_>>,
) -> Result<BTreeMap<String, Hidden>, Failure> {
    let lacks = |s: &Asked| plan.obstacles.iter().any(|o| o.code == "missing" && o.target == s.name);
    let missing: Vec<_> = asked.into_iter().filter(lacks).collect();
    if missing.is_empty() {
        return Ok(BTreeMap::new());
    }
    if !cx.printer.can_ask() {
        let mut failure = Failure::failed(format!("{app} needs secrets that have no value yet"));
        let mut options = String::new();
        for Asked { name, description, .. } in missing {
            let about =
                if description.is_empty() { String::new() } else { format!(": {}", harmless(description)) };
            // Writing to a String cannot fail.
            let _ = write!(options, " --secret-file {name}=FILE");
            failure = failure.because(format!("{name}{about}"));
        }
        return Err(failure
            .hint(format!(
                "say in which file each value stands: terreau deploy{options} (`-` is standard input)"
            ))
            .hint("or run `terreau deploy` on a terminal once: it asks for them"));
    }
    let mut values = BTreeMap::new();
    for Asked { name, description, example } in missing {
        let about = harmless(description);
        let like = example.map(|e| format!(", for example {}", harmless(e))).unwrap_or_default();
        let value = hidden::ask(cx.printer, &format!("Secret {name} ({about}{like}): ")).await?;
        let value = value.expose_secret();
        if value.is_empty() {
            return Err(Failure::failed(format!("no value was given for {name}: nothing was deployed")));
        }
        values.insert(name, Hidden::new(value));
    }
    Ok(values)
}
