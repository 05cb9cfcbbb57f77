//! Names of files inside archives: what is let in and out. Pure.

/// The longest name: a key of S3 holds 1,024 bytes.
pub const NAME_MAX: usize = 1024;
/// The longest component, as on every Linux file system.
const COMPONENT_MAX: usize = 255;

/// Why a name inside an archive is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Bytes that are no text.
    #[error("the name is not UTF-8")]
    NotText,
    /// Nothing.
    #[error("the name is empty")]
    Empty,
    /// Begins with `/`.
    #[error("the name is absolute")]
    Absolute,
    /// `..`, `.` or `//` in it.
    #[error("the name holds an empty component, '.' or '..'")]
    Odd,
    /// Newline, NUL, escape…
    #[error("the name holds a control character")]
    Control,
    /// Over 1,024 bytes, or a component over 255.
    #[error("the name is too long (1,024 bytes, 255 a component)")]
    TooLong,
}

/// Checks a name: relative, UTF-8, no `.`, `..` or empty components, no control characters, bounded.
pub fn checked(name: &[u8]) -> Result<&str, BadName> {
    let name = std::str::from_utf8(name).map_err(|_| BadName::NotText)?;
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if name.starts_with('/') {
        return Err(BadName::Absolute);
    }
    if name.chars().any(char::is_control) {
        return Err(BadName::Control);
    }
    if name.split('/').any(|c| matches!(c, "" | "." | "..")) {
        return Err(BadName::Odd);
    }
    if name.len() > NAME_MAX || name.split('/').any(|c| c.len() > COMPONENT_MAX) {
        return Err(BadName::TooLong);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_or_hide_something_are_refused() {
        assert_eq!(checked(b"a/b.txt"), Ok("a/b.txt"));
        assert_eq!(checked("é/ü".as_bytes()), Ok("é/ü"));
        for (name, why) in [
            (&b""[..], BadName::Empty),
            (b"/etc/passwd", BadName::Absolute),
            (b"a/../../b", BadName::Odd),
            (b"./a", BadName::Odd),
            (b"a//b", BadName::Odd),
            (b"a/", BadName::Odd),
            (b"a\nb", BadName::Control),
            (b"a\x00b", BadName::Control),
            (b"\xff\xfe", BadName::NotText),
        ] {
            assert_eq!(checked(name), Err(why), "{name:?}");
        }
        assert_eq!(checked("x".repeat(256).as_bytes()), Err(BadName::TooLong));
        assert_eq!(checked("xx/".repeat(400).trim_end_matches('/').as_bytes()), Err(BadName::TooLong));
    }
}
