//! Writers on PostgreSQL that take their time between writing and committing, and some that change their minds.

use std::fmt::Write;
use std::time::Duration;

use servers::Postgres;
use tidewire::relay::RelayOptions;

use crate::fault::{needs, own_nats, shared_postgres};
use crate::support::ground::{Ground, Member};
use crate::support::load::{Ledger, Load, settle};

/// Writers in SQL, each a client of its own.
const SCRIPTS: u64 = 4;
const KEYS: u64 = 5;
const EACH: u64 = 24;

/// What no event that was committed has for its number.
const ROLLED_BACK: u64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn late_commits_and_rollbacks_leave_no_gap_and_lose_nothing() {
    needs!("nats", "postgres");
    let (postgres, nats) = (shared_postgres().await, own_nats().await);
    let database = postgres.database().await;
    let ground = Ground::on_jetstream(database.clone(), nats.url());
    // The store's tables are there before anybody writes by himself.
    let relay = Member::relaying(&ground, RelayOptions::default()).await;
    let consumer = Member::consuming(&ground, "tally").await;
    let load = Load::start(&relay.ports, 4, Duration::from_millis(3));
    let ledger = load.ledger().clone();
    futures::future::join_all((0..SCRIPTS).map(|writer| write_by_hand(&postgres, &database, writer, &ledger))).await;
    let ledger = load.end().await;
    assert!(ledger.total() > SCRIPTS * KEYS * EACH, "both kinds of writers wrote");
    settle(&relay.ports, &ledger, "tally").await;
    consumer.end().await;
    relay.end().await;
}

/// One writer: a transaction per event, open for up to 40 ms after the event was written, and after every third one
/// another that is rolled back.
async fn write_by_hand(postgres: &Postgres, database: &str, writer: u64, ledger: &Ledger) {
    let emit = |script: &mut String, key: &str, n: u64, expected: u64| {
        let _ = write!(
            script,
            "begin; select tidewire.emit(type => 'test.counted', version => 1, key => 'counter/{key}', \
             data => '{{\"key\":\"{key}\",\"n\":{n}}}', expected_version => {expected}); select pg_sleep(random() * 0.04); "
        );
    };
    let mut script = String::new();
    for n in 1..=EACH {
        for key in 0..KEYS {
            let key = format!("sql{writer}-{key}");
            emit(&mut script, &key, n, n - 1);
            script += "commit;\n";
            if n % 3 == 0 {
                emit(&mut script, &key, ROLLED_BACK, n);
                script += "rollback;\n";
            }
        }
    }
    postgres.script(database, &script).await.unwrap_or_else(|error| panic!("{error}"));
    for n in 1..=EACH {
        for key in 0..KEYS {
            ledger.accept(&format!("sql{writer}-{key}"), n);
        }
    }
}
