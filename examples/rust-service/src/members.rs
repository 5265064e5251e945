//! The members: rows of this service's own table, and the event that tells of each, in one transaction.

use std::sync::Arc;

use sqlx::PgPool;
use tidewire::{Append, Clock, Commit, Draft, Event, Expect};
use tidewire_store::PostgresStore;

use crate::SOURCE;
use crate::events::MemberJoined;

/// The table, made where it is not there.
const TABLE: &str =
    "create table if not exists loyalty_member (name text primary key, joined timestamptz not null default now())";

/// The members, and the log beside them in the same database.
pub struct Members {
    pub pool: PgPool,
    pub store: Arc<PostgresStore>,
    pub clock: Arc<dyn Clock>,
}

impl Members {
    pub async fn prepare(&self) -> anyhow::Result<()> {
        sqlx::query(TABLE).execute(&self.pool).await?;
        Ok(())
    }

    /// Whether `name` is new. The row and the event exist both, or neither does.
    pub async fn join(&self, name: &str) -> anyhow::Result<bool> {
        let mut transaction = self.pool.begin().await?;
        let row = sqlx::query("insert into loyalty_member (name) values ($1) on conflict do nothing").bind(name);
        if row.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let joined = MemberJoined { member: name.to_owned() };
        let event = Draft::of(&joined)?.seal(self.clock.as_ref(), SOURCE, None);
        let append = Append { key: joined.key(), expect: Expect::Any, events: vec![event] };
        self.store.commit_in(&mut transaction, Commit { append: vec![append], ..Commit::default() }).await?;
        transaction.commit().await?;
        Ok(true)
    }
}
