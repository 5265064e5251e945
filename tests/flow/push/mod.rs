//! Push subscriptions: real HTTP endpoints as consumers, with what every handler has.

mod changing;
mod delivering;
mod failing;
mod replying;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};
use tidewire::codec::{Defaults, http::decode_one};
use tidewire::consume::ConsumeOptions;
use tidewire::egress::Egress;
use tidewire::push::{Admission, Keeper, PushOptions, Refusal, Register, Subscription};
use tidewire::{Commit, Envelope, Event, EventType, Key, Service};

use crate::support::event::Counted;
use crate::support::eventually;
use crate::support::world::{Life, World, quick};

/// What endpoints answer with.
const ANSWERED: EventType = EventType::new("test.answered", 1);

/// A gate that knows two types, and takes any JSON of them.
struct Gate;

impl Admission for Gate {
    fn types(&self) -> Vec<EventType> {
        vec![Counted::TYPE, ANSWERED]
    }

    fn admit(&self, headers: &HeaderMap, body: Bytes, key: &str) -> Result<Vec<Envelope>, Refusal> {
        let refusal = |detail: String| Refusal { code: "event.malformed".into(), detail };
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let parsed = decode_one(pairs, &body).map_err(|error| refusal(error.to_string()))?;
        let parsed = parsed.ok_or_else(|| refusal("no event".into()))?;
        let defaults = Defaults { key: Some(key), time: Some(chrono::DateTime::UNIX_EPOCH), ..Defaults::default() };
        let envelope = parsed.into_envelope(&defaults).map_err(|error| refusal(error.to_string()))?;
        match envelope.ty == ANSWERED {
            true => Ok(vec![Envelope { key: Key::new(key.to_owned()).expect("a key"), ..envelope }]),
            false => Err(refusal(format!("`{}` is not taken here", envelope.ty))),
        }
    }
}

/// Options under which a test need not wait.
fn hasty() -> PushOptions {
    PushOptions {
        egress: Egress { allow_private: true, allow_http: true },
        timeout: Duration::from_secs(5),
        breaker_first: Duration::from_millis(30),
        breaker_max: Duration::from_millis(200),
        refresh: Duration::from_millis(30),
        ..PushOptions::default()
    }
}

/// A world with a keeper in it.
struct Pushing {
    world: World,
    register: Register,
    life: Life,
}

impl Pushing {
    fn begin(world: World, options: PushOptions) -> Self {
        Self::begin_with(world, options, quick())
    }

    fn begin_with(world: World, options: PushOptions, consume: ConsumeOptions) -> Self {
        let register = Register::new(&world.ports, options, Arc::new(Gate));
        let keeper = Keeper::new(register.clone());
        let service = Service::new("push").keeper("subscriptions", |roster, stop| keeper.run(roster, stop));
        let mut life = world.run_with(vec![service], consume, Vec::new());
        life.operator = life.operator.with_directory(Arc::new(register.clone()));
        Self { world, register, life }
    }

    /// Ends it, and begins again as the next process would.
    async fn again(self, options: PushOptions) -> Self {
        self.life.end().await;
        drop(self.register);
        Self::begin(self.world.again().await, options)
    }

    /// Makes a subscription, as the edge does.
    async fn subscribe(&self, id: &str, sink: &str, more: Value) -> Subscription {
        let mut wanted = json!({ "id": id, "sink": sink, "types": ["test.counted"] });
        for (name, value) in more.as_object().expect("an object") {
            wanted[name] = value.clone();
        }
        let wanted = serde_json::from_value(wanted).expect("a subscription");
        let made = self.register.made(wanted, "tests", None).await.expect("made").expect("a secret");
        self.keep(&made, None).await;
        made
    }

    async fn keep(&self, subscription: &Subscription, revision: Option<u64>) {
        let documents = self.register.keep(subscription, revision);
        self.world.ports.store.commit(Commit { documents, ..Commit::default() }).await.expect("kept");
    }

    /// Changes a subscription, as the edge does.
    async fn change(&self, id: &str, change: impl Fn(&mut Subscription)) {
        let (mut subscription, revision) = self.register.find(id).await.expect("read").expect("there");
        change(&mut subscription);
        self.keep(&subscription, Some(revision)).await;
    }

    async fn parked(&self, id: &str) -> u64 {
        let counts = self.world.ports.store.parked_counts().await.expect("read");
        counts.into_iter().find(|(name, _)| *name == format!("push.{id}")).map_or(0, |(_, count)| count)
    }

    /// Waits until everything was handled or parked.
    async fn settled(&self, ids: &[&str]) {
        eventually("every subscription has caught up", || async {
            let audit = self.life.operator.audit().await.ok()?;
            let all_known = ids.iter().all(|id| audit.consumers.iter().any(|row| row.name == format!("push.{id}")));
            (all_known && audit.lost == 0).then_some(())
        })
        .await;
    }
}
