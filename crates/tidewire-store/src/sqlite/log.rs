//! The log port.

use std::time::Duration;

use async_trait::async_trait;
use tidewire_core::store::{Log, Position, Recorded, Selection};
use tidewire_core::{Commit, Committed, Key, StoreError};

use super::codec::{EVENT_COLUMNS, id, recorded};
use super::op::{Answer, Op, Prepared};
use super::sql::Args;
use super::store::{MAX_READ, SqliteStore};
use crate::retired::{check_end, check_start};

#[async_trait]
impl Log for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let prepared = Prepared::new(commit)?;
        match self.ask(Op::Commit(Box::new(prepared))).await? {
            Answer::Committed(committed) => Ok(committed),
            other => Err(StoreError::Unknown(format!("the writer answered {other:?} to a commit"))),
        }
    }

    async fn stream(&self, key: &Key, after: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let mut args = Args::default();
        args.add(key.as_str()).count(after).count(limit.min(MAX_READ) as u64);
        let text = format!(
            "select {EVENT_COLUMNS} from stream s cross join event e on e.stream = s.id \
             where s.key = ? and e.version > ? order by e.version limit +?"
        );
        let found = self.rows(text, args).await?.iter().map(recorded).collect::<Result<Vec<_>, _>>()?;
        match found.first() {
            _ if limit == 0 => {}
            Some(first) => check_start(key, after, first.envelope.sequence)?,
            None => check_end(key, after, self.retired_version(key).await?)?,
        }
        Ok(found)
    }

    async fn read(&self, selection: &Selection) -> Result<Vec<Recorded>, StoreError> {
        let (text, args) = select(selection);
        self.rows(text, args).await?.iter().map(recorded).collect()
    }

    async fn head(&self) -> Result<Position, StoreError> {
        if self.readers.is_closed() {
            return Err(StoreError::Unavailable("the store is closed".into()));
        }
        Ok(*self.head.borrow())
    }

    async fn wait(&self, after: Position, patience: Duration) {
        let mut head = self.head.clone();
        let _ = tokio::time::timeout(patience, head.wait_for(|head| *head > after)).await;
    }
}

/// The statement for a selection. A key, an id or a flow is looked up by its index, anything else scanned from
/// the cursor on; `+` keeps SQLite from walking the whole log where an index would do.
fn select(selection: &Selection) -> (String, Args) {
    let mut args = Args::default();
    let mut text = format!("select {EVENT_COLUMNS} from event e join stream s on s.id = e.stream where ");
    let is_narrow = selection.key.is_some() || selection.id.is_some() || selection.correlationid.is_some();
    let position = if is_narrow { "+e.position" } else { "e.position" };
    args.count(selection.after.0);
    text += &format!("{position} > ?");
    if let Some(until) = selection.until {
        args.count(until.0);
        text += &format!(" and {position} <= ?");
    }
    if let Some((first, last)) = selection.buckets {
        args.add(i64::from(first)).add(i64::from(last));
        text += " and e.bucket between ? and ?";
    }
    if !selection.names.is_empty() {
        for name in &selection.names {
            args.add(name.as_str());
        }
        // Rounded up with nulls, which match nothing.
        let places = vec!["?"; selection.names.len()].join(",");
        text += &format!(" and e.name in ({places})");
    }
    if let Some(key) = &selection.key {
        args.add(key.as_str());
        text += " and e.stream = (select id from stream where key = ?)";
    }
    if let Some(wanted) = &selection.id {
        id(wanted).bind(&mut args);
        text += " and e.id = ?";
    }
    if let Some(flow) = &selection.correlationid {
        let flow = id(flow);
        flow.bind(&mut args);
        flow.bind(&mut args);
        text += " and e.position in (select position from event where correlation = ? and correlation > 0 \
                 union all select position from event where id = ? and correlation = 0)";
    }
    let direction = if selection.backwards { "desc" } else { "asc" };
    // Within a stream positions and versions run alike, and the index is on the versions.
    let order = if selection.key.is_some() { "e.version" } else { position };
    args.count(selection.limit.min(MAX_READ) as u64);
    text += &format!(" order by {order} {direction} limit +?");
    (text, args)
}
