//! `tidewire log reconcile`: what a broker has lost is found, and published again.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{Finished, Instance, run_in};
use crate::support::workload::{Address, SMALL, Workload, check};

async fn reconcile(data: &Path, more: &[&str]) -> (Finished, Value) {
    let mut args = vec!["log", "reconcile", "-o", "json", "--data-dir", data.to_str().expect("UTF-8")];
    args.extend(more);
    let finished = run_in(Path::new("/"), &args, &[]).await;
    let found = if finished.stdout.is_empty() { Value::Null } else { finished.json() };
    (finished, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_broker_is_filled_from_the_log() {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let mut instance = Instance::up(&data, &[]).await.expect("it starts");
    let address = Address::default();
    address.set(&instance.url);
    let accepted = Workload::new("reconcile", SMALL, address).run().await;
    check(&instance, &accepted).await;
    let (whole, found) = reconcile(&data, &["--dry-run"]).await;
    assert_eq!((whole.code, &found["missing"]), (Some(0), &Value::from(0)), "{}", whole.stderr);
    assert!(instance.terminate().await.success());

    std::fs::remove_dir_all(data.join("broker")).expect("the broker's files were there");
    let (dry, found) = reconcile(&data, &["--dry-run"]).await;
    let missing = found["missing"].as_u64().expect("a count");
    assert_eq!((dry.code, &found["published"]), (Some(6), &Value::from(0)), "{}", dry.stderr);
    assert!(missing > 60 && found["waited_for"] == 0, "{found}");
    let (unasked, _) = reconcile(&data, &[]).await;
    assert_eq!(unasked.code, Some(2), "nobody agreed: {}", unasked.stderr);
    let (done, found) = reconcile(&data, &["--yes", "--reason", "its files are gone"]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let (again, found_again) = reconcile(&data, &["--since", "1"]).await;
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert!(found_again.is_null());
    // The record was another one, so the relay had filled it by itself when it took the lease for the request.
    let (whole, after) = reconcile(&data, &["--since", "1", "--dry-run"]).await;
    assert_eq!((whole.code, &after["missing"]), (Some(0), &Value::from(0)), "{found} {after}");
    assert_eq!(after["present"], missing);

    let mut instance = Instance::up(&data, &[]).await.expect("it starts");
    check(&instance, &accepted).await;
    assert!(instance.terminate().await.success());
}
