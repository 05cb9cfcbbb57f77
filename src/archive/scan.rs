//! Looks for an app's secrets in what is uploaded for it: names come out, never values.
//!
//! Searched are the bytes of the archive after decompression, so a file's text in whole, across all borders. Not
//! seen: values under 8 bytes (they would match by chance), and values packed once more inside (a zip in the tar).

use std::collections::BTreeSet;
use std::fmt;

use aho_corasick::AhoCorasick;
use secrecy::{ExposeSecret, SecretString};

/// Values shorter than this are not looked for.
pub const SHORTEST: usize = 8;
/// Bytes searched at once.
const WINDOW: usize = 256 << 10;

/// Known secrets, ready to be looked for.
pub struct Secrets {
    names: Vec<String>,
    search: Option<AhoCorasick>,
    longest: usize,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Takes names and values. White space around a value does not count; values under 8 bytes are left out, and so
    /// are those that cannot be searched together (over 2 GiB).
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a SecretString)>) -> Self {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (name, value) in secrets {
            let value = value.expose_secret().trim();
            if value.len() >= SHORTEST {
                names.push(name.to_owned());
                values.push(value);
            }
        }
        let longest = values.iter().map(|v| v.len()).max().unwrap_or(0);
        let search = if values.is_empty() { None } else { AhoCorasick::new(&values).ok() };
        Self { names, search, longest }
    }

    /// True where there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.search.is_none()
    }

    /// A search over one stream of bytes.
    pub fn search(&self) -> Search<'_> {
        Search { secrets: self, buffer: Vec::new(), found: BTreeSet::new() }
    }
}

/// One search under way. Feed it pieces of any size.
pub struct Search<'a> {
    secrets: &'a Secrets,
    buffer: Vec<u8>,
    found: BTreeSet<usize>,
}

impl Search<'_> {
    /// Searches the next piece, with the end of those before.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.secrets.search.is_none() {
            return;
        }
        for some in piece.chunks(WINDOW) {
            if self.found.len() == self.secrets.names.len() {
                return;
            }
            self.buffer.extend_from_slice(some);
            // What is kept is searched again, so not before as much is new.
            if self.buffer.len() >= WINDOW.max(2 * self.secrets.longest) {
                self.look();
            }
        }
    }

    fn look(&mut self) {
        let Some(search) = &self.secrets.search else { return };
        // Overlapping: a value may be part of another one.
        let hits = search.find_overlapping_iter(&self.buffer);
        self.found.extend(hits.map(|hit| hit.pattern().as_usize()));
        let keep = (self.secrets.longest - 1).min(self.buffer.len());
        self.buffer.drain(..self.buffer.len() - keep);
    }

    /// The names of the secrets that were found, sorted.
    pub fn found(mut self) -> Vec<String> {
        self.look();
        let names: BTreeSet<_> = self.found.iter().map(|i| self.secrets.names[*i].clone()).collect();
        names.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Vec<(&'static str, SecretString)> {
        vec![
            ("long", "correct-horse-battery-staple".into()),
            ("part", "horse-battery".into()),
            ("short", "abc".into()),
            ("spaced", "  twelve-bytes\n".into()),
            ("same", "twelve-bytes".into()),
        ]
    }

    fn found(pieces: &[&[u8]]) -> Vec<String> {
        let all = secrets();
        let known = Secrets::new(all.iter().map(|(n, v)| (*n, v)));
        let mut search = known.search();
        for piece in pieces {
            search.feed(piece);
        }
        search.found()
    }

    #[test]
    fn a_value_is_found_wherever_the_stream_is_cut() {
        let text = b"xx correct-horse-battery-staple yy";
        for cut in 0..text.len() {
            assert_eq!(found(&[&text[..cut], &text[cut..]]), ["long", "part"], "cut at {cut}");
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(found(&single), ["long", "part"]);
    }

    #[test]
    fn short_values_are_not_looked_for_and_equal_ones_are_all_named() {
        assert_eq!(found(&[b"abc abc twelve-bytes"]), ["same", "spaced"]);
        assert!(found(&[b"abc"]).is_empty());
    }

    #[test]
    fn debug_shows_names_only() {
        let all = secrets();
        let shown = format!("{:?}", Secrets::new(all.iter().map(|(n, v)| (*n, v))));
        assert!(shown.contains("long") && !shown.contains("horse"), "{shown}");
    }
}
