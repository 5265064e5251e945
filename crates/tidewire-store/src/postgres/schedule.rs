//! The schedule port.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use tidewire_core::effect::{DueEffect, EffectPhase, EffectQuery, EffectState, StoredEffect};
use tidewire_core::store::Schedule;
use tidewire_core::{Effect, Key, StoreError, Timer};

use super::error::classify;
use super::store::{MAX_READ, PostgresStore, Query};
use crate::group::{from_nanos, nanos};

#[async_trait]
impl Schedule for PostgresStore {
    async fn due_timers(&self, owners: &[String], now: DateTime<Utc>, limit: usize) -> Result<Vec<Timer>, StoreError> {
        if owners.is_empty() {
            return Ok(Vec::new());
        }
        let query = Query::new("select owner, id, key, due, data from tidewire.timer where due <= ")
            .value(nanos(&now))
            .then(" and owner = any(")
            .value(owners)
            .then(") order by due, owner, id limit ")
            .value(limit.min(MAX_READ) as i64);
        self.rows(query).await?.iter().map(timer).collect()
    }

    async fn due_effects(&self, now: DateTime<Utc>, limit: usize) -> Result<Vec<DueEffect>, StoreError> {
        let query =
            Query::new("select id, consumer, cause, call, attempts from tidewire.effect where state = 0 and due <= ")
                .value(nanos(&now))
                .then(" order by due, ordinal limit ")
                .value(limit.min(MAX_READ) as i64);
        self.rows(query).await?.iter().map(effect).collect()
    }

    async fn effects(&self, query: &EffectQuery) -> Result<Vec<StoredEffect>, StoreError> {
        let mut text = Query::new(
            "select id, consumer, cause, call, attempts, state, due, error from tidewire.effect where id > ",
        )
        .value(query.after.as_deref().unwrap_or_default());
        text = match query.phase {
            None => text,
            Some(EffectPhase::Pending) => text.then(" and state = 0"),
            Some(EffectPhase::Done) => text.then(" and state = 1"),
            // Written out: a bound value would not find the index.
            Some(EffectPhase::Failed) => text.then(" and state = 2"),
        };
        if let Some(consumer) = &query.consumer {
            text = text.then(" and consumer = ").value(consumer.as_str());
        }
        if !query.causes.is_empty() {
            text = text.then(" and cause = any(").value(query.causes.as_slice()).then(")");
        }
        if let Some(id) = &query.id {
            text = text.then(" and id = ").value(id.as_str());
        }
        let text = text.then(" order by id limit ").value(query.limit.min(MAX_READ) as i64);
        self.rows(text).await?.iter().map(stored).collect()
    }

    async fn next_due(&self, owners: &[String]) -> Result<(Option<DateTime<Utc>>, Option<DateTime<Utc>>), StoreError> {
        // One look at the head of each owner's timers.
        let query = Query::new("select (select min(h.due) from unnest(").value(owners).then(
            "::text[]) o (owner) cross join lateral \
             (select min(t.due) as due from tidewire.timer t where t.owner = o.owner) h), \
             (select min(due) from tidewire.effect where state = 0)",
        );
        let rows = self.rows(query).await?;
        let Some(row) = rows.first() else { return Ok((None, None)) };
        let moment = |column| Ok(row.try_get::<Option<i64>, _>(column).map_err(classify)?.map(from_nanos));
        Ok((moment(0)?, moment(1)?))
    }
}

fn timer(row: &PgRow) -> Result<Timer, StoreError> {
    let key: &str = row.try_get(2).map_err(classify)?;
    let data: Vec<u8> = row.try_get(4).map_err(classify)?;
    Ok(Timer {
        owner: row.try_get(0).map_err(classify)?,
        id: row.try_get(1).map_err(classify)?,
        key: Key::new(key).map_err(|error| StoreError::Corrupt(format!("the key of a timer: {error}")))?,
        due: from_nanos(row.try_get(3).map_err(classify)?),
        data: Bytes::from(data),
    })
}

fn stored(row: &PgRow) -> Result<StoredEffect, StoreError> {
    let DueEffect { effect, attempts } = effect(row)?;
    let state = match row.try_get::<i16, _>(5).map_err(classify)? {
        0 => EffectState::Pending(from_nanos(row.try_get(6).map_err(classify)?)),
        1 => EffectState::Done,
        _ => EffectState::Failed,
    };
    Ok(StoredEffect { effect, state, attempts, error: row.try_get(7).map_err(classify)? })
}

fn effect(row: &PgRow) -> Result<DueEffect, StoreError> {
    let id: String = row.try_get(0).map_err(classify)?;
    let call: &str = row.try_get(3).map_err(classify)?;
    let call = serde_json::from_str(call)
        .map_err(|error| StoreError::Corrupt(format!("what effect `{id}` is to do: {error}")))?;
    let (consumer, cause) = (row.try_get(1).map_err(classify)?, row.try_get(2).map_err(classify)?);
    let attempts = u32::try_from(row.try_get::<i32, _>(4).map_err(classify)?).unwrap_or_default();
    Ok(DueEffect { effect: Effect { id, consumer, cause, call }, attempts })
}
