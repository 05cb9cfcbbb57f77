//! Garage: the admin API v2 ([`Admin`]) and the bytes over S3 ([`S3`]).
//!
//! Neither retries on its own, and neither ever prints a secret: an error carries Garage's code and message, cut
//! to 400 bytes, and nothing of the raw reply. Facts about Garage that callers lean on stand beside each call and
//! are checked against a running Garage by `tests/it/contract_garage.rs`.

mod admin;
mod admin_wire;
mod presigned;
mod s3;
mod s3_big;

pub use admin::Admin;
pub use admin_wire::{
    Bucket, BucketKey, BucketRef, BucketSettings, Health, Key, KeyBucket, KeyRef, Perm, Quotas, Website,
};
pub use presigned::Sender;
pub use s3::{ObjectInfo, S3};
pub use s3_big::{Multipart, PART_SIZE, PartDone};

use super::{Engine, EngineError, Fault};

/// The longest life of a presigned URL: Garage, as S3, refuses more than a week.
pub const PRESIGN_MAX: std::time::Duration = std::time::Duration::from_hours(7 * 24);

/// Cuts what an engine said to 400 bytes, on one line, at a character's border.
fn brief(text: &str) -> String {
    let mut out: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if out.len() > 400 {
        let mut end = 397;
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
        out.push('…');
    }
    out
}

/// An HTTP status as one of our cases. Garage says 503 when it has no quorum and 500 for faults of its own.
fn fault_of(status: u16) -> Fault {
    match status {
        401 | 403 => Fault::Denied,
        404 => Fault::NotFound,
        409 | 412 => Fault::Conflict,
        400..=499 => Fault::Invalid,
        _ => Fault::Broken,
    }
}

fn fail(fault: Fault, doing: impl Into<String>, message: impl AsRef<str>) -> EngineError {
    EngineError::new(Engine::Garage, fault, doing, brief(message.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reply_is_cut_at_a_characters_border_and_kept_on_one_line() {
        let cut = brief(&format!("a\nb{}", "é".repeat(400)));
        assert!(cut.len() <= 400);
        assert!(cut.starts_with("a bé"));
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn statuses_become_cases() {
        assert_eq!(fault_of(403), Fault::Denied);
        assert_eq!(fault_of(404), Fault::NotFound);
        assert_eq!(fault_of(409), Fault::Conflict);
        assert_eq!(fault_of(400), Fault::Invalid);
        assert_eq!(fault_of(503), Fault::Broken);
    }
}
