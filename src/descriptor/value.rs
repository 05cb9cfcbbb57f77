//! Values: whole numbers, booleans, lists, durations and sizes, with their limits.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use hcl_edit::expr::{Array, Expression};

use super::fault::code;
use super::reference::describe;
use super::source::{Ctx, error, span_of};

impl Ctx<'_> {
    /// A whole number within limits.
    pub(super) fn integer(&self, expr: &Expression, what: &str, limits: RangeInclusive<u64>) -> Option<u64> {
        let at = span_of(expr);
        let (low, high) = (*limits.start(), *limits.end());
        let allowed = format!("a whole number from {low} to {high}");
        match expr {
            Expression::Number(number) => match number.value().as_u64() {
                Some(n) if limits.contains(&n) => Some(n),
                _ => error(at, code::VALUE, format!("{what} must be {allowed}")).none(self),
            },
            Expression::String(text) if text.trim().parse::<u64>().is_ok() => {
                error(at, code::TYPE, format!("{what} must be a number, but this is text"))
                    .suggest(text.trim())
                    .none(self)
            }
            other => {
                error(at, code::TYPE, format!("{what} must be {allowed}, but this is {}", describe(other)))
                    .none(self)
            }
        }
    }

    /// The same, where it fits 32 bits.
    pub(super) fn small(&self, expr: &Expression, what: &str, limits: RangeInclusive<u32>) -> Option<u32> {
        let n = self.integer(expr, what, u64::from(*limits.start())..=u64::from(*limits.end()))?;
        u32::try_from(n).ok()
    }

    /// True or false.
    pub(super) fn boolean(&self, expr: &Expression, what: &str) -> Option<bool> {
        let at = span_of(expr);
        match expr {
            Expression::Bool(value) => Some(*value.value()),
            Expression::String(text) if ["true", "false"].contains(&text.as_str()) => {
                error(at, code::TYPE, format!("{what} must be true or false, but this is text"))
                    .suggest(text.as_str())
                    .none(self)
            }
            other => error(
                at,
                code::TYPE,
                format!("{what} must be true or false, but this is {}", describe(other)),
            )
            .none(self),
        }
    }

    /// A list.
    pub(super) fn list<'e>(&self, expr: &'e Expression, what: &str) -> Option<&'e Array> {
        match expr {
            Expression::Array(list) => Some(list),
            Expression::String(text) => {
                error(span_of(expr), code::TYPE, format!("{what} must be a list, but this is text"))
                    .suggest(format!("[{:?}]", text.as_str()))
                    .none(self)
            }
            other => error(
                span_of(other),
                code::TYPE,
                format!("{what} must be a list, but this is {}", describe(other)),
            )
            .none(self),
        }
    }

    /// A list of plain texts. An item that is wrong is left out after it was reported.
    pub(super) fn literals<'e>(
        &self,
        expr: &'e Expression,
        what: &str,
    ) -> Option<Vec<(String, &'e Expression)>> {
        let list = self.list(expr, what)?;
        let each = format!("an item of {what}");
        Some(list.iter().filter_map(|e| Some((self.literal(e, &each)?, e))).collect())
    }

    /// `"10s"`, `"1m30s"`, `"500ms"`, `"2h"`, within limits.
    pub(super) fn duration(
        &self,
        expr: &Expression,
        what: &str,
        limits: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let at = span_of(expr);
        let help = "durations are written as \"10s\", \"1m30s\" or \"500ms\"";
        match expr {
            Expression::Number(number) => {
                let text = number.value().to_string();
                error(at, code::TYPE, format!("{what} needs a unit"))
                    .suggest(format!("\"{text}s\""))
                    .help(help)
                    .none(self)
            }
            Expression::String(text) => match parse_duration(text) {
                Some(d) if limits.contains(&d) => Some(d),
                Some(_) => {
                    let (low, high) = (show_duration(*limits.start()), show_duration(*limits.end()));
                    error(at, code::VALUE, format!("{what} must be from {low} to {high}")).none(self)
                }
                None => error(at, code::VALUE, format!("{what} is not a duration: {:?}", clip(text)))
                    .help(help)
                    .none(self),
            },
            other => {
                error(at, code::TYPE, format!("{what} must be a duration, but this is {}", describe(other)))
                    .help(help)
                    .none(self)
            }
        }
    }

    /// `"256 MiB"` or a number of `unit` bytes; the result is in bytes.
    pub(super) fn size(&self, expr: &Expression, what: &str, unit: Unit) -> Option<u64> {
        let at = span_of(expr);
        let help = "sizes are written as \"256 MiB\": a whole number and B, KiB, MiB, GiB or TiB";
        match expr {
            Expression::Number(number) => {
                match number.value().as_u64().and_then(|n| n.checked_mul(unit.bytes())) {
                    Some(n) if n > 0 => Some(n),
                    _ => error(at, code::VALUE, format!("{what} must be a whole number above 0"))
                        .help(help)
                        .none(self),
                }
            }
            Expression::String(text) => match parse_size(text) {
                Size::Bytes(n) if n > 0 => Some(n),
                Size::Bytes(_) => error(at, code::VALUE, format!("{what} must be above 0")).none(self),
                Size::Meant(other) => {
                    error(at, code::VALUE, format!("{what} is not a size: {:?}", clip(text)))
                        .suggest(format!("\"{other}\""))
                        .help(help)
                        .none(self)
                }
                Size::No => error(at, code::VALUE, format!("{what} is not a size: {:?}", clip(text)))
                    .help(help)
                    .none(self),
            },
            other => error(at, code::TYPE, format!("{what} must be a size, but this is {}", describe(other)))
                .help(help)
                .none(self),
        }
    }
}

/// What a size without a unit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bytes.
    Byte,
    /// 1,048,576 bytes.
    Mebibyte,
}

impl Unit {
    fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Mebibyte => 1 << 20,
        }
    }
}

/// What a text says as a size.
#[derive(Debug, PartialEq, Eq)]
enum Size {
    Bytes(u64),
    /// Decimal or one-letter units: what was probably meant.
    Meant(String),
    No,
}

fn parse_size(text: &str) -> Size {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let Ok(n) = number.parse::<u64>() else { return Size::No };
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => {
            let letter = unit.chars().next().map(|c| c.to_ascii_uppercase());
            return match (letter, unit.len()) {
                (Some(c @ ('K' | 'M' | 'G' | 'T')), 1..=3) => Size::Meant(format!("{n} {c}iB")),
                (None, _) => Size::Meant(format!("{n} MiB")),
                _ => Size::No,
            };
        }
    };
    n.checked_mul(1 << shift).map_or(Size::No, Size::Bytes)
}

/// Reads `1h30m`, `10s`, `500ms`: whole numbers, each with its unit, from the largest to the smallest.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    let mut last = u64::MAX;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let n: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let millis: u64 = match &after[..letters] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        if millis >= last {
            return None;
        }
        last = millis;
        total = total.checked_add(Duration::from_millis(n.checked_mul(millis)?))?;
        rest = &after[letters..];
    }
    Some(total)
}

/// As a descriptor writes it.
pub(super) fn show_duration(d: Duration) -> String {
    let mut left = d.as_millis();
    let mut out = String::new();
    for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if left >= millis {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}{unit}", left / millis);
            left %= millis;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// The beginning of a text, for messages.
pub(super) fn clip(text: &str) -> String {
    if text.chars().count() > 60 {
        text.chars().take(60).chain(std::iter::once('…')).collect()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in
            [("10s", 10_000), ("1m30s", 90_000), ("500ms", 500), ("2h", 7_200_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(show_duration(Duration::from_millis(90_500)), "1m30s500ms");
        for bad in ["", "10", "s", "10 s", "1s1m", "1s1s", "-1s", "99999999999999999999s", "1d", "1.5s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(parse_size("256 MiB"), Size::Bytes(256 << 20));
        assert_eq!(parse_size("1GiB"), Size::Bytes(1 << 30));
        assert_eq!(parse_size("256MB"), Size::Meant("256 MiB".to_owned()));
        assert_eq!(parse_size("256"), Size::Meant("256 MiB".to_owned()));
        for bad in ["MiB", "1.5 GiB", "99999999999 TiB", "10 parsecs", "-1 MiB", "1 éiB"] {
            assert_eq!(parse_size(bad), Size::No, "{bad}");
        }
    }
}
