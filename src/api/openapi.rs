//! The OpenAPI 3.1 document: made from the handlers, published, and kept as a golden file.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// What stands above the paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Terreau",
        description = "Puts apps online on a small cluster. Errors are problem documents (RFC 9457) with a stable `code`; \
                       long work answers 202 with an operation, followed at `/v1/operations/{id}/events`.",
        license(name = "AGPL-3.0-or-later", identifier = "AGPL-3.0-or-later")
    ),
    modifiers(&Session),
    security(("session" = [])),
    tags(
        (name = "session", description = "Logging in and out"),
        (name = "apps", description = "Apps, their releases and logs"),
        (name = "users", description = "People, for admins"),
        (name = "config", description = "What apps are configured with: env and secrets"),
        (name = "operations", description = "Changes under way"),
        (name = "audit", description = "The log of every change, for admins"),
        (name = "agent", description = "The agent itself")
    )
)]
pub(super) struct Head;

struct Session;

impl Modify for Session {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("`<id>.<secret>`, from `POST /v1/login`"))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("session", SecurityScheme::Http(scheme));
    }
}

/// The document as JSON, with a newline at its end.
pub fn document() -> String {
    let document = super::routes().into_openapi();
    // Through a value with sorted keys: which order a dependency gives maps is not ours to rely upon.
    let value = serde_json::to_value(&document).unwrap_or_default();
    let sorted: serde_json::Value =
        serde_json::from_str(&crate::model::canonical_json(&value)).unwrap_or_default();
    let mut text = serde_json::to_string_pretty(&sorted).unwrap_or_default();
    text.push('\n');
    text
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "agent", security(()), responses((status = 200, body = Object)))]
pub(super) async fn published() -> Response {
    static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(document);
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    #[test]
    fn pt_75_the_published_document_is_the_one_in_the_docs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let made = super::document();
        if std::env::var_os("TERREAU_BLESS").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(kept == made, "docs/openapi.json is old: TERREAU_BLESS=1 cargo test openapi regenerates it");
    }

    #[test]
    fn every_route_but_the_few_that_design_names_wants_a_session() {
        let document: serde_json::Value = serde_json::from_str(&super::document()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut open = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                if operation.get("security").is_some_and(|s| s == &serde_json::json!([{}])) {
                    open.push(format!("{method} {path}"));
                }
            }
        }
        open.sort();
        assert_eq!(open, ["get /healthz", "get /readyz", "get /v1/openapi.json", "post /v1/login"]);
    }
}
