//! Groups that do nothing but append: one statement, which is a transaction of its own (`tidewire.append`).
//!
//! It decides nothing: where anything is not plain (a stream is locked by somebody else, or not at the version that
//! was expected) it writes nothing, and the group goes the [long way](super::transaction).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use sqlx::{Row, query};
use tidewire_core::failpoint::{Asked, reach};
use tidewire_core::{Commit, Committed, Envelope, Expect, Key, Position, StoreError};

use super::codec::{Cells, Encoded, signed, split};
use super::connect::Session;
use super::error::{Failure, is_lost, state};
use super::transaction::{Answer, Done, Place, Token, Trace};
use crate::group::Prepared;

/// What `tidewire.append` says where it does not apply.
const NOT_PLAIN: &str = "TW900";

/// A stream of the group.
struct Stream {
    /// The version it must have; any where there is none.
    expected: Option<u64>,
    added: u64,
}

/// An event of the group.
struct Event<'a> {
    key: &'a Key,
    /// Its place among the events of its stream here, from 1.
    place: u64,
    bucket: u8,
    envelope: &'a Envelope,
    encoded: &'a Encoded,
}

/// A group that only appends, as far as can be seen without looking at the database.
pub(super) struct Plain<'a> {
    streams: HashMap<&'a Key, Stream>,
    events: Vec<Event<'a>>,
    /// Per commit, how many events the group has up to its end.
    ends: Vec<u64>,
}

impl<'a> Plain<'a> {
    /// The group as plain appends; `None` if it is more than that.
    pub(super) fn of(group: &[&'a Prepared<Cells>]) -> Option<Self> {
        let mut plain = Self { streams: HashMap::new(), events: Vec::new(), ends: Vec::with_capacity(group.len()) };
        for prepared in group {
            if !is_plain(&prepared.commit) {
                return None;
            }
            for ((append, bucket), encoded) in
                prepared.commit.append.iter().zip(&prepared.buckets).zip(&prepared.events)
            {
                let stream = plain.streams.entry(&append.key);
                let stream = match (stream, append.expect) {
                    (Entry::Vacant(new), Expect::Any) => new.insert(Stream { expected: None, added: 0 }),
                    (Entry::Vacant(new), Expect::Version(version)) => {
                        new.insert(Stream { expected: Some(version), added: 0 })
                    }
                    (Entry::Occupied(known), Expect::Any) => known.into_mut(),
                    (Entry::Occupied(known), Expect::Version(version)) => {
                        let known = known.into_mut();
                        if known.expected.map(|expected| expected + known.added) != Some(version) {
                            return None;
                        }
                        known
                    }
                };
                for (envelope, encoded) in append.events.iter().zip(encoded) {
                    stream.added += 1;
                    let (key, place) = (&append.key, stream.added);
                    plain.events.push(Event { key, place, bucket: *bucket, envelope, encoded });
                }
            }
            plain.ends.push(plain.events.len() as u64);
        }
        (!plain.events.is_empty()).then_some(plain)
    }

    /// Writes and commits it; `None`: nothing was written, since it is not plain after all. When the answer is lost, what
    /// is needed to look it up is left in `token`.
    pub(super) async fn run(
        &self,
        connection: &mut PgConnection,
        session: &Session,
        now: DateTime<Utc>,
        token: &mut Option<(Token, Vec<Option<Answer>>)>,
    ) -> Result<Option<Done>, Failure> {
        for point in ["store.before_write", "store.before_sync"] {
            if reach(point) == Asked::Fail {
                return Err(Failure::All(StoreError::Unavailable("an input/output error".into())));
            }
        }
        let recorded = split(&now).0;
        let mut written = self.write(connection, recorded).await;
        if reach("store.after_sync") == Asked::Fail && written.is_ok() {
            written = Err(sqlx::Error::Protocol("the answer was lost".into()));
        }
        let place = match written {
            Ok((_, Some(first))) => Place::After(first.saturating_sub(1)),
            Ok((batch, None)) => Place::Waiting(batch),
            Err(error) if state(&error).as_deref() == Some(NOT_PLAIN) => return Ok(None),
            Err(error) if is_lost(&error) => {
                let trace = Trace::Session { session: session.clone(), recorded };
                *token = Some((Token { trace, batch: None }, self.answers()));
                return Err(Failure::Unknown(error));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Done { answers: self.answers(), place, committed: self.ends.len() }))
    }

    /// Positions count from the first event of the batch, which is 1.
    fn answers(&self) -> Vec<Option<Answer>> {
        self.ends.iter().map(|end| Some(Ok(Committed::Applied { last: Position(*end) }))).collect()
    }

    /// The batch, and the position of its first event.
    async fn write(
        &self,
        connection: &mut PgConnection,
        recorded: DateTime<Utc>,
    ) -> Result<(i64, Option<u64>), sqlx::Error> {
        // In the order in which everybody locks them.
        let mut streams: Vec<(&str, &Stream)> = self.streams.iter().map(|(key, s)| (key.as_str(), s)).collect();
        streams.sort_unstable_by_key(|(key, _)| *key);
        let numbers: HashMap<&str, i32> = streams.iter().zip(1..).map(|((key, _), number)| (*key, number)).collect();
        let events = &self.events;
        let row = query(
            "select batch, first_position from tidewire.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
             $13, $14, $15, $16)",
        )
        .bind(recorded)
        .bind(streams.iter().map(|(key, _)| *key).collect::<Vec<_>>())
        .bind(streams.iter().map(|(_, stream)| stream.expected.map(signed)).collect::<Vec<_>>())
        .bind(streams.iter().map(|(_, stream)| signed(stream.added)).collect::<Vec<_>>())
        .bind(events.iter().map(|event| numbers.get(event.key.as_str()).copied()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| signed(event.place)).collect::<Vec<_>>())
        .bind(events.iter().map(|event| i16::from(event.bucket)).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.encoded.id.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.envelope.source.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.envelope.ty.name()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| i32::from(event.envelope.ty.version())).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.encoded.time).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.encoded.time_nanos).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.envelope.correlationid.as_deref()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.encoded.attributes.as_deref()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.envelope.data.as_deref()).collect::<Vec<Option<&[u8]>>>())
        .fetch_one(connection)
        .await?;
        let first: Option<i64> = row.try_get(1)?;
        Ok((row.try_get(0)?, first.map(i64::unsigned_abs)))
    }
}

fn is_plain(commit: &Commit) -> bool {
    // Named one by one, so that nothing that is added later is taken for plain.
    let Commit { append: _, seen, documents, park, unpark, timers, effects, settled, fence } = commit;
    seen.is_empty()
        && documents.is_empty()
        && park.is_empty()
        && unpark.is_empty()
        && timers.is_empty()
        && effects.is_empty()
        && settled.is_empty()
        && fence.is_none()
}
