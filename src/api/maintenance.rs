//! The maintenance page: asked for by people, and shown to visitors.
//!
//! Visitors come to a listener of its own, by the proxy, and to nothing else there: no host that an app holds can ever stand
//! in the place of the API.

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::Api;
use super::body;
use super::caller::{App, Caller};
use super::deploys::whole;
use super::problem::{Answer, Fail};
use crate::access::Verb;
use crate::deploy::{Deployer, Front};
use crate::model::wire::{MaintenanceRequest, MaintenanceView, Problem};

/// What the page says where nobody said anything.
const WORDS: &str = "We are working on it. Please come back in a while.";
/// When visitors may try again, in seconds.
const RETRY: HeaderValue = HeaderValue::from_static("30");

/// Puts a page in the place of an app, or takes it away. What runs goes on.
#[utoipa::path(post, path = "/v1/apps/{app}/maintenance", tag = "apps", params(("app" = String, Path)), request_body = MaintenanceRequest, responses(
    (status = 200, body = MaintenanceView),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The lock is held, or the world moved", body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn set(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<MaintenanceRequest>,
) -> Answer<Json<MaintenanceView>> {
    caller.may(&api, Verb::Run, &app).await?;
    let MaintenanceRequest { on, message, page } = request;
    if message.is_some() && page.is_some() {
        return Err(Fail::field("page", "stands alone: it is in the place of ours and its message"));
    }
    if !on && (message.is_some() || page.is_some()) {
        return Err(Fail::field("on", "is false: there is no page to say anything"));
    }
    let front = if on { Front::Page { message, page } } else { Front::App };
    let (by, of, deployer) = (caller.by(), app.clone(), api.deployer.clone());
    let done = whole(async move { deployer.maintain(&by, &of, &front).await }).await?;
    let message = match done.front {
        Front::Page { message, page: None } => Some(message.unwrap_or_else(|| WORDS.to_owned())),
        Front::Page { .. } | Front::App => None,
    };
    Ok(Json(MaintenanceView {
        app: app.to_string(),
        on,
        change: done.id.map(|id| id.to_string()),
        urls: done.urls,
        message,
    }))
}

/// What visitors see whom the proxy sends here. Every answer is 503: nobody comes here but in the place of an app.
pub fn pages(deployer: Deployer) -> Router {
    Router::new().fallback(page).with_state(deployer)
}

async fn page(State(deployer): State<Deployer>, request: Request) -> Response {
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
    let mut found = deployer.page_at(&host).await;
    // In development a browser comes by a name below `localhost`.
    if let (None, Some(name)) = (&found, host.strip_suffix(".localhost")) {
        found = deployer.page_at(name).await;
    }
    let (message, own) = found.map(|p| (p.message, p.page)).unwrap_or_default();
    let text = own.unwrap_or_else(|| ours(message.as_deref()));
    let headers = [
        (header::RETRY_AFTER, RETRY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (StatusCode::SERVICE_UNAVAILABLE, headers, Html(text)).into_response()
}

fn ours(message: Option<&str>) -> String {
    let message = message.unwrap_or(WORDS);
    let escaped =
        message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let lines: Vec<String> = escaped.lines().map(|l| format!("<p>{l}</p>")).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Down for maintenance</title>\n\
         <body style=\"font-family: sans-serif; margin: 4em auto; max-width: 40em; padding: 0 1em\">\n\
         <h1>Down for maintenance</h1>\n{}\n</body>\n</html>\n",
        lines.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::ours;

    #[test]
    fn a_message_is_text_and_never_markup() {
        let page = ours(Some("<script>a & b\n\"c\""));
        assert!(page.contains("<p>&lt;script&gt;a &amp; b</p><p>&quot;c&quot;</p>"), "{page}");
    }
}
