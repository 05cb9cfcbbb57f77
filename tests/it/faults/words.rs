//! What passes a gate: whole questions of HTTP and LDAP, and the lies that are told instead of an answer.

use bytes::{Buf, Bytes, BytesMut};

/// How an engine is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Http,
    Ldap,
}

/// An answer that the engine never gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// 500.
    Fails,
    /// 403; `invalidCredentials`.
    Refuses,
    /// 200 and JSON of another shape.
    WrongJson,
    /// 200 and JSON that ends too early.
    CutJson,
    /// LDAP's `busy`.
    Busy,
    /// LDAP's `unavailable`.
    Unavailable,
    /// Bytes of another protocol.
    Garbage,
}

/// One whole question.
#[derive(Debug)]
pub struct Question {
    pub bytes: Bytes,
    /// `PUT /v1/txn\n…{body}`, or `add …{the message's bytes}`.
    pub text: String,
    /// HTTP: of a HEAD only the head is answered. LDAP: the message's id and operation.
    head_only: bool,
    id: Vec<u8>,
    op: u8,
}

impl Language {
    /// Takes the next whole question out of what was heard.
    pub fn take(self, heard: &mut BytesMut) -> Option<Question> {
        match self {
            Self::Http => http(heard),
            Self::Ldap => ldap(heard),
        }
    }
}

fn http(heard: &mut BytesMut) -> Option<Question> {
    let start = heard.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&heard[..start]).into_owned();
    let header = |name: &str| {
        let mut lines = text.lines().filter_map(|l| l.split_once(':'));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned())
    };
    let body = if header("transfer-encoding").is_some() {
        heard[start..].windows(5).position(|w| w == b"0\r\n\r\n")? + 5
    } else {
        header("content-length").map_or(0, |n| n.parse().unwrap())
    };
    if heard.len() < start + body {
        return None;
    }
    let bytes = heard.split_to(start + body).freeze();
    let first = text.lines().next().unwrap_or_default();
    let said = format!("{first}\n{}", String::from_utf8_lossy(&bytes[start..]));
    Some(Question { bytes, head_only: first.starts_with("HEAD "), text: said, id: Vec::new(), op: 0 })
}

/// `30 <length> 02 <n> <id> <operation> …` (RFC 4511, 4.1.1).
fn ldap(heard: &mut BytesMut) -> Option<Question> {
    let (skip, length) = match *heard.get(1)? {
        short @ 0..0x80 => (2, usize::from(short)),
        long => {
            let digits = usize::from(long & 0x7f);
            let bytes = heard.get(2..2 + digits)?;
            (2 + digits, bytes.iter().fold(0, |n, b| (n << 8) | usize::from(*b)))
        }
    };
    if heard.len() < skip + length {
        return None;
    }
    let bytes = heard.split_to(skip + length).freeze();
    let mut rest = &bytes[skip..];
    rest.advance(1);
    let digits = usize::from(rest.get_u8());
    let id = rest[..digits].to_vec();
    let op = rest[digits];
    let word = match op {
        0x60 => "bind",
        0x42 => "unbind",
        0x63 => "search",
        0x66 => "modify",
        0x68 => "add",
        0x4a => "delete",
        0x6e => "compare",
        _ => "other",
    };
    let text = format!("{word} {}", String::from_utf8_lossy(&bytes));
    Some(Question { bytes, text, head_only: false, id, op })
}

impl Question {
    /// A lie as bytes.
    pub fn answered(&self, lie: Lie) -> Vec<u8> {
        match lie {
            Lie::Fails => self.status("500 Internal Server Error", "text/plain", "out of luck"),
            Lie::Refuses if self.op == 0 => self.status("403 Forbidden", "text/plain", "Permission denied"),
            Lie::WrongJson => self.status("200 OK", "application/json", r#"{"unexpected":["shape"]}"#),
            Lie::CutJson => self.status("200 OK", "application/json", r#"[{"Key":"a","ID":"b","Val"#),
            Lie::Refuses => self.result(49),
            Lie::Busy => self.result(51),
            Lie::Unavailable => self.result(52),
            Lie::Garbage => b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        }
    }

    fn status(&self, status: &str, kind: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        let body = if self.head_only { "" } else { body };
        format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}").into()
    }

    /// A result of LDAP (RFC 4511, 4.1.9) that answers this question.
    fn result(&self, code: u8) -> Vec<u8> {
        // A request's answer has its tag plus one, but for delete, and for search, which ends with "done".
        let tag = match self.op {
            0x4a => 0x6b,
            0x63 => 0x65,
            op => op + 1,
        };
        let text = b"by the gate";
        let mut inner = vec![0x0a, 1, code, 4, 0, 4, u8::try_from(text.len()).unwrap()];
        inner.extend_from_slice(text);
        let mut message = vec![2, u8::try_from(self.id.len()).unwrap()];
        message.extend_from_slice(&self.id);
        message.extend_from_slice(&[tag, u8::try_from(inner.len()).unwrap()]);
        message.extend(inner);
        let mut whole = vec![0x30, u8::try_from(message.len()).unwrap()];
        whole.extend(message);
        whole
    }
}

#[test]
fn questions_are_taken_whole_and_one_after_the_other() {
    let mut heard =
        BytesMut::from(&b"PUT /v1/txn HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /x HTTP/1.1\r\n"[..]);
    let first = Language::Http.take(&mut heard).unwrap();
    assert!(first.text.starts_with("PUT /v1/txn") && first.text.ends_with("abc"), "{}", first.text);
    assert!(Language::Http.take(&mut heard).is_none());
    heard.extend_from_slice(b"\r\n");
    assert!(Language::Http.take(&mut heard).unwrap().text.starts_with("GET /x"));

    // A bind (id 1), and the beginning of an add (id 2).
    let mut heard = BytesMut::from(&[0x30, 5, 2, 1, 1, 0x60, 0, 0x30, 5, 2, 1, 2][..]);
    let bind = Language::Ldap.take(&mut heard).unwrap();
    assert!(bind.text.starts_with("bind"), "{}", bind.text);
    assert_eq!(bind.answered(Lie::Refuses)[..8], [0x30, 23, 2, 1, 1, 0x61, 18, 0x0a]);
    assert!(Language::Ldap.take(&mut heard).is_none());
    heard.extend_from_slice(&[0x68, 0]);
    assert!(Language::Ldap.take(&mut heard).unwrap().text.starts_with("add"));
}
