//! How envelopes lie in rows, and the checksum that proves a row is what was written.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, TypeInfo, ValueRef};
use tidewire_core::{Envelope, EventType, Key, Position, Recorded, StoreError};
use uuid::Uuid;

use super::sql::Args;
use crate::group::Attributes;

/// A value of a column that takes several types.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Any {
    Null,
    Number(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Any {
    pub(super) fn bind(&self, args: &mut Args) {
        match self {
            Self::Null => args.add(None::<i64>),
            Self::Number(number) => args.add(*number),
            Self::Text(text) => args.add(text.clone()),
            Self::Blob(blob) => args.add(blob.clone()),
        };
    }

    fn read(row: &SqliteRow, column: usize) -> Result<Self, sqlx::Error> {
        let raw = row.try_get_raw(column)?;
        if raw.is_null() {
            return Ok(Self::Null);
        }
        Ok(match raw.type_info().name() {
            "INTEGER" => Self::Number(row.try_get(column)?),
            "TEXT" => Self::Text(row.try_get(column)?),
            _ => Self::Blob(row.try_get(column)?),
        })
    }

    fn digest(&self, into: &mut Vec<u8>) {
        match self {
            Self::Null => into.push(0),
            Self::Number(number) => {
                into.push(1);
                into.extend_from_slice(&number.to_le_bytes());
            }
            Self::Text(text) => {
                into.push(2);
                field(into, text.as_bytes());
            }
            Self::Blob(blob) => {
                into.push(3);
                field(into, blob);
            }
        }
    }
}

/// An id as it is stored: canonical UUIDs, which is what nearly all are, in 16 bytes.
pub(super) fn id(text: &str) -> Any {
    if text.len() == 36
        && let Ok(uuid) = Uuid::try_parse(text)
        && uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text
    {
        return Any::Blob(uuid.as_bytes().to_vec());
    }
    Any::Text(text.to_owned())
}

fn id_text(stored: Any) -> Result<String, String> {
    match stored {
        Any::Text(text) => Ok(text),
        Any::Blob(blob) => match Uuid::from_slice(&blob) {
            Ok(uuid) => Ok(uuid.hyphenated().to_string()),
            Err(_) => Err(format!("an id of {} bytes", blob.len())),
        },
        Any::Null | Any::Number(_) => Err("an id that is a number".into()),
    }
}

/// A moment as it is stored, without loss.
pub(super) fn moment(time: &DateTime<Utc>) -> Any {
    match time.timestamp_nanos_opt() {
        // A leap second's nanoseconds would come back as the second after it.
        Some(nanos) if time.timestamp_subsec_nanos() < 1_000_000_000 => Any::Number(nanos),
        _ => Any::Text(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
    }
}

fn moment_back(stored: &Any) -> Result<DateTime<Utc>, String> {
    match stored {
        Any::Number(nanos) => Ok(DateTime::from_timestamp_nanos(*nanos)),
        Any::Text(text) => {
            DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(|_| format!("a time `{text}`"))
        }
        Any::Null | Any::Blob(_) => Err("a time that is none".into()),
    }
}

/// What can be computed of an event's row before its place is known; done by whoever commits, not by the writer.
#[derive(Debug)]
pub(super) struct Encoded {
    pub id: Any,
    pub time: Any,
    pub correlation: Any,
    pub attributes: Option<String>,
    crc: u32,
}

impl Encoded {
    pub(super) fn of(envelope: &Envelope) -> Self {
        let id = id(&envelope.id);
        let time = moment(&envelope.time);
        let correlation = match &envelope.correlationid {
            None => Any::Null,
            Some(own) if *own == envelope.id => Any::Number(0),
            Some(other) => self::id(other),
        };
        let attributes = Attributes::of(envelope).map(|attributes| attributes.to_json());
        let crc = checksum(envelope, &id, &time, &correlation, attributes.as_deref());
        Self { id, time, correlation, attributes, crc }
    }

    /// The checksum of the event at its place.
    pub(super) fn checksum_at(&self, position: u64, version: u64, recorded: &Any) -> u32 {
        place(self.crc, position, version, recorded)
    }
}

/// The columns of SQLite.
pub(super) struct Cells;

impl crate::group::Columns for Cells {
    type Id = Any;
    type Event = Encoded;
    type Parked = ParkedColumns;

    fn id(text: &str) -> Any {
        id(text)
    }

    fn event(envelope: &Envelope) -> Encoded {
        Encoded::of(envelope)
    }

    fn event_id(event: &Encoded) -> &Any {
        &event.id
    }

    fn parked(envelope: &Envelope) -> ParkedColumns {
        ParkedColumns::of(envelope)
    }
}

fn field(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    into.extend_from_slice(bytes);
}

fn checksum(envelope: &Envelope, id: &Any, time: &Any, correlation: &Any, attributes: Option<&str>) -> u32 {
    let mut head = Vec::with_capacity(192);
    field(&mut head, envelope.key.as_str().as_bytes());
    id.digest(&mut head);
    field(&mut head, envelope.source.as_bytes());
    field(&mut head, envelope.ty.name().as_bytes());
    head.extend_from_slice(&envelope.ty.version().to_le_bytes());
    time.digest(&mut head);
    correlation.digest(&mut head);
    field(&mut head, attributes.unwrap_or_default().as_bytes());
    head.push(u8::from(envelope.data.is_some()));
    let crc = crc32c::crc32c(&head);
    envelope.data.as_ref().map_or(crc, |data| crc32c::crc32c_append(crc, data))
}

fn place(crc: u32, position: u64, version: u64, recorded: &Any) -> u32 {
    let mut tail = Vec::with_capacity(32);
    tail.extend_from_slice(&position.to_le_bytes());
    tail.extend_from_slice(&version.to_le_bytes());
    recorded.digest(&mut tail);
    crc32c::crc32c_append(crc, &tail)
}

/// The columns [`recorded`] reads, of `event e join stream s`.
pub(super) const EVENT_COLUMNS: &str = "e.position, s.key, e.version, e.id, e.source, e.name, e.type_version, e.time, \
     e.recorded, e.correlation, e.attributes, e.data, e.crc";

/// Reads an event and proves it. Anything that is not as it was written is corruption, named by its position.
pub(super) fn recorded(row: &SqliteRow) -> Result<Recorded, StoreError> {
    let position = count(row, 0)?;
    decode(row, position).map_err(|what| {
        StoreError::Corrupt(format!(
            "the event at position {position} is not what was written ({what}); keep the files, and restore the \
             last backup into an empty directory"
        ))
    })
}

fn decode(row: &SqliteRow, position: u64) -> Result<Recorded, String> {
    let text = |error: sqlx::Error| error.to_string();
    let (id, time, recorded) =
        (Any::read(row, 3).map_err(text)?, Any::read(row, 7).map_err(text)?, Any::read(row, 8).map_err(text)?);
    let correlation = Any::read(row, 9).map_err(text)?;
    let raw: Option<String> = row.try_get(10).map_err(text)?;
    let data: Option<Vec<u8>> = row.try_get(11).map_err(text)?;
    let version = row.try_get::<i64, _>(2).ok().and_then(|n| u64::try_from(n).ok()).ok_or("its version")?;
    let rest: Attributes = match &raw {
        None => Attributes::default(),
        Some(json) => serde_json::from_str(json).map_err(|error| error.to_string())?,
    };
    let id_back = id_text(id.clone())?;
    let envelope = Envelope {
        correlationid: match &correlation {
            Any::Null => None,
            Any::Number(_) => Some(id_back.clone()),
            other => Some(id_text(other.clone())?),
        },
        id: id_back,
        source: row.try_get(4).map_err(text)?,
        ty: event_type(row, 5)?,
        subject: rest.subject,
        time: moment_back(&time)?,
        key: Key::new(row.try_get::<String, _>(1).map_err(text)?).map_err(|error| error.to_string())?,
        datacontenttype: rest.datacontenttype,
        dataschema: rest.dataschema,
        data: data.map(Bytes::from),
        sequence: Some(version),
        causationid: rest.causationid,
        traceparent: rest.traceparent,
        recordedtime: Some(moment_back(&recorded)?),
        expirytime: rest.expirytime,
        dataref: rest.dataref,
        extensions: rest.extensions,
    };
    let crc = checksum(&envelope, &id, &time, &correlation, raw.as_deref());
    if i64::from(place(crc, position, version, &recorded)) != row.try_get::<i64, _>(12).map_err(text)? {
        return Err("its checksum differs".into());
    }
    Ok(Recorded { position: Position(position), envelope })
}

/// An event type from its name at `column` and its version at the next.
pub(super) fn event_type(row: &SqliteRow, column: usize) -> Result<EventType, String> {
    let text = |error: sqlx::Error| error.to_string();
    let name: &str = row.try_get(column).map_err(text)?;
    let version: i64 = row.try_get(column + 1).map_err(text)?;
    format!("{name}.v{version}").parse().map_err(|error: tidewire_core::event_type::InvalidType| error.to_string())
}

/// A non-negative number.
pub(super) fn count(row: &SqliteRow, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column).map_err(super::error::classify)?;
    u64::try_from(number).map_err(|_| StoreError::Corrupt(format!("{number} where a count is stored")))
}

/// A parked envelope as it is stored: everything but its data as CloudEvents JSON, and its data as it is.
pub(super) struct ParkedColumns {
    pub envelope: String,
    pub crc: u32,
}

impl ParkedColumns {
    pub(super) fn of(envelope: &Envelope) -> Self {
        let bare = Envelope { data: None, ..envelope.clone() };
        let text = String::from_utf8(bare.to_json()).unwrap_or_default();
        let crc = parked_checksum(&text, envelope.data.as_deref());
        Self { envelope: text, crc }
    }
}

fn parked_checksum(envelope: &str, data: Option<&[u8]>) -> u32 {
    let mut head = Vec::with_capacity(envelope.len() + 16);
    field(&mut head, envelope.as_bytes());
    head.push(u8::from(data.is_some()));
    crc32c::crc32c_append(crc32c::crc32c(&head), data.unwrap_or_default())
}

/// Reads a parked envelope and proves it.
pub(super) fn parked_envelope(
    ordinal: u64,
    text: &str,
    data: Option<Vec<u8>>,
    crc: i64,
) -> Result<Envelope, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("parked event {ordinal} is not what was written ({what})"));
    if i64::from(parked_checksum(text, data.as_deref())) != crc {
        return Err(corrupt("its checksum differs"));
    }
    let envelope = Envelope::from_trusted_json(text.as_bytes()).map_err(|error| corrupt(&error.to_string()))?;
    Ok(Envelope { data: data.map(Bytes::from), ..envelope })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_uuids_are_shortened() {
        let canonical = "0198f2a0-0000-7000-8000-000000000001";
        assert!(matches!(id(canonical), Any::Blob(_)));
        for other in ["0198F2A0-0000-7000-8000-000000000001", "0198f2a0000070008000000000000001", "", "order-7"] {
            assert_eq!(id(other), Any::Text(other.into()));
        }
        assert_eq!(id_text(id(canonical)).unwrap(), canonical);
    }

    #[test]
    fn moments_come_back_as_they_were() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-01-02T03:04:05.123456789Z",
            "9999-12-31T23:59:59Z",
            "0001-01-01T00:00:00Z",
            "2016-12-31T23:59:60.5Z",
        ] {
            let time = DateTime::parse_from_rfc3339(text).unwrap().to_utc();
            assert_eq!(moment_back(&moment(&time)).unwrap(), time, "{text}");
        }
    }
}
