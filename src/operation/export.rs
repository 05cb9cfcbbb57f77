//! The leader takes audit records into their chain in Garage; every agent refuses changes while too many wait.
//!
//! Never in the way of a change: a record is safe in Consul, and its export may wait for Garage. Which records stand in
//! the chain is said by Consul's own index, which only grows: whatever was written later than the head's `through` waits. So
//! no record is taken twice, and none is passed over, wherever an agent dies. Where Consul was built anew, all that it has
//! bears new indexes: of a head that this agent has not written itself it is looked what of that stands in its segments.
//! Only where the head itself is gone, what Consul still has is taken once more.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::points;
use super::run::{Runner, encode, made_at};
use super::session::Lease;
use crate::engines::consul::{Consul, KvEntry, TXN_OPS, TxnOp};
use crate::engines::{Engine, EngineError, Fault};
use crate::loops::{Beat, Kind};
use crate::model::Uid;
use crate::store::chain::{self, AUDIT, ChainHead, ENTRIES, Entry, ReadError, Segment, SegmentHead};
use crate::store::records::SCHEMA;
use crate::store::{Objects, keys};

/// How often it is looked for what waits.
const LOOK: Duration = Duration::from_mins(1);
const LOOP: Kind =
    Kind { name: "audit-export", what: "takes audit records into their chain in Garage", every: LOOK };
/// How long a record waits for others, so that a quiet cluster does not make a segment of each.
const WAIT: SignedDuration = SignedDuration::from_mins(10);
/// So many do not wait.
const MANY: usize = 200;
/// How often everything is looked at, also what bears a name that was seen before: a record's outcome is written later.
const WHOLE: SignedDuration = SignedDuration::from_hours(1);
/// How much the clocks of agents may differ: a record stands in no segment that is older than it by more.
pub const CLOCKS: SignedDuration = SignedDuration::from_mins(10);
/// Bytes of records in a segment, at most, but for those that were written at once.
const BYTES: usize = 4 << 20;
/// How many records stay in Consul besides, so that `events` and `operations` need no Garage.
pub const KEPT: usize = 2_000;
/// So many records in Consul, and no change is taken until they are exported.
pub const FULL: usize = 10_000;

/// What takes something away is never refused for want of room.
const TAKES_AWAY: [&str; 6] = ["stop", "delete", "remove", "token-revoke", "run-stop", "hook-remove"];

/// What an exporter remembers between two looks. Losing it costs a look at everything.
#[derive(Debug, Default)]
pub struct Exporter {
    seen: HashSet<String>,
    whole: Option<Timestamp>,
    /// The head that it wrote last, by Consul's index.
    head: Option<u64>,
}

/// Exports, until `stop`.
pub fn start(runner: &Runner, stop: CancellationToken) {
    let runner = runner.clone();
    runner.clone().loops().spawn(LOOP, move |beat| run(runner.clone(), beat, stop.clone()));
}

async fn run(runner: Runner, beat: Beat, stop: CancellationToken) {
    let mut exporter = Exporter::default();
    loop {
        let taken = exporter.pass(&runner).await;
        if let Ok(Some(count @ 1..)) = taken {
            tracing::info!(count, "audit records were taken into their chain");
        }
        beat.turned(taken.map(|done| done.is_some()));
        tokio::select! {
            () = stop.cancelled() => return,
            () = runner.inner.leads_now.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

impl Runner {
    /// An error while so many audit records wait that no change of this kind may be made.
    pub fn has_audit_room(&self, verb: &str) -> Result<(), EngineError> {
        if TAKES_AWAY.contains(&verb) || !self.inner.audit_is_full.load(Ordering::Relaxed) {
            return Ok(());
        }
        let why = format!(
            "{FULL} audit records wait in Consul for their export, and no change is made that would not be told; \
             it goes on by itself once Garage takes them (see /readyz, and the agent's log). Stopping, deleting, \
             removing and revoking go on"
        );
        Err(EngineError::new(Engine::Garage, Fault::Away, "write down what is changed", why))
    }
}

impl Exporter {
    /// One look, and what it finds to be done. Gives the number of records that were exported; `None`: another
    /// agent leads.
    pub async fn pass(&mut self, runner: &Runner) -> Result<Option<usize>, EngineError> {
        let found = runner.store().consul().kv_keys(keys::ALL_AUDIT).await?;
        runner.inner.audit_is_full.store(found.len() >= FULL, Ordering::Relaxed);
        let Some(lease) = runner.session().lease() else { return Ok(None) };
        if !runner.leads().await? {
            *self = Self::default();
            return Ok(None);
        }
        let now = runner.now();
        let fresh: Vec<&String> = found.iter().filter(|k| !self.seen.contains(*k)).collect();
        let waits_long = |key: &&String| began(key).is_none_or(|at| now.duration_since(at) >= WAIT);
        let due = fresh.len() >= MANY
            || fresh.iter().any(waits_long)
            || self.whole.is_none_or(|at| now.duration_since(at) >= WHOLE);
        if !due {
            return Ok(Some(0));
        }
        let exported = self.export(runner, &lease).await?;
        self.whole = Some(now);
        Ok(Some(exported))
    }

    async fn export(&mut self, runner: &Runner, lease: &Lease) -> Result<usize, EngineError> {
        let consul = runner.hands().consul.clone().with_gate(lease.gate());
        let objects = runner.store().objects().with_gate(lease.gate());
        let mut head = runner.store().chain(AUDIT).await?;
        // One list is one moment: whatever is not in it will bear a higher index than all that is.
        let mut records = consul.kv_list(keys::ALL_AUDIT).await?;
        records.sort_by(|a, b| (a.modify_index, &a.key).cmp(&(b.modify_index, &b.key)));
        let through = chain::through(head.as_ref());
        let waiting = records.partition_point(|r| r.modify_index <= through);
        let chained = match &head {
            Some(head) if self.head != Some(head.index) => {
                among(&objects, &head.value, &records[waiting..]).await?
            }
            _ => HashSet::new(),
        };
        let is_new = |r: &&KvEntry| !chained.contains(&Entry::of(&r.key, 0, &r.value).identity());
        let fresh: Vec<KvEntry> = records[waiting..].iter().filter(is_new).cloned().collect();
        let mut rest = fresh.as_slice();
        // Segments that no head leads to: the chain goes on beside them, and says so for good.
        let newest = if rest.is_empty() { None } else { objects.newest_segment(AUDIT).await? };
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cut(rest));
            let last = head.as_ref().map(|h| &h.value);
            let same_writer = last.is_some_and(|h| h.writer == *runner.agent());
            let at = runner.now().to_string();
            let count = now.len() as u64;
            let (seq, known) = last.map_or((0, 0), |h| (h.last.seq, h.beyond));
            // The next one's number may be that of a segment whose writer was cut off.
            let beyond = newest.filter(|newest| *newest > known.max(seq.saturating_add(1)));
            let entries = last.map_or(0, |h| h.entries) + count;
            let segment = Segment {
                head: SegmentHead {
                    v: SCHEMA,
                    chain: AUDIT.to_owned(),
                    epoch: last.map_or(0, |h| h.last.epoch) + u64::from(!same_writer),
                    seq: seq + 1,
                    at: at.clone(),
                    before: last.map(|h| h.last.clone()),
                    entries: count,
                    total: entries,
                    beyond,
                },
                entries: now.iter().map(|r| Entry::of(&r.key, r.modify_index, &r.value)).collect(),
            };
            let (link, bytes) = segment.pack()?;
            points::pass("audit.segment.before");
            objects.put_segment(AUDIT, &link, bytes).await?;
            points::pass("audit.segment.after");
            let through = now.last().map_or(0, |r| r.modify_index);
            let next = ChainHead {
                v: SCHEMA,
                writer: runner.agent().clone(),
                at,
                last: link,
                entries,
                through,
                beyond: beyond.unwrap_or(known),
            };
            points::pass("audit.head.before");
            write_head(&consul, lease, next, head.as_ref().map_or(0, |h| h.index)).await?;
            points::pass("audit.head.after");
            head = runner.store().chain(AUDIT).await?;
            rest = later;
        }
        // What stood in the chain already does not wait either.
        if let (Some(known), Some(last)) = (&head, records.last())
            && last.modify_index > chain::through(Some(known))
        {
            let next = ChainHead { through: last.modify_index, ..known.value.clone() };
            write_head(&consul, lease, next, known.index).await?;
            head = runner.store().chain(AUDIT).await?;
        }
        self.head = head.as_ref().map(|h| h.index);
        let exported = fresh.len();
        self.seen = records.iter().map(|r| r.key.clone()).collect();
        trim(runner, lease, &records).await?;
        runner.inner.audit_is_full.store(false, Ordering::Relaxed);
        Ok(exported)
    }
}

async fn write_head(consul: &Consul, lease: &Lease, head: ChainHead, index: u64) -> Result<(), EngineError> {
    let ops = [lease.leads(), TxnOp::Cas { key: keys::chain(AUDIT), value: encode(&head)?, index }];
    consul.txn(&ops).await.map(|_| ())
}

/// Which of these records stand in the chain, by their identity: those that may, as they were begun before its head was
/// written. A segment that is not whole tells nothing.
async fn among(
    objects: &Objects,
    head: &ChainHead,
    records: &[KvEntry],
) -> Result<HashSet<String>, EngineError> {
    let time = |at: &str| at.parse::<Timestamp>().unwrap_or(Timestamp::MAX);
    let may_stand_in = |at: Timestamp, r: &&KvEntry| {
        began(&r.key).is_some_and(|began| began.saturating_sub(CLOCKS).is_ok_and(|began| began <= at))
    };
    let written = time(&head.at);
    let oldest = records.iter().filter(|r| may_stand_in(written, r)).filter_map(|r| began(&r.key)).min();
    let Some(oldest) = oldest.and_then(|at| at.checked_sub(CLOCKS).ok()) else { return Ok(HashSet::new()) };
    let mut there = HashSet::new();
    let mut at = Some((head.last.clone(), head.entries));
    while let Some((link, total)) = at {
        let segment = match objects.segment(AUDIT, &link, total).await {
            Ok(segment) if time(&segment.head.at) >= oldest => segment,
            Ok(_) | Err(ReadError::Torn(_)) => break,
            Err(ReadError::Engine(e)) => return Err(e),
        };
        there.extend(segment.entries.iter().map(Entry::identity));
        let total = segment.head.total - segment.head.entries;
        at = segment.head.before.map(|link| (link, total));
    }
    Ok(there)
}

/// How many records go into the next segment. What was written at once is not torn apart: the index between them would
/// say nothing.
fn cut(records: &[KvEntry]) -> usize {
    let mut bytes = 0;
    let fits = |r: &&KvEntry| {
        bytes += r.value.len();
        bytes <= BYTES
    };
    let mut count = records.iter().take(ENTRIES).take_while(fits).count().max(1);
    while count < records.len() && records[count].modify_index == records[count - 1].modify_index {
        count += 1;
    }
    count
}

/// Takes the oldest out of Consul. All of these stand in the chain.
async fn trim(runner: &Runner, lease: &Lease, records: &[KvEntry]) -> Result<(), EngineError> {
    let consul = runner.hands().consul.clone().with_gate(lease.gate());
    let old = &records[..records.len().saturating_sub(KEPT)];
    for some in old.chunks(TXN_OPS - 1) {
        // One whose outcome was written since waits again.
        let delete = |r: &KvEntry| TxnOp::DeleteCas { key: r.key.clone(), index: r.modify_index };
        let ops: Vec<TxnOp> = std::iter::once(lease.leads()).chain(some.iter().map(delete)).collect();
        match consul.txn(&ops).await {
            Ok(_) => {}
            // What is newer stays too: whoever reads takes the oldest in Consul for the end of what stands there.
            Err(e) if e.fault == Fault::Conflict => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// When a record was begun, as its id says.
fn began(key: &str) -> Option<Timestamp> {
    made_at(&Uid::new(key.rsplit('/').next()?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(index: u64, bytes: usize) -> KvEntry {
        KvEntry {
            key: format!("k{index}"),
            value: vec![b'x'; bytes].into(),
            modify_index: index,
            create_index: index,
            flags: 0,
            lock_index: 0,
            session: None,
        }
    }

    #[test]
    fn a_segment_ends_between_two_transactions_and_takes_one_at_least() {
        let many: Vec<KvEntry> = (0..1_500).map(|i| record(i, 10)).collect();
        assert_eq!(cut(&many), ENTRIES);
        let at_once: Vec<KvEntry> = (0..1_500).map(|i| record(if i < 990 { i } else { 990 }, 10)).collect();
        assert_eq!(cut(&at_once), 1_500);
        let large: Vec<KvEntry> = (0..20).map(|i| record(i, BYTES / 4)).collect();
        assert_eq!(cut(&large), 4);
        assert_eq!(cut(&[record(1, BYTES * 2), record(2, 1)]), 1);
    }

    #[test]
    fn an_id_tells_when_its_record_was_begun() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let id = super::super::run::fresh_uid(now);
        assert_eq!(began(&keys::audit(&id)), Some(now));
        assert_eq!(began(&keys::people(&id)), Some(now));
        assert_eq!(began("terreau/v1/audit/none"), None);
    }
}
