//! Commands for operators: nouns, then verbs.

use clap::{Args, Subcommand};

/// How many items a list shows unless told otherwise.
const DEFAULT_LIMIT: u32 = 50;
/// The most items one page of the API holds.
const MAX_LIMIT: i64 = 500;

/// Where a list begins and ends.
#[derive(Debug, Clone, Args)]
pub struct Paging {
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, value_parser = clap::value_parser!(u32).range(1..=MAX_LIMIT))]
    pub limit: u32,
    /// Go on where the last page ended.
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// `events`.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// List events, newest first.
    #[command(
        after_long_help = "Example:\n  tidewire events list\n  tidewire events list --type user.followed --key user/ana --oldest-first\n  tidewire events list -o name"
    )]
    List {
        /// Which events.
        #[command(flatten)]
        filter: EventFilter,
        /// In the order of the log.
        #[arg(long)]
        oldest_first: bool,
        /// Where the list begins and ends.
        #[command(flatten)]
        page: Paging,
    },
    /// Show one event with all its attributes and its data.
    #[command(
        after_long_help = "Example:\n  tidewire events show 01990000-0000-7000-8000-000000000000\n  tidewire events show ID -o json"
    )]
    Show {
        /// The event's id.
        id: String,
    },
    /// Emit one event.
    Emit(Box<super::Emit>),
    /// Name everything that is wrong with events in a file.
    Lint(super::Lint),
    /// Show what led to an event, and what became of it: consumers, effects, saga steps, operators.
    #[command(
        after_long_help = "Example:\n  tidewire events why 01990000-0000-7000-8000-000000000000\n  tidewire events why ID -o json"
    )]
    Why {
        /// The event's id.
        id: String,
    },
    /// Print events as they are appended, until Ctrl-C.
    #[command(
        after_long_help = "Example:\n  tidewire events tail\n  tidewire events tail --type document.ingested -o jsonl\n  tidewire events tail --filter 'sequence>5' --count 10"
    )]
    Tail {
        /// Which events.
        #[command(flatten)]
        filter: EventFilter,
        /// End after this many.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
}

/// Which events.
#[derive(Debug, Clone, Default, Args)]
pub struct EventFilter {
    /// Only of this type: a name such as user.followed, of any version.
    #[arg(long = "type", value_name = "NAME")]
    pub ty: Option<String>,
    /// Only with this key, such as user/ana.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Only of this flow (correlation id).
    #[arg(long, value_name = "ID")]
    pub flow: Option<String>,
    /// Only where this CloudEvents SQL is true, such as "type LIKE 'user.%' AND sequence > 5".
    #[arg(long = "filter", value_name = "CESQL")]
    pub expression: Option<String>,
}

/// `consumers`.
#[derive(Debug, Subcommand)]
pub enum ConsumersCommand {
    /// List consumers with how far behind they are.
    #[command(after_long_help = "Example:\n  tidewire consumers list -o wide")]
    List,
    /// Show one consumer.
    #[command(after_long_help = "Example:\n  tidewire consumers show notifications.inbox")]
    Show {
        /// Its name.
        name: String,
    },
    /// Stop a consumer in every process, until it is resumed.
    #[command(
        long_about = "Stop a consumer in every process that runs it: within about half a second nothing more is taken, and what is in \
                      hand is finished. What arrives waits at the broker, in order. It lasts until `consumers resume`, also across \
                      restarts.",
        after_long_help = "Example:\n  tidewire consumers pause notifications.inbox --reason moving --yes"
    )]
    Pause {
        /// Its name.
        name: String,
        /// What guards against pausing by mistake.
        #[command(flatten)]
        consent: Consent,
    },
    /// Let a paused consumer go on where it was.
    #[command(after_long_help = "Example:\n  tidewire consumers resume notifications.inbox --yes")]
    Resume {
        /// Its name.
        name: String,
        /// What guards against resuming by mistake.
        #[command(flatten)]
        consent: Consent,
    },
}

/// What guards a change against being made by mistake.
#[derive(Debug, Clone, Args)]
pub struct Consent {
    /// Only show what would happen.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Why, for the log.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `log`.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Show what the log is kept in: its id, its size and what it survives.
    #[command(after_long_help = "Example:\n  tidewire log info\n  tidewire log info -o json")]
    Info,
    /// Look every event up on the broker and with every consumer. Ends with 6 when any is missing.
    #[command(
        long_about = "Look every event of the log up on the broker and with every consumer that reads it, and end with 6 when \
                      any is missing. What is still on its way counts as missing, so ask once everything has settled. Reads \
                      the whole log: give a long one time.",
        after_long_help = "Example:\n  tidewire log verify\n  tidewire log verify --timeout 10m -o json"
    )]
    Verify,
    /// Compare the log with what the broker holds, and publish again what is missing.
    Reconcile(Reconcile),
    /// Remove the oldest events, once nobody needs them any more.
    Retire(Retire),
}

/// `log retire`.
#[derive(Debug, Args)]
#[command(
    long_about = "Remove the oldest events of the log, in short transactions that keep no writer waiting for long. It is refused as a whole \
                  while a relay has yet to publish one of them, a consumer has yet to handle or park one, or somebody folds \
                  their streams and has no snapshot after them: --dry-run names who, and up to where events may go.\n\n\
                  Streams keep their versions, and consumers remember what they handled. What the events alone could tell is \
                  gone: projections can be rebuilt, and events replayed, only from the first one left. Back the store up \
                  before. Consumers of other programs are not known here; the broker keeps events for them as long as its \
                  retention says.",
    after_long_help = "Example:\n  tidewire log retire --before 90d --dry-run\n  tidewire log retire --before 2026-08-01T00:00:00Z --yes --reason quarterly\n  tidewire log retire --before 4711 --yes -o json"
)]
pub struct Retire {
    /// Only what comes before this position (4711), time (RFC 3339), or is older than this (90d).
    #[arg(long, value_name = "POSITION|TIME|DURATION", value_parser = since)]
    pub before: String,
    /// What guards against removing by mistake.
    #[command(flatten)]
    pub consent: Consent,
}

/// `log reconcile`.
#[derive(Debug, Args)]
#[command(
    long_about = "Compare the log with what the broker holds, and have the relay publish again what the broker acknowledged \
                  and then lost: under the same ids, in order per key. Consumers drop what they have handled; one that \
                  has not gets it late, possibly after newer events of its key.\n\n\
                  Without --since, that is what the broker may be expected to hold: events within broker.retention_age, and \
                  older ones that a consumer has yet to handle. The relay does this by itself when it notices that the \
                  broker's record is another, or has become shorter. Publishes nothing else meanwhile. Reads the log and the \
                  broker: give long ones time. With --dry-run it only counts, and ends with 6 when something is missing.",
    after_long_help = "Example:\n  tidewire log reconcile --dry-run\n  tidewire log reconcile --since 2h --yes --timeout 10m\n  tidewire log reconcile --since 2026-11-20T13:00:00Z --yes --reason restored -o json"
)]
pub struct Reconcile {
    /// Begin with this position (4711), time (RFC 3339), or so long ago (2h).
    #[arg(long, value_name = "POSITION|TIME|DURATION", value_parser = since)]
    pub since: Option<String>,
    /// What guards against publishing by mistake.
    #[command(flatten)]
    pub consent: Consent,
}

/// Checked here so that a mistake is one of usage; sent as it is.
pub(super) fn since(text: &str) -> Result<String, String> {
    text.parse::<tidewire::reconcile::Since>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print each value and where it came from. Secrets are masked.
    #[command(
        after_long_help = "Example:\n  tidewire config show\n  tidewire config show -o wide --set relay.batch=64"
    )]
    Show {
        /// Only keys that begin so, such as broker.
        prefix: Option<String>,
    },
    /// Check the configuration and report every problem at once. Ends with 6 when there are any.
    #[command(after_long_help = "Example:\n  tidewire config check --config infra/tidewire.toml")]
    Check,
}
