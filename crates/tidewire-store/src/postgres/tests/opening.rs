//! Opening, and what is refused.

use std::time::Duration;

use futures::future::join_all;
use tidewire_core::store::{Log, Upkeep};
use tidewire_core::{Position, StoreError};

use super::super::migrate::SCHEMA;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_migrate_at_once() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let stores: Vec<_> = join_all((0..6).map(|_| open(&url))).await;
    let ids: Vec<String> = stores.iter().map(|store| store.log_id.clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let mut connection = connect(&url).await;
    assert_eq!(number(&mut connection, "select count(*) from tidewire.schema_version").await, i64::from(SCHEMA));
    for store in &stores {
        put(store, "k").await.unwrap();
        store.close().await;
    }
    assert_eq!(open(&url).await.info().await.unwrap().head, Position(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_refused() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    open(&url).await.close().await;
    execute(&mut connect(&url).await, "insert into tidewire.schema_version (version) values (999)").await;
    let refused = try_open(&url).await.unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 999, known: SCHEMA }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_what_is_wrong_without_the_password() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let (head, tail) = url.split_once('@').unwrap();
    let wrong = format!("{head}wrong@{tail}");
    let secret = head.rsplit(':').next().unwrap();
    let denied = try_open(&wrong).await.unwrap_err();
    assert!(matches!(denied, StoreError::Denied(_)), "{denied}");
    let absent = try_open(&format!("{url}_absent")).await.unwrap_err();
    assert!(matches!(absent, StoreError::Misconfigured(_)), "{absent}");
    let nonsense = try_open("postgres://user:secret@host:port/").await.unwrap_err();
    assert!(matches!(nonsense, StoreError::Misconfigured(_)), "{nonsense}");
    let port = servers::free_port();
    let nobody = try_open(&format!("postgres://user:secret@127.0.0.1:{port}/x")).await.unwrap_err();
    assert!(matches!(nobody, StoreError::Unavailable(_)), "{nobody}");
    for error in [denied, absent, nonsense, nobody] {
        let text = format!("{error} {error:?}");
        assert!(!text.contains(secret) && !text.contains("secret"), "{text}");
    }
    let shown = format!("{:?}", PostgresOptions::new(url.as_str()));
    assert!(!shown.contains(secret), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_back_how_durable_the_server_is() {
    let Some(durable) = own_server(&[("synchronous_commit", "off")]).await else { return };
    // Our own sessions do not acknowledge before the disk has it, whatever the server's default.
    let url = durable.database().await;
    let store = open(&url).await;
    assert_eq!(store.durability(), "disk");
    let mut link = super::super::connect::Link::new(
        super::super::connect::connect_options(&PostgresOptions::new(url)).unwrap(),
        super::super::connect::Role::Group,
    );
    let row = sqlx::raw_sql("show synchronous_commit").fetch_one(link.get().await.unwrap()).await.unwrap();
    assert_eq!(row.get::<String, _>(0), "on");
    let Some(quick) = server().await else { return };
    assert_eq!(open(&quick.database().await).await.durability(), "os");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_refused_for_reading_too() {
    let Some(primary) = own_server(&[]).await else { return };
    let url = primary.database().await;
    let store = open(&url).await;
    put(&store, "k").await.unwrap();
    // What a session is told on a standby.
    execute(
        &mut connect(&url).await,
        "create schema fake; create function fake.pg_is_in_recovery() returns boolean language sql return true; \
         alter role postgres set search_path = fake, pg_catalog, public",
    )
    .await;
    let refused = try_open(&url).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Misconfigured(text) if text.contains("read replica")), "{refused}");
    // A connection that the pool makes later is refused as well: after a failover, say.
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tidewire'")
        .execute(&mut connect(&url).await)
        .await
        .unwrap();
    until("reads are refused", || async { store.head().await.is_err() }).await;
    assert!(put(&store, "k").await.is_err());
    assert!(store.ping().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_is_noticed_without_being_asked() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let (a, b) = (open(&url).await, open(&url).await);
    for n in 0..20 {
        let waiting = {
            let b = b.clone();
            tokio::spawn(async move { b.wait(Position(n), Duration::from_secs(60)).await })
        };
        put(&a, "k").await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
    }
}
