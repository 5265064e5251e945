//! The rules. Each looks at [`Facts`] alone.

use std::time::Duration;

use super::facts::{ConsumerFacts, Facts};
use super::{Finding, Rule, Severity};

/// Below it there is no room for a bad day.
const DISK_LOW: u64 = 5 << 30;
/// Below it writing stops soon.
const DISK_OUT: u64 = 1 << 30;
/// How far two clocks may be apart before timers and leases are visibly wrong.
const SKEW: Duration = Duration::from_secs(1);
/// How far before anything that depends on time is.
const SKEW_BAD: Duration = Duration::from_secs(10);
/// How long a transaction may be open: a migration by hand takes less.
const LONG_TRANSACTION: Duration = Duration::from_secs(300);
/// How long events may wait for the relay: it takes over from a dead one in far less.
const RELAY_BEHIND: Duration = Duration::from_secs(60);
/// How long an event may be parked before it counts as forgotten.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3_600);

/// Every rule, in the order in which they are tried.
pub const RULES: &[Rule] = &[
    Rule {
        name: "unapplied-migrations",
        failure: "a newer build migrated the database under an older one that still runs, or the other way round",
        look: unapplied_migrations,
    },
    Rule { name: "durability", failure: "what was acknowledged is gone after the power was", look: durability },
    Rule {
        name: "broker-setup",
        failure: "somebody changed the stream on the server, and events are refused, dropped early or deduplicated away",
        look: broker_setup,
    },
    Rule {
        name: "retention",
        failure: "the broker drops an event while its consumer still retries it, or is paused",
        look: retention,
    },
    Rule {
        name: "ack-wait",
        failure: "a slow handler's event is handed to another process while the first is still at it",
        look: ack_wait,
    },
    Rule {
        name: "dead-consumer",
        failure: "a group that nobody runs any more holds back retention, or a consumer was renamed and starts over",
        look: dead_consumers,
    },
    Rule { name: "nobody-consumes", failure: "events wait for a consumer that no process runs", look: nobody_consumes },
    Rule { name: "relay-behind", failure: "events are stored and nobody hears of them", look: relay_behind },
    Rule {
        name: "parked",
        failure: "parked events pile up unseen until the consumer may park no more, and everything of it stops",
        look: parked,
    },
    Rule {
        name: "given-up-effects",
        failure: "mails and webhooks were never sent, and only a log line said so",
        look: given_up,
    },
    Rule { name: "stuck-sagas", failure: "a workflow waits for a person who does not know", look: stuck_sagas },
    Rule {
        name: "long-transaction",
        failure: "a session left open keeps dead rows on disk and locks from others",
        look: long_transaction,
    },
    Rule {
        name: "clock-skew",
        failure: "timers fire early or late, tokens expire at once, times make no sense",
        look: clock_skew,
    },
    Rule { name: "disk-room", failure: "the disk is full, and every commit fails", look: disk_room },
];

fn finding(
    rule: &'static str,
    severity: Severity,
    subject: &str,
    evidence: String,
    cure: impl Into<String>,
) -> Finding {
    Finding { rule, severity, subject: subject.to_owned(), evidence, cure: cure.into() }
}

/// A time as people say it.
fn span(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        s @ 1..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

fn unapplied_migrations(facts: &Facts) -> Vec<Finding> {
    let (found, known) = (facts.health.schema, facts.health.known);
    if found == known {
        return Vec::new();
    }
    let evidence = format!("the database has schema {found}, this build works with {known}");
    let cure = match found > known {
        true => "replace this process by the build that migrated the database, or a later one",
        false => "restart one process of this build: it migrates at start",
    };
    vec![finding("unapplied-migrations", Severity::Critical, "store", evidence, cure)]
}

fn durability(facts: &Facts) -> Vec<Finding> {
    let (broker, broker_survives) = facts.broker;
    let weak = |what: &str, survives: &str, cure: &str| {
        let evidence = match survives {
            "disk" => return None,
            "os" => "what it acknowledges survives a killed process, not the loss of power".to_owned(),
            _ => "what it acknowledges is in memory only".to_owned(),
        };
        Some(finding("durability", Severity::Warning, what, evidence, cure))
    };
    let store = weak(
        &facts.store.backend,
        &facts.store.durability,
        "on PostgreSQL set fsync and synchronous_commit to on (infra/postgres); then restart",
    );
    let cure =
        "let it flush before it acknowledges (infra/nats, infra/kafka); what it loses is published again meanwhile";
    store.into_iter().chain(weak(broker, broker_survives, cure)).collect()
}

fn broker_setup(facts: &Facts) -> Vec<Finding> {
    let Err((true, what)) = &facts.broker_setup else { return Vec::new() };
    let cure = "put the setting back on the server, or the configuration here in step with it; `tidewire explain \
                broker.misconfigured` says how";
    vec![finding("broker-setup", Severity::Critical, facts.broker.0, what.clone(), cure)]
}

fn retention(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for consumer in &facts.consumers {
        let longest = consumer.longest_redelivery();
        if longest >= facts.retention {
            let evidence = format!(
                "an event may be retried for {} ({} tries of up to {}), and the broker keeps events for {}",
                span(longest),
                consumer.max_attempts,
                span(consumer.timeout),
                span(facts.retention)
            );
            let cure = "raise broker.retention_age, or lower consume.max_attempts or consume.backoff_max";
            found.push(finding("retention", Severity::Critical, &consumer.row.name, evidence, cure));
        }
        let Some(paused) = &consumer.row.paused else { continue };
        let paused = (facts.now - paused.since).to_std().unwrap_or_default();
        if paused >= facts.retention / 2 && consumer.row.pending > 0 {
            let evidence = format!(
                "paused for {}, with {} events waiting; the broker keeps them for {}",
                span(paused),
                consumer.row.pending,
                span(facts.retention)
            );
            let cure = "`tidewire consumers resume`, or raise broker.retention_age before they are dropped";
            found.push(finding("retention", Severity::Critical, &consumer.row.name, evidence, cure));
        }
    }
    found
}

fn ack_wait(facts: &Facts) -> Vec<Finding> {
    let slow = |consumer: &&ConsumerFacts| consumer.p99.is_some_and(|p99| p99 * 2 >= facts.ack_wait);
    let say = |consumer: &ConsumerFacts| {
        let p99 = consumer.p99.unwrap_or_default();
        // The loop asks for more time every third of it; a process that is held up for the rest loses the delivery.
        let severity = if p99 >= facts.ack_wait { Severity::Critical } else { Severity::Warning };
        let evidence =
            format!("99 of 100 events take up to {}; broker.ack_wait is {}", span(p99), span(facts.ack_wait));
        let cure = "raise broker.ack_wait to at least twice that, or make the handler faster";
        finding("ack-wait", severity, &consumer.row.name, evidence, cure)
    };
    facts.consumers.iter().filter(slow).map(say).collect()
}

fn dead_consumers(facts: &Facts) -> Vec<Finding> {
    let say = |lag: &tidewire_core::broker::Lag| {
        let evidence = format!(
            "the broker keeps a place for it with {} events to go and {} members; this build has no such consumer",
            lag.pending, lag.members
        );
        let cure = "if it was renamed, run a build with the old name until it has caught up; if it is gone for good, remove \
                    the group on the broker";
        finding("dead-consumer", Severity::Warning, &lag.group, evidence, cure)
    };
    // One that is at work belongs to another build, whose business it is.
    facts.strangers.iter().filter(|lag| lag.members == 0).map(say).collect()
}

fn nobody_consumes(facts: &Facts) -> Vec<Finding> {
    let idle = |consumer: &&ConsumerFacts| {
        consumer.row.members == 0 && consumer.row.pending > 0 && consumer.row.paused.is_none()
    };
    let say = |consumer: &ConsumerFacts| {
        let evidence = format!("{} events wait, and no process consumes", consumer.row.pending);
        let cure =
            "start the role it belongs to (`tidewire up`, `tidewire run ROLE`), and look into its log if it runs";
        finding("nobody-consumes", Severity::Critical, &consumer.row.name, evidence, cure)
    };
    facts.consumers.iter().filter(idle).map(say).collect()
}

fn relay_behind(facts: &Facts) -> Vec<Finding> {
    let Some(waiting) = facts.unpublished_for.filter(|waiting| *waiting >= RELAY_BEHIND) else { return Vec::new() };
    let behind = facts.relays.iter().map(|relay| relay.behind).max().unwrap_or_default();
    let evidence = format!("the oldest of {behind} unpublished events is {} old", span(waiting));
    let cure =
        "see whether a process with the role outbox-publisher runs and reaches the broker: `tidewire status`, its log";
    vec![finding("relay-behind", Severity::Critical, "relay", evidence, cure)]
}

fn parked(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for consumer in facts.consumers.iter().filter(|consumer| consumer.row.parked > 0) {
        let name = &consumer.row.name;
        let waiting = consumer.parked_since.map(|since| (facts.now - since).to_std().unwrap_or_default());
        let cure = format!(
            "`tidewire parked groups --consumer {name}` shows why; correct the cause, then `tidewire parked redrive`"
        );
        if consumer.row.parked >= facts.parked_max / 2 {
            let full = consumer.row.parked >= facts.parked_max;
            let severity = if full { Severity::Critical } else { Severity::Warning };
            let evidence = format!("{} events parked; at {} it stops", consumer.row.parked, facts.parked_max);
            found.push(finding("parked", severity, name, evidence, cure));
        } else if let Some(waiting) = waiting.filter(|waiting| *waiting >= FORGOTTEN) {
            let evidence = format!("{} events parked, the oldest for {}", consumer.row.parked, span(waiting));
            found.push(finding("parked", Severity::Warning, name, evidence, cure));
        }
    }
    found
}

fn given_up(facts: &Facts) -> Vec<Finding> {
    if facts.given_up == 0 {
        return Vec::new();
    }
    let evidence = format!("{} effects were given up (500 are counted at most)", facts.given_up);
    let cure = "`tidewire effects list --state failed` shows why; correct the cause, then `tidewire effects retry`";
    vec![finding("given-up-effects", Severity::Warning, "effects", evidence, cure)]
}

fn stuck_sagas(facts: &Facts) -> Vec<Finding> {
    let say = |sagas: &super::SagaFacts| {
        let status = sagas.status.as_str();
        let evidence = format!("{} {status}, such as {}", sagas.count, sagas.ids.join(", "));
        let cure =
            format!("`tidewire sagas list --status {status}` shows why, `tidewire sagas show ID` how it came to that");
        finding("stuck-sagas", Severity::Critical, "sagas", evidence, cure)
    };
    facts.sagas.iter().map(say).collect()
}

fn long_transaction(facts: &Facts) -> Vec<Finding> {
    let Some(open) = facts.health.oldest_transaction.filter(|open| *open >= LONG_TRANSACTION) else {
        return Vec::new();
    };
    let evidence = format!("a session has had a transaction open for {}", span(open));
    let cure = "`select pid, state, query, xact_start from pg_stat_activity order by xact_start` names it; end it, and set \
                idle_in_transaction_session_timeout";
    vec![finding("long-transaction", Severity::Warning, "store", evidence, cure)]
}

fn clock_skew(facts: &Facts) -> Vec<Finding> {
    let Some(there) = facts.health.time else { return Vec::new() };
    let skew = (facts.now - there).abs().to_std().unwrap_or_default();
    if skew < SKEW {
        return Vec::new();
    }
    let severity = if skew >= SKEW_BAD { Severity::Critical } else { Severity::Warning };
    let evidence = format!("the clocks of this process and of the store are {} apart", span(skew));
    let cure = "keep both machines' clocks in step (chrony, systemd-timesyncd); order never depends on them, timers and leases do";
    vec![finding("clock-skew", severity, "clock", evidence, cure)]
}

fn disk_room(facts: &Facts) -> Vec<Finding> {
    let Some(free) = facts.health.disk_free.filter(|free| *free < DISK_LOW) else { return Vec::new() };
    let severity = if free < DISK_OUT { Severity::Critical } else { Severity::Warning };
    let evidence =
        format!("{} MiB free where the store writes; the log takes {} MiB", free >> 20, facts.store.bytes >> 20);
    let cure = "make room, or remove old events: `tidewire log retire --before 90d --dry-run`";
    vec![finding("disk-room", severity, "store", evidence, cure)]
}
