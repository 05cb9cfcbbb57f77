//! What goes through a tunnel: a WebSocket of the API (`/exec`, `/run`, `/connect` of an app).
//!
//! A binary message is bytes, its first byte their channel ([`channel`]). A text message is one of [`ToServer`] or
//! [`ToClient`] as JSON; the client's first one says what is wanted, because an address would stand in logs. A command's
//! exit code comes as [`ToClient::Exit`] after its last output; whatever else ends the tunnel is our own failure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;

/// The channels of binary messages.
pub mod channel {
    /// What the program reads; both ways of a connection.
    pub const INPUT: u8 = 0;
    /// What it writes.
    pub const OUTPUT: u8 = 1;
    /// What it complains about.
    pub const ERRORS: u8 = 2;
}

/// The most that a message holds: a longer one ends the tunnel.
pub const LONGEST: usize = 256 << 10;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToServer {
    /// First: run a program in an instance.
    Exec(ExecBegin),
    /// First: copy a file or a folder, as a tar. Out of an instance it comes on channel 1; into one it goes on channel 0, until
    /// `eof`.
    Copy(CopyBegin),
    /// First: run a program once, in an instance of its own.
    Run(RunBegin),
    /// First: connect to a port of an instance.
    Connect(ConnectBegin),
    /// The terminal's size has changed.
    Resize(TerminalSize),
    /// No more input comes.
    Eof,
    /// End what runs.
    Stop,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToClient {
    /// It has begun.
    Started(Started),
    /// No more output comes.
    Eof,
    /// The program has ended: its exit code. Last.
    Exit(i32),
    /// It could not be done, or not to its end. Last.
    Failed(Box<Problem>),
}

/// Which instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// One of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// This one: the beginning of its allocation's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alloc: Option<String>,
}

/// A terminal's size, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// A program in an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecBegin {
    /// Where.
    #[serde(default)]
    pub which: Which,
    /// The program and its arguments. No shell is put before it.
    pub command: Vec<String>,
    /// With a terminal of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
    /// It reads nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_input: bool,
    /// Seconds without a byte after which it is ended: 1,800 where nothing is said, 86,400 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u32>,
}

/// A file or a folder that is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyBegin {
    /// Where.
    #[serde(default)]
    pub which: Which,
    /// Which way.
    pub way: CopyWay,
    /// Its path in the instance: where it does not begin with `/`, from the folder where the app's program starts.
    pub path: String,
}

/// Which way a copy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CopyWay {
    /// Out of the instance: the tar's one entry at its top bears the path's last name.
    Out,
    /// Into it: where the answer says `is_folder`, into the path under the entry's own name; else beside it, so that the
    /// entry must bear the path's last name.
    In,
}

/// A path's folder and last name; `None` where it has none of its own.
pub fn parted(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_end_matches('/');
    let (folder, name) = match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => (".", path),
    };
    (!matches!(name, "" | "." | "..")).then_some((folder, name))
}

/// A program that runs once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunBegin {
    /// With this process's environment, secrets, files, volumes and limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The program and its arguments. No shell is put before it. They stand in the job while it runs: no secrets.
    pub command: Vec<String>,
    /// Begin it, and say its name only.
    #[serde(default)]
    pub detach: bool,
    /// It reads what comes on channel 0, until `eof`. Not together with `detach`.
    #[serde(default)]
    pub input: bool,
    /// Seconds after which it is asked to end: 86,400 where nothing is said, 604,800 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

/// A connection to a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectBegin {
    /// Where.
    #[serde(default)]
    pub which: Which,
    /// A port's name in the descriptor, or its number on the node.
    pub port: String,
    /// Names the use that it belongs to (up to 64 characters): the connections of one use are one entry of the audit log
    /// in an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Seconds without a byte either way after which it is ended: 3,600 where nothing is said, 86,400 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u32>,
}

/// What has begun, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Started {
    /// The instance, for people: `web.1a2b3c4d`.
    pub instance: String,
    /// The allocation's id; "" where it is not placed yet.
    pub alloc: String,
    /// Of a one-off command: its name, for `terreau logs --run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Of a copy: the path is a folder, and is there already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_folder: bool,
}

/// The answer to a WebSocket's key (RFC 6455, section 4.2.2).
pub fn accept_of(key: &str) -> String {
    use base64::Engine as _;
    use sha1::Digest;
    let digest = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_the_standard_says() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_path_has_a_folder_and_a_name() {
        assert_eq!(parted("a/b/"), Some(("a", "b")));
        assert_eq!(parted("/a"), Some(("/", "a")));
        assert_eq!(parted("a"), Some((".", "a")));
        for bad in ["/", ".", "a/..", ""] {
            assert_eq!(parted(bad), None, "{bad}");
        }
    }

    #[test]
    fn messages_are_small_words() {
        let json = |m: &ToServer| serde_json::to_string(m).unwrap();
        assert_eq!(json(&ToServer::Eof), "\"eof\"");
        assert_eq!(
            json(&ToServer::Resize(TerminalSize { columns: 80, rows: 24 })),
            "{\"resize\":{\"columns\":80,\"rows\":24}}"
        );
        let odd = "{\"exec\":{\"command\":[\"sh\"],\"shell\":true}}";
        assert!(serde_json::from_str::<ToServer>(odd).is_err(), "what is not known is refused");
    }
}
