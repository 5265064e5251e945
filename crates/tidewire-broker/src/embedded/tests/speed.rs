//! How fast, for people: `cargo test --release -p tidewire-broker speed -- --ignored --nocapture`.

use std::path::Path;
use std::time::Instant;

use sqlx::ConnectOptions;
use tidewire_core::bytes::Bytes;
use tidewire_core::{Broker, Delivery};

use super::{open, options};
use crate::conformance::{event, group, join, publish};
use crate::embedded::schema::TABLES;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn publishes_and_consumes() {
    const PRODUCERS: usize = 64;
    const EACH: usize = 3_000;
    let dir = tempfile::tempdir().unwrap();
    raw(dir.path()).await;
    let started = Instant::now();
    let broker = open(options(dir.path())).await;
    eprintln!("open: {:?}", started.elapsed());
    let data = Bytes::from(format!("{{\"text\":\"{}\"}}", "x".repeat(1_012)));
    let started = Instant::now();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (broker, data) = (broker.clone(), data.clone());
            tokio::spawn(async move {
                for number in 0..EACH {
                    let mut event = event(&format!("p{producer}"), &format!("p{producer}-{number}"));
                    event.data = Some(data.clone());
                    publish(&*broker, vec![event]).await;
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.unwrap();
    }
    let total = PRODUCERS * EACH;
    eprintln!("publish, {PRODUCERS} producers: {:.0}/s", total as f64 / started.elapsed().as_secs_f64());
    eprintln!("events per commit: {:.1}", total as f64 / broker.info().commits as f64);
    let mut seat = join(&*broker, tidewire_core::broker::Subscribe { max_in_flight: 1_024, ..group("all") }).await;
    let started = Instant::now();
    let mut seen = 0;
    while seen < total {
        let deliveries = seat.next(256, 1 << 20).await.unwrap();
        seen += deliveries.len();
        deliveries.into_iter().for_each(Delivery::ack);
    }
    eprintln!("consume from the file: {:.0}/s", total as f64 / started.elapsed().as_secs_f64());
    let started = Instant::now();
    for number in 0..500 {
        publish(&*broker, vec![event("l", &format!("l-{number}"))]).await;
        for delivery in seat.next(1, 1).await.unwrap() {
            delivery.ack();
        }
    }
    eprintln!("publish to delivery, alone: {:?}", started.elapsed() / 500);
    drop(seat);
    broker.close().await;
}

/// The same rows by hand: the limit to compare with.
async fn raw(dir: &Path) {
    let mut options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("raw.db")).create_if_missing(true);
    options = options.pragma("journal_mode", "wal").pragma("synchronous", "full").disable_statement_logging();
    let mut connection = options.connect().await.unwrap();
    sqlx::query(TABLES).execute(&mut connection).await.unwrap();
    let json = event("k", &"x".repeat(1_000)).to_json();
    for rows in [1usize, 16, 64, 256] {
        let text = format!("insert into entry values {}", vec!["(?,?,?,?,?,?)"; rows].join(","));
        let text: std::sync::Arc<str> = text.into();
        let (started, mut seq) = (Instant::now(), 1_000_000 * rows as i64);
        let rounds = (40_000 / rows).min(1_000);
        for _ in 0..rounds {
            sqlx::query("begin immediate").execute(&mut connection).await.unwrap();
            let mut query = sqlx::query(sqlx::AssertSqlSafe(text.clone()));
            for _ in 0..rows {
                seq += 1;
                query = query.bind(seq).bind(1i64).bind(vec![0u8; 16]).bind(1i64).bind(1i64).bind(json.clone());
            }
            query.execute(&mut connection).await.unwrap();
            sqlx::query("commit").execute(&mut connection).await.unwrap();
        }
        let each = started.elapsed() / rounds as u32;
        eprintln!("raw, {rows} rows per commit: {:.0}/s, {each:?} per commit", rows as f64 / each.as_secs_f64());
    }
}
