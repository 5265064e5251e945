//! The suite that every backend of the broker port must pass.
//!
//! A backend implements [`Bench`] and runs every case of [`CASES`]; a case is given a broker of its own.
//! A case fails by panicking, with what it saw. None waits for time to pass: each waits for what must happen,
//! no longer than [`PATIENCE`].

mod delivery;
mod forget;
mod groups;
mod publish;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidewire_core::broker::{Features, Subscribe};
use tidewire_core::bytes::Bytes;
use tidewire_core::chrono::DateTime;
use tidewire_core::{Broker, BrokerError, Delivery, Envelope, EventType, Key, Subscription};

/// How long a case waits for what must happen: far beyond what any backend needs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One backend under test.
#[async_trait]
pub trait Bench: Send + Sync {
    /// A broker that holds nothing. Called once per case.
    async fn broker(&self) -> Arc<dyn Broker>;

    /// Closes the broker and opens it again on what it holds.
    async fn reopen(&self, broker: Arc<dyn Broker>) -> Arc<dyn Broker>;
}

type Case = fn(Arc<dyn Bench>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! cases {
    ($($module:ident::$name:ident,)*) => {
        /// Every case, by name.
        pub const CASES: &[(&str, Case)] = &[$((stringify!($name), |bench| Box::pin($module::$name(bench))),)*];
    };
}

cases! {
    publish::what_goes_in_comes_out_unchanged,
    publish::an_event_published_again_is_recognised,
    publish::an_event_repeated_in_one_call_is_recognised,
    publish::what_is_too_large_is_refused_and_what_follows_on_its_key_waits,
    publish::scanning_sees_everything_in_order,
    publish::the_extent_goes_up_and_never_down,
    publish::nothing_is_lost_under_concurrent_load,
    delivery::a_key_is_delivered_in_order,
    delivery::a_key_is_with_one_member_at_a_time,
    delivery::what_a_dropped_member_had_comes_again,
    delivery::what_is_not_acknowledged_in_time_comes_again,
    delivery::progress_keeps_a_delivery,
    delivery::a_retry_waits_and_its_key_waits_with_it,
    delivery::followers_handed_back_come_again_in_order,
    delivery::followers_acknowledged_do_not_come_again,
    delivery::attempts_are_counted,
    delivery::next_can_be_cancelled,
    delivery::in_flight_is_bounded,
    groups::every_group_is_delivered_everything,
    groups::a_group_gets_the_names_it_asks_for,
    groups::a_group_keeps_its_place,
    groups::lag_goes_to_zero,
    groups::a_request_that_makes_no_sense_is_refused,
    forget::a_group_that_is_forgotten_begins_anew,
}

/// Runs every case on a backend made for it; for backends that need nothing special per case.
pub async fn run_all<B: Bench + 'static>(make: impl Fn() -> B) {
    for (name, case) in CASES {
        eprintln!("broker conformance: {name}");
        case(Arc::new(make())).await;
    }
}

/// What a backend that passed every case can do, for the page that compares backends.
pub fn column(features: &Features) -> Vec<(String, String)> {
    let declared = [
        ("a publish survives (disk: power loss, os: a killed process)", features.durability.to_owned()),
        ("several processes share it", yes(features.multi_process)),
        ("it delays retries itself", yes(features.delayed_retry)),
        ("attempts are counted through a restart of the broker", yes(features.durable_attempts)),
        ("largest event in the suite, in bytes", features.max_event_bytes.to_string()),
        ("a second publish is recognised within so many events", window(features.dedupe_window_events)),
    ];
    let declared = declared.into_iter().map(|(what, how)| (what.to_owned(), how));
    declared.chain(CASES.iter().map(|(name, _)| (name.replace('_', " "), "yes".to_owned()))).collect()
}

fn window(events: usize) -> String {
    match events {
        usize::MAX => "any number, for a time".to_owned(),
        events => events.to_string(),
    }
}

fn yes(can: bool) -> String {
    if can { "yes" } else { "no" }.to_owned()
}

/// An event of the suite: `key` is any text, `id` must be new unless a duplicate is meant.
pub fn event(key: &str, id: &str) -> Envelope {
    Envelope {
        id: id.into(),
        source: "/conformance".into(),
        ty: EventType::new("conformance.happened", 1),
        subject: None,
        time: DateTime::UNIX_EPOCH,
        key: Key::of("key", key),
        datacontenttype: None,
        dataschema: None,
        data: Some(Bytes::from(format!(r#"{{"id":"{id}"}}"#))),
        sequence: None,
        correlationid: None,
        causationid: None,
        traceparent: None,
        recordedtime: None,
        expirytime: None,
        dataref: None,
        extensions: BTreeMap::new(),
    }
}

/// How the suite joins groups where a case does not need it otherwise.
pub fn group(name: &str) -> Subscribe {
    Subscribe { group: name.into(), names: Vec::new(), max_in_flight: 64, ack_wait: PATIENCE * 4 }
}

/// Publishes, all of which must succeed.
pub async fn publish(broker: &dyn Broker, events: Vec<Envelope>) {
    for answer in broker.publish(events).await {
        assert_eq!(answer.map(|published| published.duplicate), Ok(false));
    }
}

/// Subscribes, which must succeed.
pub async fn join(broker: &dyn Broker, request: Subscribe) -> Box<dyn Subscription> {
    within("subscribing", broker.subscribe(request)).await.expect("subscribing succeeds")
}

/// Waits for what must happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// The next `count` deliveries.
pub async fn receive(seat: &mut dyn Subscription, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        let more = within("a delivery", seat.next(count - all.len(), usize::MAX)).await.expect("next succeeds");
        assert!(!more.is_empty(), "next answers with at least one delivery");
        all.extend(more);
    }
    all
}

/// The next `count` events, each acknowledged as it comes.
pub async fn consume(seat: &mut dyn Subscription, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let more = within("a delivery", seat.next(count - all.len(), usize::MAX)).await.expect("next succeeds");
        all.extend(ids(&more));
        more.into_iter().for_each(Delivery::ack);
    }
    all
}

/// The ids of deliveries.
pub fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| delivery.envelope.id.clone()).collect()
}

/// Asserts that nothing is delivered although everything that could be had its chance: `probe` events of other keys,
/// published now, arrive first and alone.
pub async fn only_these_arrive(broker: &dyn Broker, seat: &mut dyn Subscription, probe: &str) {
    let sent = vec![event(&format!("{probe}-key"), probe)];
    publish(broker, sent).await;
    assert_eq!(consume(seat, 1).await, [probe]);
}

/// Waits until a group's lag is as it should be.
pub async fn until_lag(broker: &dyn Broker, group: &str, wanted: impl Fn(&tidewire_core::broker::Lag) -> bool) {
    let watch = async {
        loop {
            let all = broker.lag().await.expect("lag succeeds");
            if all.iter().any(|lag| lag.group == group && wanted(lag)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    within("the lag", watch).await;
}

/// Checks that every key's events arrive in the order they were sent: `key-number` ids.
#[derive(Default)]
pub struct OrderCheck {
    last: HashMap<String, u64>,
}

impl OrderCheck {
    /// Takes the next event.
    pub fn see(&mut self, envelope: &Envelope) {
        let (key, number) = envelope.id.rsplit_once('-').expect("an id of the suite");
        let number: u64 = number.parse().expect("an id of the suite");
        let last = self.last.insert(key.to_owned(), number);
        assert_eq!(number, last.map_or(0, |last| last + 1), "{key}: {number} after {last:?}");
    }
}

/// Asserts the shape of an error.
fn is_invalid<T>(result: Result<T, BrokerError>) -> bool {
    matches!(result, Err(BrokerError::Invalid(_)))
}
