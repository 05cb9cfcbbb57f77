//! The feed of an app's events. Programs that read feeds know names and passwords, not bearer tokens: here, and nowhere
//! else, a token of `terreau tokens create` is taken as the password of HTTP Basic. That of a login is not.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts as RequestParts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

use super::Api;
use super::caller::{App, Caller, bearer};
use super::problem::{Answer, Fail};
use crate::access::{AccessError, Verb};
use crate::model::wire::Problem;
use crate::model::{Placement, sha256_hex};

/// Somebody by a bearer token, or by a token as a password.
#[derive(Debug)]
pub(super) struct Reader(Caller);

/// A refusal that asks for a name and a password, too.
#[derive(Debug)]
pub(super) struct Ask(Fail);

impl IntoResponse for Ask {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        if response.status() == StatusCode::UNAUTHORIZED {
            let basic = HeaderValue::from_static(r#"Basic realm="terreau", charset="UTF-8""#);
            response.headers_mut().append(header::WWW_AUTHENTICATE, basic);
        }
        response
    }
}

/// The password of HTTP Basic (RFC 7617); whatever name stands before it.
fn password(parts: &RequestParts) -> Option<SecretString> {
    let text = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = zeroize::Zeroizing::new(STANDARD.decode(rest.trim()).ok()?);
    let (_, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    Some(SecretString::from(password.to_owned()))
}

impl FromRequestParts<Api> for Reader {
    type Rejection = Ask;

    async fn from_request_parts(parts: &mut RequestParts, api: &Api) -> Result<Self, Ask> {
        let refused = |why: &'static str| Ask(AccessError::NotLoggedIn(why).into());
        if bearer(parts).is_some() {
            return Caller::from_request_parts(parts, api).await.map(Self).map_err(Ask);
        }
        let token = password(parts).ok_or_else(|| {
            refused("this needs a login, or a token of `terreau tokens create` as the password")
        })?;
        let caller = Caller::by_token(parts, api, &token).await.map_err(Ask)?;
        if caller.session.subject.scope.is_none() {
            return Err(refused(
                "the password is the token of a login; make one for this: `terreau tokens create`",
            ));
        }
        Ok(Self(caller))
    }
}

/// What happened to an app, as an Atom feed (RFC 4287): what people did, what was rolled out, and where instances failed.
/// Also by HTTP Basic, with a token that may read the app as the password, and any name.
#[utoipa::path(get, path = "/v1/apps/{app}/events.atom", tag = "apps", params(("app" = String, Path)), responses(
    (status = 200, body = String, content_type = "application/atom+xml"),
    (status = 304, description = "`If-None-Match` names what it is now"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn feed(
    State(api): State<Api>,
    Reader(mut caller): Reader,
    App(app): App,
    headers: HeaderMap,
) -> Answer<Response> {
    caller.may(&api, Verb::Read, &app).await?;
    let text = api.deployer.feed(&app, &place(&headers, &app)).await?;
    let tag = format!("\"{}\"", &sha256_hex(&text).as_str()[..32]);
    let kept = [(header::CACHE_CONTROL, "private, no-cache".to_owned()), (header::ETAG, tag.clone())];
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    let kind = [(header::CONTENT_TYPE, "application/atom+xml; charset=utf-8")];
    Ok((kept, kind, text).into_response())
}

/// Where the reader found it: as the proxy before us says, where there is one.
fn place(headers: &HeaderMap, app: &Placement) -> String {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let scheme = match text("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    let host = text("host").filter(|h| h.parse::<http::uri::Authority>().is_ok()).unwrap_or("localhost");
    format!("{scheme}://{host}/v1/apps/{app}/events.atom")
}

/// Whether the reader has just this (RFC 9110, section 13.1.2: compared weakly).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let mut tags = given.flat_map(|v| v.split(',')).map(str::trim);
    tags.any(|t| t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (header::HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_reader_that_has_it_is_recognised() {
        for (given, wanted) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ] {
            assert_eq!(is_known(&headers(&[("if-none-match", given)]), "\"a\""), wanted, "{given}");
        }
    }

    #[test]
    fn the_feed_says_where_it_was_found() {
        let app: Placement = "carnet@test".parse().unwrap();
        let at = |pairs: &[(&'static str, &str)]| place(&headers(pairs), &app);
        let proxied = [("host", "terreau.example.org"), ("x-forwarded-proto", "https")];
        assert_eq!(at(&proxied), "https://terreau.example.org/v1/apps/carnet@test/events.atom");
        assert_eq!(at(&[("host", "a b")]), "http://localhost/v1/apps/carnet@test/events.atom");
    }
}
