//! What a group has to know of the database before it can be decided: one look-up per table, whatever the size
//! of the group.

use std::collections::{HashMap, HashSet};

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use tidewire_core::{Key, TimerWrite};

use super::codec::{Any, Cells};
use super::op::{Op, Prepared};
use super::sql::{Args, Rows};
use crate::group::{Pair, State, Stream};

/// An event in a consumer's inbox.
pub(super) type MarkKey<'a> = crate::group::MarkKey<'a, Any>;
/// What the database holds of everything a group mentions.
pub(super) type Known<'a> = crate::group::Known<'a, Cells>;

#[derive(Default)]
struct Wanted<'a> {
    marks: HashSet<MarkKey<'a>>,
    streams: HashSet<&'a Key>,
    documents: HashSet<Pair<'a>>,
    timers: HashSet<Pair<'a>>,
    ordinals: HashSet<u64>,
    parked_keys: HashSet<(i64, &'a str)>,
    starts: HashSet<MarkKey<'a>>,
    events: HashSet<(&'a Any, &'a str)>,
    /// Something is to be parked: no index keeps that apart from the inbox.
    parks: bool,
}

impl<'a> Known<'a> {
    /// Looks up what `ops` need. `events`: also what the indexes would refuse, whether their events are in the log
    /// and their marks in the inbox.
    pub(super) async fn find(
        connection: &mut SqliteConnection,
        state: &State,
        ops: &[&'a Op],
        events: bool,
    ) -> Result<Self, sqlx::Error> {
        let mut known = Self::default();
        let wanted = known.collect(state, ops, events);
        known.look_up(connection, state, wanted, events).await?;
        Ok(known)
    }

    fn consumer(&mut self, state: &State, name: &'a str) -> i64 {
        if let Some(id) = self.consumers.get(name) {
            return *id;
        }
        let id = state.consumers.get(name).copied().unwrap_or_else(|| {
            let id = (state.consumers.len() + self.new_consumers.len()) as i64 + 1;
            self.new_consumers.push((id, name));
            id
        });
        self.consumers.insert(name, id);
        id
    }

    fn collect(&mut self, state: &State, ops: &[&'a Op], events: bool) -> Wanted<'a> {
        let mut wanted = Wanted::default();
        for op in ops {
            match op {
                Op::Commit(prepared) => self.collect_commit(state, prepared, events, &mut wanted),
                Op::Start { consumer, marks, .. } => {
                    let consumer = self.consumer(state, consumer);
                    wanted.starts.extend(marks.iter().map(|(id, source)| MarkKey { consumer, id, source }));
                }
                Op::Lease { .. } | Op::Release { .. } | Op::Snapshot { .. } => {}
            }
        }
        wanted
    }

    fn collect_commit(&mut self, state: &State, prepared: &'a Prepared, events: bool, wanted: &mut Wanted<'a>) {
        let commit = &prepared.commit;
        for (append, encoded) in commit.append.iter().zip(&prepared.events) {
            if state.streams.get(&append.key).is_none() {
                wanted.streams.insert(&append.key);
            }
            if events {
                wanted
                    .events
                    .extend(encoded.iter().zip(&append.events).map(|(e, event)| (&e.id, event.source.as_str())));
            }
        }
        for (seen, id) in commit.seen.iter().zip(&prepared.marks) {
            let consumer = self.consumer(state, &seen.consumer);
            wanted.marks.insert(MarkKey { consumer, id, source: &seen.mark.source });
        }
        for (park, (id, _)) in commit.park.iter().zip(&prepared.parks) {
            wanted.parks = true;
            let consumer = self.consumer(state, &park.consumer);
            wanted.marks.insert(MarkKey { consumer, id, source: &park.envelope.source });
            if park.follower {
                wanted.parked_keys.insert((consumer, park.envelope.key.as_str()));
            }
        }
        for unpark in &commit.unpark {
            self.consumer(state, &unpark.consumer);
            wanted.ordinals.insert(unpark.ordinal);
        }
        wanted.documents.extend(commit.documents.iter().map(|d| (d.collection.as_str(), d.id.as_str())));
        wanted.timers.extend(commit.timers.iter().filter_map(|write| match write {
            TimerWrite::Fire { owner, id } => Some((owner.as_str(), id.as_str())),
            TimerWrite::Set(_) | TimerWrite::Cancel { .. } => None,
        }));
    }

    async fn look_up(
        &mut self,
        connection: &mut SqliteConnection,
        state: &State,
        wanted: Wanted<'a>,
        events: bool,
    ) -> Result<(), sqlx::Error> {
        if events || wanted.parks {
            let marks = wanted.marks.iter().copied();
            self.marks = find(connection, &MARKS, marks, bind_mark, |_| Ok(())).await?.into_keys().collect();
        }
        if state.parked > 0 {
            let ordinal = |row: &SqliteRow| unsigned(row, 1);
            self.parked = find(connection, &PARKED, wanted.marks.into_iter(), bind_mark, ordinal).await?;
            self.ordinals = find(
                connection,
                &ORDINALS,
                wanted.ordinals.into_iter(),
                |ordinal, args| {
                    args.count(*ordinal);
                },
                |row| Ok((row.try_get(1)?, row.try_get(2)?)),
            )
            .await?;
            self.parked_keys = find(
                connection,
                &PARKED_KEYS,
                wanted.parked_keys.into_iter(),
                |(consumer, key), args| {
                    args.add(*consumer).add(*key);
                },
                |row| unsigned(row, 1),
            )
            .await?;
        }
        if state.attempts > 0 {
            let starts = |row: &SqliteRow| row.try_get(1);
            self.starts = find(connection, &STARTS, wanted.starts.into_iter(), bind_mark, starts).await?;
        }
        self.streams = find(
            connection,
            &STREAMS,
            wanted.streams.into_iter(),
            |key, args| {
                args.add(key.as_str());
            },
            |row| Ok(Stream { id: row.try_get(1)?, version: unsigned(row, 2)? }),
        )
        .await?;
        let pair = |(a, b): &Pair<'a>, args: &mut Args| {
            args.add(*a).add(*b);
        };
        self.documents =
            find(connection, &DOCUMENTS, wanted.documents.into_iter(), pair, |row| unsigned(row, 1)).await?;
        self.timers =
            find(connection, &TIMERS, wanted.timers.into_iter(), pair, |_| Ok(())).await?.into_keys().collect();
        let event = |(id, source): &(&'a Any, &'a str), args: &mut Args| {
            id.bind(args);
            args.add(*source);
        };
        self.events =
            find(connection, &EVENTS, wanted.events.into_iter(), event, |_| Ok(())).await?.into_keys().collect();
        Ok(())
    }
}

// Every statement joins the values to a table by its key, in this order (`cross join` fixes it), and returns the
// number of the value first, so that what was asked for need not be read back.
macro_rules! look_up {
    ($name:ident, $columns:literal, $select:literal, $join:literal) => {
        const $name: Rows = Rows {
            head: concat!("select v.column1", $select, " from (values "),
            columns: $columns,
            tail: concat!(") as v cross join ", $join),
        };
    };
}
look_up!(MARKS, 4, "", "inbox i on i.consumer = v.column2 and i.id = v.column3 and i.source = v.column4");
look_up!(PARKED, 4, ", p.ordinal", "parked p on p.consumer = v.column2 and p.id = v.column3 and p.source = v.column4");
look_up!(
    STARTS,
    4,
    ", a.starts",
    "inbox_attempt a on a.consumer = v.column2 and a.id = v.column3 and a.source = v.column4"
);
look_up!(EVENTS, 3, "", "event e on e.id = v.column2 and e.source = v.column3");
look_up!(ORDINALS, 2, ", p.consumer, p.key", "parked p on p.ordinal = v.column2");
look_up!(DOCUMENTS, 3, ", d.revision", "document d on d.collection = v.column2 and d.id = v.column3");
look_up!(TIMERS, 3, "", "timer t on t.owner = v.column2 and t.id = v.column3");
look_up!(
    STREAMS,
    2,
    ", s.id, coalesce((select max(version) from event where stream = s.id), \
     (select version from retired where stream = s.id))",
    "stream s on s.key = v.column2"
);
const PARKED_KEYS: Rows = Rows {
    head: "select v.column1, (select count(*) from parked where consumer = v.column2 and key = v.column3) from (values ",
    columns: 3,
    tail: ") as v where v.column1 is not null",
};

fn bind_mark(mark: &MarkKey<'_>, args: &mut Args) {
    args.add(mark.consumer);
    mark.id.bind(args);
    args.add(mark.source);
}

fn unsigned(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}

async fn find<K: std::hash::Hash + Eq + Copy, V>(
    connection: &mut SqliteConnection,
    rows: &Rows,
    keys: impl Iterator<Item = K>,
    bind: impl Fn(&K, &mut Args),
    read: impl Fn(&SqliteRow) -> Result<V, sqlx::Error>,
) -> Result<HashMap<K, V>, sqlx::Error> {
    let keys: Vec<(i64, K)> = (0..).zip(keys).collect();
    let mut found = HashMap::with_capacity(keys.len());
    if keys.is_empty() {
        return Ok(found);
    }
    let fetched = rows
        .fetch(connection, &keys, |(n, key), args| {
            args.add(*n);
            bind(key, args);
        })
        .await?;
    for row in fetched {
        let n = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
        if let Some((_, key)) = keys.get(n) {
            found.insert(*key, read(&row)?);
        }
    }
    Ok(found)
}

/// Every statement here, to be looked at by a test.
#[cfg(test)]
pub(super) const ALL: [&Rows; 9] =
    [&MARKS, &PARKED, &STARTS, &EVENTS, &ORDINALS, &DOCUMENTS, &TIMERS, &STREAMS, &PARKED_KEYS];
