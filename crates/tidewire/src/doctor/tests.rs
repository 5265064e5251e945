use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tidewire_core::broker::Lag;
use tidewire_core::handler::Kind;
use tidewire_core::saga::Status;
use tidewire_core::store::{StoreHealth, StoreInfo};
use tidewire_core::{Backoff, Position};

use super::*;
use crate::consume::Paused;
use crate::operate::{ConsumerRow, RelayRow};

fn now() -> DateTime<Utc> {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn consumer(name: &str) -> ConsumerFacts {
    ConsumerFacts {
        row: ConsumerRow {
            name: name.into(),
            kind: Kind::Handler,
            types: Vec::new(),
            places: Default::default(),
            handled: 9,
            pending: 0,
            in_flight: 0,
            retrying: 0,
            parked: 0,
            members: 1,
            paused: None,
        },
        timeout: Duration::from_secs(10),
        max_attempts: 8,
        backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(300)),
        p99: Some(Duration::from_millis(20)),
        parked_since: None,
    }
}

/// An installation that nothing is wrong with, though it is busy.
fn well() -> Facts {
    let mut busy = consumer("busy");
    (busy.row.pending, busy.row.parked, busy.parked_since) = (1_000, 3, Some(now() - TimeDelta::hours(1)));
    let mut paused = consumer("paused");
    paused.row.paused =
        Some(Paused { since: now() - TimeDelta::hours(1), actor: "local".into(), reason: "moving".into() });
    (paused.row.members, paused.row.pending) = (0, 50);
    Facts {
        now: now(),
        store: StoreInfo {
            backend: "postgres".into(),
            log_id: "l".into(),
            schema: 3,
            first: Position(1),
            head: Position(100),
            bytes: 1 << 30,
            durability: "disk".into(),
        },
        health: StoreHealth {
            schema: 3,
            known: 3,
            time: Some(now() - TimeDelta::milliseconds(300)),
            oldest_transaction: Some(Duration::from_secs(20)),
            disk_free: Some(100 << 30),
        },
        broker: ("jetstream", "disk"),
        broker_setup: Ok(()),
        retention: Duration::from_secs(7 * 86_400),
        relays: vec![RelayRow { shard: "0of1".into(), position: Position(95), behind: 5 }],
        unpublished_for: Some(Duration::from_millis(30)),
        consumers: vec![busy, paused],
        strangers: vec![Lag { group: "of.another.build".into(), pending: 4, in_flight: 0, retrying: 0, members: 2 }],
        parked_max: 100_000,
        ack_wait: Duration::from_secs(30),
        given_up: 0,
        sagas: Vec::new(),
    }
}

/// What each rule is there for, and what it says then.
type Illness = (&'static str, Severity, &'static str, fn(&mut Facts));

const ILLNESSES: &[Illness] = &[
    ("unapplied-migrations", Severity::Critical, "schema 4, this build works with 3", |facts| facts.health.schema = 4),
    ("durability", Severity::Warning, "not the loss of power", |facts| facts.store.durability = "os".into()),
    ("durability", Severity::Warning, "in memory only", |facts| facts.broker.1 = "mem"),
    ("broker-setup", Severity::Critical, "max_age is 1", |facts| {
        facts.broker_setup = Err((true, "max_age is 1".into()))
    }),
    ("retention", Severity::Critical, "8 tries of up to 10 s", |facts| facts.retention = Duration::from_secs(120)),
    ("retention", Severity::Critical, "paused for 4 days, with 50 events", |facts| {
        facts.consumers[1].row.paused.as_mut().unwrap().since = now() - TimeDelta::days(4);
    }),
    ("ack-wait", Severity::Warning, "up to 15 s; broker.ack_wait is 30 s", |facts| {
        facts.consumers[0].p99 = Some(Duration::from_secs(15));
    }),
    ("ack-wait", Severity::Critical, "up to 40 s", |facts| facts.consumers[0].p99 = Some(Duration::from_secs(40))),
    ("dead-consumer", Severity::Warning, "4 events to go and 0 members", |facts| facts.strangers[0].members = 0),
    ("nobody-consumes", Severity::Critical, "1000 events wait", |facts| facts.consumers[0].row.members = 0),
    ("relay-behind", Severity::Critical, "the oldest of 5 unpublished events is 2 min old", |facts| {
        facts.unpublished_for = Some(Duration::from_secs(120));
    }),
    ("parked", Severity::Warning, "3 events parked, the oldest for 2 days", |facts| {
        facts.consumers[0].parked_since = Some(now() - TimeDelta::days(2));
    }),
    ("parked", Severity::Warning, "50000 events parked; at 100000 it stops", |facts| {
        facts.consumers[0].row.parked = 50_000
    }),
    ("parked", Severity::Critical, "100000 events parked", |facts| facts.consumers[0].row.parked = 100_000),
    ("given-up-effects", Severity::Warning, "7 effects", |facts| facts.given_up = 7),
    ("stuck-sagas", Severity::Critical, "2 stuck, such as s1, s2", |facts| {
        facts.sagas = vec![SagaFacts { status: Status::Stuck, count: 2, ids: vec!["s1".into(), "s2".into()] }];
    }),
    ("long-transaction", Severity::Warning, "open for 10 min", |facts| {
        facts.health.oldest_transaction = Some(Duration::from_secs(600));
    }),
    ("clock-skew", Severity::Warning, "3 s apart", |facts| facts.health.time = Some(now() - TimeDelta::seconds(3))),
    ("clock-skew", Severity::Critical, "20 s apart", |facts| facts.health.time = Some(now() + TimeDelta::seconds(20))),
    ("disk-room", Severity::Warning, "2048 MiB free", |facts| facts.health.disk_free = Some(2 << 30)),
    ("disk-room", Severity::Critical, "100 MiB free", |facts| facts.health.disk_free = Some(100 << 20)),
];

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let report = examine(&well());
    assert_eq!((report.items, report.unknown), (Vec::new(), Vec::<String>::new()));
}

#[test]
fn each_rule_finds_what_it_is_for_and_only_that() {
    for (rule, severity, evidence, fall_ill) in ILLNESSES {
        let mut facts = well();
        fall_ill(&mut facts);
        let found = examine(&facts).items;
        assert!(found.iter().all(|finding| finding.rule == *rule), "{rule}: {found:#?}");
        let first = found.first().unwrap_or_else(|| panic!("{rule} finds nothing: {evidence}"));
        assert_eq!(first.severity, *severity, "{first:?}");
        assert!(first.evidence.contains(evidence), "{rule}: `{evidence}` is not in `{}`", first.evidence);
        assert!(!first.cure.is_empty() && !first.subject.is_empty(), "{first:?}");
    }
    let tried: BTreeSet<&str> = ILLNESSES.iter().map(|(rule, ..)| *rule).collect();
    let all: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(tried, all, "every rule is shown to find something");
}

#[test]
fn the_worst_comes_first_and_what_is_not_known_is_said() {
    let mut facts = well();
    facts.given_up = 1;
    facts.health.schema = 9;
    facts.health.disk_free = None;
    facts.broker_setup = Err((false, "the broker is away".into()));
    facts.consumers.iter_mut().for_each(|consumer| consumer.p99 = None);
    let report = examine(&facts);
    assert_eq!(
        report.items.iter().map(|one| one.rule).collect::<Vec<_>>(),
        ["unapplied-migrations", "given-up-effects"]
    );
    assert_eq!(report.unknown.len(), 3);
}

#[test]
fn the_longest_redelivery_is_every_try_and_every_wait_at_its_longest() {
    let mut consumer = consumer("c");
    (consumer.timeout, consumer.max_attempts) = (Duration::from_secs(10), 3);
    consumer.backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    // 3 × 10 s, and waits of 1 s and 2 s with a fifth more.
    assert_eq!(consumer.longest_redelivery(), Duration::from_millis(33_600));
}
