//! B16: from an HTTP request to a row of a read model, the whole way, at a steady rate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::consumer::pull;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use futures::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::postgres::{PgListener, PgPool};
use tidewire::consume::{ConsumeLoop, ConsumeOptions};
use tidewire::project::Projected;
use tidewire::relay::{Relay, RelayOptions};
use tidewire::{Broker, Commands, Ports, SystemClock};
use tidewire_core::{Aggregate, Clock, Envelope, Event, EventType, Key, Projection, Store, event_set};
use tokio_util::sync::CancellationToken;

use crate::clocks::Timing;
use crate::harness::rounds::{Class, Shape, Sides, Slice};
use crate::orders::{ORDER_PLACED, Orders};
use crate::place::Place;
use crate::real::backlog::{MAX_IN_FLIGHT, PREFETCH, until};
use crate::real::delivery::{OUTBOX, RawRelay, write};
use crate::real::load::{Times, open_loop, within};
use crate::real::nats::{NatsServer, Wire};
use crate::real::observed::Observed;
use crate::real::postgres::{Cluster, Database};

/// An order somebody asked for; the event says the same.
#[derive(Serialize, Deserialize)]
struct Placed {
    customer: u64,
    order: Box<RawValue>,
}

impl Event for Placed {
    const TYPE: EventType = ORDER_PLACED;
    fn key(&self) -> Key {
        key(self.customer)
    }
}

fn key(customer: u64) -> Key {
    Key::of("order", customer)
}

event_set! { enum Happened { Placed(Placed) } }

/// How many orders a customer placed.
#[derive(Default, Serialize, Deserialize)]
struct Customer {
    orders: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Customer {
    const NAME: &'static str = "bench.customer";
    type Command = (u64, Box<RawValue>);
    type Event = Happened;
    type Error = Never;

    fn decide(&self, (customer, order): &Self::Command) -> Result<Vec<Happened>, Never> {
        Ok(vec![Placed { customer: *customer, order: order.clone() }.into()])
    }

    fn apply(&mut self, _: Happened) {
        self.orders += 1;
    }
}

/// A row per order.
struct Rows;

impl Projection for Rows {
    const NAME: &'static str = "bench.orders";
    const COLLECTION: &'static str = "placed";
    type Event = Happened;
    type Row = u64;

    fn rows(_: &Happened, envelope: &Envelope) -> Vec<String> {
        vec![envelope.id.clone()]
    }

    fn apply(row: &mut Option<u64>, _: &str, Happened::Placed(placed): &Happened, _: &Envelope) {
        *row = Some(placed.customer);
    }
}

/// Ours: command, log, relay, broker, projection. The limit: the same hops by hand, one after the other.
pub struct Travelling<'a> {
    pub cluster: &'a Cluster,
    pub nats: &'a NatsServer,
    pub place: &'a Place,
    pub wire: Wire,
    pub orders: Orders,
    pub timing: Timing,
    pub rate: u32,
}

impl Travelling<'_> {
    fn class(&self) -> Class {
        if self.cluster.class == Class::Disk { self.nats.class } else { self.cluster.class }
    }

    /// Posts orders at the rate; a response's body is the id of the event.
    async fn post(&self, routes: Router, times: &Arc<Times>) -> anyhow::Result<Slice> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/customers", listener.local_addr()?);
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
        let (client, orders, meant) = (reqwest::Client::new(), Mutex::new(self.orders.fork(1)), times.clone());
        let begin = move |at: Instant| {
            let (key, body) = orders.lock().unwrap_or_else(PoisonError::into_inner).draw();
            let customer = key.as_str().rsplit('/').next().unwrap_or_default().to_owned();
            let request = client.post(format!("{url}/{customer}/orders")).header("content-type", "application/json");
            let (request, meant) = (request.body(body), meant.clone());
            async move {
                let answer = request.send().await?;
                ensure!(answer.status() == StatusCode::ACCEPTED.as_u16(), "the answer is {}", answer.status());
                meant.meant(answer.text().await?, at);
                Ok(())
            }
        };
        let slice = open_loop(self.rate, self.timing, self.class(), times.clone(), begin).await;
        serving.abort();
        slice
    }

    async fn ours_in(&self, database: &Database<'_>) -> anyhow::Result<Slice> {
        let store: Arc<dyn Store> = Arc::new(database.store().await?);
        let times = Arc::new(Times::default());
        let behind: Arc<dyn Broker> = self.nats.broker(&self.nats.domain()).await?;
        let broker = Arc::new(Observed { behind, times: times.clone() });
        let ports = Ports { store, broker, clock: Arc::new(SystemClock) };
        let stop = CancellationToken::new();
        let relay = tokio::spawn(Relay::new(&ports, RelayOptions::default()).run(stop.clone()));
        let handler = Arc::new(Projected::new(Rows));
        let consume = ConsumeLoop::new(&ports, handler, "/bench", ConsumeOptions::default());
        let consume = tokio::spawn(consume.run(stop.clone()));
        until("nobody joined the group", || async { Ok(ports.broker.lag().await?.iter().any(|lag| lag.members > 0)) })
            .await?;
        let commands = Arc::new(Commands::<Customer>::new(&ports, "/bench"));
        let routes = Router::new().route("/customers/{id}/orders", post(place)).with_state(commands);
        let slice = self.post(routes, &times).await;
        stop.cancel();
        within(relay).await??;
        within(consume).await??;
        if slice.is_ok() {
            let rows = ports.store.count(Rows::COLLECTION, "").await?;
            ensure!(rows as usize == times.count(), "{rows} rows of {} orders", times.count());
        }
        ports.broker.close().await;
        ports.store.close().await;
        slice
    }

    async fn limit_in(&self, database: &Database<'_>) -> anyhow::Result<Slice> {
        database.run(OUTBOX).await?;
        database.run("create table placed (id text collate \"C\" primary key, customer bigint not null)").await?;
        let (domain, times) = (self.nats.domain(), Arc::new(Times::default()));
        let stream = self.nats.stream(&domain).await?;
        let mut listener = PgListener::connect(&database.url).await?;
        listener.listen("bench").await?;
        let relay =
            RawRelay { pool: database.pool.clone(), nats: self.nats.context.clone(), wire: self.wire.clone(), domain };
        let relay = tokio::spawn(relay.run(listener));
        let config = pull::Config {
            durable_name: Some("raw".into()),
            max_ack_pending: MAX_IN_FLIGHT as i64,
            ..Default::default()
        };
        let consumer = self.nats.context.get_stream_no_info(&stream).await?.create_consumer(config).await?;
        let deliveries = consumer.stream().max_messages_per_batch(PREFETCH).messages().await?;
        let reader = tokio::spawn(project(deliveries, database.pool.clone(), times.clone()));
        let routes = Router::new().route("/customers/{id}/orders", post(insert)).with_state(database.pool.clone());
        let slice = self.post(routes, &times).await;
        reader.abort();
        relay.abort();
        slice
    }
}

impl Sides for Travelling<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let database = self.cluster.database().await?;
        let slice = self.ours_in(&database).await;
        database.close().await?;
        self.nats.clear().await?;
        slice
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        let database = self.cluster.database().await?;
        let slice = self.limit_in(&database).await;
        database.close().await?;
        self.nats.clear().await?;
        slice
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        if self.cluster.class == Class::Disk { self.place.probe() } else { Ok(None) }
    }
}

type Failed = (StatusCode, String);

fn failed(error: impl std::fmt::Display) -> Failed {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// The command by the product.
async fn place(
    State(commands): State<Arc<Commands<Customer>>>,
    Path(customer): Path<u64>,
    Json(order): Json<Box<RawValue>>,
) -> Result<(StatusCode, String), Failed> {
    let done = commands.execute(&key(customer), &(customer, order), |_| Vec::new()).await.map_err(failed)?;
    let id = done.events.first().map(|event| event.id.clone()).unwrap_or_default();
    Ok((StatusCode::ACCEPTED, id))
}

/// The same by hand.
async fn insert(
    State(pool): State<PgPool>,
    Path(customer): Path<u64>,
    Json(order): Json<Box<RawValue>>,
) -> Result<(StatusCode, String), Failed> {
    let id = SystemClock.id().to_string();
    let data = serde_json::to_vec(&Placed { customer, order }).map_err(failed)?;
    write(&pool, &id, &key(customer), &data).await.map_err(failed)?;
    Ok((StatusCode::ACCEPTED, id))
}

/// The consumer by hand: rows of all deliveries that are there, then the acknowledgements.
async fn project(mut deliveries: pull::Stream, pool: PgPool, times: Arc<Times>) -> anyhow::Result<()> {
    while let Some(first) = deliveries.next().await {
        let mut batch = vec![first?];
        while let Some(Some(next)) = deliveries.next().now_or_never() {
            batch.push(next?);
        }
        let (mut ids, mut customers) = (Vec::new(), Vec::new());
        for delivery in &batch {
            let headers = delivery.headers.as_ref().context("an event without headers")?;
            ids.push(headers.get("ce-id").context("an event without an id")?.as_str().to_owned());
            customers.push(serde_json::from_slice::<Placed>(&delivery.payload)?.customer as i64);
        }
        sqlx::query("insert into placed select * from unnest($1::text[], $2::bigint[]) on conflict do nothing")
            .bind(&ids)
            .bind(customers)
            .execute(&pool)
            .await?;
        for (id, delivery) in ids.iter().zip(batch) {
            times.over(id);
            delivery.ack().await.map_err(|error| anyhow::anyhow!(error))?;
        }
    }
    Ok(())
}
