//! What a group has to know of the database before it can be decided: one statement per table, whatever the size of the
//! group, each locking what it finds until the transaction ends. Every group takes its locks in the same order: leases,
//! streams, marks, parked events, documents, timers; and within a table by key.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row, query};
use tidewire_core::{Key, TimerWrite};

use super::codec::{Cells, signed};
use super::consumers::Consumers;
use super::error::Failure;
use crate::group::{Known, Lease, MarkKey, Pair, Prepared, Stream};

/// An event in a consumer's inbox.
pub(super) type Mark<'a> = MarkKey<'a, String>;

/// What was found, and what the transaction holds by now.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub known: Known<'a, Cells>,
    pub leases: HashMap<String, Lease>,
    pub inbox: Marks<'a>,
    /// Streams that are locked and have no event yet.
    pub empty: HashSet<&'a Key>,
}

/// The rows of the inbox that a group concerns.
#[derive(Default)]
pub(super) struct Marks<'a> {
    /// By this transaction, as if their commits were already decided; and whether as parked.
    pub inserted: HashMap<Mark<'a>, bool>,
    /// Those whose handler was started before.
    pub tried: Vec<Mark<'a>>,
    /// What parked events the group takes out are about.
    pub of_ordinals: HashMap<u64, (i64, String, String)>,
}

/// Locks the leases that fences name. Shared: a commit keeps a lease from changing hands, not from being used.
pub(super) async fn leases(
    connection: &mut PgConnection,
    group: &[&Prepared<Cells>],
    found: &mut Found<'_>,
) -> Result<(), sqlx::Error> {
    let names: HashSet<&str> = group.iter().filter_map(|p| p.commit.fence.as_ref()).map(|f| &*f.lease).collect();
    if names.is_empty() {
        return Ok(());
    }
    let rows = query("select name, owner, epoch from tidewire.lease where name = any($1) order by name for share")
        .bind(names.into_iter().collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    for row in rows {
        let lease = Lease { owner: row.try_get(1)?, epoch: unsigned(&row, 2)?, expires: 0 };
        found.leases.insert(row.try_get(0)?, lease);
    }
    Ok(())
}

/// The keys of a group's streams.
pub(super) fn keys_of<'a>(group: &[&'a Prepared<Cells>]) -> HashSet<&'a Key> {
    group.iter().flat_map(|prepared| &prepared.commit.append).map(|append| &append.key).collect()
}

/// Locks the streams of a group, and answers those that somebody else has locked. With `wait` there are none, but
/// for the rare one that vanished while it was waited for.
pub(super) async fn streams<'a>(
    connection: &mut PgConnection,
    group: &[&'a Prepared<Cells>],
    wait: bool,
    found: &mut Found<'a>,
) -> Result<HashSet<&'a Key>, sqlx::Error> {
    let keys = keys_of(group);
    if keys.is_empty() {
        return Ok(keys);
    }
    let rows = query("select locked_key, locked_version from tidewire.lock_streams($1, $2)")
        .bind(sorted(&keys))
        .bind(wait)
        .fetch_all(connection)
        .await?;
    locked(keys, &rows, found)
}

/// In the order in which everybody locks them.
pub(super) fn sorted<'k>(keys: &HashSet<&'k Key>) -> Vec<&'k str> {
    let mut sorted: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
    sorted.sort_unstable();
    sorted
}

/// Takes note of the streams that `lock_streams` answered, and returns the others.
pub(super) fn locked<'a>(
    keys: HashSet<&'a Key>,
    rows: &[PgRow],
    found: &mut Found<'a>,
) -> Result<HashSet<&'a Key>, sqlx::Error> {
    let by_text: HashMap<&str, &'a Key> = keys.iter().map(|key| (key.as_str(), *key)).collect();
    for row in rows {
        let Some(key) = by_text.get(row.try_get::<&str, _>(0)?) else { continue };
        let version = unsigned(row, 1)?;
        if version == 0 {
            found.empty.insert(key);
        }
        found.known.streams.insert(key, Stream { id: 0, version });
    }
    Ok(keys.into_iter().filter(|key| !found.known.streams.contains_key(*key)).collect())
}

/// Everything else. `events`: also whether their events are in the log already.
pub(super) async fn rest<'a>(
    connection: &mut PgConnection,
    group: &[&'a Prepared<Cells>],
    consumers: &Consumers,
    events: bool,
    found: &mut Found<'a>,
) -> Result<(), Failure> {
    name_consumers(group, consumers, &mut found.known)?;
    marks(connection, group, found).await?;
    ordinals(connection, group, found).await?;
    parked_keys(connection, group, found).await?;
    documents(connection, group, found).await?;
    timers(connection, group, found).await?;
    if events {
        self::events(connection, group, found).await?;
    }
    Ok(())
}

/// Every consumer a commit mentions.
pub(super) fn consumers_of(prepared: &Prepared<Cells>) -> impl Iterator<Item = &str> {
    let commit = &prepared.commit;
    let seen = commit.seen.iter().map(|seen| seen.consumer.as_str());
    let parked = commit.park.iter().map(|park| park.consumer.as_str());
    seen.chain(parked).chain(commit.unpark.iter().map(|unpark| unpark.consumer.as_str()))
}

fn name_consumers<'a>(
    group: &[&'a Prepared<Cells>],
    consumers: &Consumers,
    known: &mut Known<'a, Cells>,
) -> Result<(), Failure> {
    for name in group.iter().flat_map(|prepared| consumers_of(prepared)) {
        if !known.consumers.contains_key(name) {
            let id = consumers.get(name).ok_or_else(|| Failure::Raced(format!("`{name}` has no row yet")))?;
            known.consumers.insert(name, id);
        }
    }
    Ok(())
}

/// The marks of a commit, and whether they are those of parked events.
fn marks_of<'a>(prepared: &'a Prepared<Cells>, known: &Known<'a, Cells>) -> Vec<(Mark<'a>, bool)> {
    let consumer = |name: &str| known.consumers.get(name).copied().unwrap_or_default();
    let commit = &prepared.commit;
    let seen = commit
        .seen
        .iter()
        .zip(&prepared.marks)
        .map(|(seen, id)| (MarkKey { consumer: consumer(&seen.consumer), id, source: &seen.mark.source }, false));
    let parks = commit.park.iter().zip(&prepared.parks).map(|(park, (id, _))| {
        (MarkKey { consumer: consumer(&park.consumer), id, source: &park.envelope.source }, true)
    });
    seen.chain(parks).collect()
}

/// Marks are not looked up but inserted: the index then keeps everybody else from them, and those it refuses are the
/// ones that are there. Commits that come to nothing have theirs removed again.
async fn marks<'a>(
    connection: &mut PgConnection,
    group: &[&'a Prepared<Cells>],
    found: &mut Found<'a>,
) -> Result<(), sqlx::Error> {
    let mut wanted: HashMap<Mark<'a>, bool> = HashMap::new();
    for prepared in group {
        for (mark, parked) in marks_of(prepared, &found.known) {
            wanted.entry(mark).or_insert(parked);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let wanted: Vec<(Mark<'a>, bool)> = wanted.into_iter().collect();
    let rows = query(
        "with wanted as materialized ( \
           select * from unnest($1::integer[], $2::boolean[], $3::text[], $4::text[]) w (consumer, parked, id, source) \
         ), added as ( \
           insert into tidewire.inbox (consumer, parked, id, source) \
           select w.consumer, w.parked, w.id, w.source from wanted w \
           order by w.consumer, w.id collate \"C\", w.source collate \"C\" \
           on conflict do nothing returning consumer, id, source \
         ) \
         select a.consumer, a.id, a.source, false from added a \
         union all \
         select w.consumer, w.id, w.source, true from wanted w \
         join tidewire.inbox_attempt t on t.consumer = w.consumer and t.id = w.id and t.source = w.source",
    )
    .bind(wanted.iter().map(|(mark, _)| mark.consumer as i32).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(_, parked)| *parked).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(mark, _)| mark.id.as_str()).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(mark, _)| mark.source).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let places: HashMap<(i64, &str, &str), usize> =
        (0..).zip(&wanted).map(|(n, (mark, _))| ((mark.consumer, mark.id.as_str(), mark.source), n)).collect();
    for row in &rows {
        let at = (i64::from(row.try_get::<i32, _>(0)?), row.try_get(1)?, row.try_get(2)?);
        let Some((mark, parked)) = places.get(&at).and_then(|n| wanted.get(*n)) else { continue };
        if row.try_get(3)? {
            found.inbox.tried.push(*mark);
        } else {
            found.inbox.inserted.insert(*mark, *parked);
        }
    }
    let there: Vec<Mark<'a>> =
        wanted.iter().map(|(mark, _)| *mark).filter(|mark| !found.inbox.inserted.contains_key(mark)).collect();
    known_marks(connection, &there, &mut found.known).await
}

/// Those that are in the inbox: handled, or parked under an ordinal.
async fn known_marks<'a>(
    connection: &mut PgConnection,
    marks: &[Mark<'a>],
    known: &mut Known<'a, Cells>,
) -> Result<(), sqlx::Error> {
    if marks.is_empty() {
        return Ok(());
    }
    let rows = query(
        "select w.n, p.ordinal from unnest($1::integer[], $2::text[], $3::text[]) with ordinality \
           w (consumer, id, source, n) \
         join tidewire.parked p on p.consumer = w.consumer and p.id = w.id and p.source = w.source",
    )
    .bind(marks.iter().map(|mark| mark.consumer as i32).collect::<Vec<_>>())
    .bind(marks.iter().map(|mark| mark.id.as_str()).collect::<Vec<_>>())
    .bind(marks.iter().map(|mark| mark.source).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    for row in rows {
        if let Some(mark) = nth(marks, &row)? {
            known.parked.insert(*mark, unsigned(&row, 1)?);
        }
    }
    let handled = marks.iter().filter(|mark| !known.parked.contains_key(mark)).copied().collect::<Vec<_>>();
    known.marks.extend(handled);
    Ok(())
}

/// Parked events that are to be taken out.
async fn ordinals<'a>(
    connection: &mut PgConnection,
    group: &[&'a Prepared<Cells>],
    found: &mut Found<'a>,
) -> Result<(), sqlx::Error> {
    let wanted: HashSet<u64> = group.iter().flat_map(|p| &p.commit.unpark).map(|unpark| unpark.ordinal).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let rows = query(
        "select ordinal, consumer, key, id, source from tidewire.parked where ordinal = any($1) order by ordinal \
         for update",
    )
    .bind(wanted.into_iter().map(signed).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    for row in rows {
        let (ordinal, consumer) = (unsigned(&row, 0)?, i64::from(row.try_get::<i32, _>(1)?));
        found.known.ordinals.insert(ordinal, (consumer, row.try_get(2)?));
        found.inbox.of_ordinals.insert(ordinal, (consumer, row.try_get(3)?, row.try_get(4)?));
    }
    Ok(())
}

/// How many events are parked for the keys of followers. The first of each key is locked against being taken out:
/// while it is there, the key stays parked.
async fn parked_keys<'a>(
    connection: &mut PgConnection,
    group: &[&'a Prepared<Cells>],
    found: &mut Found<'a>,
) -> Result<(), sqlx::Error> {
    let followers = group.iter().flat_map(|p| &p.commit.park).filter(|park| park.follower);
    let wanted: HashSet<(i64, &'a str)> = followers
        .map(|park| {
            (found.known.consumers.get(&*park.consumer).copied().unwrap_or_default(), park.envelope.key.as_str())
        })
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut wanted: Vec<_> = wanted.into_iter().collect();
    wanted.sort_unstable();
    let rows = query(
        "select w.n, (select count(*) from tidewire.parked c where c.consumer = w.consumer and c.key = w.key) \
         from unnest($1::integer[], $2::text[]) with ordinality w (consumer, key, n) \
         cross join lateral (select p.ordinal from tidewire.parked p where p.consumer = w.consumer and p.key = w.key \
           order by p.ordinal limit 1 for share) p",
    )
    .bind(wanted.iter().map(|(consumer, _)| *consumer as i32).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(_, key)| *key).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    for row in rows {
        if let Some(at) = nth(&wanted, &row)? {
            found.known.parked_keys.insert(*at, unsigned(&row, 1)?);
        }
    }
    Ok(())
}

async fn documents<'a>(
    connection: &mut PgConnection,
    group: &[&'a Prepared<Cells>],
    found: &mut Found<'a>,
) -> Result<(), sqlx::Error> {
    let wanted: HashSet<Pair<'a>> =
        group.iter().flat_map(|p| &p.commit.documents).map(|d| (d.collection.as_str(), d.id.as_str())).collect();
    let text = "select w.n, d.revision from unnest($1::text[], $2::text[]) with ordinality w (collection, id, n) \
                join tidewire.document d on d.collection = w.collection and d.id = w.id \
                order by d.collection, d.id for update of d";
    for (pair, row) in pairs(connection, text, wanted).await? {
        found.known.documents.insert(pair, unsigned(&row, 1)?);
    }
    Ok(())
}

async fn timers<'a>(
    connection: &mut PgConnection,
    group: &[&'a Prepared<Cells>],
    found: &mut Found<'a>,
) -> Result<(), sqlx::Error> {
    let writes = group.iter().flat_map(|prepared| &prepared.commit.timers);
    let wanted: HashSet<Pair<'a>> = writes
        .filter_map(|write| match write {
            TimerWrite::Fire { owner, id } => Some((owner.as_str(), id.as_str())),
            TimerWrite::Set(_) | TimerWrite::Cancel { .. } => None,
        })
        .collect();
    let text = "select w.n from unnest($1::text[], $2::text[]) with ordinality w (owner, id, n) \
                join tidewire.timer t on t.owner = w.owner and t.id = w.id order by t.owner, t.id for update of t";
    let timers = pairs(connection, text, wanted).await?;
    found.known.timers.extend(timers.into_iter().map(|(pair, _)| pair));
    Ok(())
}

async fn events<'a>(
    connection: &mut PgConnection,
    group: &[&'a Prepared<Cells>],
    found: &mut Found<'a>,
) -> Result<(), sqlx::Error> {
    let mut wanted: HashMap<Pair<'a>, &'a String> = HashMap::new();
    for prepared in group {
        for (append, encoded) in prepared.commit.append.iter().zip(&prepared.events) {
            let events = append.events.iter().zip(encoded);
            wanted.extend(events.map(|(event, encoded)| ((encoded.id.as_str(), event.source.as_str()), &encoded.id)));
        }
    }
    let text = "select w.n from unnest($1::text[], $2::text[]) with ordinality w (id, source, n) \
                join tidewire.event e on e.id = w.id and e.source = w.source";
    let there = pairs(connection, text, wanted.keys().copied().collect()).await?;
    found.known.events.extend(there.into_iter().filter_map(|(pair, _)| Some((*wanted.get(&pair)?, pair.1))));
    Ok(())
}

/// What a statement finds of pairs of texts; it answers the number of each first.
async fn pairs<'a>(
    connection: &mut PgConnection,
    text: &'static str,
    wanted: HashSet<Pair<'a>>,
) -> Result<Vec<(Pair<'a>, PgRow)>, sqlx::Error> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: Vec<Pair<'a>> = wanted.into_iter().collect();
    let rows = query(text)
        .bind(wanted.iter().map(|(first, _)| *first).collect::<Vec<_>>())
        .bind(wanted.iter().map(|(_, second)| *second).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(pair) = nth(&wanted, &row)? {
            found.push((*pair, row));
        }
    }
    Ok(found)
}

/// What the row's number, from 1, stands for.
fn nth<'v, T>(asked: &'v [T], row: &PgRow) -> Result<Option<&'v T>, sqlx::Error> {
    let n = row.try_get::<i64, _>(0)?;
    Ok(usize::try_from(n).ok().and_then(|n| asked.get(n.checked_sub(1)?)))
}

fn unsigned(row: &PgRow, column: usize) -> Result<u64, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}
