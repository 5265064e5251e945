//! Writing what a group decided: one statement per table.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row, query};
use tidewire_core::Key;
use tidewire_core::effect::EffectState;

use super::codec::{Cells, printable, signed, split};
use super::lookup::{Mark, Marks};
use crate::group::{MarkKey, Pair, ParkRow, Stream, nanos};

/// Everything a group writes.
pub(super) type Writes<'a> = crate::group::Writes<'a, Cells>;

/// The events of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub id: i64,
    pub count: i32,
}

/// Writes the events, raises their streams, and answers the batch they are in: drawn here, when every stream is
/// locked. With `ends` the batch's own row too, without a position; otherwise that is for whoever ends the transaction.
pub(super) async fn events(
    connection: &mut PgConnection,
    writes: &Writes<'_>,
    streams: &HashMap<&Key, Stream>,
    recorded: DateTime<Utc>,
    ends: bool,
) -> Result<Option<Batch>, sqlx::Error> {
    let rows = &writes.events;
    let Some(first) = rows.first() else { return Ok(None) };
    // Positions are relative to the batch until it is sealed.
    let base = first.position;
    let indexes = rows.iter().map(|row| i32::try_from(row.position - base).unwrap_or(i32::MAX));
    let ended = match ends {
        true => ", ended as (insert into tidewire.batch (id, count) select d.id, cardinality($4) from drawn d)",
        false => "",
    };
    let row = query(AssertSqlSafe(format!(
        "with raised as ( \
           update tidewire.stream s set version = v.version \
           from unnest($1::text[], $2::bigint[]) v (key, version) where s.key = v.key \
         ), drawn as materialized ( \
           select nextval('tidewire.batch_id') as id \
         ), written as ( \
           insert into tidewire.event (batch, index, recorded, key, version, bucket, id, source, name, type_version, \
             time, time_nanos, correlation, attributes, data) \
           select d.id, e.index, $3, e.key, e.version, e.bucket, e.id, e.source, e.name, e.type_version, e.time, \
             e.time_nanos, e.correlation, e.attributes::jsonb, e.data \
           from drawn d, unnest($4::integer[], $5::text[], $6::bigint[], $7::smallint[], $8::text[], $9::text[], \
             $10::text[], $11::integer[], $12::timestamptz[], $13::smallint[], $14::text[], $15::text[], \
             $16::bytea[]) e (index, key, version, bucket, id, source, name, type_version, time, time_nanos, \
             correlation, attributes, data) \
         ){ended} \
         select d.id from drawn d",
    )))
    .bind(streams.keys().map(|key| key.as_str()).collect::<Vec<_>>())
    .bind(streams.values().map(|stream| signed(stream.version)).collect::<Vec<_>>())
    .bind(split(&recorded).0)
    .bind(indexes.collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.envelope.key.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| signed(row.version)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| i16::from(row.bucket)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.encoded.id.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.envelope.source.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.envelope.ty.name()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| i32::from(row.envelope.ty.version())).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.encoded.time).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.encoded.time_nanos).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.envelope.correlationid.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.encoded.attributes.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.envelope.data.as_deref()).collect::<Vec<Option<&[u8]>>>())
    .fetch_one(connection)
    .await?;
    Ok(Some(Batch { id: row.try_get(0)?, count: i32::try_from(rows.len()).unwrap_or(i32::MAX) }))
}

/// Streams that were locked for commits that came to nothing, and that nobody ever appended to.
pub(super) async fn drop_empty_streams(
    connection: &mut PgConnection,
    keys: impl Iterator<Item = &Key>,
) -> Result<(), sqlx::Error> {
    let keys: Vec<&str> = keys.map(Key::as_str).collect();
    if keys.is_empty() {
        return Ok(());
    }
    query("delete from tidewire.stream where key = any($1) and version = 0")
        .bind(keys)
        .execute(connection)
        .await
        .map(drop)
}

/// Everything but events and marks.
pub(super) async fn rest(
    connection: &mut PgConnection,
    writes: &Writes<'_>,
    recorded: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    documents(connection, writes).await?;
    // Before parking: a parked event may be parked again in place of itself.
    unparks(connection, writes).await?;
    parks(connection, writes, recorded).await?;
    timers(connection, writes).await?;
    effects(connection, writes, recorded).await
}

async fn documents(connection: &mut PgConnection, writes: &Writes<'_>) -> Result<(), sqlx::Error> {
    let (kept, gone): (Vec<_>, Vec<_>) = writes.documents.iter().partition(|row| row.value.is_some());
    // One that is there is locked; one that appeared meanwhile is refused, and the group decided again.
    let (new, old): (Vec<_>, Vec<_>) = kept.into_iter().partition(|row| row.is_new);
    let statements = [
        (
            new,
            "insert into tidewire.document (collection, id, revision, value) \
             select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[]) v (collection, id, revision, value) \
             order by v.collection collate \"C\", v.id collate \"C\"",
        ),
        (
            old,
            "update tidewire.document d set revision = v.revision, value = v.value \
             from unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[]) v (collection, id, revision, value) \
             where d.collection = v.collection and d.id = v.id",
        ),
    ];
    for (rows, text) in statements {
        if !rows.is_empty() {
            query(text)
                .bind(rows.iter().map(|row| row.at.0).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| row.at.1).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| signed(row.revision)).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| row.value.map_or(&[][..], |value| &value[..])).collect::<Vec<_>>())
                .execute(&mut *connection)
                .await?;
        }
    }
    let gone: Vec<Pair<'_>> = gone.into_iter().map(|row| row.at).collect();
    let text = "delete from tidewire.document d using unnest($1::text[], $2::text[]) v (collection, id) \
                where d.collection = v.collection and d.id = v.id";
    pairs(connection, text, &gone).await
}

async fn unparks(connection: &mut PgConnection, writes: &Writes<'_>) -> Result<(), sqlx::Error> {
    if writes.unparks.is_empty() {
        return Ok(());
    }
    let rows = query("delete from tidewire.parked where ordinal = any($1) returning consumer")
        .bind(writes.unparks.iter().map(|ordinal| signed(*ordinal)).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
    let consumers = rows.iter().map(|row| row.try_get(0)).collect::<Result<BTreeSet<i32>, _>>()?;
    query(
        "update tidewire.consumer set removals = removals + 1 where id in \
         (select id from tidewire.consumer where id = any($1) order by id for no key update)",
    )
    .bind(consumers.into_iter().collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

async fn parks(connection: &mut PgConnection, writes: &Writes<'_>, recorded: DateTime<Utc>) -> Result<(), sqlx::Error> {
    let (placed, rows): (Vec<_>, Vec<_>) = writes.parks.iter().partition(|row| row.park.place.is_some());
    for row in placed {
        place(connection, row).await?;
    }
    if rows.is_empty() {
        return Ok(());
    }
    query(
        "insert into tidewire.parked (since, consumer, attempts, key, id, source, code, reason, envelope, data) \
         select $1, v.consumer, v.attempts, v.key, v.id, v.source, v.code, v.reason, v.envelope, v.data \
         from unnest($2::integer[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], \
           $9::text[], $10::bytea[]) with ordinality \
           v (consumer, attempts, key, id, source, code, reason, envelope, data, n) \
         order by v.n",
    )
    .bind(nanos(&recorded))
    .bind(rows.iter().map(|row| row.consumer as i32).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| i32::try_from(row.park.attempts).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.park.envelope.key.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.park.envelope.source.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.park.code.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| printable(&row.park.reason)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.columns.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.park.envelope.data.as_deref()).collect::<Vec<Option<&[u8]>>>())
    .execute(connection)
    .await
    .map(drop)
}

/// Parks an event in the place of another one: rare, so one by one.
async fn place(connection: &mut PgConnection, row: &ParkRow<'_, Cells>) -> Result<(), sqlx::Error> {
    let Some(place) = row.park.place else { return Ok(()) };
    query(
        "insert into tidewire.parked (ordinal, since, consumer, attempts, key, id, source, code, reason, envelope, data) \
         overriding system value values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(signed(place.ordinal))
    .bind(nanos(&place.since))
    .bind(row.consumer as i32)
    .bind(i32::try_from(row.park.attempts).unwrap_or(i32::MAX))
    .bind(row.park.envelope.key.as_str())
    .bind(row.id.as_str())
    .bind(row.park.envelope.source.as_str())
    .bind(row.park.code.as_str())
    .bind(printable(&row.park.reason))
    .bind(row.columns.as_str())
    .bind(row.park.envelope.data.as_deref())
    .execute(connection)
    .await
    .map(drop)
}

async fn timers(connection: &mut PgConnection, writes: &Writes<'_>) -> Result<(), sqlx::Error> {
    let set: Vec<_> = writes.timers.values().flatten().collect();
    if !set.is_empty() {
        query(
            "insert into tidewire.timer (owner, id, key, due, data) \
             select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[]) \
               v (owner, id, key, due, data) \
             order by v.owner collate \"C\", v.id collate \"C\" \
             on conflict (owner, id) do update set key = excluded.key, due = excluded.due, data = excluded.data",
        )
        .bind(set.iter().map(|timer| timer.owner.as_str()).collect::<Vec<_>>())
        .bind(set.iter().map(|timer| timer.id.as_str()).collect::<Vec<_>>())
        .bind(set.iter().map(|timer| timer.key.as_str()).collect::<Vec<_>>())
        .bind(set.iter().map(|timer| nanos(&timer.due)).collect::<Vec<_>>())
        .bind(set.iter().map(|timer| &timer.data[..]).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    let gone: Vec<Pair<'_>> = writes.timers.iter().filter(|(_, timer)| timer.is_none()).map(|(at, _)| *at).collect();
    let text = "delete from tidewire.timer t using unnest($1::text[], $2::text[]) v (owner, id) \
                where t.owner = v.owner and t.id = v.id";
    pairs(connection, text, &gone).await
}

async fn pairs(connection: &mut PgConnection, text: &'static str, pairs: &[Pair<'_>]) -> Result<(), sqlx::Error> {
    if pairs.is_empty() {
        return Ok(());
    }
    query(text)
        .bind(pairs.iter().map(|(first, _)| *first).collect::<Vec<_>>())
        .bind(pairs.iter().map(|(_, second)| *second).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(drop)
}

async fn effects(
    connection: &mut PgConnection,
    writes: &Writes<'_>,
    recorded: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if !writes.effects.is_empty() {
        let rows = &writes.effects;
        // Strings and string-keyed maps always have a JSON form.
        let calls = rows.iter().map(|effect| serde_json::to_string(&effect.call).unwrap_or_default());
        // Handling an event again asks for the same effect: once is enough.
        query(
            "insert into tidewire.effect (due, id, consumer, cause, call) \
             select $1, v.id, v.consumer, v.cause, v.call \
             from unnest($2::text[], $3::text[], $4::text[], $5::text[]) with ordinality v (id, consumer, cause, call, n) \
             order by v.n on conflict (id) do nothing",
        )
        .bind(nanos(&recorded))
        .bind(rows.iter().map(|effect| effect.id.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|effect| effect.consumer.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|effect| effect.cause.as_str()).collect::<Vec<_>>())
        .bind(calls.collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    if writes.settled.is_empty() {
        return Ok(());
    }
    let states = writes.settled.iter().map(|outcome| match &outcome.state {
        EffectState::Pending(due) => (0_i16, nanos(due)),
        EffectState::Done => (1, 0),
        EffectState::Failed => (2, 0),
    });
    let (states, dues): (Vec<i16>, Vec<i64>) = states.unzip();
    query(
        "update tidewire.effect e set state = v.state, due = v.due, error = v.error, \
         attempts = case e.state when 2 then 0 else e.attempts + 1 end \
         from unnest($1::text[], $2::smallint[], $3::bigint[], $4::text[]) v (id, state, due, error) \
         where e.id = v.id and (e.state = 0 or (e.state = 2 and v.state = 0))",
    )
    .bind(writes.settled.iter().map(|outcome| outcome.id.as_str()).collect::<Vec<_>>())
    .bind(states)
    .bind(dues)
    .bind(writes.settled.iter().map(|outcome| outcome.error.as_deref().map(printable)).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

/// Leaves the inbox as the group decided it. The marks were inserted before it was: usually nothing is left to do.
pub(super) async fn marks(
    connection: &mut PgConnection,
    writes: &Writes<'_>,
    inbox: &Marks<'_>,
) -> Result<(), sqlx::Error> {
    // What is there now, as far as it concerns the group: parked or not.
    let mut there: HashMap<Mark<'_>, bool> = inbox.inserted.clone();
    let mut wanted: HashMap<Mark<'_>, bool> = HashMap::new();
    for ordinal in &writes.unparks {
        if let Some((consumer, id, source)) = inbox.of_ordinals.get(ordinal) {
            there.insert(MarkKey { consumer: *consumer, id, source }, true);
        }
    }
    wanted.extend(writes.parks.iter().map(|row| (mark_of(row), true)));
    wanted.extend(writes.marks.iter().map(|mark| (*mark, false)));
    let gone: Vec<Mark<'_>> = there.keys().filter(|mark| !wanted.contains_key(mark)).copied().collect();
    let text = "delete from tidewire.inbox i using unnest($1::integer[], $2::text[], $3::text[]) v (consumer, id, source) \
                where i.consumer = v.consumer and i.id = v.id and i.source = v.source";
    each_mark(connection, text, &gone).await?;
    for (parked, text) in [
        (
            false,
            "update tidewire.inbox i set parked = false \
             from unnest($1::integer[], $2::text[], $3::text[]) v (consumer, id, source) \
             where i.consumer = v.consumer and i.id = v.id and i.source = v.source",
        ),
        (
            true,
            "update tidewire.inbox i set parked = true \
             from unnest($1::integer[], $2::text[], $3::text[]) v (consumer, id, source) \
             where i.consumer = v.consumer and i.id = v.id and i.source = v.source",
        ),
    ] {
        let changed = wanted.iter().filter(|(mark, wanted)| **wanted == parked && there.get(mark) != Some(wanted));
        each_mark(connection, text, &changed.map(|(mark, _)| *mark).collect::<Vec<_>>()).await?;
    }
    // Events that are handled are no longer being tried again.
    let handled: HashSet<Mark<'_>> = writes.marks.iter().copied().collect();
    let ended: Vec<Mark<'_>> = inbox.tried.iter().filter(|mark| handled.contains(mark)).copied().collect();
    let text = "delete from tidewire.inbox_attempt i using unnest($1::integer[], $2::text[], $3::text[]) \
                v (consumer, id, source) \
                where i.consumer = v.consumer and i.id = v.id and i.source = v.source";
    each_mark(connection, text, &ended).await
}

fn mark_of<'a>(row: &crate::group::ParkRow<'a, Cells>) -> Mark<'a> {
    MarkKey { consumer: row.consumer, id: row.id, source: &row.park.envelope.source }
}

async fn each_mark(connection: &mut PgConnection, text: &'static str, marks: &[Mark<'_>]) -> Result<(), sqlx::Error> {
    if marks.is_empty() {
        return Ok(());
    }
    query(text)
        .bind(marks.iter().map(|mark| mark.consumer as i32).collect::<Vec<_>>())
        .bind(marks.iter().map(|mark| mark.id.as_str()).collect::<Vec<_>>())
        .bind(marks.iter().map(|mark| mark.source).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(drop)
}
