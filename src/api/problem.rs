//! The one place where errors become answers (RFC 9457). Clients see what they can act upon; the log sees the rest.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::access::{AccessError, Decision, TokenScope, Verb, meaning};
use crate::deploy;
use crate::engines::{EngineError, Fault};
use crate::model::wire::{FieldFault, Problem, ProblemCode};
use crate::plan::refusal;

tokio::task_local! {
    /// Names the request in answers and in the log.
    pub(super) static REQUEST: String;
}

/// The id of the request in hand.
pub(super) fn request_id() -> Option<String> {
    REQUEST.try_with(Clone::clone).ok()
}

/// A refusal or a failure, on its way out.
#[derive(Debug)]
pub(super) struct Fail(Box<Problem>);

/// What handlers give.
pub(super) type Answer<T> = Result<T, Fail>;

impl Fail {
    pub(super) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// What was sent is wrong: all of it, with every fault.
    pub(super) fn fields(errors: Vec<FieldFault>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("1 fault: {}", one.message),
            many => format!("{} faults", many.len()),
        };
        let mut fail = Self::new(ProblemCode::Invalid, detail);
        fail.0.errors = errors;
        fail
    }

    pub(super) fn field(name: &str, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldFault {
            field: Some(name.to_owned()),
            message: message.into(),
            ..FieldFault::default()
        }])
    }

    /// The answer to a decision that is no yes. `what` names the object as the client did.
    pub(super) fn decided(decision: Decision, what: &str) -> Self {
        match decision {
            Decision::NameNotAvailable => {
                Self::new(ProblemCode::NameNotAvailable, format!("the name {what} is not available"))
                    .hint("choose another name for the project")
            }
            Decision::OutOfScope => {
                Self::new(ProblemCode::NotAllowed, format!("this token is not for this with {what}"))
            }
            Decision::NotAllowed | Decision::Allowed => {
                Self::new(ProblemCode::NotAllowed, format!("you may not do this with {what}"))
                    .hint("ask an owner or an admin")
            }
            // The words of what is really not there: the two are not to be told apart.
            Decision::NotFound => Self::new(ProblemCode::NotFound, format!("there is no app {what}")),
        }
    }

    /// With the things that it is about, one by one.
    pub(super) fn listing(mut self, errors: Vec<FieldFault>) -> Self {
        self.0.errors = errors;
        self
    }

    /// Says what a token is for, where it is used for something else.
    pub(super) fn out_of_scope(scope: &TokenScope, verb: Verb, what: &str) -> Self {
        let text = format!(
            "the token {:?} is for {scope}, and not for {} ({}) of {what}",
            scope.name,
            verb.as_str(),
            meaning(verb)
        );
        Self::new(ProblemCode::NotAllowed, text).hint("make one that is: `terreau tokens create`")
    }

    pub(super) fn is_not_allowed(&self) -> bool {
        self.0.code == ProblemCode::NotAllowed
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.0.code == ProblemCode::NotFound
    }

    /// The document itself, for those who cannot be sent a status any more.
    pub(super) fn document(mut self) -> Box<Problem> {
        self.0.request = request_id();
        self.0
    }

    #[cfg(test)]
    pub(super) fn problem(&self) -> &Problem {
        &self.0
    }
}

impl IntoResponse for Fail {
    fn into_response(mut self) -> Response {
        self.0.request = request_id();
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let code = self.0.code;
        tracing::debug!(code = code.as_str(), detail = %self.0.detail, "refused");
        let mut response = (status, Json(*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if code == ProblemCode::NotLoggedIn {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(code, ProblemCode::EngineAway | ProblemCode::TooMany) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<AccessError> for Fail {
    fn from(e: AccessError) -> Self {
        match e {
            AccessError::Refused => Self::new(ProblemCode::NotLoggedIn, e.to_string()),
            AccessError::NotLoggedIn(why) => {
                Self::new(ProblemCode::NotLoggedIn, why).hint("log in: terreau login")
            }
            AccessError::Busy => {
                Self::new(ProblemCode::EngineAway, e.to_string()).hint("try again in a moment")
            }
            AccessError::Engine(e) => e.into(),
        }
    }
}

impl From<EngineError> for Fail {
    fn from(e: EngineError) -> Self {
        let engine = e.engine.to_string();
        let away = |what: &str| {
            let mut fail = Self::new(ProblemCode::EngineAway, format!("{engine} {what} ({})", e.doing));
            fail.0.engine = Some(engine.clone());
            fail.hint("try again in a moment; /readyz shows the state of each engine")
        };
        match e.fault {
            Fault::Away => away("does not answer"),
            Fault::Broken => away("answers wrongly"),
            Fault::Denied => {
                let fail = away("refuses the agent's own credentials");
                match e.setting() {
                    Some(setting) => fail.hint(format!(
                        "the operator of this server must correct {setting} in the agent's configuration; then try again"
                    )),
                    None => fail,
                }
            }
            Fault::Fenced => away("is not written to: the agent has lost its session"),
            Fault::Busy => {
                let fail = away("was not asked: too much is being asked of it here already");
                fail.hint("try again in a moment")
            }
            Fault::Conflict => {
                Self::new(ProblemCode::Conflict, format!("{engine}: {}: {}", e.doing, e.message))
            }
            Fault::Invalid => Self::new(ProblemCode::Invalid, format!("{engine} refuses: {}", e.message)),
            Fault::TooLarge => Self::new(ProblemCode::TooLarge, format!("{}: {}", e.doing, e.message)),
            Fault::NotFound => {
                Self::new(ProblemCode::Internal, format!("{engine} has lost something: {}", e.doing))
            }
        }
        .logged(&e)
    }
}

impl Fail {
    /// Writes the whole of an error to the log, where it is not the client's own doing.
    fn logged(self, error: &EngineError) -> Self {
        if matches!(self.0.code, ProblemCode::EngineAway | ProblemCode::Internal) {
            tracing::warn!(error = %error, request = request_id(), "a request failed for an engine");
        }
        self
    }
}

impl From<deploy::Error> for Fail {
    fn from(e: deploy::Error) -> Self {
        use deploy::Error as E;
        match e {
            E::Descriptor(faults) => {
                let errors = faults.iter().map(|f| FieldFault {
                    field: None,
                    file: Some(f.file.clone()),
                    line: Some(f.line),
                    column: Some(f.column),
                    source: Some(f.source_line.clone()),
                    message: f.message.clone(),
                    suggestion: f.suggestion.clone().or_else(|| f.help.clone()),
                });
                Self::fields(errors.collect())
            }
            E::Invalid(why) => Self::new(ProblemCode::Invalid, why),
            E::TooLarge(why) => Self::new(ProblemCode::TooLarge, why),
            E::Obstacles(list) => Self(Box::new(refusal(&list))),
            E::NotFound(why) => Self::new(ProblemCode::NotFound, why),
            E::Absent { why, hint } => Self::new(ProblemCode::NotFound, why).hint(hint),
            E::NameNotAvailable { why, hint } => {
                let fail = Self::new(ProblemCode::NameNotAvailable, why);
                if hint.is_empty() { fail } else { fail.hint(hint) }
            }
            E::Held { ref holder, .. } => {
                let text = format!("{} of {}, operation {}", holder.verb, holder.login, holder.operation);
                let id = &holder.operation;
                let end = format!(
                    "`terreau operations follow {id}` follows it, `terreau operations cancel {id}` turns it back, or gives it up"
                );
                let mut fail = Self::new(ProblemCode::Conflict, e.to_string());
                fail.0.holder = Some(text);
                fail.0.operation = Some(holder.operation.to_string());
                fail.hint(format!("{end}; then try again"))
            }
            E::Refused { why, hint } => Self::new(ProblemCode::Conflict, why).hint(hint),
            E::Moved(why, _) => {
                Self::new(ProblemCode::Conflict, why).hint("plan again, look at the new plan, then deploy it")
            }
            E::Unreachable(why) => Self::new(ProblemCode::EngineAway, why),
            E::Unready(why) => {
                let mut fail = Self::new(ProblemCode::EngineAway, why);
                fail.0.engine = Some("consul".to_owned());
                fail.hint("try again in a moment")
            }
            E::Unsure { operation, lost } => {
                let mut fail = Self::from(lost);
                let said = "whether the change was begun is not known; if it was, it goes on by itself";
                fail.0.detail = format!("{}: {said}", fail.0.detail);
                fail.hint(format!(
                    "`terreau status` shows it, or `terreau operations follow {operation}`; else try again in a moment"
                ))
            }
            E::Engine(e) => e.into(),
        }
    }
}

/// Every path and method that is none of ours.
pub(super) async fn no_such_route(uri: Uri) -> Fail {
    Fail::new(ProblemCode::NotFound, format!("there is nothing at {} for this method", uri.path()))
        .hint("/v1/openapi.json lists what there is")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::Engine;

    #[test]
    fn every_fault_of_an_engine_has_its_own_stable_code() {
        for (fault, code) in [
            (Fault::Away, ProblemCode::EngineAway),
            (Fault::Broken, ProblemCode::EngineAway),
            (Fault::Denied, ProblemCode::EngineAway),
            (Fault::Fenced, ProblemCode::EngineAway),
            (Fault::Busy, ProblemCode::EngineAway),
            (Fault::Conflict, ProblemCode::Conflict),
            (Fault::Invalid, ProblemCode::Invalid),
            (Fault::TooLarge, ProblemCode::TooLarge),
            (Fault::NotFound, ProblemCode::Internal),
        ] {
            let fail = Fail::from(EngineError::new(Engine::Nomad, fault, "register job x", "10.0.0.1:4646"));
            assert_eq!(fail.problem().code, code, "{fault:?}");
            if code == ProblemCode::EngineAway {
                assert_eq!(fail.problem().engine.as_deref(), Some("nomad"));
                assert!(!fail.problem().detail.contains("10.0.0.1"), "addresses are for the log");
            }
        }
    }

    #[test]
    fn what_is_hidden_reads_as_what_is_not_there() {
        let hidden = Fail::decided(Decision::NotFound, "carnet");
        let absent = Fail::from(deploy::Error::NotFound("there is no app carnet".to_owned()));
        assert_eq!(hidden.problem(), absent.problem());
    }
}
