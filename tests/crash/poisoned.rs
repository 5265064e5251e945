//! An event that kills the process is found out, and takes nobody else with it.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tidewire::store::ParkedQuery;
use tidewire::{Append, Commit, Draft, Event, Expect, Ports};

use crate::support::poison::{CONSUMER, Dose, MAX_ATTEMPTS};
use crate::support::process::command;
use crate::support::world::open;
use crate::support::{eventually, within};

async fn prepare(ports: &Ports) {
    for n in 1..=5u64 {
        let mut append = Vec::new();
        for key in ["deadly", "a", "b", "c"] {
            let dose = Dose { key: key.into(), n, deadly: key == "deadly" && n == 3 };
            let envelope = Draft::of(&dose).unwrap().seal(ports.clock.as_ref(), "/tests", None);
            append.push(Append { key: dose.key(), expect: Expect::Any, events: vec![envelope] });
        }
        ports.store.commit(Commit { append, ..Commit::default() }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_kills_the_process_ends_parked() {
    let dir = TempDir::new().expect("a folder");
    let ports = open(dir.path()).await;
    prepare(&ports).await;
    ports.broker.close().await;
    ports.store.close().await;
    drop(ports);

    let mut deaths = 0;
    let mut process = loop {
        let mut process = command(&["poison", dir.path().to_str().unwrap()]).stderr(Stdio::null()).spawn().unwrap();
        let survived = within(Duration::from_secs(60), "the process dies or parks its poison", || {
            let dead = process.try_wait().unwrap().is_some();
            // The last start is followed by no death: once there are enough starts, only parking is left.
            let starts = std::fs::read_to_string(dir.path().join("starts")).unwrap_or_default().lines().count();
            async move {
                match dead {
                    true => Some(false),
                    false => (starts as u32 >= MAX_ATTEMPTS && deaths >= MAX_ATTEMPTS).then_some(true),
                }
            }
        })
        .await;
        if survived {
            break process;
        }
        deaths += 1;
        assert!(deaths <= MAX_ATTEMPTS, "it was started more than {MAX_ATTEMPTS} times");
    };
    // The survivor handles all the rest. Its files are its own: look once it is gone.
    eventually("the survivor parks and handles", || async {
        let relayed = std::fs::metadata(dir.path().join("ready")).is_ok();
        relayed.then_some(())
    })
    .await;
    // Nothing tells from outside that it is done; the store does, once the process is gone. Ask again if not.
    let mut patience = 100;
    let ports = loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        process.kill().await.unwrap();
        let ports = open(dir.path()).await;
        let done = ports
            .store
            .unhandled(CONSUMER, &["test.dose".into()], ports.store.head().await.unwrap(), 10)
            .await
            .unwrap();
        if done.is_empty() {
            break ports;
        }
        patience -= 1;
        assert!(patience > 0, "never handled: {done:?}");
        ports.broker.close().await;
        ports.store.close().await;
        drop(ports);
        process = command(&["poison", dir.path().to_str().unwrap()]).stderr(Stdio::null()).spawn().unwrap();
    };
    let starts = std::fs::read_to_string(dir.path().join("starts")).unwrap().lines().count();
    assert_eq!(starts as u32, MAX_ATTEMPTS, "started exactly as often as allowed");
    let parked = ports.store.parked(&ParkedQuery { limit: 100, ..ParkedQuery::default() }).await.unwrap();
    assert_eq!(
        parked.iter().map(|p| p.code.as_str()).collect::<Vec<_>>(),
        ["handler.crashed", "parked.behind", "parked.behind"]
    );
    for key in ["a", "b", "c"] {
        let found = ports.store.documents(CONSUMER, &[key.to_owned()]).await.unwrap();
        let numbers: Vec<u64> = serde_json::from_slice(&found[0].as_ref().expect("handled").value).unwrap();
        assert_eq!(numbers, vec![1, 2, 3, 4, 5], "the innocent were handled, once and in order");
    }
    ports.broker.close().await;
    ports.store.close().await;
}
