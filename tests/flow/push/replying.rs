//! Endpoints that answer with events.

use serde_json::{Value, json};
use tidewire::store::{ParkedQuery, Selection};
use tidewire::{Envelope, Key};

use super::{ANSWERED, Pushing, hasty};
use crate::support::endpoint::{Endpoint, Received, Reply};
use crate::support::event::counted;
use crate::support::world::World;

fn answer(changes: Value) -> Reply {
    let mut event = json!({"specversion": "1.0", "id": "mine", "source": "/not-mine", "type": "test.answered.v1",
        "sagaid": "forged", "colour": "red", "data": {"ok": true}});
    for (name, value) in changes.as_object().expect("an object") {
        event[name] = value.clone();
    }
    Reply::event(&event)
}

async fn answers(pushing: &Pushing) -> Vec<Envelope> {
    let selection = Selection { names: vec![ANSWERED.name().into()], limit: 100, ..Selection::default() };
    let found = pushing.world.ports.store.read(&selection).await.unwrap();
    found.into_iter().map(|recorded| recorded.envelope).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_emitted_once_as_ours_in_the_flow_of_what_it_answers() {
    // The answer to the first try is lost, as far as we know: the endpoint did its work, and says so again.
    let endpoint = Endpoint::start(|request: &Received| match request.attempt {
        1 => Reply::status(500),
        _ => answer(json!({})),
    })
    .await;
    let pushing = Pushing::begin(World::embedded().await, hasty());
    let reply = json!({"config": {"reply": {"source": "/enricher", "types": ["test.answered"]}}});
    pushing.subscribe("enricher", &endpoint.url, reply).await;
    let mut request = counted(&pushing.world.ports, "a", 1);
    let saga = [("sagaid", "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f"), ("sagastep", "enrich"), ("sagaepoch", "3")];
    request.extensions.extend(saga.map(|(name, value)| (name.to_owned(), value.into())));
    pushing.world.append(vec![request.clone()]).await;
    pushing.settled(&["enricher"]).await;
    let found = answers(&pushing).await;
    assert_eq!((found.len(), endpoint.received().len()), (1, 2), "{found:?}");
    let reply = &found[0];
    assert_eq!((reply.source.as_str(), reply.key.as_str()), ("/enricher", "counter/a"));
    assert_eq!(
        (reply.causationid.as_ref(), reply.correlationid.as_ref()),
        (Some(&request.id), request.correlationid.as_ref())
    );
    assert_ne!(reply.id, "mine");
    for (name, value) in saga.into_iter().chain([("colour", "red")]) {
        assert_eq!(reply.extensions[name].to_text(), value, "{name}");
    }
    pushing.life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_good_reply_parks_what_it_answers() {
    let endpoint = Endpoint::start(|request: &Received| match request.data("key").as_str() {
        Some("malformed") => answer(json!({"specversion": "2.0"})),
        Some("unknown") => answer(json!({"type": "test.counted.v1"})),
        Some("large") => answer(json!({"data": "x".repeat(300 << 10)})),
        Some("binary") => Reply::status(200)
            .header("ce-specversion", "1.0")
            .header("ce-id", "1")
            .header("ce-source", "/s")
            .header("ce-type", "test.answered.v1"),
        // No event, whatever it says.
        _ => Reply { body: "{\"specversion\":\"1.0\"}".into(), ..Reply::status(200) },
    })
    .await;
    let pushing = Pushing::begin(World::embedded().await, hasty());
    let reply = json!({"config": {"reply": {"types": ["test.answered"]}}});
    pushing.subscribe("replier", &endpoint.url, reply).await;
    pushing.subscribe("mute", &endpoint.url, json!({})).await;
    let keys = ["malformed", "unknown", "large", "binary", "plain"];
    pushing.world.append(keys.map(|key| counted(&pushing.world.ports, key, 1)).into()).await;
    pushing.settled(&["replier", "mute"]).await;
    let query = ParkedQuery { limit: 100, ..ParkedQuery::default() };
    let parked = pushing.world.ports.store.parked(&query).await.unwrap();
    let of = |consumer: &str| {
        let mut keys: Vec<&Key> =
            parked.iter().filter(|parked| parked.consumer == consumer).map(|parked| &parked.envelope.key).collect();
        keys.sort();
        keys.into_iter().map(|key| key.as_str().trim_start_matches("counter/").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("push.replier"), ["large", "malformed", "unknown"]);
    assert_eq!(of("push.mute"), ["binary", "large", "malformed", "unknown"]);
    assert!(parked.iter().all(|parked| parked.code == "push.reply_invalid"), "{parked:?}");
    let found = answers(&pushing).await;
    assert_eq!(found.iter().map(|reply| reply.source.as_str()).collect::<Vec<_>>(), ["/push/replier"]);
    pushing.life.end().await;
}
