//! The same binary on servers, with only two URLs changed.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::house::top;
use crate::support::process::run_in;

/// Where the servers are, as the environment says it.
type Urls<'a> = [(&'a str, &'a str); 3];

async fn demo(data: &Path, urls: &Urls<'_>) -> Value {
    let documents = "tests/data/documents";
    let args = ["demo", documents, "--exit", "-o", "json", "--data-dir", data.to_str().expect("UTF-8")];
    let finished = run_in(&top(), &args, urls).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    finished.json()
}

fn left_out(servers: &[&str]) -> bool {
    let left_out: Vec<&&str> = servers.iter().filter(|server| servers::left_out(server)).collect();
    if !left_out.is_empty() {
        println!("left out: {left_out:?}");
    }
    !left_out.is_empty()
}

/// A demo on a new log and one on a log with a history; then what an operator sees from a folder where nothing is.
async fn demonstrate(urls: &Urls<'_>) {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let first = demo(&data, urls).await;
    assert_eq!((&first["lost"], &first["follows"], &first["notifications"]), (&0.into(), &200.into(), &200.into()));
    let second = demo(&data, urls).await;
    assert_eq!(second["lost"], 0, "{second}");
    assert_eq!((&second["follows"], &second["activities"]), (&200.into(), &1_000.into()), "{second}");
    let appended = |report: &Value| report["events"]["appended"].as_u64().expect("a count");
    assert!(appended(&second) >= appended(&first) + 1_250, "the whole log is looked up: {second}");
    assert_eq!(second["events"]["published"], appended(&second), "{second}");

    let nowhere = dir.path().join("nowhere");
    let ask = async |args: &[&str]| {
        let args = [args, &["-o", "json", "--data-dir", nowhere.to_str().expect("UTF-8")]].concat();
        let finished = run_in(dir.path(), &args, urls).await;
        assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
        finished.json()
    };
    let status = ask(&["status"]).await;
    assert_eq!((&status["running"], &status["store"]["backend"]), (&false.into(), &"postgres".into()));
    assert_eq!((&status["relays"][0]["behind"], &status["parked"]), (&0.into(), &0.into()), "{status}");
    assert_eq!(ask(&["log", "verify"]).await["lost"], 0);
    assert_eq!(ask(&["log", "reconcile", "--dry-run"]).await["missing"], 0);
    assert!(!nowhere.exists(), "looking leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_loses_nothing_on_postgres_and_jetstream() {
    if left_out(&["postgres", "nats"]) {
        return;
    }
    let database = servers::postgres().await.unwrap_or_else(|missing| panic!("{missing}")).database().await;
    let nats = servers::nats().await.unwrap_or_else(|missing| panic!("{missing}"));
    let urls = [
        ("TIDEWIRE_STORE_URL", database.as_str()),
        ("TIDEWIRE_BROKER_URL", nats.url()),
        ("TIDEWIRE_BROKER__DOMAIN", "demo"),
    ];
    demonstrate(&urls).await;
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_loses_nothing_on_postgres_and_kafka() {
    if left_out(&["postgres", "kafka"]) {
        return;
    }
    let database = servers::postgres().await.unwrap_or_else(|missing| panic!("{missing}")).database().await;
    let kafka = servers::kafka().await.unwrap_or_else(|missing| panic!("{missing}"));
    let broker = format!("kafka://{}", kafka.brokers());
    let urls = [
        ("TIDEWIRE_STORE_URL", database.as_str()),
        ("TIDEWIRE_BROKER_URL", broker.as_str()),
        ("TIDEWIRE_BROKER__DOMAIN", "demo"),
    ];
    demonstrate(&urls).await;
}
