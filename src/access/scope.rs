//! What a session may be used for: everything that its owner may, or the little that a token was made for.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::decide::{Object, Verb};
use crate::model::Placement;

/// A session's scope, as its record holds it: the word `all`, or what a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scope {
    /// Of a login.
    Whole(Whole),
    /// Of a token.
    Token(TokenScope),
}

/// The one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whole {
    /// Whatever its owner may.
    All,
}

/// What a token is for. What it may is never more than its maker may at that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenScope {
    /// What its maker calls it.
    pub name: String,
    /// The apps that it may be used for.
    pub apps: BTreeSet<Placement>,
    /// What for: verbs by name.
    pub verbs: BTreeSet<String>,
}

/// The verbs that a token may be made for: those about one app.
pub fn token_verbs() -> impl Iterator<Item = Verb> {
    Verb::ALL.into_iter().filter(|v| !v.is_of_cluster())
}

/// What may be done by a verb, in a few words.
pub fn meaning(verb: Verb) -> &'static str {
    match verb {
        Verb::Read => "status, ps, releases, events",
        Verb::Logs => "read what it writes",
        Verb::Plan => "see what a deploy would do",
        Verb::Upload => "bring what is to be deployed",
        Verb::Deploy => "deploy, with plan and upload",
        Verb::Rollback => "go back to an older release",
        Verb::Run => "start, stop, restart, scale, maintenance",
        Verb::Exec => "run programs in it: exec, run, cp",
        Verb::Connect => "reach its ports: proxy",
        Verb::Configure => "set env and secrets",
        Verb::Reveal => "see the values of env and secrets",
        Verb::Cancel => "cancel operations",
        Verb::Transfer => "say who owns it",
        Verb::Notify => "webhooks",
        Verb::Delete => "delete it, keeping its data",
        Verb::DeleteData => "delete its data too",
        Verb::RawJob => "deploy raw job parts",
        Verb::Metrics => "the agent's figures",
        Verb::Users => "list and remove people",
        Verb::Audit => "the log of every change",
        Verb::Inspect => "how the agents fare",
        Verb::Repair => "mend what belongs to nobody",
    }
}

/// What somebody who may do one thing needs besides: to see it, and for a deploy to bring what is deployed.
fn implied(by: &str) -> &'static [Verb] {
    match by {
        "deploy" => &[Verb::Read, Verb::Plan, Verb::Upload],
        _ => &[Verb::Read],
    }
}

impl TokenScope {
    /// Whether it is for this.
    pub fn covers(&self, verb: Verb, object: &Object<'_>) -> bool {
        match object {
            Object::Cluster => false,
            Object::App { app, .. } => {
                self.apps.contains(*app)
                    && self.verbs.iter().any(|v| v == verb.as_str() || implied(v).contains(&verb))
            }
        }
    }
}

impl fmt::Display for TokenScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verbs: Vec<&str> = self.verbs.iter().map(String::as_str).collect();
        let apps: Vec<String> = self.apps.iter().map(ToString::to_string).collect();
        write!(f, "{} of {}", verbs.join(", "), apps.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_login_and_one_of_a_token_are_told_apart() {
        assert_eq!(serde_json::to_string(&Scope::Whole(Whole::All)).unwrap(), "\"all\"");
        assert!(serde_json::from_str::<Scope>("\"some\"").is_err(), "an unknown scope is no scope");
        let token = Scope::Token(TokenScope {
            name: "ci".into(),
            apps: ["carnet".parse().unwrap()].into(),
            verbs: ["deploy".to_owned()].into(),
        });
        let json = serde_json::to_string(&token).unwrap();
        assert_eq!(serde_json::from_str::<Scope>(&json).unwrap(), token);
    }

    #[test]
    fn a_token_is_for_its_apps_its_verbs_and_what_they_need() {
        let (carnet, other): (Placement, Placement) =
            ("carnet".parse().unwrap(), "carnet@test".parse().unwrap());
        let scope = TokenScope {
            name: "ci".into(),
            apps: [carnet.clone()].into(),
            verbs: ["deploy".to_owned()].into(),
        };
        for verb in Verb::ALL {
            let wanted = matches!(verb, Verb::Deploy | Verb::Plan | Verb::Upload | Verb::Read);
            assert_eq!(scope.covers(verb, &Object::App { app: &carnet, owners: None }), wanted, "{verb:?}");
            assert!(!scope.covers(verb, &Object::App { app: &other, owners: None }), "{verb:?}");
            assert!(!scope.covers(verb, &Object::Cluster), "{verb:?}");
        }
        assert_eq!(scope.to_string(), "deploy of carnet");
    }
}
