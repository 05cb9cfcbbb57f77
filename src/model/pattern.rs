//! A person's regular expression: bounded, and where it is wrong, it is said where. Pure.

use regex::bytes::{Regex, RegexBuilder};

/// A longer pattern is refused.
const LONGEST: usize = 1 << 10;
/// What a compiled pattern may hold in memory.
const COMPILED: usize = 1 << 20;

/// Compiles a person's pattern. It runs in time linear in the line, whatever it says.
pub fn pattern(text: &str) -> Result<Regex, String> {
    if text.len() > LONGEST {
        return Err(format!("the pattern has {} bytes; at most {LONGEST} are allowed", text.len()));
    }
    RegexBuilder::new(text).size_limit(COMPILED).dfa_size_limit(COMPILED).build().map_err(|e| match e {
        regex::Error::CompiledTooBig(_) => "the pattern is too large; make it simpler".to_owned(),
        e => fault(text, &e.to_string()),
    })
}

/// What is wrong, and at which character: the last line says the one, and a mark below the pattern, which is set in by four,
/// the other.
fn fault(text: &str, drawn: &str) -> String {
    let what = drawn.lines().last().unwrap_or_default().trim_start_matches("error: ");
    let is_mark = |l: &&str| l.contains('^') && l.chars().all(|c| matches!(c, ' ' | '^'));
    // One of several lines is drawn in another way.
    let mark = drawn.lines().rev().find(is_mark).filter(|_| !text.contains('\n'));
    let at = mark.and_then(|l| l.find('^')?.checked_sub(3));
    let place = at.map(|n| format!(", at character {n}")).unwrap_or_default();
    format!("{what}{place}; a `\\` before a character takes it as it is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_bounded_and_a_wrong_one_is_explained() {
        assert!(pattern("a.c").unwrap().is_match(b"xabc\xff"));
        assert!(pattern(&"x".repeat(LONGEST + 1)).unwrap_err().contains("1025 bytes"));
        assert!(pattern("(a{1000}){1000}").unwrap_err().contains("too large"));
        for (wrong, why) in [
            ("[", "unclosed character class, at character 1;"),
            ("ab(", "unclosed group, at character 3;"),
            ("^^(", "unclosed group, at character 3;"),
            ("a**[", "unclosed character class, at character 4;"),
        ] {
            let said = pattern(wrong).unwrap_err();
            assert!(said.starts_with(why), "{wrong}: {said}");
        }
        let said = pattern("a\n(").unwrap_err();
        assert!(said.starts_with("unclosed group; "), "{said}");
    }
}
