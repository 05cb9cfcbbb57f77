//! `terreau projects`, `terreau owners`, `terreau users`: who owns what, and who is there.

use http::Method;

use super::args::{OwnersCommand, ProjectsArgs, ProjectsCommand, TurnArgs, UserRemoveArgs, UsersCommand};
use super::client::{Client, app_path, escaped};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::follow::{self, Form};
use super::printer::{self, table};
use super::{local, turn, waiting};
use crate::model::Placement;
use crate::model::wire::{Owners, OwnersRequest, Projects, RemoveRequest, Removed, UserView, Users};

/// Runs `terreau projects`.
pub fn projects(args: &ProjectsArgs, cx: &Context) -> Ran {
    let client = cx.client()?;
    if let Some(ProjectsCommand::Transfer(args)) = &args.command {
        let app = local::app(args.app.app.as_ref(), cx.printer)?;
        let question = format!("{app} will be of {} alone. Go on? [y/N] ", args.to);
        if !args.yes {
            cx.printer.confirmed(&question, |answer| matches!(answer, "y" | "Y" | "yes"))?;
        }
        let request = OwnersRequest { only: Some(args.to.to_string()), ..OwnersRequest::default() };
        return waiting(async { change(cx, &client, &app, &request, args.turn, args.json).await });
    }
    let json = args.json || matches!(&args.command, Some(ProjectsCommand::List(args)) if args.json);
    waiting(async {
        let list: Projects = client.get("/v1/projects").await?;
        if json {
            cx.printer.json(&list)?;
            return Ok(ExitStatus::Done);
        }
        if list.projects.is_empty() {
            cx.printer.say("there is no project that you may see");
            return Ok(ExitStatus::Done);
        }
        let rows: Vec<Vec<String>> = list
            .projects
            .iter()
            .map(|p| {
                vec![
                    harmless(&p.app),
                    harmless(&p.owners.join(", ")),
                    harmless(&p.state),
                    p.release.map(|r| r.to_string()).unwrap_or_default(),
                    p.last_at.as_deref().map(printer::when).unwrap_or_default(),
                    p.last.as_deref().map(harmless).unwrap_or_default(),
                ]
            })
            .collect();
        cx.printer.data(table(&["APP", "OWNERS", "STATE", "RELEASE", "LAST CHANGE", "WHAT"], &rows))?;
        Ok(ExitStatus::Done)
    })
}

/// Runs `terreau owners`.
pub fn owners(command: &OwnersCommand, cx: &Context) -> Ran {
    let client = cx.client()?;
    let words = |owners: &[crate::model::project::Owner]| owners.iter().map(ToString::to_string).collect();
    let (app, request, turn, json) = match command {
        OwnersCommand::List(args) => {
            let app = local::app(args.app.app.as_ref(), cx.printer)?;
            return waiting(async {
                let list: Owners = client.get(&app_path(&app, "/owners")).await?;
                tell(cx, &list, args.json)
            });
        }
        OwnersCommand::Add(args) => (
            &args.app,
            OwnersRequest { add: words(&args.owners), ..OwnersRequest::default() },
            args.turn,
            args.json,
        ),
        OwnersCommand::Remove(args) => (
            &args.app,
            OwnersRequest { remove: words(&args.owners), ..OwnersRequest::default() },
            args.turn,
            args.json,
        ),
    };
    let app = local::app(app.app.as_ref(), cx.printer)?;
    waiting(async { change(cx, &client, &app, &request, turn, json).await })
}

async fn change(
    cx: &Context,
    client: &Client,
    app: &Placement,
    request: &OwnersRequest,
    turn: TurnArgs,
    json: bool,
) -> Ran {
    let path = app_path(app, "/owners");
    // Who is to go and never was there is told so; where this cannot be read, the change itself says why.
    let before = if request.remove.is_empty() { None } else { client.get::<Owners>(&path).await.ok() };
    let list: Owners =
        turn::take(cx, client, turn, async || client.call(Method::POST, &path, request).await).await?;
    let strangers: Vec<String> = match &before {
        Some(before) => request.remove.iter().filter(|o| !before.owners.contains(o)).cloned().collect(),
        None => Vec::new(),
    };
    if !strangers.is_empty() {
        let why = format!("{} does not own {app}", strangers.join(" and "));
        if strangers.len() == request.remove.len() {
            return Err(Failure::new(ExitStatus::NotFound, format!("{why}: nothing was changed"))
                .hint(format!("it is of {}", harmless(&list.owners.join(", ")))));
        }
        cx.printer.warn(why);
    }
    if !json {
        cx.printer.say(format!("{app} is of {}", harmless(&list.owners.join(", "))));
        return Ok(ExitStatus::Done);
    }
    tell(cx, &list, json)
}

fn tell(cx: &Context, list: &Owners, json: bool) -> Ran {
    if json {
        cx.printer.json(list)?;
    } else {
        for owner in &list.owners {
            cx.printer.data(harmless(owner))?;
        }
    }
    Ok(ExitStatus::Done)
}

/// Runs `terreau users`.
pub fn users(command: &UsersCommand, cx: &Context) -> Ran {
    let client = cx.client()?;
    match command {
        UsersCommand::List(args) => waiting(async {
            let list: Users = client.get("/v1/users").await?;
            if args.json {
                cx.printer.json(&list)?;
                return Ok(ExitStatus::Done);
            }
            let rows: Vec<Vec<String>> = list
                .users
                .iter()
                .map(|u| {
                    vec![
                        harmless(&u.user),
                        u.name.as_deref().map(harmless).unwrap_or_default(),
                        state(u).to_owned(),
                        harmless(&u.groups.join(", ")),
                        harmless(&u.apps.join(", ")),
                    ]
                })
                .collect();
            cx.printer.data(table(&["USER", "NAME", "STATE", "GROUPS", "APPS"], &rows))?;
            Ok(ExitStatus::Done)
        }),
        UsersCommand::Show(args) => waiting(async {
            let user: UserView = client.get(&path(args.user.as_str(), "")).await?;
            if args.json {
                cx.printer.json(&user)?;
                return Ok(ExitStatus::Done);
            }
            let lines = [
                ("user", user.user.clone()),
                ("name", user.name.clone().unwrap_or_default()),
                ("mail", user.mail.clone().unwrap_or_default()),
                ("state", state(&user).to_owned()),
                ("groups", user.groups.join(", ")),
                ("apps", user.apps.join(", ")),
                ("sessions", user.sessions.unwrap_or(0).to_string()),
                ("tokens", user.tokens.unwrap_or(0).to_string()),
            ];
            for (name, value) in lines.iter().filter(|(_, v)| !v.is_empty()) {
                cx.printer.data(format!("{name}: {}", harmless(value)))?;
            }
            Ok(ExitStatus::Done)
        }),
        UsersCommand::Remove(args) => remove(args, &client, cx),
    }
}

fn state(user: &UserView) -> &'static str {
    match (user.may_log_in, user.admin) {
        (false, _) => "may not log in",
        (true, true) => "admin",
        (true, false) => "member",
    }
}

fn path(user: &str, rest: &str) -> String {
    format!("/v1/users/{}{rest}", escaped(user))
}

fn remove(args: &UserRemoveArgs, client: &Client, cx: &Context) -> Ran {
    let user = &args.user;
    if !args.yes {
        let also = match (&args.transfer_to, args.cascade) {
            (Some(to), _) => format!("; what is theirs alone goes to {to}"),
            (None, true) => "; apps that are theirs alone are deleted, with their data".to_owned(),
            (None, false) => String::new(),
        };
        let them: UserView = waiting(client.get(&path(user.as_str(), "")))?;
        if !them.apps.is_empty() {
            cx.printer.say(format!("{user} owns {}", harmless(&them.apps.join(", "))));
        }
        let question = format!("{user} will be removed{also}. Type the login to go on: ");
        cx.printer.confirmed(&question, |answer| answer == user.as_str())?;
    }
    waiting(async {
        let request = RemoveRequest {
            transfer_to: args.transfer_to.as_ref().map(ToString::to_string),
            cascade: args.cascade,
        };
        let done: Removed = client.call(Method::POST, &path(user.as_str(), "/remove"), &request).await?;
        if args.json {
            cx.printer.json(&done)?;
        }
        let left = match done.left.as_str() {
            "login_group" => "out of the group of those who may log in",
            "directory" => "deleted from the directory",
            _ => "gone already",
        };
        cx.printer.say(format!("{user} is {left}; their sessions and tokens have ended"));
        let mut failed = None;
        for app in &done.apps {
            cx.printer.say(format!("{}: {}", harmless(&app.app), harmless(&app.what)));
            if let Some(operation) = &app.operation
                && let Err(failure) = follow::follow(cx, client, operation, Form::Words).await
            {
                cx.printer.failure(&failure);
                failed = Some(failure.status);
            }
        }
        match failed {
            None => Ok(ExitStatus::Done),
            Some(status) => Err(Failure::new(status, format!("not everything of {user} is gone"))
                .hint("the same command goes on where this one stopped")),
        }
    })
}
