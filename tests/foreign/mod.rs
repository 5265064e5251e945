//! Clients of others: programs in Python that have a client of the broker, the binding of CloudEvents to it, and
//! nothing of Tidewire. What the relay publishes they understand; what they publish reaches handlers, once each, and
//! what they publish that is no event holds nobody up.
//!
//! A foreign client may publish under any bucket or partition. It keeps its own order per key by staying with one; the
//! order between its events and the log's is nobody's promise.

mod asyncapi;
mod client;
#[cfg(feature = "kafka")]
mod kafka;
mod nats;
pub mod node;
mod sdks;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidewire::store::{Recorded, Selection};
use tidewire::{Attribute, Commit, Envelope, Event, Expect, Ports, Service};

use crate::support::event::{Counted, counted};
use crate::support::eventually;
use crate::support::ground::Ground;
use crate::support::handlers::{Tally, tallied};
use crate::support::process::Instance;
use crate::support::workload::{Address, SMALL, Workload, check};
use crate::support::world::World;
use client::Understood;

/// Attributes that text has to be treated with care for, in headers and in percent-encoding.
const AWKWARD: &str = "Größe: 100 % \"ganz\" \\ 潮";

/// A counter whose events a foreign client puts where the relay would not.
const ASTRAY: &str = "astray";

/// A counter whose events are put where nobody looks, on JetStream.
const NOBODYS: &str = "nobodys";

/// Has the services make events, lets a client read them, and compares what it understood with the log.
async fn assert_understood(ground: &Ground, read: impl AsyncFnOnce() -> Vec<Understood>) -> Vec<Understood> {
    let dir = TempDir::new().expect("a folder");
    let env = ground.env();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let started = Instance::up(&dir.path().join("data"), &env).await;
    let mut instance = started.unwrap_or_else(|log| panic!("it does not start: {log}"));
    let address = Address::default();
    address.set(&instance.url);
    let accepted = Workload::new("foreign", SMALL, address).run().await;
    check(&instance, &accepted).await;
    let ports = ground.open().await;
    append_awkward(&ports).await;
    let head = ports.store.head().await.expect("a head");
    eventually("the relay has published all of it", || async {
        (instance.get("/v1/status").await["relays"][0]["position"].as_u64()? >= head.0).then_some(())
    })
    .await;
    let found = read().await;
    let log = log(&ports).await;
    assert!(log.len() as u64 >= head.0);
    compare(&log, head.0, &found);
    assert!(instance.terminate().await.success(), "{}", instance.log());
    ports.broker.close().await;
    ports.store.close().await;
    found
}

/// Events with what is hard to carry: one with text, one without any data.
async fn append_awkward(ports: &Ports) {
    let mut worded = counted(ports, AWKWARD, 1);
    worded.subject = Some(AWKWARD.into());
    worded.datacontenttype = Some("text/plain".into());
    worded.data = Some(AWKWARD.into());
    worded.extensions.insert("depth".into(), Attribute::Integer(-7));
    worded.extensions.insert("spring".into(), Attribute::Boolean(true));
    worded.extensions.insert("port".into(), Attribute::Text(AWKWARD.into()));
    let mut bare = counted(ports, AWKWARD, 2);
    bare.data = None;
    let append = tidewire::Append { key: worded.key.clone(), expect: Expect::Any, events: vec![worded, bare] };
    ports.store.commit(Commit { append: vec![append], ..Commit::default() }).await.expect("appended");
}

async fn log(ports: &Ports) -> Vec<Recorded> {
    let mut log: Vec<Recorded> = Vec::new();
    loop {
        let after = log.last().map(|last| last.position).unwrap_or_default();
        let page = ports.store.read(&Selection { after, limit: 1_000, ..Selection::default() }).await.expect("a page");
        if page.is_empty() {
            return log;
        }
        log.extend(page);
    }
}

/// Everything up to `head` was found once, nothing was found that is not in the log, and each key's in its order.
fn compare(log: &[Recorded], head: u64, found: &[Understood]) {
    let mut found_of: HashMap<&str, Vec<&Understood>> = HashMap::new();
    for event in found {
        found_of.entry(event.attribute("partitionkey")).or_default().push(event);
    }
    let mut log_of: HashMap<&str, Vec<&Recorded>> = HashMap::new();
    for recorded in log {
        log_of.entry(recorded.envelope.key.as_str()).or_default().push(recorded);
    }
    for (key, expected) in &log_of {
        let found = found_of.remove(key).unwrap_or_default();
        let needed = expected.iter().filter(|recorded| recorded.position.0 <= head).count();
        assert!((needed..=expected.len()).contains(&found.len()), "{key}: {} of {needed}", found.len());
        for (recorded, found) in expected.iter().zip(found) {
            assert_eq!(found.as_said(), as_said(&recorded.envelope), "{key}");
        }
    }
    assert!(found_of.is_empty(), "the log knows nothing of {:?}", found_of.keys());
    let types: BTreeMap<&str, ()> = found.iter().map(|event| (event.attribute("type"), ())).collect();
    assert!(types.len() >= 6, "there are events of many types: {types:?}");
}

/// What a client must understand of an event: every attribute as text, and the data.
fn as_said(envelope: &Envelope) -> (BTreeMap<String, String>, Value) {
    let mut said: BTreeMap<String, Value> = serde_json::from_slice(&envelope.to_json()).expect("CloudEvents in JSON");
    // Data that is no JSON is text here.
    let (json, base64) = (said.remove("data"), said.remove("data_base64"));
    let data = json.or_else(|| base64.map(|_| envelope.data_text().into())).unwrap_or_default();
    said.entry("datacontenttype".into()).or_insert_with(|| "application/json".into());
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    (said.into_iter().map(|(name, value)| (name, text(value))).collect(), data)
}

/// A foreign client's event of a counter.
fn counting(id: &str, key: &str, n: u64) -> Value {
    let attributes = json!({
        "specversion": "1.0", "id": id, "source": "/elsewhere/ü", "type": Counted::TYPE.to_string(),
        "partitionkey": format!("counter/{key}"), "time": "2026-01-31T08:00:00.5+01:00",
    });
    json!({ "attributes": attributes, "data": { "key": key, "n": n } })
}

/// Runs a tally, lets a client publish between what the log holds, and checks what became of it.
async fn assert_handled(world: World, write: impl AsyncFnOnce(Vec<Value>)) {
    let life = world.run(vec![Service::new("tests").handler(Tally::new("tally"))]);
    world.append(vec![counted(&world.ports, "ours", 1)]).await;
    let mut nameless = counting("5", "theirs", 9);
    nameless["attributes"].as_object_mut().expect("attributes").remove("type");
    let mut otherwise = counting("6", "theirs", 9);
    otherwise["data"] = json!("nothing that a counter knows");
    otherwise["attributes"]["type"] = "elsewhere.happened.v1".into();
    let orders = vec![
        counting("1", "theirs", 1),
        json!({ "raw": "this is no event" }),
        nameless,
        otherwise,
        counting("2", "theirs", 2),
        counting("2", "theirs", 2),
        counting("3", "theirs", 3),
        counting("4", ASTRAY, 1),
        json!({ "raw": "" }),
    ];
    write(orders).await;
    world.append(vec![counted(&world.ports, "ours", 2)]).await;
    eventually("all of theirs is handled", || async {
        let (theirs, astray) = (tallied(&world.ports, "tally", "theirs"), tallied(&world.ports, "tally", ASTRAY));
        (theirs.await.len() >= 3 && !astray.await.is_empty()).then_some(())
    })
    .await;
    life.settled().await;
    eventually("nothing is left behind", || async {
        let consumers = life.operator.consumers().await.ok()?;
        (consumers[0].pending == 0).then_some(())
    })
    .await;
    assert_eq!(tallied(&world.ports, "tally", "theirs").await, [1, 2, 3], "in their order, and once");
    assert_eq!(tallied(&world.ports, "tally", "ours").await, [1, 2]);
    assert_eq!(tallied(&world.ports, "tally", ASTRAY).await, [1]);
    assert!(tallied(&world.ports, "tally", NOBODYS).await.is_empty(), "it is under no bucket");
    assert_eq!(life.operator.consumers().await.expect("consumers")[0].parked, 0);
    let audit = life.operator.audit().await.expect("an audit");
    assert_eq!((audit.lost, audit.appended, audit.published), (0, 2, 2), "what is not in the log is not its business");
    life.end().await;
}
