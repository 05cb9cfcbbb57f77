//! Reads JSON bodies: bounded in size and time, and with every wrong, missing or unknown field told at once.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::header;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Fail;
use crate::model::wire::{self, FieldFault, ProblemCode};

/// No body of JSON is larger: a descriptor has at most 256 KiB, a `file` value 60,000 bytes.
const LARGEST: usize = 2 << 20;
/// A body that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// So many faults of one body are told: an answer is no larger than what asked for it.
pub(super) const TOLD: usize = 100;
/// The longest name that is told whole, and that a known one is looked for beside.
const NAME: usize = 64;

/// What a field may hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Any text.
    Text,
    /// 64 lower-case hex digits.
    Sha256,
    /// A whole number, not negative.
    Whole,
    /// True or false.
    Flag,
    /// Where a release comes from: a commit.
    Origin,
    /// Texts.
    Texts,
    /// An object of texts under free names.
    TextMap,
    /// An object of whole numbers under free names.
    Counts,
    /// A list of one shape.
    List(&'static Shape),
    /// An object of these fields.
    Object(&'static [Field]),
}

/// One field of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    name: &'static str,
    need: Need,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Must,
    May,
}

const fn must(name: &'static str, shape: Shape) -> Field {
    Field { name, need: Need::Must, shape }
}
const fn may(name: &'static str, shape: Shape) -> Field {
    Field { name, need: Need::May, shape }
}

/// A body whose shape is known.
pub(super) trait Body: DeserializeOwned {
    /// Its fields.
    const FIELDS: &'static [Field];
}

use Shape::{Counts, Flag, List, Object, Sha256, Text, TextMap, Texts, Whole};

const PART: &[Field] =
    &[must("sha256", Sha256), must("size", Whole), must("ext", Text), must("entries", Whole)];
const SOURCE: Shape = Shape::Origin;
const ARTIFACT: Shape = Object(&[must("parts", List(&Object(PART)))]);

impl Body for wire::LoginRequest {
    const FIELDS: &'static [Field] = &[must("user", Text), must("password", Text)];
}
impl Body for wire::UploadsRequest {
    const FIELDS: &'static [Field] = &[must("parts", List(&Object(PART)))];
}
impl Body for wire::CompleteUpload {
    const FIELDS: &'static [Field] =
        &[must("ticket", Sha256), must("upload_id", Text), must("ext", Text), must("etags", Texts)];
}
impl Body for wire::PlanRequest {
    const FIELDS: &'static [Field] =
        &[must("descriptor", Text), may("artifact", ARTIFACT), may("ticket", Sha256)];
}
impl Body for wire::DeployRequest {
    const FIELDS: &'static [Field] = &[
        must("descriptor", Text),
        may("artifact", ARTIFACT),
        may("ticket", Sha256),
        may("token", Sha256),
        may("message", Text),
        may("source", SOURCE),
        may("secrets", TextMap),
    ];
}
impl Body for wire::RollbackRequest {
    const FIELDS: &'static [Field] = &[may("to", Whole), may("message", Text), may("ill", Flag)];
}

impl Body for wire::DiffRequest {
    const FIELDS: &'static [Field] = &[
        may("from", Whole),
        may("to", Whole),
        may("descriptor", Text),
        may("artifact", ARTIFACT),
        may("job", Flag),
    ];
}
impl Body for wire::ImportRequest {
    const FIELDS: &'static [Field] = &[must("file", Text), may("deploy", Flag), may("message", Text)];
}
impl Body for wire::ScaleRequest {
    const FIELDS: &'static [Field] = &[must("counts", Counts)];
}
impl Body for wire::RestartRequest {
    const FIELDS: &'static [Field] = &[may("process", Text), may("alloc", Text)];
}
impl Body for wire::MendRequest {
    const FIELDS: &'static [Field] = &[must("targets", Texts)];
}
impl Body for wire::MaintenanceRequest {
    const FIELDS: &'static [Field] = &[must("on", Flag), may("message", Text), may("page", Text)];
}
impl Body for wire::EnvRequest {
    const FIELDS: &'static [Field] = &[
        may("set", TextMap),
        may("unset", Texts),
        may("upon", Counts),
        may("stage", Flag),
        may("message", Text),
    ];
}
impl Body for wire::SecretRequest {
    const FIELDS: &'static [Field] =
        &[must("set", TextMap), may("upon", Counts), may("stage", Flag), may("message", Text)];
}
impl Body for wire::RevealRequest {
    const FIELDS: &'static [Field] = &[may("names", Texts), may("runs", Flag)];
}

impl Body for wire::TokenRequest {
    const FIELDS: &'static [Field] =
        &[must("name", Text), must("apps", Texts), must("verbs", Texts), must("expires_in", Whole)];
}
impl Body for wire::OwnersRequest {
    const FIELDS: &'static [Field] = &[may("add", Texts), may("remove", Texts), may("only", Text)];
}
impl Body for wire::HookRequest {
    const FIELDS: &'static [Field] = &[must("url", Text), may("on", Texts), may("secret", Text)];
}
impl Body for wire::RemoveRequest {
    const FIELDS: &'static [Field] = &[may("transfer_to", Text), may("cascade", Flag)];
}

/// A JSON body.
#[derive(Debug)]
pub(super) struct Json<T>(pub T);

impl<S: Send + Sync, T: Body> FromRequest<S> for Json<T> {
    type Rejection = Fail;

    async fn from_request(request: Request, _: &S) -> Result<Self, Fail> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let is_json =
            kind.is_some_and(|k| k.split(';').next().is_some_and(|k| k.trim() == "application/json"));
        if !is_json {
            return Err(Fail::new(ProblemCode::Invalid, "the body is not declared as application/json"));
        }
        let reading = axum::body::to_bytes(request.into_body(), LARGEST);
        let bytes = match tokio::time::timeout(PATIENCE, reading).await {
            Err(_) => {
                let text = format!("the body did not arrive within {} s", PATIENCE.as_secs());
                return Err(Fail::new(ProblemCode::Invalid, text));
            }
            Ok(Err(e)) if is_too_large(&e) => {
                let text = format!("the body has more than {LARGEST} bytes");
                return Err(Fail::new(ProblemCode::TooLarge, text));
            }
            Ok(Err(_)) => return Err(Fail::new(ProblemCode::Invalid, "the body was cut")),
            Ok(Ok(bytes)) => bytes,
        };
        read(&bytes).map(Self)
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

fn read<T: Body>(bytes: &[u8]) -> Result<T, Fail> {
    // The parser's own words may repeat a piece of the body, which may be a password: only the place is told.
    let value: Value = serde_json::from_slice(bytes).map_err(|e| {
        Fail::new(
            ProblemCode::Invalid,
            format!("the body is no JSON (line {}, column {})", e.line(), e.column()),
        )
    })?;
    let mut faults = Vec::new();
    check(&value, Object(T::FIELDS), "", &mut faults);
    if !faults.is_empty() {
        return Err(Fail::fields(faults));
    }
    serde_json::from_value(value)
        .map_err(|_| Fail::new(ProblemCode::Invalid, "the body holds a value that is out of range"))
}

fn check(value: &Value, shape: Shape, at: &str, faults: &mut Vec<FieldFault>) {
    if faults.len() >= TOLD {
        return;
    }
    let mut fault = |field: &str, message: String, suggestion: Option<String>| {
        let field = Some(if field.is_empty() { "body".to_owned() } else { field.to_owned() });
        faults.push(FieldFault { field, message, suggestion, ..FieldFault::default() });
    };
    let wanted = |what: &str| format!("is {}; wanted is {what}", kind(value));
    match (shape, value) {
        (Text, Value::String(_)) | (Flag, Value::Bool(_)) => {}
        (Text, _) => fault(at, wanted("a text"), None),
        (Sha256, Value::String(s)) if crate::model::Sha256Hex::new(s.as_str()).is_ok() => {}
        (Sha256, _) => fault(at, wanted("64 lower-case hex digits"), None),
        (Whole, Value::Number(n)) if n.is_u64() => {}
        (Whole, _) => fault(at, wanted("a whole number"), None),
        (Flag, _) => fault(at, wanted("true or false"), None),
        (Shape::Origin, Value::Object(_)) => {
            if let Err(e) = serde_json::from_value::<crate::model::origin::Origin>(value.clone()) {
                fault(at, e.to_string(), None);
            }
        }
        (Shape::Origin, _) => fault(at, wanted("an object"), None),
        (Texts, Value::Array(items)) => {
            items.iter().enumerate().for_each(|(i, v)| check(v, Text, &format!("{at}[{i}]"), faults));
        }
        (List(inner), Value::Array(items)) => {
            items.iter().enumerate().for_each(|(i, v)| check(v, *inner, &format!("{at}[{i}]"), faults));
        }
        (Texts | List(_), _) => fault(at, wanted("a list"), None),
        (TextMap, Value::Object(map)) => {
            map.iter().for_each(|(k, v)| check(v, Text, &format!("{at}.{}", brief(k)), faults));
        }
        (Counts, Value::Object(map)) => {
            map.iter().for_each(|(k, v)| check(v, Whole, &format!("{at}.{}", brief(k)), faults));
        }
        (TextMap | Counts | Object(_), v) if !v.is_object() => fault(at, wanted("an object"), None),
        (Object(fields), Value::Object(map)) => {
            let path = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
            let unknown = map.keys().filter(|k| fields.iter().all(|f| f.name != k.as_str()));
            for name in unknown.take(TOLD) {
                // Distance costs memory, too, by the length of both.
                let names = fields.iter().map(|f| f.name).filter(|_| name.len() <= NAME);
                let near = names.min_by_key(|f| strsim::damerau_levenshtein(f, name));
                let near = near.filter(|f| strsim::damerau_levenshtein(f, name) <= 3).map(str::to_owned);
                fault(&path(&brief(name)), "there is no such field".to_owned(), near);
            }
            for field in fields {
                match map.get(field.name) {
                    Some(Value::Null) | None if field.need == Need::May => {}
                    None => fault(&path(field.name), "is missing".to_owned(), None),
                    Some(_) => {}
                }
            }
            for field in fields {
                match map.get(field.name) {
                    Some(Value::Null) if field.need == Need::May => {}
                    Some(v) => check(v, field.shape, &path(field.name), faults),
                    None => {}
                }
            }
        }
        (TextMap | Counts | Object(_), _) => {}
    }
}

pub(super) fn brief(name: &str) -> String {
    let mut brief: String = name.chars().take(NAME).collect();
    if brief.len() < name.len() {
        brief.push('…');
    }
    brief
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults<T: Body + std::fmt::Debug>(text: &str) -> Vec<String> {
        let fail = read::<T>(text.as_bytes()).unwrap_err();
        assert!(!format!("{:?}", fail.problem()).contains("canary"), "{:?}", fail.problem());
        fail.problem()
            .errors
            .iter()
            .map(|e| format!("{} {}", e.field.clone().unwrap_or_default(), e.message))
            .collect()
    }

    #[test]
    fn pt_75_every_wrong_field_of_a_body_is_told_at_once() {
        let told = faults::<wire::DeployRequest>(
            r#"{"descripter":"x","artifact":{"parts":[{"sha256":"canary","size":-1,"ext":3}]},"secrets":{"a":1},"token":"canary"}"#,
        );
        assert_eq!(
            told,
            [
                "descripter there is no such field",
                "descriptor is missing",
                "artifact.parts[0].entries is missing",
                "artifact.parts[0].sha256 is a text; wanted is 64 lower-case hex digits",
                "artifact.parts[0].size is a number; wanted is a whole number",
                "artifact.parts[0].ext is a number; wanted is a text",
                "token is a text; wanted is 64 lower-case hex digits",
                "secrets.a is a number; wanted is a text",
            ]
        );
    }

    #[test]
    fn a_body_that_is_no_json_is_refused_without_repeating_it() {
        let fail = read::<wire::LoginRequest>(br#"{"user":"a","password":"canary"#).unwrap_err();
        assert!(fail.problem().detail.contains("line 1") && !fail.problem().detail.contains("canary"));
        assert_eq!(faults::<wire::LoginRequest>("[]"), ["body is a list; wanted is an object"]);
    }

    #[test]
    fn optional_fields_may_be_absent_or_null() {
        let plan: wire::PlanRequest = read(br#"{"descriptor":"x","artifact":null}"#).unwrap();
        assert!(plan.artifact.is_none() && plan.ticket.is_none());
    }
}
