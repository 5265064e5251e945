//! Faults of real servers: killed, paused, cut off, wiped, full, under load. After each an auditor compares what was
//! accepted with what became of it: nothing is lost, no effect is doubled, order per key is kept.

#[cfg(feature = "kafka")]
mod kafka;
mod members;
mod nats;
mod network;
mod postgres;
mod processes;
mod relays;
mod room;
mod writers;

use std::sync::Arc;

use servers::{Nats, NatsOptions, Postgres, PostgresOptions};

use crate::support::ground::Ground;

/// Where a test's servers are missing on purpose, says so and returns from the test.
macro_rules! needs {
    ($($server:literal),+) => {
        $(if servers::left_out($server) {
            println!("left out: {}", $server);
            return;
        })+
    };
}
pub(crate) use needs;

/// A PostgreSQL and a NATS of the test's own, to be hurt.
async fn own_servers() -> (Postgres, Nats, Ground) {
    let postgres = Postgres::start(PostgresOptions::default()).await.unwrap_or_else(|missing| panic!("{missing}"));
    let nats = own_nats().await;
    let ground = Ground::on_jetstream(postgres.database().await, nats.url());
    (postgres, nats, ground)
}

/// A NATS of the test's own, to be hurt.
async fn own_nats() -> Nats {
    Nats::start(NatsOptions::default()).await.unwrap_or_else(|missing| panic!("{missing}"))
}

/// The PostgreSQL that everybody may use and nobody may hurt.
async fn shared_postgres() -> Arc<Postgres> {
    servers::postgres().await.unwrap_or_else(|missing| panic!("{missing}"))
}
