//! Which names are taken, and what that means for a person.

use super::document::Obstacle;
use crate::model::cluster::Cluster;
use crate::model::desired::{Name, Space};
use crate::model::{Placement, Uid};
use crate::resources::Observed;

/// Names to take, and those that cannot be taken. Their owners are not named.
pub(super) fn judge(observed: &Observed, app: &Placement, uid: &Uid) -> (Vec<Name>, Vec<Obstacle>) {
    let mut new = Vec::new();
    let mut obstacles = Vec::new();
    for (name, owner) in &observed.names {
        match owner {
            None => new.push(name.clone()),
            Some(owner) if owner.value.uid == *uid => {}
            Some(_) => {
                let word = word(name.space);
                obstacles.push(Obstacle {
                    code: "name_not_available".to_owned(),
                    target: name.name.clone(),
                    why: format!("{word} {} is not available", name.name),
                    hint: instead(app, word),
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

/// What to do about a name that is taken. Who holds it is nobody's business, and nothing of it shows in the hint.
fn instead(app: &Placement, word: &str) -> String {
    let env = &app.environment;
    if env.is_production() {
        return format!("choose another {word}");
    }
    format!(
        "choose another {word}; an environment has routes of its own: terreau deploy {app} --file {env}.hcl, with the same \
         project and other routes"
    )
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
    fn what_to_do_about_a_taken_name_follows_from_the_app_alone() {
        let of = |text: &str| text.parse::<Placement>().unwrap();
        assert_eq!(instead(&of("carnet"), "host"), "choose another host");
        let hint = instead(&of("carnet@staging"), "host");
        assert!(hint.contains("terreau deploy carnet@staging --file staging.hcl"), "{hint}");
    }
}
