//! The way down: SIGTERM under load drains, and nothing that was accepted is dropped.

use tempfile::TempDir;

use crate::support::auditor::{audit, consumers};
use crate::support::process::Instance;
use crate::support::workload::{Address, SMALL, Workload, check};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_keeps_its_deadline_and_loses_nothing() {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let address = Address::default();
    let workload = Workload::new("drain", SMALL, address.clone());
    let stopping = async {
        for round in 0..3 {
            let mut instance = Instance::up(&data, &[]).await.unwrap_or_else(|log| panic!("round {round}: {log}"));
            address.set(&instance.url);
            // An arbitrary moment under load, on purpose.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let status = instance.terminate().await;
            assert!(status.success(), "a drain ends with 0: {status:?}\n{}", instance.log());
        }
        let last = Instance::up(&data, &[]).await.expect("it starts");
        address.set(&last.url);
        last
    };
    let (mut last, accepted) = tokio::join!(stopping, workload.run());
    check(&last, &accepted).await;
    let consumers = consumers(&last).await;
    assert!(last.terminate().await.success());
    audit(&data, &consumers).await;
}
