//! Which names are taken, and what that means for a person.

use super::document::Obstacle;
use crate::model::cluster::Cluster;
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
                let (by, hint) = holder(&owner.value.app, app, name);
                obstacles.push(Obstacle {
                    code: "name_not_available".to_owned(),
                    target: name.name.clone(),
                    why: format!("{} {} is not available{by}", word(name.space), name.name),
                    hint,
                });
            }
        }
    }
    for (host, service) in &observed.foreign_hosts {
        // An app of ours says so in both places.
        if obstacles.iter().any(|o| o.target == *host) {
            continue;
        }
        obstacles.push(Obstacle {
            code: "name_not_available".to_owned(),
            target: host.clone(),
            // A tenant's service bears the tenant's name: that is nobody else's business.
            why: if service.contains("---") {
                format!("host {host} is not available")
            } else {
                format!("host {host} is not available, the service {service} of the catalogue answers at it")
            },
            hint: "choose another host, or take it from that service's tags first".to_owned(),
        });
    }
    (new, obstacles)
}

/// Who holds a name, as far as that may be said, and what to do.
fn holder(holder: &Placement, app: &Placement, name: &Name) -> (String, String) {
    let word = word(name.space);
    let choose = format!("choose another {word}");
    if holder.tenant != app.tenant || holder == app {
        return (String::new(), choose);
    }
    if holder.project != app.project {
        return (format!(", it belongs to {holder}"), choose);
    }
    // Of the same project, whose owner's next step this is: an environment has names of its own.
    let env = &app.environment;
    let hint = format!(
        "{app} needs another {word}, in a descriptor of its own: terreau deploy {app} --file {env}.hcl, with the same project and \
         other routes"
    );
    (format!(", it belongs to {holder}, the same project's {}", holder.environment), hint)
}

/// Hosts that this release takes and whose DNS nobody writes: their owners must.
pub(super) fn without_dns(new: &[Name], cluster: &Cluster) -> Vec<String> {
    if cluster.dns_domains.is_empty() {
        return Vec::new();
    }
    let outside = new.iter().filter(|n| n.space == Space::Host && !cluster.has_dns(&n.name));
    let domains = cluster.dns_domains.join(", ");
    let say = |n: &Name| {
        format!(
            "the DNS of {} is not written by D53, which may edit {domains}: its owner makes a CNAME to the cluster by hand",
            n.name
        )
    };
    outside.map(say).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_project_is_told_how_it_goes_on_and_nobody_of_another_tenant_anything() {
        let host = Name { space: Space::Host, name: "carnet.example.org".to_owned() };
        let of = |text: &str| text.parse::<Placement>().unwrap();
        let said = |by: &str, app: &str| holder(&of(by), &of(app), &host);
        let other = "choose another host".to_owned();
        assert_eq!(said("garden/carnet", "carnet@staging"), (String::new(), other.clone()));
        assert_eq!(said("wiki", "carnet"), (", it belongs to wiki".to_owned(), other.clone()));
        assert_eq!(said("carnet", "carnet"), (String::new(), other), "deleted, and made anew");
        let (by, hint) = said("carnet", "carnet@staging");
        assert_eq!(by, ", it belongs to carnet, the same project's production");
        assert!(hint.contains("terreau deploy carnet@staging --file staging.hcl"), "{hint}");
    }
}
