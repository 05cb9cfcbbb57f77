//! Which names are taken, and what that means for a person.

use super::document::Obstacle;
use crate::model::desired::{Name, Space};
use crate::model::{Placement, Uid};
use crate::resources::Observed;

/// Names to take, and those that cannot be taken. Across tenants the owner is not named.
pub(super) fn judge(observed: &Observed, app: &Placement, uid: &Uid) -> (Vec<Name>, Vec<Obstacle>) {
    let mut new = Vec::new();
    let mut obstacles = Vec::new();
    for (name, owner) in &observed.names {
        match owner {
            None => new.push(name.clone()),
            Some(owner) if owner.value.uid == *uid => {}
            Some(owner) => {
                let by = if owner.value.app.tenant == app.tenant && owner.value.app.project != app.project {
                    format!(", it belongs to {}", owner.value.app)
                } else {
                    String::new()
                };
                obstacles.push(Obstacle {
                    code: "name_not_available".to_owned(),
                    target: name.name.clone(),
                    why: format!("{} {} is not available{by}", word(name.space), name.name),
                    hint: format!("choose another {}", word(name.space)),
                });
            }
        }
    }
    (new, obstacles)
}

fn word(space: Space) -> &'static str {
    match space {
        Space::Service => "service name",
        Space::Ldap => "account name",
        Space::Bucket => "bucket name",
        Space::Host => "host",
        Space::Port => "port",
        Space::Secrets => "secrets folder",
    }
}
