//! What a reader brings: one delivery, read.

use async_nats::{Message, Subject};
use tidewire_core::Envelope;
use tidewire_core::chrono::DateTime;

use super::{binding, roll, subject};

/// One delivery.
pub(super) struct Arrival {
    /// Its place in the stream.
    pub seq: u64,
    /// The how-manieth delivery of its consumer it is.
    pub delivery: u64,
    /// How often the consumer delivered it, this time included.
    pub handouts: u32,
    pub slot: usize,
    /// When it was stored, by the server's clock, in nanoseconds since the epoch.
    pub stored: i64,
    /// Where the server takes answers to it.
    pub ack: Subject,
    /// The event, or why it is none.
    pub envelope: Result<Envelope, String>,
    pub size: usize,
}

/// What the reply subject of a delivery says: `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<delivery>.<nanos>.
/// <pending>`, with two more parts after `$JS.ACK` (and maybe one at the end) where JetStream has domains.
struct Row {
    handouts: u32,
    seq: u64,
    delivery: u64,
    nanos: i64,
}

fn row(reply: &str) -> Option<Row> {
    let rest = reply.strip_prefix("$JS.ACK.")?;
    let skipped = if rest.split('.').count() >= 9 { 4 } else { 2 };
    let mut parts = rest.split('.').skip(skipped);
    Some(Row {
        handouts: parts.next()?.parse().ok()?,
        seq: parts.next()?.parse().ok()?,
        delivery: parts.next()?.parse().ok()?,
        nanos: parts.next()?.parse().ok()?,
    })
}

/// Reads a delivery; `None` for what is none of JetStream's.
pub(super) fn read(message: Message, domain: &str) -> Option<Arrival> {
    let Message { subject, reply, payload, headers, length, .. } = message;
    let ack = reply?;
    let Row { handouts, seq, delivery, nanos } = row(ack.as_str())?;
    let (slot, envelope) = match subject::bucket(domain, &subject) {
        Some(bucket) => {
            (roll::slot_of(bucket), binding::decode(headers.as_ref(), payload, DateTime::from_timestamp_nanos(nanos)))
        }
        // Not under any bucket: nobody's, so it does not matter whose.
        None => (0, Err(format!("the subject {} is none of ours", subject.escape_debug()))),
    };
    Some(Arrival { seq, delivery, handouts, slot, stored: nanos, ack, envelope, size: length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_reply_subjects_are_read() {
        for reply in [
            "$JS.ACK.S.C.3.42.7.1700000000000000000.9",
            "$JS.ACK.hub.HASH.S.C.3.42.7.1700000000000000000.9",
            "$JS.ACK.hub.HASH.S.C.3.42.7.1700000000000000000.9.rnd",
        ] {
            let row = row(reply).unwrap();
            assert_eq!((row.handouts, row.seq, row.delivery), (3, 42, 7), "{reply}");
        }
        for bad in ["", "_INBOX.x", "$JS.ACK.S.C", "$JS.ACK.S.C.a.b.c.d.e"] {
            assert!(row(bad).is_none(), "{bad}");
        }
    }
}
