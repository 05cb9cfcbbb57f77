//! The agents that live: each says where it is and how its loops fare, in a record that its session holds.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::run::{Runner, encode};
use crate::engines::EngineError;
use crate::loops::{Beat, Kind};
use crate::model::wire::{AgentView, Agents, LoopState};
use crate::store::keys;
use crate::store::records::{AgentRecord, SCHEMA};

/// How often an agent looks after its own record.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is written where nothing else has changed than the time.
const TELL: SignedDuration = SignedDuration::from_secs(60);
const LOOP: Kind =
    Kind { name: "agent-record", what: "says that this agent lives, and how it fares", every: LOOK };

/// What an agent says of itself that never changes.
#[derive(Debug, Clone)]
pub struct Announced {
    /// Where its API listens.
    pub address: String,
    /// Where it serves maintenance pages.
    pub pages: Option<SocketAddr>,
}

/// What was written last.
#[derive(Debug)]
struct Told {
    session: String,
    at: Timestamp,
    states: Vec<LoopState>,
}

/// Keeps `agent/<id>` held by the session in force, until `stop`.
pub fn announce(runner: &Runner, what: Announced, stop: CancellationToken) {
    let runner = runner.clone();
    let since = runner.now();
    runner
        .clone()
        .loops()
        .spawn(LOOP, move |beat| run(runner.clone(), what.clone(), since, beat, stop.clone()));
}

async fn run(runner: Runner, what: Announced, since: Timestamp, beat: Beat, stop: CancellationToken) {
    let mut told = None;
    loop {
        // What keeps it from a session is told by the session's own loop.
        beat.turned(tell(&runner, &what, since, &mut told).await);
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

/// `false`: there is no session to hold it by.
async fn tell(
    runner: &Runner,
    what: &Announced,
    since: Timestamp,
    told: &mut Option<Told>,
) -> Result<bool, EngineError> {
    let Some(lease) = runner.session().lease() else { return Ok(false) };
    let (at, loops) = (runner.now(), runner.loops().seen());
    let states: Vec<LoopState> = loops.iter().map(|l| l.state).collect();
    let is_told = told
        .as_ref()
        .is_some_and(|t| t.session == lease.id && t.states == states && at.duration_since(t.at).abs() < TELL);
    if is_told {
        return Ok(true);
    }
    let record = AgentRecord {
        v: SCHEMA,
        address: what.address.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        reads: vec![SCHEMA],
        since: since.to_string(),
        pages: what.pages,
        at: Some(at.to_string()),
        loops,
    };
    let key = keys::agent(runner.agent());
    if runner.store().consul().kv_acquire(&key, encode(&record)?, &lease.id).await? {
        *told = Some(Told { session: lease.id, at, states });
    }
    Ok(true)
}

impl Runner {
    /// The agents that live, and how their loops fare: this one's as of now, those of others as they told it last. The
    /// one that leads comes first.
    pub async fn agents(&self) -> Result<Agents, EngineError> {
        let leader = self.store().leader().await?;
        let mut agents: Vec<AgentView> = self
            .store()
            .agents()
            .await?
            .into_iter()
            .map(|(id, record)| {
                let leads = leader.as_ref() == Some(&id);
                let (at, loops) = if id == *self.agent() {
                    (Some(self.now().to_string()), self.loops().seen())
                } else {
                    (record.at, record.loops)
                };
                let (id, since) = (id.to_string(), record.since);
                AgentView { id, address: record.address, version: record.version, since, leads, at, loops }
            })
            .collect();
        agents.sort_by(|a, b| (!a.leads, &a.since, &a.id).cmp(&(!b.leads, &b.since, &b.id)));
        Ok(Agents { agents })
    }
}
