//! Files that are in use, foreign, newer or damaged.

use std::path::Path;
use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tidewire_core::{Broker, BrokerError, SystemClock};

use super::{EmbeddedBroker, open, options};
use crate::conformance::{consume, event, group, join, publish, within};

async fn refused(dir: &Path) -> BrokerError {
    match EmbeddedBroker::open(options(dir), Arc::new(SystemClock)).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

async fn sql(dir: &Path, sql: &'static str) {
    let url = format!("sqlite:{}", dir.join("broker.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_second_one_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(options(dir.path())).await;
    let error = refused(dir.path()).await;
    assert!(matches!(&error, BrokerError::Locked(who) if who.contains(&std::process::id().to_string())), "{error:?}");
    broker.close().await;
    broker.close().await;
    assert_eq!(broker.publish(vec![event("k", "k-0")]).await, [Err(BrokerError::Closed)]);
    assert!(matches!(broker.subscribe(group("g")).await, Err(BrokerError::Closed)));
    open(options(dir.path())).await.close().await;
}

#[tokio::test]
async fn newer_and_foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    open(options(dir.path())).await.close().await;
    sql(dir.path(), "pragma user_version = 99").await;
    assert!(matches!(refused(dir.path()).await, BrokerError::Newer(_)));
    sql(dir.path(), "pragma user_version = 1; pragma application_id = 7").await;
    assert!(matches!(refused(dir.path()).await, BrokerError::Corrupt(_)));
    let foreign = tempfile::tempdir().unwrap();
    let text = "this is no database ".repeat(1_000);
    std::fs::write(foreign.path().join("broker.db"), &text).unwrap();
    assert!(matches!(refused(foreign.path()).await, BrokerError::Corrupt(_)));
    assert_eq!(std::fs::read_to_string(foreign.path().join("broker.db")).unwrap(), text);
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(refused(&file.path().join("sub")).await, BrokerError::Unavailable(_)));
}

#[tokio::test]
async fn a_truncated_file_is_refused_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(options(dir.path())).await;
    publish(&*broker, (0..500).map(|n| event("k", &format!("k-{n}"))).collect()).await;
    broker.close().await;
    sql(dir.path(), "update meta set clean = 0").await;
    let path = dir.path().join("broker.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(refused(dir.path()).await, BrokerError::Corrupt(_)));
}

#[tokio::test]
async fn a_damaged_entry_is_reported_once_and_passed_over_and_can_be_published_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(options(dir.path())).await;
    publish(&*broker, (0..3).map(|n| event("k", &format!("k-{n}"))).collect()).await;
    broker.close().await;
    sql(dir.path(), "update entry set envelope = cast(replace(envelope, 'k-1', 'k-x') as blob) where seq = 2").await;

    let broker = open(options(dir.path())).await;
    let mut seat = join(&*broker, group("g")).await;
    let (mut seen, mut errors) = (Vec::new(), Vec::new());
    while seen.len() < 2 || errors.is_empty() {
        match within("a delivery", seat.next(1, 1)).await {
            Ok(deliveries) => {
                for delivery in deliveries {
                    seen.push(delivery.envelope.id.clone());
                    delivery.ack();
                }
            }
            Err(error) => errors.push(error),
        }
    }
    assert_eq!(seen, ["k-0", "k-2"]);
    assert!(matches!(&errors[..], [BrokerError::Corrupt(what)] if what.contains("entry 2")), "{errors:?}");
    assert_eq!(broker.info().damaged, 1);
    assert_eq!(broker.scan(None, 10).await.unwrap().0.len(), 2, "so that the log can tell what is missing");
    publish(&*broker, vec![event("k", "k-1")]).await;
    assert_eq!(consume(&mut *seat, 1).await, ["k-1"]);
    drop(seat);
    broker.close().await;
    let broker = open(options(dir.path())).await;
    assert_eq!(broker.info().damaged, 1);
    assert_eq!(broker.lag().await.unwrap()[0].pending, 0);
}
