//! The inbox port.

use async_trait::async_trait;
use sqlx::Row;
use tidewire_core::store::{Inbox, Position, Recorded};
use tidewire_core::{Mark, StoreError};

use super::codec::{Any, EVENT_COLUMNS, count, id, recorded};
use super::error::classify;
use super::op::{Answer, Op};
use super::sql::{Args, Rows};
use super::store::{MAX_READ, SqliteStore};
pub(super) use crate::group::CaughtUp;

/// How much of the log one statement looks through, so that no reader holds an old state for long.
const SCAN_POSITIONS: u64 = 20_000;

const SEEN: Rows = Rows {
    head: "select v.column1 from (values ",
    columns: 4,
    tail: ") as v cross join consumer c on c.name = v.column2 \
           where exists (select 1 from inbox i where i.consumer = c.id and i.id = v.column3 and i.source = v.column4) \
           or exists (select 1 from parked p where p.consumer = c.id and p.id = v.column3 and p.source = v.column4)",
};

#[async_trait]
impl Inbox for SqliteStore {
    async fn seen(&self, consumer: &str, marks: &[Mark]) -> Result<Vec<bool>, StoreError> {
        let mut seen = vec![false; marks.len()];
        let asked: Vec<(i64, &Mark)> = (0..).zip(marks).collect();
        let bind = |(n, mark): &(i64, &Mark), args: &mut Args| {
            args.add(*n).add(consumer);
            id(&mark.id).bind(args);
            args.add(mark.source.as_str());
        };
        let mut reader = self.reader().await?;
        for row in SEEN.fetch(&mut reader, &asked, bind).await.map_err(classify)? {
            if let Some(seen) = seen.get_mut(usize::try_from(count(&row, 0)?).unwrap_or(usize::MAX)) {
                *seen = true;
            }
        }
        Ok(seen)
    }

    async fn start(&self, consumer: &str, marks: &[Mark], error: Option<&str>) -> Result<Vec<u32>, StoreError> {
        if marks.is_empty() {
            return Ok(Vec::new());
        }
        let marks: Vec<(Any, String)> = marks.iter().map(|mark| (id(&mark.id), mark.source.clone())).collect();
        let op = Op::Start { consumer: consumer.to_owned(), marks, error: error.map(str::to_owned) };
        match self.ask(op).await? {
            Answer::Starts(starts) => Ok(starts),
            other => Err(StoreError::Unknown(format!("the writer answered {other:?} to a start"))),
        }
    }

    async fn handled(&self, consumer: &str) -> Result<u64, StoreError> {
        let mut args = Args::default();
        args.add(consumer);
        let text = "select count(*) from inbox where consumer = (select id from consumer where name = ?)";
        self.rows(text.to_owned(), args).await?.first().map_or(Ok(0), |row| count(row, 0))
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
        let until = until.0.min(self.head.borrow().0);
        let asked = (consumer.to_owned(), names.to_vec());
        let unparked = self.parking.removals();
        let mut after = self.caught_up.get(&asked, unparked).max(self.first().await?.0 - 1);
        let consumer = self.consumer_id(consumer).await?;
        let mut found = Vec::new();
        while found.len() < limit && after < until {
            let end = until.min(after + SCAN_POSITIONS);
            found.extend(self.unhandled_between(consumer, names, (after, end), limit - found.len()).await?);
            if found.is_empty() {
                self.caught_up.put(&asked, end, unparked);
            }
            after = end;
        }
        Ok(found)
    }
}

impl SqliteStore {
    /// The consumer's row; one that no row has, if nobody ever heard of it.
    async fn consumer_id(&self, name: &str) -> Result<i64, StoreError> {
        let mut args = Args::default();
        args.add(name);
        let rows = self.rows("select id from consumer where name = ?".to_owned(), args).await?;
        rows.first().map_or(Ok(0), |row| row.try_get(0).map_err(classify))
    }

    async fn unhandled_between(
        &self,
        consumer: i64,
        names: &[String],
        (after, end): (u64, u64),
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        let mut args = Args::default();
        args.count(after).count(end);
        for name in names {
            args.add(name.as_str());
        }
        args.add(consumer).add(consumer).count(limit as u64);
        let text = format!(
            "select {EVENT_COLUMNS} from event e join stream s on s.id = e.stream \
             where e.position > ? and e.position <= ? and e.name in ({}) \
             and not exists (select 1 from inbox i where i.consumer = ? and i.id = e.id and i.source = e.source) \
             and not exists (select 1 from parked p where p.consumer = ? and p.id = e.id and p.source = e.source) \
             order by e.position limit +?",
            vec!["?"; names.len()].join(",")
        );
        self.rows(text, args).await?.iter().map(recorded).collect()
    }
}
