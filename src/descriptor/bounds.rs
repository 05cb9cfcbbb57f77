//! What a text may hold at most, counted before anything is parsed, in one pass and without recursion: hostile
//! nesting must not reach a recursive parser, and a flood of keys not one that compares each with each.

use super::fault::code;
use super::source::{Report, error};

/// Bytes in a descriptor.
pub const MAX_BYTES: usize = 256 * 1024;
/// Brackets, braces, parentheses and `${` inside one another. The grammar itself needs six.
pub const MAX_DEPTH: usize = 16;
/// Signs before values (`!x`), `a ? b : c` and `%{` in one file: the grammar needs none, and a parser recurses at each.
const MAX_OPERATORS: usize = 8;
/// Settings, blocks and list items together.
pub const MAX_ITEMS: usize = 4_000;

/// What the scanner is inside of.
enum Mode<'a> {
    /// HCL proper, or the inside of `${ }` (which ends at its own brace), with the brackets open in it.
    Code(usize),
    /// Between quotes.
    Quoted,
    /// Between `<<WORD` and `WORD`.
    Heredoc(&'a str),
}

/// The first limit that the text breaks.
pub(super) fn check(text: &str) -> Option<Report> {
    if text.len() > MAX_BYTES {
        let message =
            format!("the file has {} bytes; a descriptor has at most {} KiB", text.len(), MAX_BYTES / 1024);
        return Some(error(0..0, code::LIMIT, message).help("large content belongs into the artifact"));
    }
    let bytes = text.as_bytes();
    let mut modes = vec![Mode::Code(0)];
    let mut open = 0_usize;
    let mut items = 0_usize;
    let mut operators = 0_usize;
    let mut in_word = false;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let mut step = 1;
        let inner = modes.len() > 1;
        match modes.last_mut() {
            None => break,
            Some(Mode::Code(depth)) => {
                match rest[0] {
                    // Within a word a dash is a letter.
                    b'!' | b'-' if !in_word => operators += 1,
                    b'?' => operators += 1,
                    _ => {}
                }
                in_word = rest[0].is_ascii_alphanumeric() || matches!(rest[0], b'_' | b'-') && in_word;
                match rest[0] {
                    b'"' => modes.push(Mode::Quoted),
                    b'#' => step = line_end(rest),
                    b'/' if rest.starts_with(b"//") => step = line_end(rest),
                    b'/' if rest.starts_with(b"/*") => {
                        step = text[at..].find("*/").map_or(rest.len(), |n| n + 2);
                    }
                    b'<' if rest.starts_with(b"<<") => {
                        if let Some((word, length)) = heredoc_start(&text[at..]) {
                            modes.push(Mode::Heredoc(word));
                            step = length;
                        }
                    }
                    b'{' | b'[' | b'(' => {
                        *depth += 1;
                        open += 1;
                        items += 1;
                    }
                    b'}' if *depth == 0 && inner => {
                        modes.pop();
                        open -= 1;
                    }
                    b'}' | b']' | b')' if *depth > 0 => {
                        *depth -= 1;
                        open -= 1;
                    }
                    b'=' | b',' | b':' => items += 1,
                    _ => {}
                }
            }
            Some(mode) => {
                let quoted = matches!(mode, Mode::Quoted);
                let heredoc_end = match mode {
                    Mode::Heredoc(word) if rest[0] == b'\n' => ends_heredoc(&text[at + 1..], word),
                    _ => None,
                };
                match rest[0] {
                    b'\\' if quoted => step = 2,
                    b'"' if quoted => drop(modes.pop()),
                    b'$' if rest.starts_with(b"$${") => step = 3,
                    b'%' if rest.starts_with(b"%%{") => step = 3,
                    b'$' | b'%' if rest.get(1) == Some(&b'{') => {
                        operators += usize::from(rest[0] == b'%');
                        modes.push(Mode::Code(0));
                        open += 1;
                        step = 2;
                    }
                    b'\n' => {
                        if let Some(length) = heredoc_end {
                            modes.pop();
                            step = 1 + length;
                        }
                    }
                    _ => {}
                }
            }
        }
        if open > MAX_DEPTH || operators > MAX_OPERATORS {
            let message = if open > MAX_DEPTH {
                format!("brackets are nested more than {MAX_DEPTH} deep here")
            } else {
                "too many operators or directives".to_owned()
            };
            return Some(
                error(at..at + 1, code::LIMIT, message)
                    .help("a descriptor needs no more than a handful of levels"),
            );
        }
        if items > MAX_ITEMS {
            let message = format!("the file holds more than {MAX_ITEMS} settings, blocks and list items");
            return Some(error(at..at + 1, code::LIMIT, message).help("this is where the limit is reached"));
        }
        at += step;
    }
    None
}

fn line_end(rest: &[u8]) -> usize {
    rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()).max(1)
}

/// `<<WORD` or `<<-WORD` up to, not with, the end of its line.
fn heredoc_start(text: &str) -> Option<(&str, usize)> {
    let after = text.strip_prefix("<<")?;
    let after = after.strip_prefix('-').unwrap_or(after);
    let length = after.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(after.len());
    let word = &after[..length];
    (length > 0 && after[length..].starts_with('\n')).then(|| (word, text.len() - after.len() + length))
}

/// The length of the line's beginning up to the end of the closing word, where it stands there.
fn ends_heredoc(line: &str, word: &str) -> Option<usize> {
    let trimmed = line.trim_start_matches([' ', '\t']);
    let after = trimmed.strip_prefix(word)?;
    let goes_on = after.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-');
    (!goes_on).then(|| line.len() - after.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_comments_and_heredocs_do_not_count() {
        let deep = "{".repeat(100);
        for text in [
            format!("a = \"{deep}\"\n"),
            format!("# {deep}\n"),
            format!("// {deep}\n/* {deep} */\n"),
            format!("a = <<EOT\n{deep}\n  EOT\nb = 1\n"),
            format!("a = \"$${{{deep}\"\n"),
        ] {
            assert!(check(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn brackets_that_nest_are_refused_wherever_they_nest() {
        for text in [
            "{".repeat(100),
            "a = ".to_owned() + &"[".repeat(100),
            "a = ".to_owned() + &"\"${".repeat(100),
            "a = <<EOT\n".to_owned() + &"${(".repeat(50),
        ] {
            assert!(check(&text).is_some(), "{text}");
        }
    }
}
