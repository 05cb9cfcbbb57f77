//! Who is calling, and whether they may: the token is read, the object's owners looked up, the policies asked.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::header;
use axum::http::request::Parts as RequestParts;
use secrecy::SecretString;
use serde::Deserialize;

use super::Api;
use super::problem::{Answer, Fail};
use crate::access::{AccessError, Decision, Object, Session, Standing, Subject, Verb, decide};
use crate::deploy::Old;
use crate::model::names::NameError;
use crate::model::project::Owner;
use crate::model::wire::ProblemCode;
use crate::model::{Placement, Sha256Hex, Uid};
use crate::store::records::By;

/// The address at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub IpAddr);

/// How often an answer that goes on looks whether its reader may still read.
const LOOK: Duration = Duration::from_secs(20);

/// Somebody with a good session.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub session: Session,
    /// What it was let in for.
    asked: Option<(Verb, Placement)>,
}

pub(super) fn bearer(parts: &RequestParts) -> Option<SecretString> {
    let text = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| SecretString::from(token.trim().to_owned()))
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut RequestParts, api: &Api) -> Result<Self, Fail> {
        let missing = || AccessError::NotLoggedIn("this needs a login");
        let token = bearer(parts).ok_or_else(missing)?;
        Self::by_token(parts, api, &token).await
    }
}

impl Caller {
    /// Whose token this is.
    pub(super) async fn by_token(parts: &RequestParts, api: &Api, token: &SecretString) -> Answer<Self> {
        let address = parts.extensions.get::<Peer>().map(|p| p.0);
        let session = api.access.authenticate(token, address).await?;
        Ok(Self { session, asked: None })
    }

    /// Who asked, for the records.
    pub(super) fn by(&self) -> By {
        let subject = &self.session.subject;
        let address = subject.address.map_or_else(String::new, |a| a.to_string());
        By { login: subject.login.to_string(), address }
    }

    /// Whether they are told what may be another app's, which had the name before.
    pub(super) fn old(&self) -> Old {
        if self.session.subject.standing == Standing::Admin { Old::Told } else { Old::Hidden }
    }

    /// Lets somebody do something with an app, or says why not. Who would be refused is looked at again first:
    /// groups are remembered for a while, and somebody may just have been added.
    pub(super) async fn may(&mut self, api: &Api, verb: Verb, app: &Placement) -> Answer<()> {
        if changes(verb) {
            self.session.may_change()?;
        }
        let owners = api.deployer.owners(app).await?;
        let object = Object::App { app, owners: owners.as_deref() };
        let mut decision = decide(&self.session.subject, verb, &object);
        if decision != Decision::Allowed
            && let Some(session) = api.access.look_again(&self.session).await?
        {
            self.session = session;
            decision = decide(&self.session.subject, verb, &object);
        }
        match decision {
            Decision::Allowed => {
                self.asked = Some((verb, app.clone()));
                Ok(())
            }
            other => {
                let login = &self.session.subject.login;
                tracing::info!(%login, verb = verb.as_str(), %app, ?other, "refused");
                if let (Decision::OutOfScope, Some(scope)) = (other, &self.session.subject.scope) {
                    return Err(Fail::out_of_scope(scope, verb, &app.to_string()));
                }
                Err(Fail::decided(other, &app.to_string()))
            }
        }
    }

    /// Lets somebody do something with the cluster as a whole, or says why not.
    pub(super) async fn may_here(&mut self, api: &Api, verb: Verb) -> Answer<()> {
        if changes(verb) {
            self.session.may_change()?;
        }
        if let Some(session) = api.access.look_again(&self.session).await? {
            self.session = session;
        }
        match decide(&self.session.subject, verb, &Object::Cluster) {
            Decision::Allowed => Ok(()),
            _ => Err(self.not_here("this is for admins")),
        }
    }

    /// Who it is, asked now: a list hides instead of refusing, so there is no second look later.
    pub(super) async fn looked_again(self, api: &Api) -> Answer<Subject> {
        Ok(api.access.look_again(&self.session).await?.unwrap_or(self.session).subject)
    }

    /// Lets nobody through who comes by a token: it is for apps, and makes no tokens.
    pub(super) fn in_person(&self) -> Answer<()> {
        match &self.session.subject.scope {
            None => Ok(()),
            Some(_) => Err(self.not_here("this needs a login")),
        }
    }

    fn not_here(&self, why: &str) -> Fail {
        match &self.session.subject.scope {
            Some(scope) => {
                let text = format!("the token {:?} is for {scope}; {why}", scope.name);
                Fail::new(ProblemCode::NotAllowed, text).hint("log in: `terreau login`")
            }
            None => {
                Fail::new(ProblemCode::NotAllowed, format!("you may not do this: {why}")).hint("ask an admin")
            }
        }
    }

    /// Ends when this caller may no more what it was let in for, or when the agent stops.
    pub(super) fn until_refused(&self, api: &Api) -> impl Future<Output = ()> + Send + 'static + use<> {
        let (api, session, asked) = (api.clone(), self.session.clone(), self.asked.clone());
        async move {
            loop {
                tokio::select! {
                    () = api.stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
                let Some(now) = api.access.still(&session).await else { return };
                let Some((verb, app)) = &asked else { continue };
                // Where nobody can be asked for the owners, it goes on.
                let Ok(owners) = api.deployer.owners(app).await else { continue };
                let object = Object::App { app, owners: owners.as_deref() };
                if decide(&now.subject, *verb, &object) != Decision::Allowed {
                    return;
                }
            }
        }
    }
}

fn changes(verb: Verb) -> bool {
    match verb {
        Verb::Read | Verb::Logs | Verb::Plan | Verb::RawJob | Verb::Metrics | Verb::Audit | Verb::Inspect => {
            false
        }
        // Seeing values and running programs is worth as much as changing them.
        Verb::Reveal
        | Verb::Exec
        | Verb::Connect
        | Verb::Upload
        | Verb::Deploy
        | Verb::Rollback
        | Verb::Run
        | Verb::Configure
        | Verb::Cancel
        | Verb::Transfer
        | Verb::Notify
        | Verb::Delete
        | Verb::DeleteData
        | Verb::Users
        | Verb::Repair => true,
    }
}

/// `{app}` of a path.
#[derive(Debug)]
pub(super) struct App(pub Placement);

impl FromRequestParts<Api> for App {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut RequestParts, _: &Api) -> Result<Self, Fail> {
        let text = segment(parts, "app").await?;
        text.parse().map(Self).map_err(|e: NameError| Fail::field("app", e.to_string()))
    }
}

/// `{id}` of a path.
#[derive(Debug)]
pub(super) struct Id(pub Uid);

impl FromRequestParts<Api> for Id {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut RequestParts, _: &Api) -> Result<Self, Fail> {
        let text = segment(parts, "id").await?;
        // What cannot be an id names nothing.
        Uid::new(&*text).map(Self).map_err(|_| Fail::new(ProblemCode::NotFound, "there is no such operation"))
    }
}

/// `{number}` of a path.
#[derive(Debug)]
pub(super) struct Number(pub u64);

impl FromRequestParts<Api> for Number {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut RequestParts, _: &Api) -> Result<Self, Fail> {
        let text = segment(parts, "number").await?;
        // What cannot be a number names nothing.
        text.parse().map(Self).map_err(|_| Fail::new(ProblemCode::NotFound, "there is no such release"))
    }
}

/// `{hook}` of a path.
#[derive(Debug)]
pub(super) struct HookId(pub String);

impl FromRequestParts<Api> for HookId {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut RequestParts, _: &Api) -> Result<Self, Fail> {
        segment(parts, "hook").await.map(Self)
    }
}

/// `{run}` of a path.
#[derive(Debug)]
pub(super) struct RunName(pub String);

impl FromRequestParts<Api> for RunName {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut RequestParts, _: &Api) -> Result<Self, Fail> {
        let text = segment(parts, "run").await?;
        // What cannot be a name names nothing.
        let is_name = text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_name { Ok(Self(text)) } else { Err(Fail::new(ProblemCode::NotFound, "there is no such run")) }
    }
}

/// The one part of a path that names something else.
#[derive(Debug)]
pub(super) struct Segment(pub String);

impl FromRequestParts<Api> for Segment {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut RequestParts, _: &Api) -> Result<Self, Fail> {
        let segments = segments(parts).await?;
        Ok(Self(segments.into_iter().next().map(|(_, v)| v).unwrap_or_default()))
    }
}

/// `{sha256}` of a path.
#[derive(Debug)]
pub(super) struct Sha256(pub Sha256Hex);

impl FromRequestParts<Api> for Sha256 {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut RequestParts, _: &Api) -> Result<Self, Fail> {
        let text = segment(parts, "sha256").await?;
        Sha256Hex::new(&*text).map(Self).map_err(|e| Fail::field("sha256", e))
    }
}

/// The part of a path of that name.
async fn segment(parts: &mut RequestParts, name: &str) -> Result<String, Fail> {
    let segments = segments(parts).await?;
    Ok(segments.into_iter().find(|(k, _)| k == name).map(|(_, v)| v).unwrap_or_default())
}

async fn segments(parts: &mut RequestParts) -> Result<Vec<(String, String)>, Fail> {
    let Path(segments) = Path::<Vec<(String, String)>>::from_request_parts(parts, &())
        .await
        .map_err(|_| Fail::new(ProblemCode::Invalid, "the path is not UTF-8"))?;
    Ok(segments)
}

/// Whether somebody may read an app of these owners.
pub(super) fn reads(who: &Subject, app: &Placement, owners: &[Owner]) -> bool {
    decide(who, Verb::Read, &Object::App { app, owners: Some(owners) }) == Decision::Allowed
}

/// The `app` of a query, where it has one.
pub(super) fn placement(app: Option<String>) -> Answer<Option<Placement>> {
    app.map(|a| a.parse()).transpose().map_err(|e: NameError| Fail::field("app", e.to_string()))
}

/// One app, or every one that may be read.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct OneApp {
    /// Of this app alone.
    app: Option<String>,
}

impl OneApp {
    /// The app that is asked for, where one is, and whether it may be read.
    pub(super) async fn asked(self, api: &Api, caller: &mut Caller) -> Answer<Option<Placement>> {
        let Some(app) = placement(self.app)? else { return Ok(None) };
        caller.may(api, Verb::Read, &app).await?;
        Ok(Some(app))
    }
}

/// A query, whose unknown or wrong parts are refused.
#[derive(Debug)]
pub(super) struct Query<T>(pub T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut RequestParts, _: &S) -> Result<Self, Fail> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|q| Self(q.0))
            .map_err(|e| Fail::field("query", e.body_text()))
    }
}
