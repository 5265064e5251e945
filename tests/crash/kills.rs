//! `kill -9` at random, again and again, under load.

use std::time::Duration;

use tempfile::TempDir;

use crate::support::auditor::{audit, consumers};
use crate::support::process::Instance;
use crate::support::workload::{Address, Size, Workload, check};

const ROUNDS: u64 = 6;
const LOAD: Size = Size { users: 12, follows: 60, tracks: 300, good_documents: 6, bad_documents: 2 };

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_under_load_loses_nothing() {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let address = Address::default();
    let workload = Workload::new("kills", LOAD, address.clone());
    let killing = async {
        for round in 0..ROUNDS {
            let mut instance = Instance::up(&data, &[]).await.unwrap_or_else(|log| panic!("round {round}: {log}"));
            address.set(&instance.url);
            // Not a condition to wait for: the moment of the kill is meant to be arbitrary.
            tokio::time::sleep(Duration::from_millis(150 + 211 * round % 700)).await;
            instance.kill().await;
        }
        let last = Instance::up(&data, &[]).await.expect("it starts");
        address.set(&last.url);
        last
    };
    let (mut last, accepted) = tokio::join!(killing, workload.run());
    check(&last, &accepted).await;
    let consumers = consumers(&last).await;
    assert!(last.terminate().await.success(), "{}", last.log());
    audit(&data, &consumers).await;
}
