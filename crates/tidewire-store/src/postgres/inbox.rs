//! The inbox port.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::{Row, query};
use tidewire_core::store::{Inbox, Position, Recorded};
use tidewire_core::{Mark, StoreError};

use super::codec::{EVENT_COLUMNS, count, printable, recorded, signed};
use super::error::{classify, classify_write};
use super::log::{EVENTS, from};
use super::store::{MAX_READ, PostgresStore, Query};
pub(super) use crate::group::CaughtUp;

/// How much of the log one statement looks through, so that none holds an old snapshot for long.
const SCAN_POSITIONS: u64 = 20_000;

#[async_trait]
impl Inbox for PostgresStore {
    async fn seen(&self, consumer: &str, marks: &[Mark]) -> Result<Vec<bool>, StoreError> {
        let mut seen = vec![false; marks.len()];
        if marks.is_empty() {
            return Ok(seen);
        }
        let ids: Vec<&str> = marks.iter().map(|mark| mark.id.as_str()).collect();
        let sources: Vec<&str> = marks.iter().map(|mark| mark.source.as_str()).collect();
        let query = Query::new("select v.n from unnest(")
            .value(ids)
            .then("::text[], ")
            .value(sources)
            .then(
                "::text[]) with ordinality v (id, source, n) \
                 join tidewire.inbox i on i.id = v.id and i.source = v.source \
                 where i.consumer = (select c.id from tidewire.consumer c where c.name = ",
            )
            .value(consumer)
            .then(")");
        for row in self.rows(query).await? {
            let n = usize::try_from(count(&row, 0)?).unwrap_or(usize::MAX);
            if let Some(seen) = seen.get_mut(n.wrapping_sub(1)) {
                *seen = true;
            }
        }
        Ok(seen)
    }

    async fn start(&self, consumer: &str, marks: &[Mark], error: Option<&str>) -> Result<Vec<u32>, StoreError> {
        if marks.is_empty() {
            return Ok(Vec::new());
        }
        let (work, consumers) = (self.work.clone(), self.consumers.clone());
        let (consumer, marks) = (consumer.to_owned(), marks.to_vec());
        let error = error.map(printable);
        self.unit(async move {
            consumers.ensure(&work, [consumer.as_str()]).await.map_err(classify_write)?;
            let row = consumers.get(&consumer).unwrap_or_default();
            let mut connection = work.acquire().await.map_err(classify)?;
            let counts = start(&mut connection, row, &marks, error.as_deref()).await.map_err(classify_write)?;
            Ok(marks.iter().map(|mark| counts.get(mark).copied().unwrap_or_default()).collect())
        })
        .await
    }

    async fn handled(&self, consumer: &str) -> Result<u64, StoreError> {
        let query = Query::new(
            "select count(*) from tidewire.inbox where not parked and consumer = \
             (select id from tidewire.consumer where name = ",
        );
        self.rows(query.value(consumer).then(")")).await?.first().map_or(Ok(0), |row| count(row, 0))
    }

    async fn unhandled(
        &self,
        consumer: &str,
        names: &[String],
        until: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        if names.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let limit = limit.min(MAX_READ);
        let (head, row, removals) = self.consumer_now(consumer).await?;
        let until = until.0.min(head);
        let asked = (consumer.to_owned(), names.to_vec());
        let mut after = self.caught_up.get(&asked, removals);
        let mut found = Vec::new();
        while found.len() < limit && after < until {
            let end = until.min(after + SCAN_POSITIONS);
            found.extend(self.unhandled_between(row, names, (after, end), limit - found.len()).await?);
            if found.is_empty() {
                self.caught_up.put(&asked, end, removals);
            }
            after = end;
        }
        Ok(found)
    }
}

impl PostgresStore {
    /// How far the log reaches, the consumer's row (0, if nobody ever heard of it), and how often something was taken
    /// out of its parking.
    async fn consumer_now(&self, name: &str) -> Result<(u64, i32, u64), StoreError> {
        let query = Query::new(
            "select h.last_position, c.removals, c.id from tidewire.head h left join tidewire.consumer c on c.name = ",
        );
        let rows = self.rows(query.value(name)).await?;
        let Some(row) = rows.first() else { return Ok((0, 0, 0)) };
        let id: Option<i32> = row.try_get(2).map_err(classify)?;
        Ok((count(row, 0)?, id.unwrap_or_default(), if id.is_some() { count(row, 1)? } else { 0 }))
    }

    async fn unhandled_between(
        &self,
        consumer: i32,
        names: &[String],
        (after, end): (u64, u64),
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        let query = from(Query::new(format!("select {EVENT_COLUMNS} {EVENTS} where ")), after)
            .then(" and b.first_position <= ")
            .value(signed(end))
            .then(" and b.first_position + e.index <= ")
            .value(signed(end))
            .then(" and e.name = any(")
            .value(names)
            .then(") and not exists (select from tidewire.inbox i where i.consumer = ")
            .value(consumer)
            .then(" and i.id = e.id and i.source = e.source) order by b.first_position, e.index limit ")
            .value(limit as i64);
        self.rows(query).await?.iter().map(recorded).collect()
    }
}

/// Counts a start for each of `marks`; one that is there twice is started twice.
async fn start(
    connection: &mut sqlx::postgres::PgConnection,
    consumer: i64,
    marks: &[Mark],
    error: Option<&str>,
) -> Result<HashMap<Mark, u32>, sqlx::Error> {
    let mut times: HashMap<&Mark, i32> = HashMap::new();
    for mark in marks {
        *times.entry(mark).or_default() += 1;
    }
    let rows = query(
        "insert into tidewire.inbox_attempt as a (consumer, starts, id, source, error) \
         select $1, v.times, v.id, v.source, $2 from unnest($3::text[], $4::text[], $5::integer[]) v (id, source, times) \
         order by v.id collate \"C\", v.source collate \"C\" \
         on conflict (consumer, id, source) do update set starts = least(a.starts::bigint + excluded.starts, 2147483647), \
         error = coalesce(excluded.error, a.error) \
         returning a.id, a.source, a.starts",
    )
    .bind(consumer as i32)
    .bind(error)
    .bind(times.keys().map(|mark| mark.id.as_str()).collect::<Vec<_>>())
    .bind(times.keys().map(|mark| mark.source.as_str()).collect::<Vec<_>>())
    .bind(times.values().copied().collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut counts = HashMap::with_capacity(rows.len());
    for row in rows {
        let mark = Mark { id: row.try_get(0)?, source: row.try_get(1)? };
        counts.insert(mark, u32::try_from(row.try_get::<i32, _>(2)?).unwrap_or_default());
    }
    Ok(counts)
}
