//! Every metric, named once: `tidewire_<noun>_<unit>[_total]`. Others call the functions below.
//!
//! Labels are bounded: consumer, saga, effect and route names come from code, never from data; ids,
//! keys and tenants are no labels. Should a caller break that, series beyond [`SERIES_MAX`] of one
//! metric are counted together as `other`.
//!
//! Numbers belong to this process and begin at zero with it. They inform; what must be exact (what
//! was lost, what is parked) is read from the store.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::exposition::to_prometheus_text;

/// Series of one metric. Far above the consumers, sagas and routes of one process, far below what hurts a scraper.
pub const SERIES_MAX: usize = 500;
/// Bytes of a label value; longer ones are cut.
pub const LABEL_BYTES_MAX: usize = 80;

/// Content type of [`render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Content type of [`render_open_metrics`].
pub const OPEN_METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels<const N: usize> = [(&'static str, String); N];
type Depth = Gauge<u64, AtomicU64>;

/// Seconds from half a millisecond, below any disk flush, to a minute, above any handler's limit.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Commits that shared one flush: powers of two up to the largest group.
const GROUP: [f64; 13] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// One metric with labels.
struct Labelled<M, const N: usize, C = fn() -> M> {
    names: [&'static str; N],
    family: Family<Labels<N>, M, C>,
    series: AtomicUsize,
}

impl<M: Clone, C: MetricConstructor<M>, const N: usize> Labelled<M, N, C> {
    fn get(&self, values: [&str; N]) -> M {
        let labels: Labels<N> = std::array::from_fn(|at| (self.names[at], cut(values[at])));
        // The guard must be gone before a new series takes the lock for writing.
        let known = self.family.get(&labels).map(|metric| metric.clone());
        if let Some(metric) = known {
            return metric;
        }
        if self.series.fetch_add(1, Ordering::Relaxed) >= SERIES_MAX {
            return self.family.get_or_create_owned(&std::array::from_fn(|at| (self.names[at], "other".to_owned())));
        }
        self.family.get_or_create_owned(&labels)
    }
}

fn cut(value: &str) -> String {
    value[..value.floor_char_boundary(LABEL_BYTES_MAX)].to_owned()
}

struct Registrar(Registry);

impl Registrar {
    fn plain<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        // The encoder puts `_total` behind counters itself, and a full stop behind the help.
        self.0.register(name.trim_end_matches("_total"), help, metric.clone());
        metric
    }

    fn labelled<M, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        names: [&'static str; N],
        new: fn() -> M,
    ) -> Labelled<M, N>
    where
        M: Clone,
        Family<Labels<N>, M, fn() -> M>: Metric + Clone,
    {
        let family = self.plain(name, help, Family::<Labels<N>, M, fn() -> M>::new_with_constructor(new));
        Labelled { names, family, series: AtomicUsize::new(0) }
    }
}

struct Metrics {
    registry: Registry,
    appended: Counter,
    head: OnceLock<AtomicU64>,
    published: Counter,
    publish_failures: Counter,
    handled: Labelled<Counter, 1>,
    duplicates: Labelled<Counter, 1>,
    expired: Labelled<Counter, 1>,
    retried: Labelled<Counter, 1>,
    parked: Labelled<Counter, 1>,
    handler_seconds: Labelled<Histogram, 1>,
    commit_seconds: Histogram,
    commit_group: Histogram,
    relay_lag: Labelled<Depth, 1>,
    consumer_lag: Labelled<Depth, 1>,
    parked_events: Labelled<Depth, 1>,
    sagas: Labelled<Depth, 2>,
    saga_transitions: Labelled<Counter, 2>,
    effects: Labelled<Counter, 2>,
    pushed: Labelled<Counter, 2>,
    http_requests: Labelled<Counter, 2>,
    http_seconds: Labelled<Histogram, 1>,
    build_info: Labelled<Depth, 1>,
}

impl Metrics {
    fn new() -> Self {
        let mut r = Registrar(Registry::default());
        let counter = Counter::default;
        let depth = Depth::default;
        Self {
            appended: r.plain(
                "tidewire_events_appended_total",
                "Events committed to the log since this process began, by whomever",
                counter(),
            ),
            head: OnceLock::new(),
            published: r.plain("tidewire_events_published_total", "Events the broker has confirmed", counter()),
            publish_failures: r.plain(
                "tidewire_publish_failures_total",
                "Publish attempts that failed and will be repeated",
                counter(),
            ),
            handled: r.labelled(
                "tidewire_events_handled_total",
                "Events a consumer has handled and committed",
                ["consumer"],
                counter,
            ),
            duplicates: r.labelled(
                "tidewire_events_duplicate_total",
                "Deliveries the inbox recognised as handled before",
                ["consumer"],
                counter,
            ),
            expired: r.labelled(
                "tidewire_events_expired_total",
                "Deliveries passed over because their time was up",
                ["consumer"],
                counter,
            ),
            retried: r.labelled(
                "tidewire_events_retried_total",
                "Failed tries that will be repeated",
                ["consumer"],
                counter,
            ),
            parked: r.labelled(
                "tidewire_events_parked_total",
                "Events set aside, with those queued behind them",
                ["consumer"],
                counter,
            ),
            handler_seconds: r.labelled(
                "tidewire_handler_seconds",
                "Time of one try of a handler",
                ["consumer"],
                seconds,
            ),
            commit_seconds: r.plain(
                "tidewire_commit_seconds",
                "Time from handing over a commit to its being durable",
                seconds(),
            ),
            commit_group: r.plain(
                "tidewire_commit_group_commits",
                "Commits that shared one disk flush",
                Histogram::new(GROUP),
            ),
            relay_lag: r.labelled(
                "tidewire_relay_lag_events",
                "Events in the log behind the first that this relay has yet to publish",
                ["shard"],
                depth,
            ),
            consumer_lag: r.labelled(
                "tidewire_consumer_lag_events",
                "Published events a consumer has not yet handled",
                ["consumer"],
                depth,
            ),
            parked_events: r.labelled(
                "tidewire_parked_events",
                "Events a consumer has set aside now",
                ["consumer"],
                depth,
            ),
            sagas: r.labelled("tidewire_sagas", "Sagas by status now", ["saga", "status"], depth),
            saga_transitions: r.labelled(
                "tidewire_saga_transitions_total",
                "Sagas that entered a status",
                ["saga", "status"],
                counter,
            ),
            effects: r.labelled("tidewire_effects_total", "Effects by kind and outcome", ["kind", "outcome"], counter),
            pushed: r.labelled(
                "tidewire_push_deliveries_total",
                "Requests to the endpoints of push subscriptions, by what became of them",
                ["consumer", "outcome"],
                counter,
            ),
            http_requests: r.labelled(
                "tidewire_http_requests_total",
                "HTTP requests by route template and status",
                ["route", "status"],
                counter,
            ),
            http_seconds: r.labelled(
                "tidewire_http_request_seconds",
                "Time of one HTTP request by route template",
                ["route"],
                seconds,
            ),
            build_info: r.labelled("tidewire_build_info", "Always 1; the version is in the label", ["version"], depth),
            registry: r.0,
        }
    }

    fn follow(&self, head: u64) {
        let before = self.head.get_or_init(|| AtomicU64::new(head)).fetch_max(head, Ordering::Relaxed);
        self.appended.inc_by(head.saturating_sub(before));
    }
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics::new();
    metrics.build_info.get([env!("CARGO_PKG_VERSION")]).set(1);
    metrics
});

/// The last position of the log is now `head`. What the log grew by since the first call counts as appended.
pub fn head(head: u64) {
    METRICS.follow(head);
}

/// The broker confirmed `events`.
pub fn published(events: u64) {
    METRICS.published.inc_by(events);
}

/// A publish failed and will be repeated.
pub fn publish_failed() {
    METRICS.publish_failures.inc();
}

/// `consumer` handled and committed `events`.
pub fn handled(consumer: &str, events: u64) {
    METRICS.handled.get([consumer]).inc_by(events);
}

/// The inbox of `consumer` recognised `events` deliveries.
pub fn duplicates(consumer: &str, events: u64) {
    METRICS.duplicates.get([consumer]).inc_by(events);
}

/// `consumer` passed over `events` because their `expirytime` was past.
pub fn expired(consumer: &str, events: u64) {
    METRICS.expired.get([consumer]).inc_by(events);
}

/// A try of `consumer` failed and will be repeated, for `events`.
pub fn retried(consumer: &str, events: u64) {
    METRICS.retried.get([consumer]).inc_by(events);
}

/// `consumer` set `events` aside.
pub fn parked(consumer: &str, events: u64) {
    METRICS.parked.get([consumer]).inc_by(events);
}

/// One try of `consumer`'s handler took this long.
pub fn handler_seconds(consumer: &str, took: Duration) {
    METRICS.handler_seconds.get([consumer]).observe(took.as_secs_f64());
}

/// A commit became durable after this long.
pub fn commit_seconds(took: Duration) {
    METRICS.commit_seconds.observe(took.as_secs_f64());
}

/// So many commits shared one flush.
pub fn commit_group(commits: usize) {
    METRICS.commit_group.observe(commits as f64);
}

/// The relay of `shard` has `events` of the log before it; with several shards, those of the others among them.
pub fn relay_lag(shard: u8, events: u64) {
    METRICS.relay_lag.get([&shard.to_string()]).set(events);
}

/// Published events that `consumer` has not yet handled.
pub fn consumer_lag(consumer: &str, events: u64) {
    METRICS.consumer_lag.get([consumer]).set(events);
}

/// Events that `consumer` has set aside now.
pub fn parked_events(consumer: &str, events: u64) {
    METRICS.parked_events.get([consumer]).set(events);
}

/// Sagas called `saga` that are in `status` now.
pub fn sagas(saga: &str, status: &str, count: u64) {
    METRICS.sagas.get([saga, status]).set(count);
}

/// A saga called `saga` entered `status`.
pub fn saga_transition(saga: &str, status: &str) {
    METRICS.saga_transitions.get([saga, status]).inc();
}

/// An effect of `kind` (`mail`, `http`) ended as `outcome` (`done`, `retried`, `parked`, `muted`).
pub fn effect(kind: &str, outcome: &str) {
    METRICS.effects.get([kind, outcome]).inc();
}

/// A request of the push subscription `consumer` ended as `outcome` (`taken`, `refused`, `failed`, `away`, `gone`), or its
/// filter let the event pass by (`skipped`).
pub fn pushed(consumer: &str, outcome: &str) {
    METRICS.pushed.get([consumer, outcome]).inc();
}

/// A request to `route` (the template `/v1/users/{id}`, never the path) was answered.
pub fn http_request(route: &str, status: u16, took: Duration) {
    METRICS.http_requests.get([route, &status.to_string()]).inc();
    METRICS.http_seconds.get([route]).observe(took.as_secs_f64());
}

/// All metrics as Prometheus text, version 0.0.4; served as [`CONTENT_TYPE`].
pub fn render() -> String {
    to_prometheus_text(&render_open_metrics())
}

/// All metrics as OpenMetrics 1.0 text, for scrapers that accept it; served as [`OPEN_METRICS_CONTENT_TYPE`].
pub fn render_open_metrics() -> String {
    open_metrics(&METRICS)
}

fn open_metrics(metrics: &Metrics) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, &metrics.registry);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        to_prometheus_text(&open_metrics(metrics))
    }

    #[test]
    fn every_metric_has_help_and_a_name_of_the_house() {
        let metrics = Metrics::new();
        for counted in [&metrics.handled, &metrics.duplicates, &metrics.retried, &metrics.parked] {
            counted.get(["feed"]);
        }
        for counted in [&metrics.saga_transitions, &metrics.effects, &metrics.http_requests] {
            counted.get(["a", "b"]);
        }
        for depth in [&metrics.consumer_lag, &metrics.parked_events, &metrics.relay_lag, &metrics.build_info] {
            depth.get(["feed"]);
        }
        for taken in [&metrics.handler_seconds, &metrics.http_seconds] {
            taken.get(["feed"]);
        }
        metrics.sagas.get(["ingestion", "stuck"]);
        let text = text(&metrics);
        let types: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        assert_eq!(types.len(), 19, "{text}");
        for (name, kind) in types {
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
            assert!(name.starts_with("tidewire_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} {kind}");
        }
    }

    #[test]
    fn samples_carry_the_name_their_type_line_announces() {
        let metrics = Metrics::new();
        metrics.handled.get(["feed"]).inc_by(3);
        metrics.handler_seconds.get(["feed"]).observe(0.2);
        metrics.relay_lag.get(["0"]).set(7);
        let text = text(&metrics);
        for line in [
            "# TYPE tidewire_events_handled_total counter",
            "tidewire_events_handled_total{consumer=\"feed\"} 3",
            "tidewire_handler_seconds_bucket{le=\"0.25\",consumer=\"feed\"} 1",
            "tidewire_handler_seconds_count{consumer=\"feed\"} 1",
            "tidewire_relay_lag_events{shard=\"0\"} 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("# EOF") && open_metrics(&metrics).ends_with("# EOF\n"));
    }

    #[test]
    fn what_was_in_the_log_before_is_not_counted_and_nothing_is_counted_twice() {
        let metrics = Metrics::new();
        let counted = |head| {
            metrics.follow(head);
            metrics.appended.get()
        };
        assert_eq!([100, 100, 103, 101, 103, 110].map(counted), [0, 0, 3, 3, 3, 10]);
    }

    #[test]
    fn labels_are_bounded_and_escaped() {
        let metrics = Metrics::new();
        for n in 0..SERIES_MAX + 50 {
            metrics.handled.get([&format!("consumer-{n}")]).inc();
        }
        metrics.retried.get(["a\"b\nc\\"]).inc();
        metrics.retried.get(["é".repeat(200).as_str()]).inc();
        let text = text(&metrics);
        assert_eq!(text.matches("tidewire_events_handled_total{").count(), SERIES_MAX + 1);
        assert!(text.contains("tidewire_events_handled_total{consumer=\"other\"} 50"), "{text}");
        assert!(text.contains(r#"{consumer="a\"b\nc\\"} 1"#), "{text}");
        assert!(text.lines().all(|line| line.len() < 300));
    }

    #[test]
    fn the_process_renders_its_build() {
        assert!(render().contains(&format!("tidewire_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))));
    }
}
