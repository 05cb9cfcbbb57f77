//! The audit log: who changed what, from where; from Consul what is recent, from the chain in Garage what is older.
//!
//! Reads only, and decides nothing: who may read it was decided before.

use std::collections::HashSet;
use std::str::FromStr;

use jiff::Timestamp;

use super::{Deployer, Error};
use crate::model::wire::{AuditHead, AuditLine, AuditPage, AuditSegment, AuditVerified};
use crate::model::{Placement, Sha256Hex};
use crate::operation::export::CLOCKS;
use crate::store::chain::{self, AUDIT, ChainHead, Entry, Link, ReadError, Segment, Torn};
use crate::store::people::PeopleAudit;
use crate::store::records::Audit;
use crate::store::{Versioned, keys};

/// How many segments are read for one answer.
const SEGMENTS: usize = 100;

/// Which entries are wanted.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Of this app.
    pub app: Option<Placement>,
    /// By this person, or about them.
    pub login: Option<String>,
    /// Not older.
    pub since: Option<Timestamp>,
    /// How many at most; a few more where they were written at once.
    pub limit: usize,
    /// Where the last answer ended.
    pub from: Option<AuditPlace>,
}

/// A place in the log, as a text that only we read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPlace {
    /// Entries with a lower index come next.
    before: u64,
    /// In this segment, with so many entries up to its end; `None`: among those in Consul.
    at: Option<(Link, u64)>,
}

impl std::fmt::Display for AuditPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.before)?;
        match &self.at {
            None => Ok(()),
            Some((l, total)) => write!(f, "-{}-{}-{total}-{}", l.epoch, l.seq, l.sha256),
        }
    }
}

impl FromStr for AuditPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = "not a place that an answer has named";
        let number = |s: &str| s.parse::<u64>().map_err(|_| bad);
        Ok(match text.split('-').collect::<Vec<_>>().as_slice() {
            [before] => Self { before: number(before)?, at: None },
            [before, epoch, seq, total, sha256] => {
                let sha256 = Sha256Hex::new(*sha256).map_err(|_| bad)?;
                let link = Link { epoch: number(epoch)?, seq: number(seq)?, sha256 };
                Self { before: number(before)?, at: Some((link, number(total)?)) }
            }
            _ => return Err(bad),
        })
    }
}

impl Deployer {
    /// Entries of the audit log, newest first.
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, Error> {
        let store = self.runner().store();
        let mut page = AuditPage { entries: Vec::new(), next: None, torn: None };
        let mut before = query.from.as_ref().map_or(u64::MAX, |f| f.before);
        let mut at = query.from.as_ref().and_then(|f| f.at.clone());
        let mut records = store.consul().kv_list(keys::ALL_AUDIT).await?;
        // A record is known by its key and its bytes: where Consul was built anew its indexes are others, and those that the
        // chain knows say nothing of what is told of Consul's part.
        let told: HashSet<String> =
            records.iter().map(|r| Entry::of(&r.key, 0, &r.value).identity()).collect();
        if at.is_none() {
            // The head is the later one: what was exported and taken out of Consul in between stands below it.
            let head = store.chain(AUDIT).await?;
            let through = chain::through(head.as_ref());
            records.sort_by_key(|r| std::cmp::Reverse(r.modify_index));
            for r in records.iter().filter(|r| r.modify_index < before) {
                if is_enough(&page, query.limit, r.modify_index) {
                    page.next = Some(place(r.modify_index, None));
                    return Ok(page);
                }
                let is_chained = r.modify_index <= through;
                let entry = Entry::of(&r.key, r.modify_index, &r.value);
                page.entries.extend(line(&entry, is_chained).filter(|l| query.wants(l)));
            }
            // Consul has the newest: what it does not have stands in the chain alone.
            before = u64::MAX;
            at = head.map(|h| (h.value.last, h.value.entries));
        }
        for _ in 0..SEGMENTS {
            let Some((link, total)) = at else { return Ok(page) };
            let segment = match self.segment(&link, total).await? {
                Ok(segment) => segment,
                Err(torn) => return Ok(AuditPage { torn: Some(torn.to_string()), ..page }),
            };
            for entry in segment.entries.iter().rev().filter(|e| e.index < before) {
                if is_enough(&page, query.limit, entry.index) {
                    page.next = Some(place(entry.index, Some((link, total))));
                    return Ok(page);
                }
                let is_new = !told.contains(&entry.identity());
                page.entries.extend(line(entry, true).filter(|l| is_new && query.wants(l)));
            }
            // Within a segment alone indexes grow: what is before it may have been written by another Consul.
            before = u64::MAX;
            // What stands in a segment was written before it, by agents whose clocks may differ.
            if query.since.is_some_and(|since| {
                is_older(&segment.head.at, since.saturating_sub(CLOCKS).unwrap_or(since))
            }) {
                return Ok(page);
            }
            at = one_before(segment);
        }
        page.next = at.map(|at| AuditPlace { before, at: Some(at) }.to_string());
        Ok(page)
    }

    /// Looks whether the chain is whole, from its head or from where the last answer ended, so many segments at a time.
    pub async fn verify_audit(&self, from: Option<AuditPlace>) -> Result<AuditVerified, Error> {
        let store = self.runner().store();
        let mut told = AuditVerified {
            head: None,
            waiting: 0,
            segments: Vec::new(),
            breaks: Vec::new(),
            torn: None,
            next: None,
        };
        let mut at = if let Some(place) = from {
            place.at
        } else {
            // Before the head: what is exported meanwhile is beyond no head that is read later.
            let newest = store.objects().newest_segment(AUDIT).await?;
            let head = store.chain(AUDIT).await?;
            let through = chain::through(head.as_ref());
            let records = store.consul().kv_list(keys::ALL_AUDIT).await?;
            told.waiting = records.iter().filter(|r| r.modify_index > through).count() as u64;
            told.head = head.as_ref().map(|h| view(&h.value));
            told.torn = beyond(newest, head.as_ref());
            head.map(|h| (h.value.last, h.value.entries))
        };
        for _ in 0..SEGMENTS {
            let Some((link, total)) = at.filter(|_| told.torn.is_none()) else { return Ok(told) };
            let segment = match self.segment(&link, total).await? {
                Ok(segment) => segment,
                Err(torn) => return Ok(AuditVerified { torn: Some(torn.to_string()), ..told }),
            };
            told.breaks.extend(segment.head.beyond.map(|beyond| {
                format!(
                    "segment {} was begun at {} beside segments up to {beyond} that no head led to: an older head had been \
                     put back, by hand or with a backup of Consul, or it was gone",
                    link.seq, segment.head.at
                )
            }));
            told.segments.push(AuditSegment {
                seq: link.seq,
                sha256: link.sha256.to_string(),
                at: segment.head.at.clone(),
                entries: segment.head.entries,
            });
            at = one_before(segment);
        }
        told.next = at.map(|at| AuditPlace { before: 0, at: Some(at) }.to_string());
        Ok(told)
    }

    /// A segment, or how the chain is torn there.
    async fn segment(&self, link: &Link, total: u64) -> Result<Result<Segment, Torn>, Error> {
        match self.runner().store().objects().segment(AUDIT, link, total).await {
            Ok(segment) => Ok(Ok(segment)),
            Err(ReadError::Torn(torn)) => Ok(Err(torn)),
            Err(ReadError::Engine(e)) => Err(e.into()),
        }
    }
}

/// Segments in Garage that the head does not lead to: somebody put an older head back, or took it away.
fn beyond(newest: Option<u64>, head: Option<&Versioned<ChainHead>>) -> Option<String> {
    let named = head.map_or(0, |h| h.value.last.seq.max(h.value.beyond));
    // One that nobody names is left where a writer was cut off.
    newest.filter(|seq| *seq > named.saturating_add(1)).map(|seq| {
        format!("Garage holds segments up to {seq}, and the head in Consul names {named} as the last: an older head was put back, or it is gone")
    })
}

fn view(head: &ChainHead) -> AuditHead {
    AuditHead {
        at: head.at.clone(),
        seq: head.last.seq,
        sha256: head.last.sha256.to_string(),
        entries: head.entries,
    }
}

fn one_before(segment: Segment) -> Option<(Link, u64)> {
    let total = segment.head.total - segment.head.entries;
    segment.head.before.map(|link| (link, total))
}

/// Enough; but what was written at once is not torn apart, as a place between them could not be told.
fn is_enough(page: &AuditPage, limit: usize, next: u64) -> bool {
    page.entries.len() >= limit && page.entries.last().is_some_and(|l| l.index != next)
}

/// The place at which the entry of this index comes next.
fn place(next: u64, at: Option<(Link, u64)>) -> String {
    AuditPlace { before: next.saturating_add(1), at }.to_string()
}

fn is_older(at: &str, since: Timestamp) -> bool {
    at.parse::<Timestamp>().is_ok_and(|at| at < since)
}

/// As it is told; `None` where it is a newer agent's.
fn line(entry: &Entry, chained: bool) -> Option<AuditLine> {
    let (index, record) = (entry.index, entry.record.get());
    if entry.key.starts_with(keys::PEOPLE) {
        let a: PeopleAudit = serde_json::from_str(record).ok()?;
        return Some(AuditLine {
            id: a.id.to_string(),
            at: a.at,
            login: a.by.login,
            address: a.by.address,
            app: None,
            person: Some(a.person.to_string()),
            about: Vec::new(),
            verb: a.verb,
            outcome: None,
            summary: a.summary,
            chained,
            index,
        });
    }
    let a: Audit = serde_json::from_str(record).ok()?;
    Some(AuditLine {
        id: a.operation.to_string(),
        at: a.at,
        login: a.by.login,
        address: a.by.address,
        app: Some(a.app.to_string()),
        person: None,
        about: a.about,
        verb: a.verb,
        outcome: Some(a.outcome),
        summary: a.summary,
        chained,
        index,
    })
}

impl AuditQuery {
    fn wants(&self, l: &AuditLine) -> bool {
        let of = |app: &Placement| l.app.as_ref() == Some(&app.to_string());
        let by =
            |login: &String| l.login == *login || l.person.as_ref() == Some(login) || l.about.contains(login);
        self.app.as_ref().is_none_or(of)
            && self.login.as_ref().is_none_or(by)
            && self.since.is_none_or(|since| !is_older(&l.at, since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_and_nonsense_is_none() {
        let link = Link { epoch: 3, seq: 17, sha256: Sha256Hex::new("ab".repeat(32)).unwrap() };
        for at in [None, Some((link, 400))] {
            let place = AuditPlace { before: 12, at };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for bad in ["", "x", "-", "1-2", "1-2-3-4-5", "1-2-3-4-5-6", "99999999999999999999999"] {
            assert!(bad.parse::<AuditPlace>().is_err(), "{bad}");
        }
    }
}
