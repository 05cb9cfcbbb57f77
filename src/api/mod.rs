//! The HTTP door: routes, problem+json, OpenAPI. Calls use cases only.
