//! `kill -9` for the relay and the consumers, each a process of its own, again and again under load.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::fault::{needs, own_nats, shared_postgres};
use crate::support::auditor::{audit_ports, consumers};
use crate::support::ground::Ground;
use crate::support::process::Instance;
use crate::support::workload::{Address, Size, Workload, check};

const ROUNDS: u64 = 6;
const LOAD: Size = Size { users: 12, follows: 60, tracks: 300, good_documents: 6, bad_documents: 2 };

/// Who runs what. The search index is the gateway's process's own, so documents are there.
const FRONT: &[&str] = &["gateway", "documents"];
const RELAY: &[&str] = &["outbox-publisher"];
const BACK: &[&str] = &["saga-orchestrator", "social", "notifications", "enrichment", "analytics"];

#[tokio::test(flavor = "multi_thread")]
async fn relay_and_consumers_killed_again_and_again_lose_nothing() {
    needs!("nats", "postgres");
    let (postgres, nats) = (shared_postgres().await, own_nats().await);
    let ground = Ground::on_jetstream(postgres.database().await, nats.url());
    let dir = TempDir::new().expect("a folder");
    let mut env = ground.env();
    env.push(("TIDEWIRE_OBJECTS_URL".into(), dir.path().join("objects").display().to_string()));
    // A dead one's share is another's soon.
    env.push(("TIDEWIRE_RELAY__LEASE_TTL".into(), "2s".into()));
    env.push(("TIDEWIRE_RELAY__LEASE_RENEW".into(), "500ms".into()));
    let mut front = started(FRONT, dir.path().join("front"), &env).await;
    let address = Address::default();
    address.set(&front.url);
    let workload = Workload::new("roles", LOAD, address.clone());
    let place = |name: &str| dir.path().join(name);
    let killing = async {
        for round in 0..ROUNDS {
            let (relay, back, other) = tokio::join!(
                started(RELAY, place("relay"), &env),
                started(BACK, place("back"), &env),
                started(BACK, place("other"), &env)
            );
            // Not a condition to wait for: the moment of the kill is meant to be arbitrary.
            tokio::time::sleep(Duration::from_millis(200 + 211 * round % 700)).await;
            for mut instance in [relay, back, other] {
                instance.kill().await;
            }
        }
        tokio::join!(started(RELAY, place("relay"), &env), started(BACK, place("back"), &env))
    };
    let ((mut relay, mut back), accepted) = tokio::join!(killing, workload.run());
    check(&front, &accepted).await;
    let consumers = consumers(&front).await;
    assert!(consumers.len() >= 8, "the services do consume: {consumers:?}");
    for instance in [&mut back, &mut relay, &mut front] {
        assert!(instance.terminate().await.success(), "{}", instance.log());
    }
    let ports = ground.open().await;
    audit_ports(&ports, &consumers).await;
    ports.broker.close().await;
    ports.store.close().await;
}

async fn started(roles: &[&str], dir: PathBuf, env: &[(String, String)]) -> Instance {
    Instance::run(roles, &dir, env).await.unwrap_or_else(|log| panic!("{roles:?}: {log}"))
}
