//! `logs`.

use clap::Args;

use super::AppArg;

/// Show what an app writes to stdout and stderr
///
/// Lines come with their instance before them (web.1a2b3c4d | …), in order within each instance. Nomad keeps no times
/// of lines, so they come instance by instance, the one that began first first, and of each all that it wrote to
/// stdout, then to stderr; only lines that begin with a time of their own (RFC 3339 with a zone) are sorted by it, over
/// all instances. With --follow the lines of instances that start later join in, so a redeploy is seen whole.
///
/// Of an instance that has ended, Nomad keeps the logs for a while; after that its last 1 MiB is read from Garage,
/// where they are kept for the last 20 instances of an app.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  terreau logs -f
  terreau logs carnet --tail 100 --grep 'error|panic'
  terreau logs carnet --previous
  terreau logs carnet --since 10m --json
  terreau logs carnet --alloc 1a2b3c4d --stream stdout --raw > out.log")]
pub struct LogsArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Go on showing what is written, and what later instances write
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Begin with the last N lines of each stream of each instance (not the last N of all together: Nomad keeps no times
    /// by which those could be told)
    #[arg(long, short = 'n', alias = "lines", value_name = "N", value_parser = super::number(0_u64, u64::MAX))]
    pub tail: Option<u64>,
    /// Only what is younger than an age or a time: 30s, 10m, 2h, 1d, 2026-01-31T12:00:00Z. Lines without a time of
    /// their own have that of the nearest line that bears one; where none does, they are judged by their instance's life
    /// and by when their file was written to, and it is said that there may be others among them
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub since: Option<String>,
    /// Only what is older than an age or a time; lines are judged as with --since
    #[arg(long, value_name = "WHEN", value_parser = when, conflicts_with = "follow")]
    pub until: Option<String>,
    /// Only lines that match a regular expression (after --tail)
    #[arg(long, short = 'g', value_name = "REGEX", value_parser = regex)]
    pub grep: Option<String>,
    /// Only this instance (the first digits of its allocation's id)
    #[arg(long, value_name = "ID", conflicts_with = "process", value_parser = alloc_id)]
    pub alloc: Option<String>,
    /// Only this process
    #[arg(long, short, value_name = "NAME")]
    pub process: Option<crate::model::ProcessName>,
    /// Only one of the two streams
    #[arg(long, value_enum, default_value_t = Stream::Both)]
    pub stream: Stream,
    /// Of the instances that have ended (crashed, replaced), not of those that run
    #[arg(long, conflicts_with = "follow")]
    pub previous: bool,
    /// Of a one-off command, not of the app's own instances: its name (`terreau run --detach` prints it), or the beginning
    /// of it that no other has
    #[arg(long, value_name = "NAME", conflicts_with_all = ["previous", "process"], value_parser = run_name)]
    pub run: Option<String>,
    /// The bytes as they were written, without the instance before each line (so is it with one --alloc and one
    /// --stream)
    #[arg(long)]
    pub raw: bool,
    /// Print JSON for programs: an object for each line, with at (where known), instance, process, stream, and line
    /// or, where it is no UTF-8, bytes in base64
    #[arg(long, conflicts_with = "raw")]
    pub json: bool,
}

impl LogsArgs {
    /// Since when, where that is said.
    pub fn since(&self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        moment(self.since.as_deref()?, now).ok()
    }

    /// Until when, where that is said.
    pub fn until(&self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        moment(self.until.as_deref()?, now).ok()
    }

    /// True where the bytes alone are wanted.
    pub fn is_raw(&self) -> bool {
        self.raw || (!self.json && self.alloc.is_some() && self.stream != Stream::Both)
    }
}

/// Which stream of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stream {
    /// Both.
    Both,
    /// What it writes to stdout.
    Stdout,
    /// What it writes to stderr.
    Stderr,
}

impl Stream {
    /// As in the query.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// An age or a time, as the server reads it.
pub(super) fn when(text: &str) -> Result<String, String> {
    moment(text, jiff::Timestamp::UNIX_EPOCH).map(|_| text.to_owned())
}

/// The time that is meant.
fn moment(text: &str, now: jiff::Timestamp) -> Result<jiff::Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let cut = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(cut);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => {
            let wanted = "must be a number and one of s, m, h, d (10m), or a time (2026-01-31T12:00:00Z)";
            return Err(wanted.to_owned());
        }
    };
    let number: i64 = number.parse().map_err(|_| "must begin with a number: 10m".to_owned())?;
    let age = number.checked_mul(seconds).map(jiff::SignedDuration::from_secs);
    age.and_then(|age| now.checked_sub(age).ok()).ok_or_else(|| "is too long".to_owned())
}

/// A regular expression, as the server reads it.
fn regex(text: &str) -> Result<String, String> {
    crate::model::pattern(text).map(|_| text.to_owned())
}

/// The name of a command of `terreau run`, or its beginning.
pub(super) fn run_name(text: &str) -> Result<String, String> {
    let ok = (1..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if ok {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("must be 8 hex digits, or the first of them, as `terreau ps` shows them".to_owned())
    }
}

pub(super) fn alloc_id(text: &str) -> Result<String, String> {
    let ok = (4..=36).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if ok { Ok(text.to_ascii_lowercase()) } else { Err("must be 4 to 36 hex digits".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_times_are_read() {
        assert_eq!(when("10m").unwrap(), "10m");
        assert_eq!(when("2026-01-31T12:00:00Z").unwrap(), "2026-01-31T12:00:00Z");
        for bad in
            ["", "m", "10", "10w", "-1m", "99999999999999999999s", "9999999999999999999d", "2026-01-31"]
        {
            assert!(when(bad).is_err(), "{bad}");
        }
    }
}
