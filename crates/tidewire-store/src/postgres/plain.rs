//! Groups of plain commits: one statement, which is a transaction of its own (`tidewire.commit_plain`).
//!
//! Plain are appends, marks, documents and fences, each stream, mark and document expected to be as it was: what nearly
//! every commit is. The statement decides nothing: where anything is otherwise (a stream is locked by somebody else,
//! an event was handled, a document changed) it writes nothing, and the group goes the
//! [long way](super::transaction).

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Postgres, Row, query};
use tidewire_core::failpoint::{Asked, reach};
use tidewire_core::{Append, Commit, Committed, Envelope, Expect, ExpectDocument, Key, Position, StoreError};

use super::codec::{Cells, Encoded, signed, split};
use super::connect::Session;
use super::consumers::Consumers;
use super::error::{Failure, is_lost, state};
use super::transaction::{Answer, Done, Place, Token, Trace};
use super::write::Batch;
use crate::group::{Pair, Prepared};

/// What `tidewire.commit_plain` says where it does not apply.
const NOT_PLAIN: &str = "TW900";

/// The values of a group are the first of both.
const COMMIT: &str = "select batch, first_position from tidewire.commit_plain($25, $26, $27, false, $1, $2, $3, $4, $5, \
     $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)";
const JOIN: &str = "select done, batch from tidewire.join_plain($25, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
     $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)";

type Statement<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

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

/// A group that is plain, as far as can be seen without looking at the database.
#[derive(Default)]
pub(super) struct Plain<'a> {
    /// By name: the epoch.
    leases: BTreeMap<&'a str, u64>,
    /// Consumer, id and source.
    marks: HashSet<(i64, &'a str, &'a str)>,
    /// The revision it must have, 0 for none yet, and its new value.
    documents: BTreeMap<Pair<'a>, (Option<u64>, &'a Bytes)>,
    streams: HashMap<&'a Key, Stream>,
    events: Vec<Event<'a>>,
    /// Per commit, how many events the group has up to its end.
    ends: Vec<u64>,
}

impl<'a> Plain<'a> {
    /// The group as plain commits; `None` if it is more than that.
    pub(super) fn of(group: &[&'a Prepared<Cells>], consumers: &Consumers) -> Option<Self> {
        let mut plain = Self::default();
        for prepared in group {
            plain.take(prepared, consumers)?;
            plain.ends.push(plain.events.len() as u64);
        }
        let is_something = !plain.events.is_empty() || !plain.documents.is_empty() || !plain.marks.is_empty();
        is_something.then_some(plain)
    }

    fn take(&mut self, prepared: &'a Prepared<Cells>, consumers: &Consumers) -> Option<()> {
        // Named one by one, so that nothing that is added later is taken for plain.
        let Commit { append, seen, documents, park, unpark, timers, effects, settled, fence } = &prepared.commit;
        if !(park.is_empty() && unpark.is_empty() && timers.is_empty() && effects.is_empty() && settled.is_empty()) {
            return None;
        }
        if let Some(fence) = fence
            && *self.leases.entry(&fence.lease).or_insert(fence.epoch) != fence.epoch
        {
            return None;
        }
        for (seen, id) in seen.iter().zip(&prepared.marks) {
            let consumer = consumers.get(&seen.consumer)?;
            self.marks.insert((consumer, id.as_str(), seen.mark.source.as_str())).then_some(())?;
        }
        for write in documents {
            let expected = match write.expect {
                ExpectDocument::Any => None,
                ExpectDocument::Absent => Some(0),
                ExpectDocument::Revision(revision) => Some(revision),
            };
            let at = (write.collection.as_str(), write.id.as_str());
            // One that is written twice depends on what the first write found.
            self.documents.insert(at, (expected, write.value.as_ref()?)).is_none().then_some(())?;
        }
        for ((append, bucket), encoded) in append.iter().zip(&prepared.buckets).zip(&prepared.events) {
            self.append(append, *bucket, encoded)?;
        }
        Some(())
    }

    fn append(&mut self, append: &'a Append, bucket: u8, encoded: &'a [Encoded]) -> Option<()> {
        let expected = match append.expect {
            Expect::Any => None,
            Expect::Version(version) => Some(version),
        };
        let stream = match self.streams.entry(&append.key) {
            Entry::Vacant(new) => new.insert(Stream { expected, added: 0 }),
            Entry::Occupied(known) => {
                let known = known.into_mut();
                let is_at = known.expected.map(|version| version + known.added);
                if expected.is_some() && expected != is_at {
                    return None;
                }
                known
            }
        };
        for (envelope, encoded) in append.events.iter().zip(encoded) {
            stream.added += 1;
            self.events.push(Event { key: &append.key, place: stream.added, bucket, envelope, encoded });
        }
        Some(())
    }

    /// Writes and commits it; `None`: nothing was written, since it is not plain after all. When the answer is lost, what
    /// is needed to look it up is left in `token`.
    pub(super) async fn run(
        &self,
        connection: &mut PgConnection,
        session: &mut Session,
        now: DateTime<Utc>,
        token: &mut Option<(Token, Vec<Option<Answer>>)>,
    ) -> Result<Option<Done>, Failure> {
        for point in ["store.before_write", "store.before_sync"] {
            if reach(point) == Asked::Fail {
                return Err(Failure::All(StoreError::Unavailable("an input/output error".into())));
            }
        }
        session.receipt += 1;
        let recorded = split(&now).0;
        let mut written = self.write(connection, session, recorded).await;
        if reach("store.after_sync") == Asked::Fail && written.is_ok() {
            written = Err(sqlx::Error::Protocol("the answer was lost".into()));
        }
        let place = match written {
            Ok((_, Some(first))) => Place::After(first.saturating_sub(1)),
            Ok((Some(batch), None)) => Place::Waiting(batch),
            Ok((None, None)) => Place::After(0),
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
        session: &Session,
        recorded: DateTime<Utc>,
    ) -> Result<(Option<i64>, Option<u64>), sqlx::Error> {
        let row = self.bound(query(COMMIT)).bind(recorded).bind(session.name()).bind(session.receipt);
        let row = row.fetch_one(connection).await?;
        let first: Option<i64> = row.try_get(1)?;
        Ok((row.try_get(0)?, first.map(i64::unsigned_abs)))
    }

    /// Writes it as a part of the transaction that is open; what that came to is for the caller's commit to decide. Answers
    /// the batch, if there are events; nothing at all where it is not plain, or anything speaks against it.
    pub(super) async fn join(
        &self,
        connection: &mut PgConnection,
        log_id: &str,
    ) -> Result<Option<Option<Batch>>, sqlx::Error> {
        let row = self.bound(query(JOIN)).bind(log_id).fetch_one(connection).await?;
        let (done, id): (bool, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        let count = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        Ok(done.then_some(id.map(|id| Batch { id, count })))
    }

    /// A statement with everything but its last values.
    fn bound<'q>(&'q self, query: Statement<'q>) -> Statement<'q> {
        // In the order in which everybody locks them.
        let mut streams: Vec<(&str, &Stream)> = self.streams.iter().map(|(key, s)| (key.as_str(), s)).collect();
        streams.sort_unstable_by_key(|(key, _)| *key);
        let numbers: HashMap<&str, i32> = streams.iter().zip(1..).map(|((key, _), number)| (*key, number)).collect();
        let mut marks: Vec<_> = self.marks.iter().collect();
        marks.sort_unstable();
        let (documents, events) = (&self.documents, &self.events);
        query
            .bind(self.leases.keys().copied().collect::<Vec<_>>())
            .bind(self.leases.values().map(|epoch| signed(*epoch)).collect::<Vec<_>>())
            .bind(marks.iter().map(|(consumer, ..)| *consumer as i32).collect::<Vec<_>>())
            .bind(marks.iter().map(|(_, id, _)| *id).collect::<Vec<_>>())
            .bind(marks.iter().map(|(.., source)| *source).collect::<Vec<_>>())
            .bind(documents.keys().map(|at| at.0).collect::<Vec<_>>())
            .bind(documents.keys().map(|at| at.1).collect::<Vec<_>>())
            .bind(documents.values().map(|(expected, _)| expected.map(signed)).collect::<Vec<_>>())
            .bind(documents.values().map(|(_, value)| &value[..]).collect::<Vec<_>>())
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
    }
}
