//! The benchmarks on real servers, each of which is started here, waits for the disk as it is told to, and ends with
//! the run.

mod append;
mod backlog;
mod consume;
mod delivery;
mod drain;
mod inbox;
mod journey;
#[cfg(feature = "kafka")]
mod kafka;
mod load;
mod nats;
mod observed;
mod postgres;
mod publish;
mod writer;

use std::time::Duration;

use tidewire_core::handler::Run;

use crate::clocks::Timing;
use crate::compare::{Aim, compare, compare_all};
use crate::harness::rounds::{Class, Measure, Sides};
use crate::harness::row::{Row, Section, Subject};
use crate::options::Options;
use crate::orders::Orders;
use crate::place::Place;
use crate::publish::Publish;

use backlog::Backlog;
use nats::{NatsServer, Wire};
use postgres::Cluster;
use publish::{OneByOne, Server, SideBySide, Validated};

/// Of B6, of which every slice is a whole log, there are fewer rounds.
const DRAINS: usize = 3;
/// How long an open loop settles, and is measured.
const OPEN_LOOP: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

/// The least where answers take long.
const PATIENT: (Duration, Duration) = (Duration::from_millis(400), Duration::from_secs(1));

/// Everything that was asked for, in one place. `servers` learns who took part.
pub async fn measure(options: &Options, place: &Place, servers: &mut Vec<String>) -> Vec<Row> {
    let mut bench = Bench { options, place, orders: Orders::new(options.seed), servers, rows: Vec::new() };
    if options.wants_any(&["b1", "b2-nats", "b3", "b4"])
        && let Err(error) = bench.on_nats().await
    {
        bench.failed("NATS", &error);
    }
    if options.wants_any(&["b5-real", "b6", "b7", "b8", "b9a", "b9b", "b16"])
        && let Err(error) = bench.on_postgres().await
    {
        bench.failed("PostgreSQL", &error);
    }
    #[cfg(feature = "kafka")]
    if options.wants_any(&["kafka-publish", "kafka-consume"])
        && let Err(error) = bench.on_kafka().await
    {
        bench.failed("Kafka", &error);
    }
    bench.rows
}

struct Bench<'a> {
    options: &'a Options,
    place: &'a Place,
    orders: Orders,
    servers: &'a mut Vec<String>,
    rows: Vec<Row>,
}

fn subject(id: &str, what: impl Into<String>) -> Subject {
    Subject::new(Section::RealBackends, id, what)
}

impl Bench<'_> {
    fn timing(&self) -> Timing {
        self.options.timing(0.15)
    }

    /// For servers that answer late and many at once: several answers of each caller.
    fn patient(&self) -> Timing {
        let Timing { slice, .. } = self.timing();
        Timing { settle: PATIENT.0, slice: slice.max(PATIENT.1) }
    }

    fn open_loop(&self) -> Timing {
        Timing { settle: OPEN_LOOP.0, slice: OPEN_LOOP.1 }
    }

    fn took_part(&mut self, server: String) {
        if !self.servers.contains(&server) {
            self.servers.push(server);
        }
    }

    /// What stands in the way of everything that was still to come on this server.
    fn failed(&mut self, server: &str, error: &anyhow::Error) {
        eprintln!("{server}: {error:#}");
        self.rows.push(Row::failed(&subject(server, format!("everything that was left on {server}")), error));
    }

    /// A target; in memory there is none, since nothing waits for a disk there.
    fn target(&self, target: f64) -> Option<f64> {
        (!self.place.is_in_memory()).then_some(target)
    }

    async fn rate(&mut self, id: &str, what: impl Into<String>, target: Option<f64>, mut sides: impl Sides) {
        let aim = Aim::rate(subject(id, what), target);
        self.rows.push(compare(self.options.real_rounds(), self.options.seed, aim, &mut sides).await.0);
    }

    async fn times(&mut self, aims: &[(&str, String, Measure, Option<f64>)], mut sides: impl Sides) {
        let aims: Vec<Aim> = aims
            .iter()
            .map(|(id, what, measure, target)| Aim::time(subject(id, what.clone()), *measure, *target))
            .collect();
        let (rounds, seed) = (self.options.real_rounds(), self.options.seed);
        self.rows.extend(compare_all(rounds, seed, &aims, &mut sides).await.0);
    }

    async fn on_nats(&mut self) -> anyhow::Result<()> {
        let (place, orders) = (self.place, self.orders.clone());
        for sync_always in [false, true] {
            let nats = NatsServer::start(place, sync_always).await?;
            self.took_part(nats.version());
            let wire = Wire::learn(&nats, &orders).await?;
            let server = |timing| Server { nats: &nats, place, wire: wire.clone(), orders: orders.clone(), timing };
            let on = if sync_always { "sync always" } else { "default sync" };
            if self.options.wants("b1") {
                let what = format!("publish, validated, JetStream file stream, {on}, window {}", publish::WINDOW);
                let sides = Validated::new(server(if sync_always { self.patient() } else { self.timing() }))?;
                self.rate(self.id("B1", sync_always), what, self.target(0.75), sides).await;
            }
            if self.options.wants("b3") {
                let what = |which: &str| format!("publish latency {which}, one at a time, JetStream file stream, {on}");
                let ids = if sync_always { ["B3-sync", "B3-sync-p99"] } else { ["B3", "B3-p99"] };
                let aims =
                    [(ids[0], what("p50"), Measure::P50, self.target(1.15)), (ids[1], what("p99"), Measure::P99, None)];
                self.times(&aims, OneByOne(server(self.timing()))).await;
            }
            if self.options.wants("b4") && !sync_always {
                let count = self.backlog();
                let backlog = Backlog::new(&nats, &orders, count).await?;
                let what = format!("consume and acknowledge, backlog of {count}, JetStream file stream, {on}");
                self.rate("B4", what, self.target(0.8), consume::Consuming { backlog: &backlog, slices: 0 }).await;
                nats.clear().await?;
            }
            for (id, streams, target) in [("B2-one-stream", 1, 10.0), ("B2-eight-streams", 8, 2.5)] {
                if self.options.wants("b2-nats") && sync_always {
                    let embedded = Publish { place: place.clone(), timing: self.timing(), orders: orders.clone() };
                    let sides = SideBySide { embedded, server: server(self.timing()), streams };
                    let producers = crate::publish::PRODUCERS;
                    let what = format!(
                        "publish, {producers} producers: embedded broker against JetStream, {on}, streams: {streams}"
                    );
                    self.rate(id, what, self.target(target), sides).await;
                }
            }
        }
        Ok(())
    }

    fn id(&self, id: &'static str, sync_always: bool) -> &'static str {
        match (id, sync_always) {
            ("B1", true) => "B1-sync",
            (id, _) => id,
        }
    }

    /// Events of a backlog: about a slice's worth.
    fn backlog(&self) -> usize {
        let a_slice = (100_000.0 * self.options.slice) as usize;
        if self.options.quick { a_slice / 2 } else { a_slice }
    }

    async fn on_postgres(&mut self) -> anyhow::Result<()> {
        let cluster = Cluster::start(self.place).await?;
        self.took_part(cluster.version());
        self.appends(&cluster).await;
        self.writers(&cluster).await;
        if self.options.wants_any(&["b5-real", "b6", "b8", "b16"]) {
            let nats = NatsServer::start(self.place, false).await?;
            self.took_part(nats.version());
            let wire = Wire::learn(&nats, &self.orders).await?;
            self.flows(&cluster, &nats, &wire).await?;
            self.latencies(&cluster, &nats, &wire).await;
        }
        Ok(())
    }

    async fn appends(&mut self, cluster: &Cluster) {
        let (place, orders, timing) = (self.place, self.orders.clone(), self.timing());
        for (clients, alike) in [(1, false), (8, false), (32, false), (32, true)] {
            if self.options.wants("b9a") {
                let id = format!("B9a-{clients}{}", if alike { "-alike" } else { "" });
                let keys = if alike { ", all keys alike" } else { "" };
                let what = format!("append to PostgreSQL, one event a commit, {clients} clients; limit: pgbench{keys}");
                let target = self.target(0.8).filter(|_| !alike);
                let sides = append::Single { cluster, place, orders: orders.clone(), timing, clients, alike };
                self.rate(&id, what, target, sides).await;
            }
        }
        for (id, indexed) in [("B9b", false), ("B9b-indexed", true)] {
            if self.options.wants("b9b") {
                let against = if indexed { ", limit with the same indexes" } else { "" };
                let (batch, writers) = (append::BATCH, append::WRITERS);
                let what = format!("append to PostgreSQL, {batch} events a commit, {writers} writers{against}");
                let target = self.target(0.7).filter(|_| !indexed);
                let sides = append::Batches { cluster, place, orders: orders.clone(), timing, indexed };
                self.rate(id, what, target, sides).await;
            }
        }
    }

    async fn writers(&mut self, cluster: &Cluster) {
        let (place, orders, timing) = (self.place, self.orders.clone(), self.timing());
        for (id, way, by) in
            [("B7-emit", writer::Way::Emit, "tidewire.emit"), ("B7-commit-in", writer::Way::CommitIn, "commit_in")]
        {
            if self.options.wants("b7") {
                let clients = writer::CLIENTS;
                let what = format!(
                    "a row and an event in one transaction, {by}, {clients} clients; limit: a row in an outbox"
                );
                let sides = writer::Writing { cluster, place, orders: orders.clone(), timing, way };
                self.rate(id, what, self.target(0.9), sides).await;
            }
        }
    }

    async fn flows(&mut self, cluster: &Cluster, nats: &NatsServer, wire: &Wire) -> anyhow::Result<()> {
        let place = self.place;
        if self.options.wants("b5-real") {
            let backlog = Backlog::new(nats, &self.orders, self.backlog() / 2).await?;
            for (id, run, habit) in [("B5", Run::PerKey, "key"), ("B5-batch", Run::Batch, "batch")] {
                let what =
                    format!("consume with inbox, 20 % duplicates, JetStream and PostgreSQL, a commit per {habit}");
                let sides = inbox::Consuming { backlog: &backlog, cluster, place, run, slices: 0 };
                self.rate(id, what, self.target(0.5), sides).await;
            }
            nats.clear().await?;
        }
        if self.options.wants("b6") {
            let count = self.options.drain();
            let database = cluster.database().await?;
            drain::fill(&database, &self.orders, count).await?;
            let class = if cluster.class == Class::Disk { nats.class } else { cluster.class };
            let mut sides = drain::Draining { nats, database: &database, class, wire: wire.clone(), count };
            let what = format!("drain of {count} events, PostgreSQL to JetStream; limit: read forward and publish");
            let aim = Aim::rate(subject("B6", what), self.target(0.8));
            let rounds = self.options.real_rounds().min(DRAINS);
            self.rows.push(compare(rounds, self.options.seed, aim, &mut sides).await.0);
            database.close().await?;
        }
        Ok(())
    }

    async fn latencies(&mut self, cluster: &Cluster, nats: &NatsServer, wire: &Wire) {
        let (place, orders, timing) = (self.place, self.orders.clone(), self.open_loop());
        if self.options.wants("b8") {
            let rate = 500;
            let what =
                |which: &str| format!("from commit to delivery at {rate}/s, {which}; limit: the same hops by hand");
            let aims =
                [("B8", what("p50"), Measure::P50, self.target(1.5)), ("B8-p99", what("p99"), Measure::P99, None)];
            let (wire, orders) = (wire.clone(), orders.clone());
            self.times(&aims, delivery::Delivering { cluster, nats, place, wire, orders, timing, rate }).await;
        }
        for (rate, ids) in [(200, ["B16-200", "B16-200-p99"]), (1_000, ["B16-1000", "B16-1000-p99"])] {
            if self.options.wants("b16") {
                let what =
                    |which: &str| format!("from request to row at {rate}/s, {which}; limit: the same hops by hand");
                let aims = [
                    (ids[0], what("p50"), Measure::P50, self.target(2.0)),
                    (ids[1], what("p99"), Measure::P99, self.target(4.0)),
                ];
                let (wire, orders) = (wire.clone(), orders.clone());
                self.times(&aims, journey::Travelling { cluster, nats, place, wire, orders, timing, rate }).await;
            }
        }
    }
}
