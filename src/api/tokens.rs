//! Tokens for programs: made by a person, for some verbs on some apps, shown once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Api;
use super::body;
use super::caller::{Caller, Query, Segment};
use super::problem::{Answer, Fail};
use crate::access::{
    LONGEST_TOKEN, MOST_TOKENS, SHORTEST_TOKEN, Standing, Token, TokenScope, Verb, meaning, token_verbs,
};
use crate::model::Placement;
use crate::model::wire::{
    FieldFault, Hidden, Problem, ProblemCode, TokenAnswer, TokenRequest, TokenView, Tokens,
};

/// What lists show of an id, and the shortest beginning of one that is taken.
const SHOWN: usize = 8;
const SHORTEST: usize = 4;
/// The longest name, and the most apps, of a token: its record stays small.
const LONGEST_NAME: usize = 64;
const MOST_APPS: usize = 50;

/// Makes a token. Its maker must be allowed everything that it is for, now and whenever it is used.
#[utoipa::path(post, path = "/v1/tokens", tag = "session", request_body = TokenRequest, responses(
    (status = 201, body = TokenAnswer),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn make(
    State(api): State<Api>,
    mut caller: Caller,
    body::Json(request): body::Json<TokenRequest>,
) -> Answer<Response> {
    caller.in_person()?;
    caller.session.may_change()?;
    let lasts = Duration::from_secs(request.expires_in);
    let scope = scope(&request, lasts)?;
    for app in &scope.apps {
        for verb in scope.verbs.iter().filter_map(|v| Verb::named(v)) {
            caller.may(&api, verb, app).await?;
        }
    }
    let words = format!("token {:?} for {scope}, {} s", scope.name, request.expires_in);
    let login = caller.session.subject.login.clone();
    api.deployer.told_of_person(&caller.by(), &login, "token-create", words).await?;
    let Some((id, opened)) = api.access.make_token(&caller.session, scope, lasts).await? else {
        let text = format!("you have {MOST_TOKENS} tokens, which is as many as one may have");
        return Err(Fail::new(ProblemCode::Conflict, text).hint("revoke one: `terreau tokens list`"));
    };
    let answer = TokenAnswer { id, token: Hidden(opened.token), expires_at: opened.expires.to_string() };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// The verbs, a line each.
fn verbs_there_are() -> String {
    let mut text = String::new();
    for verb in token_verbs() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {:<11}{}", verb.as_str(), meaning(verb));
    }
    text
}

/// What is asked for, or everything that is wrong with it.
fn scope(request: &TokenRequest, lasts: Duration) -> Answer<TokenScope> {
    let mut faults = Vec::new();
    let mut fault = |field: &str, message: String| {
        faults.push(FieldFault { field: Some(field.to_owned()), message, ..FieldFault::default() });
    };
    let name = request.name.trim();
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        fault("name", format!("wanted is a name of 1 to {LONGEST_NAME} bytes"));
    }
    let mut apps = BTreeSet::new();
    for app in request.apps.iter().take(MOST_APPS + 1) {
        match app.parse::<Placement>() {
            Ok(app) => drop(apps.insert(app)),
            Err(e) => fault("apps", e.to_string()),
        }
    }
    if request.apps.is_empty() || apps.len() > MOST_APPS {
        fault("apps", format!("wanted are 1 to {MOST_APPS} apps"));
    }
    let known: Vec<&str> = token_verbs().map(Verb::as_str).collect();
    let mut verbs = BTreeSet::new();
    for verb in request.verbs.iter().take(known.len() + 1) {
        if known.contains(&verb.as_str()) {
            verbs.insert(verb.clone());
        } else {
            let near = crate::model::nearest(verb, known.iter().copied());
            let near = near.map(|n| format!(", did you mean {n}?")).unwrap_or_default();
            fault("verbs", format!("{:?} is no verb{near}{}", body::brief(verb), verbs_there_are()));
        }
    }
    if request.verbs.is_empty() {
        fault("verbs", format!("what is it for?{}", verbs_there_are()));
    }
    if lasts < SHORTEST_TOKEN || lasts > LONGEST_TOKEN {
        let (least, most) = (SHORTEST_TOKEN.as_secs(), LONGEST_TOKEN.as_secs());
        fault("expires_in", format!("wanted are {least} to {most} seconds"));
    }
    if faults.is_empty() {
        Ok(TokenScope { name: name.to_owned(), apps, verbs })
    } else {
        Err(Fail::fields(faults))
    }
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct TokensParams {
    /// Everybody's, for admins.
    #[param(required = false)]
    all: bool,
}

/// The tokens of the person who asks; everybody's for admins.
#[utoipa::path(get, path = "/v1/tokens", tag = "session", params(TokensParams), responses(
    (status = 200, body = Tokens),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    mut caller: Caller,
    Query(params): Query<TokensParams>,
) -> Answer<Json<Tokens>> {
    caller.in_person()?;
    if params.all {
        caller.may_here(&api, Verb::Users).await?;
    }
    let of = (!params.all).then_some(&caller.session.subject.login);
    let tokens = api.access.tokens(of).await?.into_iter().map(view).collect();
    Ok(Json(Tokens { tokens }))
}

fn view(token: Token) -> TokenView {
    TokenView {
        id: token.id,
        name: token.scope.name,
        user: token.login.to_string(),
        apps: token.scope.apps.iter().map(ToString::to_string).collect(),
        verbs: token.scope.verbs.into_iter().collect(),
        created_at: token.created.to_string(),
        expires_at: token.expires.to_string(),
    }
}

/// Ends a token: its own maker's, or anybody's for admins. It opens nothing any more, on any agent.
#[utoipa::path(delete, path = "/v1/tokens/{token}", tag = "session", params(("token" = String, Path, description = "The id, the beginning of one that is no other's, or the name of one's own")), responses(
    (status = 204),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<StatusCode> {
    caller.in_person()?;
    let login = &caller.session.subject.login;
    let of = (caller.session.subject.standing != Standing::Admin).then_some(login);
    let mut found = api.access.tokens(of).await?;
    // Less is too easily another's.
    let is_meant = |t: &Token| id.len() >= SHORTEST && t.id.starts_with(&id);
    // A name is its maker's own: an admin means nobody else's by it.
    let is_named = |t: &Token| t.login == *login && t.scope.name == id;
    found.retain(|t| is_meant(t) || is_named(t));
    let token = match found.as_slice() {
        [one] => one,
        [] => {
            let text = format!("there is no token {}", body::brief(&id));
            return Err(Fail::new(ProblemCode::NotFound, text).hint("`terreau tokens list` lists yours"));
        }
        several => {
            let text = format!(
                "{} tokens are called {}, or have ids that begin so",
                several.len(),
                body::brief(&id)
            );
            let ids: Vec<&str> = several.iter().take(8).map(|t| t.id.get(..SHOWN).unwrap_or(&t.id)).collect();
            return Err(Fail::new(ProblemCode::Conflict, text)
                .hint(format!("name one by its id: {}", ids.join(", "))));
        }
    };
    let words = format!("token {:?} of {} for {} is revoked", token.scope.name, token.login, token.scope);
    api.deployer.told_of_person(&caller.by(), &token.login, "token-revoke", words).await?;
    api.access.revoke(token).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_that_is_none_is_answered_with_each_one_that_is_and_what_it_is_for() {
        let request = TokenRequest {
            name: "ci".into(),
            apps: vec!["carnet".into()],
            verbs: vec!["push".into()],
            expires_in: 3_600,
        };
        let refused = scope(&request, Duration::from_hours(1)).expect_err("it is no verb");
        let said = &refused.problem().detail;
        assert!(said.starts_with("1 fault: \"push\" is no verb\n  read "), "{said}");
        assert!(said.contains("\n  run        start, stop, restart, scale"), "{said}");
        assert!(!said.contains("metrics"), "what no token is for: {said}");
    }
}
