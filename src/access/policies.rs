//! The policies about people: Cedar texts from `policies/people/`, or from a folder of the operator's.
//!
//! Loaded and checked once, at start: a policy that does not parse or does not fit the schema stops the agent.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use cedar_policy::{PolicyId, PolicySet, Schema, ValidationMode, Validator};

/// The words that policies may use.
const SCHEMA: &str = include_str!("../../policies/people/schema.cedarschema");
/// The policies that come with the program.
const BUILT_IN: [(&str, &str); 3] = [
    ("admins.cedar", include_str!("../../policies/people/admins.cedar")),
    ("owners.cedar", include_str!("../../policies/people/owners.cedar")),
    ("members.cedar", include_str!("../../policies/people/members.cedar")),
];

/// What is wrong with policies: every file and every fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policies about people: {}", .0.join("; "))]
pub struct PolicyError(pub Vec<String>);

/// Checked policies.
pub struct Policies {
    pub(super) set: PolicySet,
    pub(super) schema: Schema,
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").field("policies", &self.set.policies().count()).finish_non_exhaustive()
    }
}

static OWN: LazyLock<Arc<Policies>> = LazyLock::new(|| {
    let texts = BUILT_IN.map(|(file, text)| (file.to_owned(), text.to_owned()));
    // Checked by a test; without policies nobody may do anything, which is the safe way to be wrong.
    Arc::new(Policies::check(&texts).unwrap_or_else(|e| {
        tracing::error!(error = %e, "the program's own policies are wrong");
        Policies { set: PolicySet::new(), schema: empty_schema() }
    }))
});

fn empty_schema() -> Schema {
    Schema::from_schema_fragments([]).unwrap_or_else(|_| unreachable!("the schema of nothing is a schema"))
}

impl Policies {
    /// Those that come with the program.
    pub fn built_in() -> Arc<Self> {
        OWN.clone()
    }

    /// Those of a folder (`*.cedar`), **instead of** the program's own.
    pub fn from_folder(folder: &Path) -> Result<Arc<Self>, PolicyError> {
        let unreadable =
            |path: &Path, e: std::io::Error| PolicyError(vec![format!("{}: {e}", path.display())]);
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect())
            .map_err(|e| unreadable(folder, e))?;
        files.retain(|p| p.extension().is_some_and(|e| e == "cedar"));
        files.sort();
        if files.is_empty() {
            return Err(PolicyError(vec![format!(
                "{} holds no *.cedar file: nobody could do anything",
                folder.display()
            )]));
        }
        let mut texts = Vec::new();
        for path in files {
            let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
            texts.push((path.display().to_string(), text));
        }
        Self::check(&texts).map(Arc::new)
    }

    fn check(texts: &[(String, String)]) -> Result<Self, PolicyError> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA)
            .map_err(|e| PolicyError(vec![format!("schema.cedarschema: {e}")]))?;
        let mut faults = Vec::new();
        let mut set = PolicySet::new();
        for (file, text) in texts {
            let one = match PolicySet::from_str(text) {
                Ok(one) => one,
                Err(errors) => {
                    faults.extend(errors.iter().map(|e| format!("{file}: {e}")));
                    continue;
                }
            };
            for (n, policy) in one.policies().enumerate() {
                let name = policy.annotation("id").map_or_else(|| format!("{file}#{}", n + 1), str::to_owned);
                if let Err(e) = set.add(policy.new_id(PolicyId::new(name))) {
                    faults.push(format!("{file}: {e}"));
                }
            }
        }
        if faults.is_empty() {
            let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
            faults.extend(result.validation_errors().map(|e| format!("{}: {e}", e.policy_id())));
        }
        if faults.is_empty() { Ok(Self { set, schema }) } else { Err(PolicyError(faults)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Policies, PolicyError> {
        Policies::check(&[("x.cedar".to_owned(), text.to_owned())])
    }

    #[test]
    fn the_programs_own_policies_fit_the_schema() {
        let texts = BUILT_IN.map(|(file, text)| (file.to_owned(), text.to_owned()));
        assert!(Policies::check(&texts).unwrap().set.policies().count() >= 5);
    }

    #[test]
    fn a_policy_with_a_word_that_is_not_in_the_schema_is_refused_with_its_name() {
        let error = check(r#"@id("mine") permit(principal, action, resource) when { principal.age > 3 };"#);
        assert!(error.unwrap_err().to_string().contains("mine"), "wrong attribute");
        assert!(check("permit(principal, action, resource").unwrap_err().to_string().contains("x.cedar"));
        assert!(check(r#"permit(principal, action == Action::"fly", resource);"#).is_err());
    }

    #[test]
    fn a_folder_without_policies_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Policies::from_folder(folder.path()).unwrap_err().to_string().contains("nobody"));
        std::fs::write(folder.path().join("a.cedar"), "permit(principal, action, resource);").unwrap();
        assert!(Policies::from_folder(folder.path()).is_ok());
    }
}
