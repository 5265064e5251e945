//! The log port.

use std::time::Duration;

use async_trait::async_trait;
use tidewire_core::store::{Log, Position, Recorded, Selection};
use tidewire_core::{Commit, Committed, Key, StoreError};

use super::codec::{EVENT_COLUMNS, check_texts, count, recorded, signed};
use super::store::{MAX_READ, PostgresStore, Query};
use crate::group::Prepared;
use crate::retired::{check_end, check_start};

#[async_trait]
impl Log for PostgresStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let prepared = Prepared::new(commit)?;
        check_texts(&prepared.commit)?;
        self.ask(prepared).await
    }

    async fn stream(&self, key: &Key, after: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let query = Query::new(format!("select {EVENT_COLUMNS} {EVENTS} where e.key = "))
            .value(key.as_str())
            .then(" and e.version > ")
            .value(signed(after))
            .then(" and b.first_position is not null order by e.version limit ")
            .value(limit.min(MAX_READ) as i64);
        let found = self.rows(query).await?.iter().map(recorded).collect::<Result<Vec<_>, _>>()?;
        match found.first() {
            _ if limit == 0 => {}
            Some(first) => check_start(key, after, first.envelope.sequence)?,
            None => check_end(key, after, self.retired_version(key).await?)?,
        }
        Ok(found)
    }

    async fn read(&self, selection: &Selection) -> Result<Vec<Recorded>, StoreError> {
        let rows = self.rows(select(selection)).await?;
        let found = rows.iter().map(recorded).collect::<Result<Vec<_>, _>>()?;
        if is_whole(selection) {
            check_gapless(&found, selection.backwards)?;
        }
        Ok(found)
    }

    async fn head(&self) -> Result<Position, StoreError> {
        let rows = self.rows(Query::new("select last_position from tidewire.head")).await?;
        let head = rows.first().map_or(Ok(0), |row| count(row, 0))?;
        self.horizon.reach(head);
        Ok(Position(head))
    }

    async fn wait(&self, after: Position, patience: Duration) {
        let mut head = self.horizon.head.subscribe();
        let _ = tokio::time::timeout(patience, head.wait_for(|head| *head > after)).await;
    }
}

/// Events and their batches. A batch without a position is not in the log yet.
pub(super) const EVENTS: &str = "from tidewire.event e join tidewire.batch b on b.id = e.batch";

/// The batches from the one on that holds the position after `after`, which may lie in the middle of it.
pub(super) fn from(query: Query, after: u64) -> Query {
    query
        .then("b.first_position >= coalesce((select f.first_position from tidewire.batch f where f.first_position <= ")
        .value(signed(after).saturating_add(1))
        .then(" order by f.first_position desc limit 1), 0) and b.first_position + e.index > ")
        .value(signed(after))
}

/// Whether nothing but places selects.
fn is_whole(selection: &Selection) -> bool {
    selection.buckets.is_none() && selection.names.is_empty() && !is_narrow(selection)
}

fn is_narrow(selection: &Selection) -> bool {
    selection.key.is_some() || selection.id.is_some() || selection.correlationid.is_some()
}

/// A hole in the log would be events that somebody lost.
fn check_gapless(found: &[Recorded], backwards: bool) -> Result<(), StoreError> {
    for pair in found.windows(2) {
        let (first, second) = (pair[0].position.0, pair[1].position.0);
        let (low, high) = if backwards { (second, first) } else { (first, second) };
        if high != low + 1 {
            return Err(StoreError::Corrupt(format!(
                "the log has no event at position {}; stop, and restore the last backup into another database",
                low + 1
            )));
        }
    }
    Ok(())
}

/// The statement for a selection. A key, an id or a flow is looked up by its index, anything else read along the
/// positions from the cursor on.
fn select(selection: &Selection) -> Query {
    let mut query = Query::new(format!("select {EVENT_COLUMNS} {EVENTS} where "));
    query = if is_narrow(selection) {
        query.then("b.first_position + e.index > ").value(signed(selection.after.0))
    } else {
        from(query, selection.after.0)
    };
    if let Some(until) = selection.until {
        let until = signed(until.0);
        query = query.then(" and b.first_position <= ").value(until);
        query = query.then(" and b.first_position + e.index <= ").value(until);
    }
    if let Some((first, last)) = selection.buckets.filter(|all| *all != (0, tidewire_core::key::BUCKETS - 1)) {
        query = query.then(" and e.bucket between ").value(i16::from(first)).then(" and ").value(i16::from(last));
    }
    if !selection.names.is_empty() {
        query = query.then(" and e.name = any(").value(&selection.names).then(")");
    }
    if let Some(key) = &selection.key {
        query = query.then(" and e.key = ").value(key.as_str());
    }
    if let Some(id) = &selection.id {
        query = query.then(" and e.id = ").value(id.as_str());
    }
    if let Some(flow) = &selection.correlationid {
        let flow = flow.as_str();
        query = query
            .then(
                " and (e.batch, e.index) in (select c.batch, c.index from tidewire.event c \
                 where c.correlation <> c.id and c.correlation = ",
            )
            .value(flow)
            .then(" union all select c.batch, c.index from tidewire.event c where c.correlation = c.id and c.id = ")
            .value(flow)
            .then(")");
    }
    let direction = if selection.backwards { "desc" } else { "asc" };
    // Within a stream positions and versions run alike, and the index is on the versions. Of an id or a flow there
    // are few: a sum keeps the planner from walking the whole log in the order wanted.
    let order = match (&selection.key, is_narrow(selection)) {
        (Some(_), _) => format!(" order by e.version {direction} limit "),
        (None, true) => format!(" order by b.first_position + e.index {direction} limit "),
        (None, false) => format!(" order by b.first_position {direction}, e.index {direction} limit "),
    };
    query.then(&order).value(selection.limit.min(MAX_READ) as i64)
}
