//! B7: what emitting an event costs a service that writes rows of its own.

use std::sync::Arc;

use anyhow::ensure;
use sqlx::{Connection, Row};
use tidewire::SystemClock;
use tidewire_core::store::{Log, Upkeep};
use tidewire_core::{Append, Clock, Commit, Expect};
use tidewire_store::PostgresStore;
use tidewire_store::postgres::Joined;
use tokio::task::JoinSet;

use crate::clocks::Timing;
use crate::harness::rounds::{Class, Shape, Sides, Slice};
use crate::orders::{ORDER_PLACED, Orders, SOURCE};
use crate::place::Place;
use crate::real::backlog::until;
use crate::real::load::{Load, no_transactions, timed, within};
use crate::real::postgres::{Cluster, Database};

/// Services that write at once, each over a connection of its own.
pub const CLIENTS: u64 = 8;
/// The service's own table, and the plainest outbox there is.
const TABLES: &str = "
    create table shop (id bigint generated always as identity primary key, customer bigint not null,
      total numeric not null, placed timestamptz not null);
    create table outbox (position bigint generated always as identity primary key, id uuid not null,
      source text not null, name text not null, key text not null, time timestamptz not null, data bytea not null)";

/// How the event is emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `tidewire.emit` in SQL, in one statement with the row.
    Emit,
    /// `commit_in`, after the row.
    CommitIn,
}

/// Ours: a transaction with a business row and an event. The limit: the same with a row in an outbox.
pub struct Writing<'a> {
    pub cluster: &'a Cluster,
    pub place: &'a Place,
    pub orders: Orders,
    pub timing: Timing,
    pub way: Way,
}

impl Sides for Writing<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let database = self.cluster.database().await?;
        let store = Arc::new(database.store().await?);
        let slice = self.write(&database, Some(store.clone())).await;
        store.close().await;
        database.close().await?;
        slice
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        let database = self.cluster.database().await?;
        let slice = self.write(&database, None).await;
        database.close().await?;
        slice
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        if self.cluster.class == Class::Disk { self.place.probe() } else { Ok(None) }
    }
}

impl Writing<'_> {
    async fn write(&self, database: &Database<'_>, store: Option<Arc<PostgresStore>>) -> anyhow::Result<Slice> {
        database.run(TABLES).await?;
        let (load, mut clients) = (Arc::new(Load::default()), JoinSet::new());
        for client in 0..CLIENTS {
            let (load, store, way) = (load.clone(), store.clone(), self.way);
            let mut orders = self.orders.fork(client + 1);
            let mut connection = database.pool.acquire().await?;
            clients.spawn(async move {
                while load.goes_on() {
                    let mut transaction = connection.begin().await?;
                    match (&store, way) {
                        (None, _) => outbox(&mut transaction, &mut orders).await?,
                        (Some(_), Way::Emit) => emit(&mut transaction, &mut orders).await?,
                        (Some(store), Way::CommitIn) => commit_in(store, &mut transaction, &mut orders).await?,
                    }
                    transaction.commit().await?;
                    load.add(1);
                }
                Ok(())
            });
        }
        let slice = timed(&load, self.timing, self.cluster.class, clients, no_transactions).await?;
        let written = load.done();
        let rows = database.number("select count(*) from shop").await?;
        ensure!(rows as u64 == written, "{rows} rows of {written}");
        match store {
            Some(store) => {
                until("not every event has its position", || async { Ok(store.head().await?.0 >= written) }).await?;
                ensure!(store.head().await?.0 == written, "{} events of {written}", store.head().await?);
            }
            None => {
                let rows = database.number("select count(*) from outbox").await?;
                ensure!(rows as u64 == written, "{rows} rows of {written} in the outbox");
            }
        }
        Ok(slice)
    }
}

/// The limit: both rows in one statement.
async fn outbox(connection: &mut sqlx::PgConnection, orders: &mut Orders) -> anyhow::Result<()> {
    let event = orders.envelope(&SystemClock);
    sqlx::query(
        "with placed as (insert into shop (customer, total, placed) values ($1, $2::float8::numeric, $3) returning id) \
         insert into outbox (id, source, name, key, time, data) select $4, $5, $6, $7, $3, $8 from placed",
    )
    .bind(42_i64)
    .bind(9.99_f64)
    .bind(event.time)
    .bind(SystemClock.id())
    .bind(SOURCE)
    .bind(event.ty.to_string())
    .bind(event.key.as_str())
    .bind(event.data.as_deref())
    .execute(connection)
    .await?;
    Ok(())
}

async fn emit(connection: &mut sqlx::PgConnection, orders: &mut Orders) -> anyhow::Result<()> {
    let draft = orders.draft();
    let row = sqlx::query(
        "with placed as (insert into shop (customer, total, placed) values ($1, $2::float8::numeric, $3) returning id) \
         select e.sequence from placed, \
         tidewire.emit(type => $4, key => $5, data_bytes => $6, source => $7, \"time\" => $3) e",
    )
    .bind(42_i64)
    .bind(9.99_f64)
    .bind(SystemClock.now())
    .bind(ORDER_PLACED.to_string())
    .bind(draft.key.as_str())
    .bind(draft.data.as_deref())
    .bind(SOURCE)
    .fetch_one(connection)
    .await?;
    ensure!(row.try_get::<i64, _>(0)? > 0, "an event without a sequence");
    Ok(())
}

async fn commit_in(
    store: &PostgresStore,
    connection: &mut sqlx::PgConnection,
    orders: &mut Orders,
) -> anyhow::Result<()> {
    let event = orders.envelope(&SystemClock);
    sqlx::query("insert into shop (customer, total, placed) values ($1, $2::float8::numeric, $3)")
        .bind(42_i64)
        .bind(9.99_f64)
        .bind(event.time)
        .execute(&mut *connection)
        .await?;
    let append = Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] };
    let joined = within(store.commit_in(connection, Commit { append: vec![append], ..Commit::default() })).await??;
    ensure!(matches!(joined, Joined::Applied(_)), "a fresh event was taken for a duplicate");
    Ok(())
}
