//! The table of all configuration keys, in the order of the reference file.
//!
//! To add a key: a row here, a field in `sections.rs`, and `cargo test -p tidewire config`, which
//! prints how to refresh `infra/tidewire.toml`.

use super::keys::EnvName::{Fallback, Implies, Short};
use super::keys::{Key, count, size, span, url};
use super::value::Kind;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// One line per section, for the head of each in the reference file.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("store", "The log: every event, in one order, with the inbox and everything written beside it."),
    ("broker", "What carries events from the log to the handlers."),
    ("nats", "NATS JetStream; read where broker.url begins with `nats://` or `tls://`."),
    ("kafka", "Apache Kafka; read where broker.url begins with `kafka://`, in a build with the cargo feature `kafka`."),
    ("relay", "Publishes the log to the broker, in order per key."),
    ("consume", "The loop around every handler."),
    ("saga", "Long workflows that undo themselves."),
    ("effects", "What happens outside the database: mail, webhooks."),
    ("objects", "Where the bytes of ingested documents are kept."),
    ("smtp", "Outgoing mail. Without a URL no mail is sent and in-app notifications still work."),
    ("push", "Push subscriptions: HTTP endpoints as consumers."),
    ("http", "The gateway's edge."),
    ("schemas", "Contracts of services in other languages."),
    ("documents", "Extraction of text from ingested documents, in a process of its own."),
    ("shutdown", "What happens between SIGTERM and the end."),
    ("log", "Log lines. They go to stderr and nowhere else."),
];

/// Every key.
pub static KEYS: &[Key] = &[
    Key::new(
        "data_dir",
        Kind::Path,
        "./tidewire-data",
        "Folder for everything the embedded parts keep. One process at a time; a local disk, not a network share.",
    ),
    Key::new(
        "listen",
        Kind::Socket,
        "127.0.0.1:4500",
        "Address of the HTTP surface. Port 0 takes a free one and prints it. Beyond loopback see http.allow_remote.",
    ),
    Key::new(
        "store.url",
        url(&["postgres", "postgresql"], &["sqlite"], false, false),
        "sqlite:",
        "`sqlite:` keeps the log under data_dir, `sqlite:DIR` in a folder of its own, `postgres://…` on a server.",
    )
    .env(&[Short("TIDEWIRE_STORE_URL"), Fallback("DATABASE_URL")])
    .secret(),
    Key::new(
        "store.readers",
        count(1, 64, "connections"),
        "4",
        "Read connections beside the single writer. More helps many concurrent queries; each costs a few MiB here, and on PostgreSQL a server process.",
    ),
    Key::new(
        "store.writers",
        count(1, 64, "connections"),
        "2",
        "PostgreSQL: connections that write what does not travel in groups, such as leases and snapshots.",
    ),
    Key::new(
        "store.lanes",
        count(1, 64, "connections"),
        "2",
        "PostgreSQL: connections that wait for streams which somebody's long transaction has locked, so that other commits need not.",
    ),
    Key::new(
        "store.group_commits_max",
        count(1, 4096, "commits"),
        "512",
        "Most commits that share one disk flush. Higher raises throughput under load; latency stays one flush.",
    ),
    Key::new(
        "store.snapshot_every",
        count(1, 100_000, "events"),
        "100",
        "A stream is snapshotted each time it grew by this many events, so that loading it reads at most as many.",
    ),
    Key::new(
        "store.queue",
        count(16, 1_000_000, "commits"),
        "1024",
        "Commits that may wait for the writer. Beyond it callers wait to be let in, instead of taking memory.",
    ),
    Key::new(
        "broker.url",
        url(&["nats", "tls", "kafka"], &["embedded"], false, false),
        "embedded:",
        "`embedded:` needs nothing else, `nats://…` is JetStream, `kafka://host:port,…` is Apache Kafka.",
    )
    .env(&[Short("TIDEWIRE_BROKER_URL"), Fallback("NATS_URL")])
    .secret(),
    Key::new(
        "broker.domain",
        Kind::Text { empty: false },
        "main",
        "Name of this installation on a shared broker: the stream is `TW_<domain>` on JetStream, the topic `tidewire.<domain>` on Kafka. Another name is another broker. 1 to 32 lower-case letters, digits, `-` and `_`.",
    ),
    Key::new(
        "broker.replicas",
        count(0, 5, "copies"),
        "0",
        "Servers that keep each event, on JetStream and Kafka. 0 is one on JetStream and the cluster's own default on Kafka; 3 survives the loss of a server. JetStream takes 1, 3 or 5.",
    ),
    Key::new(
        "broker.publish_window",
        count(1, 16_384, "events"),
        "512",
        "Events under way to JetStream or Kafka at once, of each key one. Beyond it the relay waits.",
    ),
    Key::new(
        "broker.retention_bytes",
        size(64 * MIB, 1024 * TIB),
        "1GiB",
        "The embedded broker deletes what every group has acknowledged, oldest first, beyond this size. What is not acknowledged stays, and publishing stops instead: the log loses nothing.",
    ),
    Key::new(
        "broker.retention_age",
        span(MINUTE, 3650 * DAY),
        "7d",
        "Events older than this leave the broker: acknowledged ones on the embedded broker, all on JetStream and Kafka. They stay in the log. Longer than any consumer stays away.",
    ),
    Key::new(
        "broker.max_in_flight",
        count(1, 1_000_000, "events"),
        "2048",
        "Events handed to one consumer group and not yet acknowledged. Bounds memory and what a crash redelivers.",
    ),
    Key::new(
        "broker.ack_wait",
        span(SECOND, DAY),
        "30s",
        "A delivery not acknowledged for this long goes to another worker. At least twice consume.handler_timeout.",
    ),
    Key::new(
        "broker.max_event_bytes",
        size(KIB, 8 * MIB),
        "256KiB",
        "Largest event with its attributes. Put larger payloads into the object store and send a dataref.",
    ),
    Key::new(
        "broker.dedupe_window",
        count(1024, 16_777_216, "events"),
        "65536",
        "The embedded broker remembers so many ids to drop a second publish of the same event. Must cover what the relay may send again after a crash.",
    ),
    Key::new(
        "nats.max_bytes",
        size(64 * MIB, 1024 * TIB),
        "10GiB",
        "Most bytes the stream may take. Beyond it publishing waits and nothing is discarded: what arrives within broker.retention_age must fit.",
    ),
    Key::new(
        "nats.dedupe_window",
        span(SECOND, DAY),
        "10m",
        "Publishing an event again within this time is recognised by the server. Longer than the relay needs to try again.",
    ),
    Key::new(
        "nats.credentials_file",
        Kind::Text { empty: true },
        "",
        "File with the user's token and seed (`.creds`). Empty means that the URL says who connects.",
    )
    .env(&[Fallback("NATS_CREDS")]),
    Key::new(
        "nats.nkey_file",
        Kind::Text { empty: true },
        "",
        "File with the user's nkey seed. Empty means none; nats.credentials_file holds one already.",
    ),
    Key::new(
        "nats.root_ca",
        Kind::Text { empty: true },
        "",
        "File with the root certificates (PEM) to trust besides the usual ones, for `tls://` URLs.",
    ),
    Key::new(
        "kafka.partitions",
        count(1, 64, "partitions"),
        "64",
        "Partitions of the topic when it is made. Fixed for ever: a key that changed its partition would lose its order. At most as many processes can share a consumer.",
    ),
    Key::new(
        "kafka.min_insync",
        count(0, 10, "copies"),
        "0",
        "Copies that must have an event before it counts as published. 0 is the cluster's own default; 2 of 3 copies survives the loss of one server.",
    ),
    Key::new(
        "kafka.security",
        Kind::Choice(&["auto", "plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]),
        "auto",
        "How to connect. `auto` is sasl_plaintext with a user name and plaintext without; ssl and sasl_ssl need a build with the cargo feature `kafka-tls`.",
    ),
    Key::new(
        "kafka.mechanism",
        Kind::Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
        "PLAIN",
        "How the user name and password are presented. The SCRAM mechanisms need a build with the cargo feature `kafka-tls`.",
    ),
    Key::new(
        "kafka.username",
        Kind::Text { empty: true },
        "",
        "The user. Empty means the one in broker.url, `kafka://user:password@host:9092`, or none.",
    ),
    Key::new("kafka.password", Kind::Secret, "", "The user's password. Empty means the one in broker.url, or none.").secret(),
    Key::new(
        "kafka.settings",
        Kind::Secret,
        "",
        "Settings of librdkafka over those that Tidewire makes, as `name=value; name=value`. They can break promises: for TLS files and the like. Never shown, since they may hold secrets.",
    )
    .secret(),
    Key::new(
        "relay.shards",
        count(1, 64, "shards"),
        "1",
        "Relays that share the keys. More than one pays off only on a networked broker.",
    ),
    Key::new("relay.batch", count(1, 8192, "events"), "512", "Events read from the log and published together."),
    Key::new(
        "relay.lease_ttl",
        span(SECOND, 10 * MINUTE),
        "15s",
        "How long a dead relay's share waits for a successor. At least twice relay.lease_renew.",
    ),
    Key::new("relay.lease_renew", span(100, 5 * MINUTE), "5s", "How often a relay renews its lease."),
    Key::new(
        "consume.batch",
        count(1, 8192, "events"),
        "512",
        "Events a handler's loop takes from the broker at a time.",
    ),
    Key::new(
        "consume.batch_bytes",
        size(KIB, GIB),
        "4MiB",
        "Bytes a handler's loop takes from the broker at a time. Bounds the memory of each handler.",
    ),
    Key::new(
        "consume.concurrency",
        count(1, 4096, "keys"),
        "32",
        "Keys that one handler works on at once. Events of one key never run in parallel.",
    ),
    Key::new(
        "consume.max_attempts",
        count(1, 1000, "attempts"),
        "8",
        "Tries before the key is parked with the reason. A kill of the process during a try counts as one.",
    ),
    Key::new(
        "consume.backoff_initial",
        span(1, HOUR),
        "500ms",
        "Wait after the first failed try; doubled each time, with jitter.",
    ),
    Key::new("consume.backoff_max", span(1, DAY), "5m", "Longest wait between two tries."),
    Key::new(
        "consume.handler_timeout",
        span(10, 12 * HOUR),
        "10s",
        "A handler that takes longer has failed this try. A handler may ask for its own limit in code.",
    ),
    Key::new(
        "consume.parked_max",
        count(1, 10_000_000, "events"),
        "100000",
        "Parked events one consumer may hold. Beyond it what fails stays with the broker, because something is wrong with the consumer rather than with a key.",
    ),
    Key::new(
        "saga.step_deadline",
        span(SECOND, 365 * DAY),
        "10m",
        "A step without an answer for this long is asked again, and after saga.step_attempts times undone. Above the time a backlog may take: a step that waits its turn is not a step that failed.",
    ),
    Key::new("saga.step_attempts", count(1, 1000, "attempts"), "5", "Tries of a step before the saga turns back."),
    Key::new(
        "saga.undo_attempts",
        count(1, 1000, "attempts"),
        "12",
        "Tries of an undo before the saga stops as stuck, with the reason, for a person to decide.",
    ),
    Key::new("effects.concurrency", count(1, 1024, "effects"), "8", "Effects in progress at once, over all targets."),
    Key::new(
        "effects.max_attempts",
        count(1, 1000, "attempts"),
        "10",
        "Tries of an effect before it is parked. Each try carries the same idempotency key.",
    ),
    Key::new(
        "effects.http_timeout",
        span(100, 10 * MINUTE),
        "10s",
        "Longest wait for the answer to a webhook, connection included.",
    ),
    Key::new(
        "effects.allow_private_targets",
        Kind::Bool,
        "false",
        "Whether webhooks may go to loopback, private and link-local addresses. Anyone who can register a webhook could then reach inside your network.",
    ),
    Key::new(
        "objects.url",
        url(&["s3"], &["file"], true, true),
        "",
        "A folder, `file:DIR` or `s3://bucket/prefix`. Empty means the folder `objects` under data_dir.",
    )
    .env(&[Short("TIDEWIRE_OBJECTS_URL")])
    .secret(),
    Key::new(
        "objects.endpoint",
        url(&["http", "https"], &[], false, true),
        "",
        "Where the bucket of an `s3://` address is, for servers that speak the protocol of S3. Empty is Amazon's own. `http://` sends documents in clear.",
    )
    .env(&[Fallback("AWS_ENDPOINT_URL_S3"), Fallback("AWS_ENDPOINT_URL")]),
    Key::new("objects.region", Kind::Text { empty: false }, "us-east-1", "Region of the bucket; servers of one's own mostly ignore it.")
        .env(&[Fallback("AWS_REGION"), Fallback("AWS_DEFAULT_REGION")]),
    Key::new(
        "objects.access_key",
        Kind::Secret,
        "",
        "The access key of whoever may read, write, list and delete below the prefix. Empty asks for the identity of the machine.",
    )
    .env(&[Fallback("AWS_ACCESS_KEY_ID")])
    .secret(),
    Key::new("objects.secret_key", Kind::Secret, "", "The secret that belongs to objects.access_key.")
        .env(&[Fallback("AWS_SECRET_ACCESS_KEY")])
        .secret(),
    Key::new(
        "smtp.url",
        url(&["smtp", "smtps"], &[], false, true),
        "",
        "`smtp://user:password@host:587` upgrades to TLS, `smtps://…:465` begins with it. Empty sends no mail.",
    )
    .env(&[Short("TIDEWIRE_SMTP_URL")])
    .secret(),
    Key::new(
        "smtp.from",
        Kind::Text { empty: true },
        "",
        "Sender of every mail: `Tidewire <events@example.org>`. Needed when smtp.url is set.",
    ),
    Key::new(
        "push.timeout",
        span(100, MINUTE),
        "10s",
        "Longest wait for an endpoint's answer, connection included, where its subscription asks for no other.",
    ),
    Key::new(
        "push.concurrency",
        count(1, 256, "requests"),
        "8",
        "Requests to one endpoint at once, per process, where its subscription asks for no other number. Each is of another key.",
    ),
    Key::new(
        "push.breaker_failures",
        count(1, 10_000, "failures"),
        "10",
        "Failures in a row after which an endpoint is left alone for a while. Above consume.max_attempts, one bad event alone is parked rather than taken for a bad endpoint.",
    ),
    Key::new(
        "push.breaker_wait",
        span(10, HOUR),
        "1s",
        "How long a failing endpoint is left alone at first. Then one request tries it, and if that fails it is left alone twice as long.",
    ),
    Key::new(
        "push.breaker_wait_max",
        span(10, 24 * HOUR),
        "1m",
        "The longest time a failing endpoint is left alone, and the longest `Retry-After` that is obeyed.",
    ),
    Key::new(
        "push.reply_bytes",
        size(KIB, 8 * MIB),
        "256KiB",
        "Most that is read of an answer with an event in it. broker.max_event_bytes limits it, too.",
    ),
    Key::new(
        "push.max_subscriptions",
        count(1, 10_000, "subscriptions"),
        "500",
        "Subscriptions at once. Each is a consumer, with a loop and a place on the broker.",
    ),
    Key::new(
        "push.refresh",
        span(50, MINUTE),
        "1s",
        "How soon a change made through another process is seen. Each process asks the store so often.",
    ),
    Key::new(
        "push.handshake",
        Kind::Bool,
        "true",
        "Whether an endpoint must say, in answer to OPTIONS, that it wants to be called. Otherwise who may subscribe can have anybody called.",
    ),
    Key::new(
        "push.origin",
        Kind::Text { empty: false },
        "tidewire.localhost",
        "Who calls, as a DNS name: sent as `WebHook-Request-Origin`, to be allowed by endpoints.",
    ),
    Key::new(
        "push.allow_private_targets",
        Kind::Bool,
        "false",
        "Whether endpoints may be at loopback, private and link-local addresses. Anyone who may subscribe could then reach inside your network.",
    ),
    Key::new(
        "push.allow_http",
        Kind::Bool,
        "false",
        "Whether endpoints may be called without TLS: everybody on the way reads the events then, and may change them.",
    ),
    Key::new(
        "http.body_limit",
        size(KIB, 256 * MIB),
        "1MiB",
        "Largest request body, documents aside. A larger one is answered with 413.",
    ),
    Key::new(
        "http.document_limit",
        size(KIB, 4 * GIB),
        "32MiB",
        "Largest document. A larger one is answered with 413.",
    ),
    Key::new("http.request_timeout", span(100, HOUR), "30s", "Longest time for one request, live streams aside."),
    Key::new(
        "http.header_timeout",
        span(100, 5 * MINUTE),
        "10s",
        "Longest time for a client to send its headers. Keeps slow clients from holding connections.",
    ),
    Key::new(
        "http.max_connections",
        count(1, 1_000_000, "connections"),
        "10000",
        "Open connections. Further ones wait until one closes. Each needs a file descriptor.",
    ),
    Key::new(
        "http.max_in_flight",
        count(1, 100_000, "requests"),
        "512",
        "Requests worked on at once, live streams aside. Further ones are answered with 503 at once. Each may hold a body of http.body_limit.",
    ),
    Key::new(
        "http.rate_limit",
        count(0, 1_000_000, "requests per second"),
        "500",
        "Requests per second of each API key, token or address. More are answered with 429. 0 is no limit, and the machine's own callers have none where http.auth is `local`.",
    ),
    Key::new(
        "http.rate_burst",
        count(1, 1_000_000, "requests"),
        "1000",
        "Requests a caller may send at once after he sent fewer.",
    ),
    Key::new(
        "http.auth",
        Kind::Choice(&["local", "required"]),
        "local",
        "`local`: whoever reaches the loopback address may do everything. `required`: everybody needs an API key (`tidewire keys create`) or a token.",
    ),
    Key::new(
        "http.jwks_url",
        url(&["https", "http"], &[], false, true),
        "",
        "Where the public keys of an issuer of JSON Web Tokens are. His tokens are then taken beside API keys: RS256, ES256 or EdDSA.",
    ),
    Key::new("http.jwt_issuer", Kind::Text { empty: true }, "", "What `iss` must be, exactly. Needed with http.jwks_url."),
    Key::new("http.jwt_audience", Kind::Text { empty: false }, "tidewire", "What `aud` of a token must hold: this installation by the name its issuer knows."),
    Key::new(
        "http.allow_remote",
        Kind::Bool,
        "false",
        "Whether to listen beyond loopback although callers are not authenticated. Only behind a proxy that authenticates, or in a closed network.",
    ),
    Key::new(
        "schemas.dir",
        Kind::Text { empty: true },
        "./schemas",
        "Folder of the JSON Schemas (2020-12) of other services' events: `<type>/v<N>.json`. Whoever emits such a type is held to its schema; types of this build in the folder are left alone. A file that is wrong keeps everything from starting. The default need not exist; empty reads none.",
    ),
    Key::new(
        "documents.extract_timeout",
        span(100, HOUR),
        "1m",
        "Longest time to extract one document. Beyond it the document is refused and its saga undone.",
    ),
    Key::new(
        "documents.extract_memory",
        size(64 * MIB, 256 * GIB),
        "1GiB",
        "Most memory to extract one document. Beyond it the document is refused and its saga undone.",
    ),
    Key::new(
        "documents.extract_concurrency",
        count(1, 256, "documents"),
        "2",
        "Documents extracted at once; each may take documents.extract_memory.",
    ),
    Key::new(
        "shutdown.deadline",
        span(100, HOUR),
        "25s",
        "Time to finish what has begun after SIGTERM. Then the process ends; what was open is redelivered. Keep it below your platform's own limit (Kubernetes: 30 s).",
    ),
    Key::new(
        "log.format",
        Kind::Choice(&["auto", "text", "json"]),
        "auto",
        "`text` for people, `json` for machines; `auto` is text on a terminal and json elsewhere.",
    ),
    Key::new(
        "log.level",
        Kind::LogFilter,
        "info",
        "Which lines are written: a level, or levels by target such as `info,tidewire_store=debug`.",
    )
    .env(&[Short("TIDEWIRE_LOG"), Fallback("RUST_LOG")]),
    Key::new(
        "log.color",
        Kind::Choice(&["auto", "always", "never"]),
        "auto",
        "Colours in text lines; `auto` means on a terminal.",
    )
    .env(&[Implies { name: "NO_COLOR", value: "never" }, Implies { name: "CLICOLOR_FORCE", value: "always" }]),
];
