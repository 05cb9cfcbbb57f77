//! Projects and their owners; users, for admins.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::body;
use super::caller::{App, Caller, Segment, reads};
use super::problem::{Answer, Fail};
use crate::access::{Left, Standing, User, Verb};
use crate::deploy::leave::{Became, Fate, LeaveError};
use crate::deploy::owners::NewOwners;
use crate::model::head::AppState;
use crate::model::project::Owner;
use crate::model::wire::{
    FieldFault, Owners, OwnersRequest, Problem, ProblemCode, ProjectView, Projects, RemoveRequest, Removed,
    RemovedApp, UserView, Users,
};
use crate::model::{Login, nearest};

/// Every project that the person may see, with its owners.
#[utoipa::path(get, path = "/v1/projects", tag = "apps", responses(
    (status = 200, body = Projects),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn projects(State(api): State<Api>, caller: Caller) -> Answer<Json<Projects>> {
    let subject = caller.looked_again(&api).await?;
    let heads = api.deployer.projects(|head| reads(&subject, &head.app, &head.owners)).await?;
    let state = |state| match state {
        AppState::New => "new",
        AppState::Live => "live",
        AppState::Failed => "failed",
        AppState::Deleted => "deleted",
        AppState::Abandoned => "abandoned",
    };
    let view = |h: crate::model::Head| ProjectView {
        app: h.app.to_string(),
        owners: h.owners.iter().map(ToString::to_string).collect(),
        state: state(h.state).to_owned(),
        release: h.release.map(|r| r.number.0),
        last: h.last_operation.as_ref().map(|l| format!("{}: {}", l.verb, l.summary)),
        last_at: h.last_operation.map(|l| l.at),
    };
    Ok(Json(Projects { projects: heads.into_iter().map(view).collect() }))
}

/// The owners of an app.
#[utoipa::path(get, path = "/v1/apps/{app}/owners", tag = "apps", params(("app" = String, Path)), responses(
    (status = 200, body = Owners),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn owners(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
) -> Answer<Json<Owners>> {
    caller.may(&api, Verb::Read, &app).await?;
    let owners = api.deployer.owners(&app).await?.unwrap_or_default();
    Ok(Json(Owners { app: app.to_string(), owners: owners.iter().map(ToString::to_string).collect() }))
}

/// Changes the owners of an app: adds, removes, or hands it over.
#[utoipa::path(post, path = "/v1/apps/{app}/owners", tag = "apps", params(("app" = String, Path)), request_body = OwnersRequest, responses(
    (status = 200, body = Owners),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Who comes may not log in, or the app is being changed", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The last owner cannot go, or the descriptor names the owners", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn change_owners(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<OwnersRequest>,
) -> Answer<Json<Owners>> {
    caller.may(&api, Verb::Transfer, &app).await?;
    let new = match &request.only {
        Some(_) if !request.add.is_empty() || !request.remove.is_empty() => {
            return Err(Fail::field("only", "stands alone: it is instead of all others"));
        }
        Some(only) => NewOwners::Only(owner("only", only)?),
        None => NewOwners::Change {
            add: request.add.iter().map(|o| owner("add", o)).collect::<Answer<_>>()?,
            remove: request.remove.iter().map(|o| owner("remove", o)).collect::<Answer<_>>()?,
        },
    };
    let (by, on, deployer, access) = (caller.by(), app.clone(), api.deployer.clone(), api.access.clone());
    let owners =
        super::deploys::whole(async move { deployer.change_owners(&access, &by, &on, &new).await }).await?;
    Ok(Json(Owners { app: app.to_string(), owners: owners.iter().map(ToString::to_string).collect() }))
}

fn owner(field: &str, text: &str) -> Answer<Owner> {
    text.parse().map_err(|e: crate::model::names::NameError| Fail::field(field, e.to_string()))
}

/// Everybody of the directory, for admins.
#[utoipa::path(get, path = "/v1/users", tag = "users", responses(
    (status = 200, body = Users),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn users(State(api): State<Api>, mut caller: Caller) -> Answer<Json<Users>> {
    caller.may_here(&api, Verb::Users).await?;
    let (users, heads) = tokio::try_join!(async { Ok::<_, Fail>(api.access.users().await?) }, async {
        Ok(api.deployer.projects(|_| true).await?)
    },)?;
    let apps = |login: &Login| {
        let theirs = heads.iter().filter(|h| h.owners.contains(&Owner::User(login.clone())));
        theirs.map(|h| h.app.to_string()).collect()
    };
    Ok(Json(Users { users: users.into_iter().map(|u| view(apps(&u.login), u)).collect() }))
}

fn view(apps: Vec<String>, user: User) -> UserView {
    UserView {
        user: user.login.to_string(),
        name: user.name,
        mail: user.mail,
        groups: user.groups.into_iter().collect(),
        admin: user.standing == Standing::Admin,
        may_log_in: user.may_log_in,
        apps,
        sessions: None,
        tokens: None,
    }
}

/// Somebody of the directory, for admins.
#[utoipa::path(get, path = "/v1/users/{user}", tag = "users", params(("user" = String, Path)), responses(
    (status = 200, body = UserView),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn user(
    State(api): State<Api>,
    mut caller: Caller,
    Segment(user): Segment,
) -> Answer<Json<UserView>> {
    caller.may_here(&api, Verb::Users).await?;
    let login = login(&user)?;
    let Some(found) = api.access.user(&login).await? else {
        let fail = Fail::new(ProblemCode::NotFound, format!("there is no person {login}"));
        return Err(nobody(&api, &login, fail).await);
    };
    let apps = api.deployer.owned_by(&login).await?.into_iter().map(|o| o.app.to_string()).collect();
    let (sessions, tokens) = api.access.sessions_of(&login).await?;
    let count = |n: usize| Some(n as u64);
    Ok(Json(UserView { sessions: count(sessions), tokens: count(tokens), ..view(apps, found) }))
}

/// Somebody who is not there: with the login that was probably meant, for those who may see all of them.
async fn nobody(api: &Api, login: &Login, fail: Fail) -> Fail {
    let all = api.access.users().await.unwrap_or_default();
    match nearest(login.as_str(), all.iter().map(|u| u.login.as_str())) {
        Some(near) => fail.hint(format!("did you mean {near}?")),
        None => fail.hint("`terreau users list` shows everybody"),
    }
}

fn login(text: &str) -> Answer<Login> {
    Login::new(text).map_err(|e| Fail::field("user", e.to_string()))
}

/// Removes a person, for admins. Refused with the list where they alone own apps that are neither handed over nor deleted.
/// A removal that was cut off is repeated by asking for it again.
#[utoipa::path(post, path = "/v1/users/{user}/remove", tag = "users", params(("user" = String, Path)), request_body = RemoveRequest, responses(
    (status = 200, body = Removed),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "They own apps: the list", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn remove(
    State(api): State<Api>,
    mut caller: Caller,
    Segment(user): Segment,
    body::Json(request): body::Json<RemoveRequest>,
) -> Answer<Response> {
    caller.may_here(&api, Verb::Users).await?;
    let login = login(&user)?;
    if login == caller.session.subject.login {
        let text = "you cannot remove yourself: another admin can";
        return Err(Fail::new(ProblemCode::NotAllowed, text));
    }
    let fate = match (&request.transfer_to, request.cascade) {
        (Some(_), true) => return Err(Fail::field("cascade", "and transfer_to exclude each other")),
        (Some(to), false) => Fate::Transfer(owner("transfer_to", to)?),
        (None, true) => Fate::Delete,
        (None, false) => Fate::Refuse,
    };
    // Policies may let somebody remove people and not delete what is theirs.
    for owned in api.deployer.owned_by(&login).await? {
        let verb = if fate == Fate::Delete && owned.alone { Verb::DeleteData } else { Verb::Transfer };
        caller.may(&api, verb, &owned.app).await?;
    }
    let (by, access, deployer, who) = (caller.by(), api.access.clone(), api.deployer.clone(), login.clone());
    let work = async move { deployer.remove_person(&access, &by, &who, &fate).await };
    // To its end, whatever becomes of the request.
    let done = tokio::spawn(work).await.map_err(|e| {
        tracing::error!(error = %e, "a removal broke off");
        Fail::new(ProblemCode::Internal, "the agent failed; its log says why")
            .hint("ask for the removal again")
    })?;
    let (left, apps) = match done {
        Ok(done) => done,
        Err(e @ LeaveError::Nobody(_)) => return Err(nobody(&api, &login, left_undone(&login, e)).await),
        Err(e) => return Err(left_undone(&login, e)),
    };
    let left = match left {
        Left::LoginGroup => "login_group",
        Left::Directory => "directory",
        Left::Before => "before",
    };
    let apps = apps.into_iter().map(|(app, became)| {
        let (what, operation) = match became {
            Became::Left => ("kept", None),
            Became::Transferred => ("transferred", None),
            Became::Deleting(id) => ("deleting", id.map(|id| id.to_string())),
        };
        RemovedApp { app: app.to_string(), what: what.to_owned(), operation }
    });
    let body = Removed { user: login.to_string(), left: left.to_owned(), apps: apps.collect() };
    Ok((StatusCode::OK, Json(body)).into_response())
}

fn left_undone(login: &Login, e: LeaveError) -> Fail {
    match e {
        LeaveError::Nobody(_) => Fail::new(ProblemCode::NotFound, e.to_string()),
        LeaveError::Owns { ref apps, .. } => {
            let text = format!("{e}: nothing was changed");
            let faults = apps.iter().map(|app| FieldFault {
                field: Some(app.to_string()),
                message: format!("{login} is its only owner"),
                ..FieldFault::default()
            });
            Fail::new(ProblemCode::Conflict, text).listing(faults.collect()).hint(format!(
                "hand them over: `terreau users remove {login} --transfer-to USER`; or delete them with their data: --cascade"
            ))
        }
        LeaveError::App(e) => e.into(),
        LeaveError::Access(e) => e.into(),
    }
}
