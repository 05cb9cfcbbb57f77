//! What the development proxy knows of apps without a route in the catalogue: their heads in Consul, followed with one
//! blocking query, so that a stopped app is told from a host that nobody has. Must never ask while a request waits.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::http as local;
use crate::model::Head;
use crate::model::desired::Space;
use crate::model::head::{AppState, Wanted};
use crate::store::keys;

/// The shortest time between two looks: where there is no app yet, every write to Consul's KV wakes the call.
const PAUSE: Duration = Duration::from_millis(200);

/// Why an app has no instance that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// A person stopped it.
    Stopped,
    /// Its first release is on its way, or is being replaced.
    Starting,
    /// No release of it has run.
    Failed,
    /// It should run, and nothing of it is healthy.
    Down,
}

/// Apps by the hosts that they hold.
#[derive(Debug, Default)]
pub struct Apps {
    by_host: RwLock<Arc<BTreeMap<String, (String, Absence)>>>,
}

impl Apps {
    /// The app that holds a host, and why nothing of it answers, if nothing does.
    pub fn at(&self, host: &str) -> Option<(String, Absence)> {
        self.by_host.read().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    /// Follows Consul for ever.
    pub async fn follow(&self, consul: String) {
        let client = local::client(Duration::from_secs(90));
        let mut index = 0;
        loop {
            if let Some((heads, next)) = look(&client, &consul, index).await {
                index = next;
                let known = Arc::new(hosts(&heads));
                *self.by_host.write().unwrap_or_else(PoisonError::into_inner) = known;
                tokio::time::sleep(PAUSE).await;
            } else {
                // Consul is away: what is known stays in force.
                tokio::time::sleep(Duration::from_millis(500)).await;
                index = 0;
            }
        }
    }
}

/// One long call to Consul; gives the heads and the index to ask for next.
async fn look(client: &reqwest::Client, consul: &str, index: u64) -> Option<(Vec<Head>, u64)> {
    let url = format!("{consul}/v1/kv/{}?recurse&index={index}&wait=60s", keys::HEADS);
    let reply = client.get(url).send().await.ok()?;
    let next = reply.headers().get("x-consul-index")?.to_str().ok()?.parse::<u64>().ok()?;
    let next = if next < index { 0 } else { next };
    match reply.status().as_u16() {
        200 => {
            let entries: Value = reply.json().await.ok()?;
            Some((entries.as_array()?.iter().filter_map(head).collect(), next))
        }
        // There is no app yet.
        404 => Some((Vec::new(), next)),
        _ => None,
    }
}

/// A head of a newer schema is left out.
fn head(entry: &Value) -> Option<Head> {
    let bytes = STANDARD.decode(entry["Value"].as_str()?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn hosts(heads: &[Head]) -> BTreeMap<String, (String, Absence)> {
    let mut known = BTreeMap::new();
    for head in heads {
        let absence = match head.state {
            // Its hosts wait for the sweep: nothing is there.
            AppState::Deleted => continue,
            _ if head.wanted == Wanted::Stopped => Absence::Stopped,
            AppState::New => Absence::Starting,
            AppState::Failed => Absence::Failed,
            AppState::Live | AppState::Abandoned if head.operation.is_some() => Absence::Starting,
            AppState::Live | AppState::Abandoned => Absence::Down,
        };
        for name in head.names.iter().filter(|n| n.space == Space::Host) {
            known.insert(name.name.clone(), (head.app.to_string(), absence));
        }
    }
    known
}

impl Absence {
    /// A title and a sentence for whoever came to the app.
    pub fn words(self, app: &str) -> (String, String) {
        match self {
            Self::Stopped => (
                format!("{app} is stopped"),
                format!(
                    "It was stopped on purpose. Whoever may run it brings it back with: terreau start {app}"
                ),
            ),
            Self::Starting => (
                format!("{app} is starting"),
                "No instance of it is healthy yet. Try again in a moment.".to_owned(),
            ),
            Self::Failed => (
                format!("{app} has not started"),
                format!("No release of it has run yet. See why with: terreau status {app}"),
            ),
            Self::Down => (
                format!("{app} is not running"),
                format!(
                    "No instance of it is healthy: it is starting, scaled to 0, or failing. See: terreau status {app}"
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::desired::Name;
    use crate::model::{Placement, ProjectName, Uid};

    #[test]
    fn a_host_tells_why_its_app_is_away() {
        let uid = Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap();
        let app = Placement::production(ProjectName::new("carnet").unwrap());
        let mut head = Head::new(app, uid, String::new(), vec![]);
        head.names = vec![Name { space: Space::Host, name: "carnet.example.org".into() }];
        let said =
            |head: &Head| hosts(std::slice::from_ref(head)).remove("carnet.example.org").map(|(_, a)| a);
        assert_eq!(said(&head), Some(Absence::Starting));
        head.state = AppState::Live;
        assert_eq!(said(&head), Some(Absence::Down));
        head.wanted = Wanted::Stopped;
        assert_eq!(said(&head), Some(Absence::Stopped));
        head.state = AppState::Deleted;
        assert_eq!(said(&head), None);
    }
}
