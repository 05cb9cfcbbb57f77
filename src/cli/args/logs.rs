//! The command line of `terreau logs`.

use clap::Args;

use super::AppArg;

/// `terreau logs`
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Go on showing what is written
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Only the last N lines
    #[arg(long, short = 'n', value_name = "N")]
    pub tail: Option<u64>,
    /// Only what is younger than this: 30s, 10m, 2h, 1d
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub since: Option<std::time::Duration>,
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

fn age(text: &str) -> Result<std::time::Duration, String> {
    let cut = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(cut);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("must be a number and one of s, m, h, d: 10m".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "must begin with a number: 10m".to_owned())?;
    number.checked_mul(seconds).map(std::time::Duration::from_secs).ok_or_else(|| "is too long".to_owned())
}

fn alloc_id(text: &str) -> Result<String, String> {
    let ok = (4..=36).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if ok { Ok(text.to_ascii_lowercase()) } else { Err("must be 4 to 36 hex digits".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read() {
        assert_eq!(age("10m").unwrap().as_secs(), 600);
        for bad in ["", "m", "10", "10w", "-1m", "99999999999999999999s", "9999999999999999999d"] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }
}
