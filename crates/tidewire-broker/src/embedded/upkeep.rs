//! Upkeep: what is old and acknowledged goes, free pages go back to the system, the write-ahead log stays short.

use std::sync::atomic::Ordering;

use chrono::TimeDelta;
use sqlx::Row;
use tidewire_core::BrokerError;

use super::commit::Places;
use super::error::from_sqlx;
use super::reader::json;
use super::scheduler::Urgency;
use super::writer::Writer;

/// How many entries one commit of upkeep looks at: publishes wait no longer than for that.
const TRIM_ROWS: i64 = 512;
/// How many such commits one round makes before publishes have their turn.
const TRIM_COMMITS: usize = 16;
/// How many free pages one round gives back.
const VACUUM: &str = "pragma incremental_vacuum(256)";

/// What may be removed.
#[derive(Clone, Copy)]
enum Age {
    /// What was appended before this time, in milliseconds.
    Before(i64),
    /// Whatever is acknowledged: there is no room.
    Any,
}

impl Writer {
    /// One round, called from time to time.
    pub(super) async fn upkeep(&mut self) -> Result<(), BrokerError> {
        if self.broken.is_some() {
            return Ok(());
        }
        let busy = std::mem::take(&mut self.commits) > 0;
        self.trim_old(TRIM_COMMITS).await?;
        if busy {
            self.checkpointed = false;
        } else if !self.checkpointed {
            self.save_places().await?;
            self.commits = 0;
            self.execute("pragma wal_checkpoint(truncate)").await?;
            self.checkpointed = true;
        }
        Ok(())
    }

    /// Writes the places of groups that only read on.
    async fn save_places(&mut self) -> Result<(), BrokerError> {
        let places = self.snapshot(Urgency::Idle, false, &mut Vec::new());
        if places.is_empty() {
            return Ok(());
        }
        let written = async {
            self.execute("begin immediate").await?;
            self.write_places(&places).await?;
            self.execute("commit").await
        };
        let written = written.await;
        if written.is_err() {
            self.rollback().await;
        }
        self.places_written(&places, written.is_ok());
        written
    }

    /// Removes everything that may be removed by its age.
    pub(super) async fn trim_all(&mut self) -> Result<(), BrokerError> {
        self.save_places().await?;
        self.trim_from = 0;
        self.trim_old(usize::MAX).await
    }

    async fn trim_old(&mut self, commits: usize) -> Result<(), BrokerError> {
        let max_age = TimeDelta::from_std(self.shared.options.max_age).unwrap_or(TimeDelta::MAX);
        let before = self.shared.clock.now().checked_sub_signed(max_age).map_or(i64::MIN, |at| at.timestamp_millis());
        let (mut position, mut removed) = (self.trim_from, 0);
        for _ in 0..commits {
            match self.trim(&mut position, Age::Before(before)).await? {
                Some(count) => removed += count,
                None => {
                    position = 0;
                    break;
                }
            }
        }
        self.trim_from = position;
        if removed > 0 { self.give_back().await } else { Ok(()) }
    }

    /// Removes what is acknowledged, however young, until `needed` bytes fit.
    pub(super) async fn make_room(&mut self, needed: u64) -> Result<(), BrokerError> {
        let limit = self.shared.options.max_bytes;
        let full =
            || BrokerError::Full(format!("{limit} bytes are taken by entries that some group has yet to acknowledge"));
        if self.full_at == Some(self.settled) {
            return Err(full());
        }
        let adding = needed.saturating_sub(self.used());
        self.measure().await?;
        let mut position = 0;
        // Not only what is needed now: the next publishes need room as well.
        let goal = limit - limit / 16;
        while self.used() + adding > goal {
            match self.trim(&mut position, Age::Any).await? {
                Some(0) => {}
                Some(_) => self.measure().await?,
                None => break,
            }
        }
        if self.used() + adding > limit {
            self.full_at = Some(self.settled);
            tracing::warn!(limit, "the broker is full");
            return Err(full());
        }
        self.full_at = None;
        Ok(())
    }

    /// Looks at the next entries after `position` and removes what may go. `None` when that was the end.
    async fn trim(&mut self, position: &mut u64, age: Age) -> Result<Option<usize>, BrokerError> {
        // The newest entry always stays: the numbers go on from it.
        let rows = sqlx::query("select seq, at from entry where seq > ? and seq < ? order by seq limit +?")
            .bind(*position as i64)
            .bind(self.head as i64)
            .bind(TRIM_ROWS)
            .fetch_all(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        let mut old = Vec::new();
        for row in &rows {
            let (seq, at): (i64, i64) = (row.try_get(0).map_err(from_sqlx)?, row.try_get(1).map_err(from_sqlx)?);
            if matches!(age, Age::Before(before) if at >= before) {
                break;
            }
            old.push(seq as u64);
        }
        let Some(last) = old.last().copied() else { return Ok(None) };
        *position = last;
        if self.groups().is_empty() {
            // Nobody has seen anything yet.
            return Ok(None);
        }
        // The places go with the removal, so that what is removed is acknowledged in the file as well.
        let places = self.snapshot(Urgency::Idle, false, &mut old);
        let count = old.len();
        let removed = if count == 0 && places.is_empty() { Ok(()) } else { self.remove(&old, &places).await };
        if removed.is_err() {
            self.rollback().await;
        }
        self.places_written(&places, removed.is_ok());
        removed.map(|()| Some(count))
    }

    async fn remove(&mut self, seqs: &[u64], places: &Places) -> Result<(), BrokerError> {
        self.execute("begin immediate").await?;
        self.write_places(places).await?;
        sqlx::query("delete from entry where seq in (select value from json_each(?))")
            .bind(json(seqs))
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        self.execute("commit").await
    }

    /// Gives free pages back to the system.
    async fn give_back(&mut self) -> Result<(), BrokerError> {
        self.execute(VACUUM).await?;
        self.measure().await
    }

    /// Measures what is in use of the file.
    pub(super) async fn measure(&mut self) -> Result<(), BrokerError> {
        let row = sqlx::query(
            "select (pages.page_count - free.freelist_count) * size.page_size
             from pragma_page_count as pages, pragma_freelist_count as free, pragma_page_size as size",
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        let used: i64 = row.try_get(0).map_err(from_sqlx)?;
        self.shared.used.store(used.max(0) as u64, Ordering::Relaxed);
        Ok(())
    }
}
