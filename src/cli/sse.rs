//! Reads a stream of server-sent events. Pure: bytes in, events out.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; empty means `message`.
    pub name: String,
    /// Its data, lines joined by line breaks.
    pub data: String,
    /// The id in force when it ended, for resuming.
    pub id: Option<String>,
}

/// The largest line that is accepted: nothing that a server says is kept without bound.
const MAX_LINE: usize = 1 << 20;

/// Takes bytes as they come and gives events as they end.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    after_cr: bool,
    event: Event,
    has_data: bool,
    id: Option<String>,
}

impl Reader {
    /// Feeds some bytes; returns the events that ended in them.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        for &b in bytes {
            let cr = std::mem::replace(&mut self.after_cr, b == b'\r');
            match b {
                // The second half of a CRLF.
                b'\n' if cr => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ if self.line.len() >= MAX_LINE => return Err("a line of over 1 MiB".to_owned()),
                _ => self.line.push(b),
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            event.id.clone_from(&self.id);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "id" => self.id = Some(value.to_owned()),
            // Comments (heartbeats), `retry` and what is to come.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let text = b": hello\r\n\r\nid: 7\nevent: progress\ndata: {\"a\":\ndata: 1}\n\n:beat\n\nevent: end\rdata:x\r\r";
        let whole = Reader::default().feed(text).unwrap();
        assert_eq!(whole.len(), 2);
        assert_eq!(
            whole[0],
            Event { name: "progress".into(), data: "{\"a\":\n1}".into(), id: Some("7".into()) }
        );
        assert_eq!(whole[1], Event { name: "end".into(), data: "x".into(), id: Some("7".into()) });
        let mut reader = Reader::default();
        let single: Vec<Event> = text.iter().flat_map(|b| reader.feed(&[*b]).unwrap()).collect();
        assert_eq!(single, whole);
    }

    #[test]
    fn an_endless_line_is_refused() {
        assert!(Reader::default().feed(&vec![b'x'; MAX_LINE + 1]).is_err());
    }
}
