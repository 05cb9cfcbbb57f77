//! Names in flat spaces: who owns them, by our own index.

use std::collections::BTreeSet;

use super::{Hands, conflict};
use crate::engines::{Engine, EngineError};
use crate::model::desired::{Name, Space};
use crate::model::{Head, Uid};
use crate::store::records::NameRecord;
use crate::store::{Versioned, keys};

/// What stands at the hosts of apps under maintenance is called in Consul's catalogue.
pub const MAINTENANCE_SERVICE: &str = "terreau-maintenance";

/// Who owns each of these names.
pub async fn owners(
    hands: &Hands,
    names: &[Name],
) -> Result<Vec<(Name, Option<Versioned<NameRecord>>)>, EngineError> {
    let reads = names.iter().map(|n| async move {
        let key = keys::name(n.space, &n.name);
        let record = match hands.consul.kv_get(&key).await? {
            Some(entry) => {
                let value = serde_json::from_slice(&entry.value)
                    .map_err(|e| conflict(Engine::Consul, format!("read {key}"), e.to_string()))?;
                Some(Versioned { value, index: entry.modify_index })
            }
            None => None,
        };
        Ok((n.clone(), record))
    });
    futures::future::try_join_all(reads).await
}

/// Wanted hosts at which a service answers that is not the app's own: those of jobs that nobody made with Terreau are
/// in the catalogue alone (CLUSTER.md: refuse a host that another service claims).
pub async fn foreign_hosts(
    hands: &Hands,
    wanted: &[Name],
    head: Option<&Head>,
) -> Result<Vec<(String, String)>, EngineError> {
    let of = |space| wanted.iter().filter(move |n| n.space == space).map(|n| n.name.as_str());
    let hosts: BTreeSet<&str> = of(Space::Host).collect();
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let before = head.map(|h| h.names.as_slice()).unwrap_or_default();
    let before = before.iter().filter(|n| n.space == Space::Service).map(|n| n.name.as_str());
    let own: BTreeSet<&str> = of(Space::Service).chain(before).collect();
    let mut found = Vec::new();
    for (service, tags) in hands.consul.services().await? {
        // A page stands at hosts of apps in their place; who holds those is in our own index.
        if own.contains(service.as_str()) || service == MAINTENANCE_SERVICE {
            continue;
        }
        let claimed: BTreeSet<&str> =
            tags.iter().filter_map(|t| claimed(t)).filter(|h| hosts.contains(h)).collect();
        found.extend(claimed.into_iter().map(|host| (host.to_owned(), service.clone())));
    }
    Ok(found)
}

/// The host that a proxy's tag claims. Patterns (`*`) are catch-alls, which give way to a host.
fn claimed(tag: &str) -> Option<&str> {
    if let Some((_, rule)) = tag.strip_prefix("traefik.http.routers.").and_then(|t| t.split_once(".rule=")) {
        return rule.split_once("Host(`")?.1.split('`').next();
    }
    let mut words = tag.split_ascii_whitespace();
    match words.next()? {
        "tricot" | "tricot-https" | "tricot-add-redirect" => words.next()?.split('/').next(),
        _ => None,
    }
}

/// True where the name is free or ours.
pub fn is_available(owner: Option<&NameRecord>, uid: &Uid) -> bool {
    owner.is_none_or(|o| o.uid == *uid)
}

#[cfg(test)]
mod tests {
    use super::claimed;

    #[test]
    fn the_host_that_a_tag_claims_is_read_as_the_proxies_read_it() {
        assert_eq!(claimed("tricot a.example.org/api 200"), Some("a.example.org"));
        assert_eq!(claimed("tricot-https a.example.org"), Some("a.example.org"));
        assert_eq!(
            claimed("tricot-add-redirect old.example.org/x a.example.org 301"),
            Some("old.example.org")
        );
        assert_eq!(claimed("tricot * 1"), Some("*"));
        assert_eq!(
            claimed("traefik.http.routers.a.rule=Host(`a.example.org`) && PathPrefix(`/x`)"),
            Some("a.example.org")
        );
        for other in ["", "tricot", "d53-cname a.example.org", "tricot-add-header a b", "traefik.enable=true"]
        {
            assert_eq!(claimed(other), None, "{other}");
        }
    }
}
