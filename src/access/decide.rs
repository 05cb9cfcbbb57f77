//! The one place where it is decided what somebody may do. Pure: the policies are in the subject, the facts about
//! the object are handed in.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};

use super::{Standing, Subject};
use crate::model::Placement;
use crate::model::project::Owner;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// See that it is there: status, releases, operations.
    Read,
    /// Read its logs.
    Logs,
    /// See what a deploy would do.
    Plan,
    /// Upload an artifact.
    Upload,
    /// Deploy; the first deploy included.
    Deploy,
    /// Roll back.
    Rollback,
    /// Start, stop, restart, scale.
    Run,
    /// Run programs in it: a shell, a one-off command, a copy of files.
    Exec,
    /// Reach its ports from elsewhere.
    Connect,
    /// Set what it is configured with: env and secrets.
    Configure,
    /// See the values that it is configured with.
    Reveal,
    /// Turn an operation back.
    Cancel,
    /// Say who owns it.
    Transfer,
    /// Say who hears of what happens to it.
    Notify,
    /// Take it offline, keeping its data.
    Delete,
    /// Delete its data too.
    DeleteData,
    /// Use parts of a descriptor that reach the machine below (DESIGN §5).
    RawJob,
    /// Read the agent's figures.
    Metrics,
    /// List and remove people.
    Users,
    /// Read the log of every change.
    Audit,
    /// Look how the agents fare.
    Inspect,
    /// Mend what belongs to nobody.
    Repair,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 22] = [
        Self::Read,
        Self::Logs,
        Self::Plan,
        Self::Upload,
        Self::Deploy,
        Self::Rollback,
        Self::Run,
        Self::Exec,
        Self::Connect,
        Self::Configure,
        Self::Reveal,
        Self::Cancel,
        Self::Transfer,
        Self::Notify,
        Self::Delete,
        Self::DeleteData,
        Self::RawJob,
        Self::Metrics,
        Self::Users,
        Self::Audit,
        Self::Inspect,
        Self::Repair,
    ];

    /// True of what is done to the cluster as a whole, and to no app.
    pub fn is_of_cluster(self) -> bool {
        matches!(self, Self::Metrics | Self::Users | Self::Audit | Self::Inspect | Self::Repair)
    }

    /// The verb of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.as_str() == name)
    }

    /// As in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Logs => "logs",
            Self::Plan => "plan",
            Self::Upload => "upload",
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Run => "run",
            Self::Exec => "exec",
            Self::Connect => "connect",
            Self::Configure => "configure",
            Self::Reveal => "reveal",
            Self::Cancel => "cancel",
            Self::Transfer => "transfer",
            Self::Notify => "notify",
            Self::Delete => "delete",
            Self::DeleteData => "deleteData",
            Self::RawJob => "rawJob",
            Self::Metrics => "metrics",
            Self::Users => "users",
            Self::Audit => "audit",
            Self::Inspect => "inspect",
            Self::Repair => "repair",
        }
    }
}

/// What it would be done to.
#[derive(Debug, Clone, Copy)]
pub enum Object<'a> {
    /// An app.
    App {
        /// Which one.
        app: &'a Placement,
        /// Its owners; `None` where nobody has deployed it yet.
        owners: Option<&'a [Owner]>,
    },
    /// The cluster as a whole.
    Cluster,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allowed,
    /// They may know that it is there, but not do this.
    NotAllowed,
    /// They may not even know that it is there; or it is not.
    NotFound,
    /// Somebody else's: the answer to a first deploy of its name.
    NameNotAvailable,
    /// Their token is not for this, whatever they may themselves.
    OutOfScope,
}

/// Decides. Deny by default: an error in a policy is a refusal.
pub fn decide(subject: &Subject, verb: Verb, object: &Object<'_>) -> Decision {
    // Before anything is known of the object: the answer tells nothing of it.
    if subject.scope.as_ref().is_some_and(|scope| !scope.covers(verb, object)) {
        return Decision::OutOfScope;
    }
    match object {
        Object::Cluster => allowed_or_not(ask(subject, verb.as_str(), object)),
        Object::App { owners: None, .. } => match verb {
            Verb::Plan | Verb::Upload | Verb::Deploy => allowed_or_not(ask(subject, "create", object)),
            // Nobody is there to own it: only who may use raw parts anywhere may use them here.
            Verb::RawJob => allowed_or_not(ask(subject, verb.as_str(), object)),
            _ => Decision::NotFound,
        },
        Object::App { owners: Some(_), .. } => {
            if ask(subject, verb.as_str(), object) {
                Decision::Allowed
            } else if verb != Verb::Read && ask(subject, Verb::Read.as_str(), object) {
                Decision::NotAllowed
            } else if matches!(verb, Verb::Deploy | Verb::Upload) {
                Decision::NameNotAvailable
            } else {
                Decision::NotFound
            }
        }
    }
}

fn allowed_or_not(is_allowed: bool) -> Decision {
    if is_allowed { Decision::Allowed } else { Decision::NotAllowed }
}

fn ask(subject: &Subject, action: &str, object: &Object<'_>) -> bool {
    question(subject, action, object).unwrap_or_else(|why| {
        tracing::error!(%why, action, "a question to the policies could not be put; refused");
        false
    })
}

fn question(subject: &Subject, action: &str, object: &Object<'_>) -> Result<bool, String> {
    let schema = Some(&subject.law.schema);
    let person = uid("Person", subject.login.as_str())?;
    let mut entities = vec![somebody(subject, &person)?];
    let resource = match object {
        Object::App { app, owners } => {
            let entity = of_app(app, *owners)?;
            let id = entity.uid();
            entities.push(entity);
            id
        }
        Object::Cluster => uid("Cluster", "cluster")?,
    };
    let request = Request::new(person, uid("Action", action)?, resource, Context::empty(), schema)
        .map_err(|e| e.to_string())?;
    let entities = Entities::from_entities(entities, schema).map_err(|e| e.to_string())?;
    let response = Authorizer::new().is_authorized(&request, &subject.law.set, &entities);
    if let Some(error) = response.diagnostics().errors().next() {
        // An error in a `permit` takes nothing away, one in a `forbid` would: so any error is a refusal.
        return Err(error.to_string());
    }
    Ok(response.decision() == cedar_policy::Decision::Allow)
}

fn somebody(subject: &Subject, id: &EntityUid) -> Result<Entity, String> {
    let groups = subject.groups.iter().map(|g| uid("Group", g)).collect::<Result<HashSet<_>, _>>()?;
    let admin = RestrictedExpression::new_bool(subject.standing == Standing::Admin);
    Entity::new(id.clone(), HashMap::from([("admin".to_owned(), admin)]), groups).map_err(|e| e.to_string())
}

fn of_app(app: &Placement, owners: Option<&[Owner]>) -> Result<Entity, String> {
    let text = |s: &str| RestrictedExpression::new_string(s.to_owned());
    let entity = RestrictedExpression::new_entity_uid;
    let (mut people, mut groups) = (Vec::new(), Vec::new());
    for owner in owners.unwrap_or_default() {
        match owner {
            Owner::User(login) => people.push(entity(uid("Person", login.as_str())?)),
            Owner::Group(name) => groups.push(entity(uid("Group", name.as_str())?)),
        }
    }
    let members = uid("Group", &format!("tenant-{}", app.tenant))?;
    let attributes = HashMap::from([
        ("tenant".to_owned(), text(app.tenant.as_str())),
        ("environment".to_owned(), text(app.environment.as_str())),
        ("project".to_owned(), text(app.project.as_str())),
        ("exists".to_owned(), RestrictedExpression::new_bool(owners.is_some())),
        ("owners".to_owned(), RestrictedExpression::new_set(people)),
        ("ownerGroups".to_owned(), RestrictedExpression::new_set(groups)),
        ("tenantMembers".to_owned(), entity(members)),
    ]);
    Entity::new(uid("App", &app.path())?, attributes, HashSet::new()).map_err(|e| e.to_string())
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind: EntityTypeName = kind.parse().map_err(|e| format!("{kind}: {e}"))?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use std::sync::Arc;

    use super::super::{Policies, TokenScope};
    use super::*;
    use crate::model::Login;
    use Decision::{Allowed, NameNotAvailable, NotAllowed, NotFound, OutOfScope};

    fn who(login: &str, groups: &[&str], standing: Standing) -> Subject {
        let groups = groups.iter().map(|&g| g.to_owned()).collect::<BTreeSet<_>>();
        Subject::new(Login::new(login).unwrap(), groups, standing, Policies::built_in())
    }

    fn app(text: &str) -> Placement {
        text.parse().unwrap()
    }

    fn owners() -> Vec<Owner> {
        vec![Owner::User(Login::new("alice").unwrap()), Owner::Group(Login::new("devs").unwrap())]
    }

    /// Verbs on an app that exists: what each kind of person gets.
    #[test]
    fn who_may_do_what_with_an_app_that_exists() {
        let carnet = app("carnet");
        let owners = owners();
        let object = Object::App { app: &carnet, owners: Some(&owners) };
        let owner = who("alice", &[], Standing::Member);
        let by_group = who("bob", &["devs"], Standing::Member);
        let stranger = who("mallory", &["alice", "others"], Standing::Member);
        let admin = who("root", &["admin"], Standing::Admin);
        for verb in Verb::ALL {
            // These are about the cluster.
            if verb.is_of_cluster() {
                continue;
            }
            let owners_get = if verb == Verb::RawJob { NotAllowed } else { Allowed };
            let strangers_get =
                if matches!(verb, Verb::Deploy | Verb::Upload) { NameNotAvailable } else { NotFound };
            for (person, wanted) in
                [(&owner, owners_get), (&by_group, owners_get), (&stranger, strangers_get), (&admin, Allowed)]
            {
                assert_eq!(decide(person, verb, &object), wanted, "{person:?} {verb:?}");
            }
        }
    }

    #[test]
    fn who_may_do_what_with_a_name_that_is_free() {
        let member = who("bob", &[], Standing::Member);
        let tenants = who("eve", &["tenant-acme"], Standing::Member);
        let admin = who("root", &[], Standing::Admin);
        let free = app("carnet");
        let acme = app("acme/carnet");
        let in_default = Object::App { app: &free, owners: None };
        let in_acme = Object::App { app: &acme, owners: None };
        for verb in [Verb::Plan, Verb::Upload, Verb::Deploy] {
            assert_eq!(decide(&member, verb, &in_default), Allowed, "{verb:?}");
            assert_eq!(decide(&member, verb, &in_acme), NotAllowed, "{verb:?}");
            assert_eq!(decide(&tenants, verb, &in_acme), Allowed, "{verb:?}");
            assert_eq!(decide(&admin, verb, &in_acme), Allowed, "{verb:?}");
        }
        for verb in [Verb::Read, Verb::Logs, Verb::Rollback, Verb::Delete, Verb::DeleteData] {
            for person in [&member, &tenants, &admin] {
                assert_eq!(decide(person, verb, &in_default), NotFound, "{person:?} {verb:?}");
            }
        }
        assert_eq!(decide(&member, Verb::RawJob, &in_default), NotAllowed);
        assert_eq!(decide(&admin, Verb::RawJob, &in_default), Allowed);
    }

    #[test]
    fn a_token_narrows_what_its_maker_may_and_never_widens_it() {
        let (carnet, other) = (app("carnet"), app("other"));
        let owners = owners();
        let scope = TokenScope {
            name: "ci".into(),
            apps: [carnet.clone()].into(),
            verbs: ["deploy".to_owned(), "delete".to_owned()].into(),
        };
        let by = |who: Subject| who.within(Some(Arc::new(scope.clone())));
        let at = |who: &Subject, verb, app, owners| decide(who, verb, &Object::App { app, owners });
        let owner = by(who("alice", &[], Standing::Member));
        let admin = by(who("root", &[], Standing::Admin));
        let stranger = by(who("mallory", &[], Standing::Member));
        for (verb, wanted) in [(Verb::Deploy, Allowed), (Verb::Read, Allowed), (Verb::Exec, OutOfScope)] {
            assert_eq!(at(&owner, verb, &carnet, Some(&owners)), wanted, "{verb:?}");
            assert_eq!(at(&admin, verb, &carnet, Some(&owners)), wanted, "{verb:?}");
        }
        assert_eq!(at(&stranger, Verb::Delete, &carnet, Some(&owners)), NotFound);
        for owners in [None, Some(owners.as_slice())] {
            assert_eq!(
                at(&admin, Verb::Deploy, &other, owners),
                OutOfScope,
                "nothing is told of another app"
            );
        }
        assert_eq!(decide(&admin, Verb::Users, &Object::Cluster), OutOfScope);
        assert_eq!(decide(&admin, Verb::Metrics, &Object::Cluster), OutOfScope);
    }

    #[test]
    fn being_in_a_group_named_admin_is_not_being_an_admin_where_the_configuration_says_otherwise() {
        let carnet = app("carnet");
        let owners = owners();
        let object = Object::App { app: &carnet, owners: Some(&owners) };
        assert_eq!(decide(&who("bob", &["admin"], Standing::Member), Verb::Read, &object), NotFound);
    }

    #[test]
    fn figures_are_for_whoever_is_logged_in_and_other_verbs_do_not_fit_the_cluster() {
        let member = who("bob", &[], Standing::Member);
        let admin = who("root", &[], Standing::Admin);
        assert_eq!(decide(&member, Verb::Delete, &Object::Cluster), NotAllowed);
        for verb in Verb::ALL.into_iter().filter(|v| v.is_of_cluster()) {
            let members_get = if verb == Verb::Metrics { Allowed } else { NotAllowed };
            assert_eq!(decide(&member, verb, &Object::Cluster), members_get, "{verb:?}");
            assert_eq!(decide(&admin, verb, &Object::Cluster), Allowed, "{verb:?}");
        }
    }

    #[test]
    fn an_operators_own_policies_replace_ours() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"permit(principal, action == Action::"read", resource)
            when { resource.environment == "production" && principal in Group::"lookers" };"#;
        std::fs::write(folder.path().join("own.cedar"), text).unwrap();
        let law = Policies::from_folder(folder.path()).unwrap();
        let login = Login::new("root").unwrap();
        let admin = Subject::new(login, BTreeSet::from(["lookers".to_owned()]), Standing::Admin, law);
        let (live, tried) = (app("carnet"), app("carnet@test"));
        let owners = owners();
        let at = |app, verb| decide(&admin, verb, &Object::App { app, owners: Some(&owners) });
        assert_eq!(at(&live, Verb::Read), Allowed);
        assert_eq!(at(&live, Verb::Delete), NotAllowed);
        assert_eq!(at(&tried, Verb::Read), NotFound);
    }
}
