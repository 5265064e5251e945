//! How envelopes lie in rows. There is no checksum of our own: the server's pages have theirs, and `emit` in SQL could
//! not compute one.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use tidewire_core::{Commit, Envelope, EventType, Key, Position, Recorded, StoreError, TimerWrite};

use super::error::classify;
use crate::group::{Attributes, Columns};

/// The columns of PostgreSQL.
pub(super) struct Cells;

/// What can be computed of an event's row before its place is known; done by whoever commits, not by the writer.
#[derive(Debug)]
pub(super) struct Encoded {
    pub id: String,
    pub time: DateTime<Utc>,
    pub time_nanos: i16,
    pub attributes: Option<String>,
}

impl Columns for Cells {
    type Id = String;
    type Event = Encoded;
    /// Everything but the data, as CloudEvents JSON.
    type Parked = String;

    fn id(text: &str) -> String {
        text.to_owned()
    }

    fn event(envelope: &Envelope) -> Encoded {
        let (time, time_nanos) = split(&envelope.time);
        let attributes = Attributes::of(envelope).map(|attributes| attributes.to_json());
        Encoded { id: envelope.id.clone(), time, time_nanos, attributes }
    }

    fn event_id(event: &Encoded) -> &String {
        &event.id
    }

    fn parked(envelope: &Envelope) -> String {
        let bare = Envelope { data: None, ..envelope.clone() };
        String::from_utf8(bare.to_json()).unwrap_or_default()
    }
}

/// Nanoseconds of a second; a leap second has more of them.
const SECOND: u32 = 1_000_000_000;

/// A moment to the microsecond, which is what a `timestamptz` holds, and the rest of it.
pub(super) fn split(time: &DateTime<Utc>) -> (DateTime<Utc>, i16) {
    let nanos = time.timestamp_subsec_nanos();
    let within = nanos % SECOND;
    let rest = within % 1_000 + if nanos >= SECOND { 1_000 } else { 0 };
    // The second is one, and less than a second's nanoseconds are in it.
    let whole = DateTime::from_timestamp(time.timestamp(), within - within % 1_000).unwrap_or(*time);
    (whole, i16::try_from(rest).unwrap_or_default())
}

fn join(time: DateTime<Utc>, rest: i16) -> Option<DateTime<Utc>> {
    let rest = u32::try_from(rest).ok()?;
    let leap = if rest >= 1_000 { SECOND } else { 0 };
    DateTime::from_timestamp(time.timestamp(), time.timestamp_subsec_nanos() + rest % 1_000 + leap)
}

/// The columns [`recorded`] reads, of `tidewire.event e join tidewire.batch b on b.id = e.batch`.
pub(super) const EVENT_COLUMNS: &str = "b.first_position + e.index, e.key, e.version, e.id, e.source, e.name, \
     e.type_version, e.time, e.time_nanos, e.recorded, e.correlation, e.attributes, e.data";

/// Reads an event. Anything that cannot have been written is corruption, named by its position.
pub(super) fn recorded(row: &PgRow) -> Result<Recorded, StoreError> {
    let position = count(row, 0)?;
    decode(row, position).map_err(|what| {
        StoreError::Corrupt(format!(
            "the event at position {position} cannot be read ({what}); stop, and restore the last backup into another \
             database"
        ))
    })
}

fn decode(row: &PgRow, position: u64) -> Result<Recorded, String> {
    let text = |error: sqlx::Error| error.to_string();
    let version: i64 = row.try_get(2).map_err(text)?;
    let rest: Option<Json<Attributes>> = row.try_get(11).map_err(text)?;
    let rest = rest.map(|json| json.0).unwrap_or_default();
    let data: Option<Vec<u8>> = row.try_get(12).map_err(text)?;
    let time = join(row.try_get(7).map_err(text)?, row.try_get(8).map_err(text)?).ok_or("its time")?;
    let envelope = Envelope {
        id: row.try_get(3).map_err(text)?,
        source: row.try_get(4).map_err(text)?,
        ty: event_type(row, 5)?,
        subject: rest.subject,
        time,
        key: Key::new(row.try_get::<&str, _>(1).map_err(text)?).map_err(|error| error.to_string())?,
        datacontenttype: rest.datacontenttype,
        dataschema: rest.dataschema,
        data: data.map(Bytes::from),
        sequence: Some(u64::try_from(version).map_err(|_| "its version")?),
        correlationid: row.try_get(10).map_err(text)?,
        causationid: rest.causationid,
        traceparent: rest.traceparent,
        recordedtime: Some(row.try_get(9).map_err(text)?),
        expirytime: rest.expirytime,
        dataref: rest.dataref,
        extensions: rest.extensions,
    };
    Ok(Recorded { position: Position(position), envelope })
}

/// An event type from its name at `column` and its version at the next.
pub(super) fn event_type(row: &PgRow, column: usize) -> Result<EventType, String> {
    let text = |error: sqlx::Error| error.to_string();
    let name: &str = row.try_get(column).map_err(text)?;
    let version: i32 = row.try_get(column + 1).map_err(text)?;
    format!("{name}.v{version}").parse().map_err(|error: tidewire_core::event_type::InvalidType| error.to_string())
}

/// A non-negative number.
pub(super) fn count(row: &PgRow, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column).map_err(classify)?;
    u64::try_from(number).map_err(|_| StoreError::Corrupt(format!("{number} where a count is stored")))
}

/// A count as the server takes it. Its integers are signed; nothing we count reaches their end.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Reads a parked envelope.
pub(super) fn parked_envelope(ordinal: u64, text: &str, data: Option<Vec<u8>>) -> Result<Envelope, StoreError> {
    let envelope = Envelope::from_trusted_json(text.as_bytes())
        .map_err(|error| StoreError::Corrupt(format!("parked event {ordinal} cannot be read: {error}")))?;
    Ok(Envelope { data: data.map(Bytes::from), ..envelope })
}

/// Text for people, as the server can hold it: it knows no U+0000.
pub(super) fn printable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Refuses what no text of the server can hold, before it spoils a group.
pub(super) fn check_texts(commit: &Commit) -> Result<(), StoreError> {
    let mut texts: Vec<&str> = Vec::new();
    for event in commit.append.iter().flat_map(|append| &append.events) {
        texts.extend([&event.id, &event.source].map(String::as_str));
        texts.extend(event.correlationid.as_deref());
        let Envelope { subject, datacontenttype, dataschema, causationid, traceparent, dataref, .. } = event;
        texts.extend(
            [subject, datacontenttype, dataschema, causationid, traceparent, dataref]
                .into_iter()
                .flatten()
                .map(String::as_str),
        );
        for (name, value) in &event.extensions {
            texts.push(name);
            if let tidewire_core::Attribute::Text(text) = value {
                texts.push(text);
            }
        }
    }
    texts.extend(commit.seen.iter().flat_map(|seen| [&*seen.consumer, &*seen.mark.id, &*seen.mark.source]));
    texts.extend(commit.park.iter().flat_map(|p| [&*p.consumer, &*p.envelope.id, &*p.envelope.source, &*p.code]));
    texts.extend(commit.unpark.iter().map(|unpark| unpark.consumer.as_str()));
    texts.extend(commit.documents.iter().flat_map(|document| [&*document.collection, &*document.id]));
    texts.extend(commit.timers.iter().flat_map(|write| match write {
        TimerWrite::Set(timer) => [&*timer.owner, &*timer.id],
        TimerWrite::Cancel { owner, id } | TimerWrite::Fire { owner, id } => [&**owner, &**id],
    }));
    texts.extend(commit.effects.iter().flat_map(|effect| [&*effect.id, &*effect.consumer, &*effect.cause]));
    texts.extend(commit.settled.iter().map(|outcome| outcome.id.as_str()));
    texts.extend(commit.fence.iter().map(|fence| fence.lease.as_str()));
    match texts.into_iter().find(|text| text.contains('\0')) {
        None => Ok(()),
        Some(text) => Err(StoreError::Invalid(format!("`{}` holds U+0000", text.escape_default()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back_as_they_were() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-01-02T03:04:05.123456789Z",
            "1969-12-31T23:59:59.999999999Z",
            "9999-12-31T23:59:59.123456789Z",
            "0001-01-01T00:00:00.000000001Z",
            "2016-12-31T23:59:60.5Z",
        ] {
            let time = DateTime::parse_from_rfc3339(text).unwrap().to_utc();
            let (whole, rest) = split(&time);
            assert_eq!(whole.timestamp_subsec_nanos() % 1_000, 0, "{text}");
            assert_eq!(join(whole, rest), Some(time), "{text}");
        }
    }
}
