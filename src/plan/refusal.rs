//! The refusal of a change that things stand in the way of: in the same words at the server, and where a plan foretells it
//! before anything is sent. Pure.

use super::document::Obstacle;
use crate::model::wire::{FieldFault, Problem, ProblemCode};

/// What is answered to a change with these obstacles.
pub fn refusal(list: &[Obstacle]) -> Problem {
    if let [one] = list
        && one.code == "name_not_available"
    {
        let hint = Some(one.hint.clone()).filter(|h| !h.is_empty());
        return Problem { hint, ..Problem::new(ProblemCode::NameNotAvailable, one.why.clone()) };
    }
    let is_taken = list.iter().any(|o| matches!(o.code.as_str(), "name_not_available" | "not_ours"));
    let code = if is_taken { ProblemCode::Conflict } else { ProblemCode::Invalid };
    let detail = match list {
        [one] => format!("1 fault: {}", one.why),
        many => format!("{} faults", many.len()),
    };
    let fault = |o: &Obstacle| FieldFault {
        field: Some(o.target.clone()),
        message: o.why.clone(),
        suggestion: Some(o.hint.clone()).filter(|h| !h.is_empty()),
        ..FieldFault::default()
    };
    Problem { errors: list.iter().map(fault).collect(), ..Problem::new(code, detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_a_conflict_and_what_is_missing_is_invalid() {
        let one = |code: &str, target: &str| Obstacle {
            code: code.to_owned(),
            target: target.to_owned(),
            why: format!("{target} is in the way"),
            hint: "do something".to_owned(),
        };
        let host = refusal(&[one("name_not_available", "a.example.org")]);
        assert_eq!(
            (host.code, host.detail.as_str()),
            (ProblemCode::NameNotAvailable, "a.example.org is in the way")
        );
        assert_eq!(host.hint.as_deref(), Some("do something"));
        let missing = refusal(&[one("missing", "redis")]);
        assert_eq!((missing.code, missing.errors.len()), (ProblemCode::Invalid, 1));
        let both = refusal(&[one("missing", "redis"), one("not_ours", "carnet")]);
        assert_eq!((both.code, both.detail.as_str()), (ProblemCode::Conflict, "2 faults"));
        assert_eq!(both.errors[1].field.as_deref(), Some("carnet"));
    }
}
