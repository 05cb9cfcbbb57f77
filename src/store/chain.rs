//! Append-only logs: segments in Garage, each beginning with the hash of the one before, and a head in Consul.
//!
//! What the head does not name did not happen: a segment bears its own hash in its name, so that a writer that was cut
//! off, or one that comes too late, leaves an object that nothing names, and never another content under a name in use.
//! Shapes and reading only: the head moves by `operation`'s transactions.

use std::io::{BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Objects, Store, Versioned, keys};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::{Sha256Hex, Uid, sha256_hex};

/// The log of every change.
pub const AUDIT: &str = "audit";
/// Entries of one segment, at most.
pub const ENTRIES: usize = 1_000;
/// The most that a segment may hold, as it lies in Garage.
const PACKED: u64 = 16 << 20;
/// The most that a segment may unfold to: some times what is taken into one.
const UNFOLDED: u64 = 64 << 20;

/// The head of a chain (`terreau/v1/chain/<name>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// Schema.
    pub v: u32,
    /// The agent that wrote last.
    pub writer: Uid,
    /// When (RFC 3339, UTC).
    pub at: String,
    /// The newest segment.
    pub last: Link,
    /// Entries of all segments.
    pub entries: u64,
    /// Consul's index up to which records stand in the chain: what was written later still waits.
    pub through: u64,
    /// The highest segment in Garage that no head leads to, as far as a segment tells of it already.
    #[serde(default)]
    pub beyond: u64,
}

/// Whether a head speaks of this Consul's indexes. One that is older than what it speaks of came from another.
pub fn is_of_here(head: &Versioned<ChainHead>) -> bool {
    head.value.through < head.index
}

/// Consul's index up to which records stand in the chain.
pub fn through(head: Option<&Versioned<ChainHead>>) -> u64 {
    head.filter(|h| is_of_here(h)).map_or(0, |h| h.value.through)
}

/// Names a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// How often the writer has changed.
    pub epoch: u64,
    /// Its place, from 1.
    pub seq: u64,
    /// SHA-256 of the object.
    pub sha256: Sha256Hex,
}

impl Link {
    fn key(&self, chain: &str) -> String {
        format!("chain/{chain}/{}-{}-{}.jsonl.zst", self.epoch, self.seq, self.sha256)
    }
}

/// A segment's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHead {
    /// Schema.
    pub v: u32,
    /// The chain's name.
    pub chain: String,
    /// How often the writer has changed.
    pub epoch: u64,
    /// Its place, from 1.
    pub seq: u64,
    /// When it was written (RFC 3339, UTC).
    pub at: String,
    /// The segment before; `None` in the first.
    pub before: Option<Link>,
    /// Entries in it.
    pub entries: u64,
    /// Entries up to its end.
    pub total: u64,
    /// When it was written, Garage held segments up to this one that its head did not lead to: an older head had been put
    /// back, or the head was gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beyond: Option<u64>,
}

/// One entry: a record as it stood in Consul.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Consul's index of its last change.
    pub index: u64,
    /// The record, byte for byte; where it was no JSON, its bytes as hex in a string.
    pub record: Box<RawValue>,
}

impl Entry {
    /// A record of Consul.
    pub fn of(key: &str, index: u64, value: &[u8]) -> Self {
        let json =
            std::str::from_utf8(value).ok().and_then(|text| RawValue::from_string(text.to_owned()).ok());
        // A line is an entry: what somebody wrote by hand over several is written anew.
        let one_line = |raw: &RawValue| !raw.get().contains('\n');
        let record = json.map_or_else(
            || raw(&Value::String(hex::encode(value))),
            |json| {
                if one_line(&json) {
                    json
                } else {
                    // What reads as JSON and is no value (1e999) stays what it is: bytes.
                    let whole = serde_json::from_str(json.get());
                    whole.map_or_else(|_| raw(&Value::String(hex::encode(value))), |v| raw(&v))
                }
            },
        );
        Self { key: key.to_owned(), index, record }
    }

    /// What it is known by wherever it stands: its key and its bytes. Its index is another one where Consul was built anew.
    pub fn identity(&self) -> String {
        format!("{} {}", self.key, self.record.get())
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| unreachable!("a value is JSON"))
}

/// A segment as it is read.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Its first line.
    pub head: SegmentHead,
    /// Its entries, oldest first.
    pub entries: Vec<Entry>,
}

impl Segment {
    /// As an object, and what names it.
    pub fn pack(&self) -> Result<(Link, Vec<u8>), EngineError> {
        let unwritten = |e: &dyn std::fmt::Display| {
            EngineError::new(Engine::Garage, Fault::Invalid, "write a segment", e.to_string())
        };
        let mut lines = serde_json::to_vec(&self.head).map_err(|e| unwritten(&e))?;
        lines.push(b'\n');
        for entry in &self.entries {
            serde_json::to_writer(&mut lines, entry).map_err(|e| unwritten(&e))?;
            lines.push(b'\n');
        }
        let bytes = zstd::encode_all(lines.as_slice(), 9).map_err(|e| unwritten(&e))?;
        let SegmentHead { epoch, seq, .. } = self.head;
        Ok((Link { epoch, seq, sha256: sha256_hex(&bytes) }, bytes))
    }

    fn unpack(bytes: &[u8]) -> Result<Self, String> {
        let decoder = zstd::Decoder::new(bytes).map_err(|e| e.to_string())?;
        let mut lines = BufReader::new(decoder.take(UNFOLDED)).lines();
        let head = lines.next().ok_or("it is empty")?.map_err(|e| e.to_string())?;
        let head: SegmentHead = serde_json::from_str(&head).map_err(|e| e.to_string())?;
        if head.v > super::records::SCHEMA {
            return Err(format!("it is of schema {}; upgrade the agent", head.v));
        }
        let entry = |line: std::io::Result<String>| {
            serde_json::from_str(&line.map_err(|e| e.to_string())?).map_err(|e| e.to_string())
        };
        let entries: Vec<Entry> = lines.map(entry).collect::<Result<_, _>>()?;
        Ok(Self { head, entries })
    }
}

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Torn {
    /// A segment that is named is not there.
    #[error("segment {0} is gone")]
    Lost(u64),
    /// It is not what was named.
    #[error("segment {0} was altered: its content has another hash")]
    Altered(u64),
    /// It is what was named, and says something else of itself than its place says.
    #[error("segment {0} does not fit its place: {1}")]
    Misplaced(u64, String),
}

/// Why a segment was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The chain is torn.
    #[error(transparent)]
    Torn(#[from] Torn),
    /// Garage.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Objects {
    /// Writes a segment. It counts once a head names it.
    pub async fn put_segment(&self, chain: &str, link: &Link, bytes: Vec<u8>) -> Result<(), EngineError> {
        self.s3.put(&self.bucket, &link.key(chain), bytes, "application/zstd").await
    }

    /// The highest number that a segment bears, named by a head or not; `None` where there is none.
    pub async fn newest_segment(&self, chain: &str) -> Result<Option<u64>, EngineError> {
        let prefix = format!("chain/{chain}/");
        let found = self.s3.list(&self.bucket, &prefix).await?;
        Ok(found.iter().filter_map(|o| o.key.strip_prefix(&prefix)?.split('-').nth(1)?.parse().ok()).max())
    }

    /// Reads a segment, and whether it is the one that is named. `total`: the entries that there are up to its end.
    pub async fn segment(&self, chain: &str, link: &Link, total: u64) -> Result<Segment, ReadError> {
        let seq = link.seq;
        let bytes = match self.s3.get(&self.bucket, &link.key(chain), PACKED).await {
            Ok(found) => found.ok_or(Torn::Lost(seq))?,
            Err(e) if e.fault == Fault::TooLarge => return Err(Torn::Altered(seq).into()),
            Err(e) => return Err(e.into()),
        };
        if sha256_hex(&bytes) != link.sha256 {
            return Err(Torn::Altered(seq).into());
        }
        let segment = Segment::unpack(&bytes).map_err(|why| Torn::Misplaced(seq, why))?;
        match misfit(chain, link, total, &segment) {
            None => Ok(segment),
            Some(why) => Err(Torn::Misplaced(seq, why).into()),
        }
    }
}

/// What a segment says of itself that its place does not say.
fn misfit(chain: &str, link: &Link, total: u64, it: &Segment) -> Option<String> {
    let head = &it.head;
    let count = it.entries.len() as u64;
    let follows = match &head.before {
        None => head.seq == 1 && head.total == count,
        Some(before) => before.seq.checked_add(1) == Some(head.seq) && before.epoch <= head.epoch,
    };
    let said = [
        (head.chain == chain, format!("it is of the chain {:?}", head.chain)),
        (
            (head.epoch, head.seq) == (link.epoch, link.seq),
            format!("it calls itself {}-{}", head.epoch, head.seq),
        ),
        (head.entries == count, format!("it has {count} entries and tells of {}", head.entries)),
        (
            head.total == total && total >= count,
            format!("{total} entries end with it, it tells of {}", head.total),
        ),
        (follows, "the one before does not precede it".to_owned()),
    ];
    said.into_iter().find(|(fits, _)| !fits).map(|(_, why)| why)
}

impl Store {
    /// The head of a chain; `None` before the first entry.
    pub async fn chain(&self, name: &str) -> Result<Option<Versioned<ChainHead>>, EngineError> {
        self.read(&keys::chain(name)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(seq: u64, before: Option<Link>, total: u64, records: &[&str]) -> Segment {
        let entries = records.iter().map(|r| Entry::of("terreau/v1/audit/x", 7, r.as_bytes())).collect();
        let head = SegmentHead {
            v: 1,
            chain: AUDIT.into(),
            epoch: 1,
            seq,
            at: "2026-01-01T00:00:00Z".into(),
            before,
            entries: records.len() as u64,
            total,
            beyond: None,
        };
        Segment { head, entries }
    }

    #[test]
    fn a_record_comes_back_byte_for_byte_whatever_it_is() {
        let of = |bytes: &[u8]| Entry::of("k", 1, bytes).record.get().to_owned();
        assert_eq!(of(br#"{"b":1,"a":1.50}"#), r#"{"b":1,"a":1.50}"#);
        assert_eq!(of(b"{\"b\":\n1}"), r#"{"b":1}"#);
        assert_eq!(of(b"{\"b\":\n1e999}"), format!("{:?}", hex::encode("{\"b\":\n1e999}")));
        assert_eq!(of(b"no json"), format!("{:?}", hex::encode("no json")));
        assert_eq!(of(&[0xff, 0]), r#""ff00""#);
    }

    #[test]
    fn a_segment_that_says_something_else_than_its_place_does_not_fit() {
        let first = segment(1, None, 2, &["{}", "{}"]);
        let (link, bytes) = first.pack().unwrap();
        let read = Segment::unpack(&bytes).unwrap();
        assert_eq!(read.head, first.head);
        assert_eq!(misfit(AUDIT, &link, 2, &read), None);
        for (total, chain) in [(3, AUDIT), (2, "other")] {
            assert!(misfit(chain, &link, total, &read).is_some());
        }
        let second = segment(2, Some(link.clone()), 3, &["{}"]);
        let (next, _) = second.pack().unwrap();
        assert_eq!(misfit(AUDIT, &next, 3, &second), None);
        let skips = segment(3, Some(link.clone()), 3, &["{}"]);
        assert!(misfit(AUDIT, &skips.pack().unwrap().0, 3, &skips).unwrap().contains("precede"));
        let orphan = segment(2, None, 1, &["{}"]);
        assert!(misfit(AUDIT, &orphan.pack().unwrap().0, 1, &orphan).is_some());
        let liar = Segment { head: SegmentHead { entries: 5, ..second.head.clone() }, ..second.clone() };
        assert!(misfit(AUDIT, &liar.pack().unwrap().0, 3, &liar).unwrap().contains("tells of 5"));
        assert!(misfit(AUDIT, &link, 3, &second).unwrap().contains("calls itself"));
    }

    #[test]
    fn what_is_no_segment_is_an_error_and_nothing_unfolds_without_end() {
        for bytes in [&b""[..], b"x", &zstd::encode_all(&b"{}\n"[..], 1).unwrap()] {
            assert!(Segment::unpack(bytes).is_err());
        }
        let (_, bytes) = segment(1, None, 1, &["{}"]).pack().unwrap();
        assert!(Segment::unpack(&bytes[..bytes.len() - 3]).is_err());
        // A line without end is cut, and is then no JSON.
        let bomb = zstd::encode_all(std::io::repeat(b' ').take(UNFOLDED * 2), 1).unwrap();
        assert!(bomb.len() < 1 << 20 && Segment::unpack(&bomb).is_err());
    }
}
