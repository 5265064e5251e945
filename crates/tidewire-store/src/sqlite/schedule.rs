//! The schedule port.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tidewire_core::effect::{DueEffect, EffectPhase, EffectQuery, EffectState, StoredEffect};
use tidewire_core::store::Schedule;
use tidewire_core::{Effect, Key, StoreError, Timer};

use super::codec::count;
use super::error::classify;
use super::sql::Args;
use super::store::{MAX_READ, SqliteStore};
use crate::group::{from_nanos, nanos};

#[async_trait]
impl Schedule for SqliteStore {
    async fn due_timers(&self, owners: &[String], now: DateTime<Utc>, limit: usize) -> Result<Vec<Timer>, StoreError> {
        if owners.is_empty() {
            return Ok(Vec::new());
        }
        let mut args = Args::default();
        args.add(nanos(&now));
        let text = format!(
            "select owner, id, key, due, data from timer where due <= ? and owner in ({}) order by due, owner, id limit +?",
            places(owners, &mut args)
        );
        args.count(limit.min(MAX_READ) as u64);
        self.rows(text, args).await?.iter().map(timer).collect()
    }

    async fn due_effects(&self, now: DateTime<Utc>, limit: usize) -> Result<Vec<DueEffect>, StoreError> {
        let mut args = Args::default();
        args.add(nanos(&now)).count(limit.min(MAX_READ) as u64);
        let text = "select id, consumer, cause, call, attempts from effect where state = 0 and due <= ? \
                    order by due, rowid limit +?";
        self.rows(text.to_owned(), args).await?.iter().map(effect).collect()
    }

    async fn effects(&self, query: &EffectQuery) -> Result<Vec<StoredEffect>, StoreError> {
        let mut args = Args::default();
        let mut text =
            "select id, consumer, cause, call, attempts, state, due, error from effect where id > ?".to_owned();
        args.add(query.after.as_deref().unwrap_or_default());
        match query.phase {
            None => {}
            Some(EffectPhase::Pending) => text += " and state = 0",
            Some(EffectPhase::Done) => text += " and state = 1",
            // Written out: a bound value would not find the index.
            Some(EffectPhase::Failed) => text += " and state = 2",
        }
        if let Some(consumer) = &query.consumer {
            args.add(consumer.as_str());
            text += " and consumer = ?";
        }
        if !query.causes.is_empty() {
            text += &format!(" and cause in ({})", places(&query.causes, &mut args));
        }
        if let Some(id) = &query.id {
            args.add(id.as_str());
            text += " and id = ?";
        }
        args.count(query.limit.min(MAX_READ) as u64);
        text += " order by id limit +?";
        self.rows(text, args).await?.iter().map(stored).collect()
    }

    async fn next_due(&self, owners: &[String]) -> Result<(Option<DateTime<Utc>>, Option<DateTime<Utc>>), StoreError> {
        let mut args = Args::default();
        // One look at the head of each owner's timers.
        let heads = vec!["select (select min(due) from timer where owner = ?) as due"; owners.len()];
        for owner in owners {
            args.add(owner.as_str());
        }
        let timers = if heads.is_empty() { "select null as due".to_owned() } else { heads.join(" union all ") };
        let text = format!("select (select min(due) from ({timers})), (select min(due) from effect where state = 0)");
        let rows = self.rows(text, args).await?;
        let Some(row) = rows.first() else { return Ok((None, None)) };
        let moment = |column| Ok(row.try_get::<Option<i64>, _>(column).map_err(classify)?.map(from_nanos));
        Ok((moment(0)?, moment(1)?))
    }
}

fn places(texts: &[String], args: &mut Args) -> String {
    for text in texts {
        args.add(text.as_str());
    }
    vec!["?"; texts.len()].join(",")
}

fn timer(row: &SqliteRow) -> Result<Timer, StoreError> {
    let key: String = row.try_get(2).map_err(classify)?;
    let data: Vec<u8> = row.try_get(4).map_err(classify)?;
    Ok(Timer {
        owner: row.try_get(0).map_err(classify)?,
        id: row.try_get(1).map_err(classify)?,
        key: Key::new(key).map_err(|error| StoreError::Corrupt(format!("the key of a timer: {error}")))?,
        due: from_nanos(row.try_get(3).map_err(classify)?),
        data: Bytes::from(data),
    })
}

fn stored(row: &SqliteRow) -> Result<StoredEffect, StoreError> {
    let DueEffect { effect, attempts } = effect(row)?;
    let state = match count(row, 5)? {
        0 => EffectState::Pending(from_nanos(row.try_get(6).map_err(classify)?)),
        1 => EffectState::Done,
        _ => EffectState::Failed,
    };
    Ok(StoredEffect { effect, state, attempts, error: row.try_get(7).map_err(classify)? })
}

fn effect(row: &SqliteRow) -> Result<DueEffect, StoreError> {
    let id: String = row.try_get(0).map_err(classify)?;
    let call: &str = row.try_get(3).map_err(classify)?;
    let call = serde_json::from_str(call)
        .map_err(|error| StoreError::Corrupt(format!("what effect `{id}` is to do: {error}")))?;
    let (consumer, cause) = (row.try_get(1).map_err(classify)?, row.try_get(2).map_err(classify)?);
    let attempts = u32::try_from(count(row, 4)?).unwrap_or(u32::MAX);
    Ok(DueEffect { effect: Effect { id, consumer, cause, call }, attempts })
}
