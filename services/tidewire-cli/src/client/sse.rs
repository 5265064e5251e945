//! Server-sent events, as the WHATWG defines them, from chunks that end anywhere.

/// The longest event: far above the largest envelope.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Where to go on after it.
    pub id: Option<String>,
    /// Its kind; `message` when the server names none.
    pub kind: Option<String>,
    /// Its data.
    pub data: String,
}

/// Puts events together.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    after_return: bool,
    event: SseEvent,
    has_data: bool,
}

/// An event that does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream sent an event of more than {MAX_EVENT_BYTES} bytes")]
pub struct Endless;

impl SseParser {
    /// Takes a chunk, and gives the events it completes.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<SseEvent>, Endless> {
        let mut complete = Vec::new();
        for &byte in chunk {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => complete.extend(self.end_line()),
                byte => self.line.push(byte),
            }
            if self.line.len() + self.event.data.len() > MAX_EVENT_BYTES {
                return Err(Endless);
            }
        }
        Ok(complete)
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.kind = Some(value.to_owned()),
            // Comments (an empty field name) keep the connection alive; others are none of ours.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_wherever_the_chunks_end() {
        let stream = ": hello\r\n\r\nid: 7\nevent: x\ndata: {\"a\":\ndata: 1}\n\nretry: 5\n\ndata\n\nid: 8\ndata: ü\n\ndata: unfinished";
        let event = |id: Option<&str>, kind: Option<&str>, data: &str| SseEvent {
            id: id.map(Into::into),
            kind: kind.map(Into::into),
            data: data.into(),
        };
        let expected =
            vec![event(Some("7"), Some("x"), "{\"a\":\n1}"), event(None, None, ""), event(Some("8"), None, "ü")];
        for size in 1..20 {
            let mut parser = SseParser::default();
            let found: Vec<SseEvent> =
                stream.as_bytes().chunks(size).flat_map(|chunk| parser.push(chunk).unwrap()).collect();
            assert_eq!(found, expected, "chunks of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut parser = SseParser::default();
        let megabyte = vec![b'x'; 1024 * 1024];
        assert!((0..20).any(|_| parser.push(&megabyte).is_err()));
    }
}
