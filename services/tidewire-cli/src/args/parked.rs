//! `parked` and `effects`: what was set aside, and what was given up.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::operate::{Consent, Paging};

/// The most events one redrive takes unless told otherwise.
const REDRIVE: u64 = 10_000;
/// The most redrives per second that can be asked for: beyond it there is no pace to keep.
const MAX_RATE: u64 = 1_000;

/// `parked`.
#[derive(Debug, Subcommand)]
pub enum ParkedCommand {
    /// List parked events, in order.
    #[command(
        after_long_help = "Example:\n  tidewire parked list\n  tidewire parked list --consumer documents.index -o json\n  tidewire parked list --code handler.timeout --filter 'sequence>5'"
    )]
    List {
        /// Which ones.
        #[command(flatten)]
        filter: ParkedFilter,
        /// Where the list begins and ends.
        #[command(flatten)]
        page: Paging,
    },
    /// Show parked events by cause: how many of each consumer, code and type.
    #[command(
        after_long_help = "Example:\n  tidewire parked groups\n  tidewire parked groups --consumer documents.index"
    )]
    Groups {
        /// Which ones.
        #[command(flatten)]
        filter: ParkedFilter,
    },
    /// Show one parked event with its reason, its data, and what operators did to it.
    #[command(after_long_help = "Example:\n  tidewire parked show 17")]
    Show {
        /// Its number, from `parked list`.
        ordinal: u64,
    },
    /// Hand parked events to their consumer again, in order.
    Redrive(Redrive),
    /// Give a parked event other data.
    Edit(Edit),
    /// Take a parked event out for good.
    #[command(
        long_about = "Take a parked event out for good: its consumer never handles it. What waited behind it on its key runs at once, \
                      in order, up to the first that fails. --reason is needed.",
        after_long_help = "Example:\n  tidewire parked drop 17 --reason test --yes"
    )]
    Drop {
        /// Its number, from `parked list`.
        ordinal: u64,
        /// What guards against dropping by mistake.
        #[command(flatten)]
        consent: Consent,
    },
}

/// Which parked events.
#[derive(Debug, Clone, Default, Args)]
pub struct ParkedFilter {
    /// Only of this consumer.
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// Only with this key.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Only those parked for this reason, such as handler.failed.
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Only events of this name, of any version.
    #[arg(long = "type", value_name = "NAME")]
    pub ty: Option<String>,
    /// Only where this CloudEvents SQL is true.
    #[arg(long = "filter", value_name = "CESQL")]
    pub expression: Option<String>,
}

impl ParkedFilter {
    /// As parameters of a query string.
    pub fn parameters(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("consumer", self.consumer.as_deref()),
            ("key", self.key.as_deref()),
            ("code", self.code.as_deref()),
            ("type", self.ty.as_deref()),
            ("filter", self.expression.as_deref()),
        ]
    }
}

/// `parked redrive`.
#[derive(Debug, Args)]
#[command(
    long_about = "Hand parked events to their consumer again, and to nobody else: in order per key, and a key stops at its \
                  first event that fails again. What was parked only because it followed one of these goes with it. Two \
                  operators at once redrive nothing twice. Without a terminal, --yes is needed.",
    after_long_help = "Example:\n  tidewire parked redrive --consumer notifications.inbox --key user/ana --dry-run\n  tidewire parked redrive --consumer notifications.inbox --code handler.timeout --rate 50 --yes --reason deployed\n  tidewire parked redrive 17 18 --yes"
)]
pub struct Redrive {
    /// Only these, by their numbers; all of one consumer.
    #[arg(value_name = "NUMBER", required_unless_present = "consumer")]
    pub ordinals: Vec<u64>,
    /// Which ones.
    #[command(flatten)]
    pub filter: ParkedFilter,
    /// At most this many events.
    #[arg(long, value_name = "N", default_value_t = REDRIVE, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub limit: u64,
    /// At most this many events per second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_RATE))]
    pub rate: Option<u64>,
    /// What guards against redriving by mistake.
    #[command(flatten)]
    pub consent: Consent,
}

/// `parked edit`.
#[derive(Debug, Args)]
#[command(
    long_about = "Give a parked event other data. The differences are shown first. It gets a new id and a link to the old one, is \
                  checked against its schema, and stays parked in its place until it is redriven; everything but the data is locked.",
    after_long_help = "Example:\n  tidewire parked edit 17 --set /action=page.viewed --dry-run\n  tidewire parked edit 17 --data corrected.json --reason typo --yes"
)]
pub struct Edit {
    /// Its number, from `parked list`.
    pub ordinal: u64,
    /// Change one place of the data, as a JSON pointer; the value is JSON, or else a text. May be given several times.
    #[arg(long, value_name = "POINTER=VALUE", required_unless_present_any = ["data", "event"], conflicts_with_all = ["data", "event"])]
    pub set: Vec<String>,
    /// A file with the new data as JSON; - for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "event")]
    pub data: Option<PathBuf>,
    /// A file with the whole event, as `parked show -o json` gives its envelope, edited; - for standard input.
    #[arg(long, value_name = "FILE")]
    pub event: Option<PathBuf>,
    /// What guards against editing by mistake.
    #[command(flatten)]
    pub consent: Consent,
}

/// `effects`.
#[derive(Debug, Subcommand)]
pub enum EffectsCommand {
    /// List what was asked to be done outside: mails and HTTP requests.
    #[command(
        after_long_help = "Example:\n  tidewire effects list --state failed\n  tidewire effects list --cause 01990000-0000-7000-8000-000000000000"
    )]
    List {
        /// Only those in this state; failed ones were given up.
        #[arg(long, value_enum, value_name = "STATE")]
        state: Option<EffectStateArg>,
        /// Only those of this consumer.
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
        /// Only those that follow from this event.
        #[arg(long, value_name = "ID")]
        cause: Option<String>,
        /// Where the list begins and ends.
        #[command(flatten)]
        page: Paging,
    },
    /// Begin anew with effects that were given up.
    #[command(
        long_about = "Begin anew with effects that were given up: one by its id, all of a consumer, or all. They keep their idempotency \
                      keys, so that whoever did receive one of them can tell.",
        after_long_help = "Example:\n  tidewire effects retry --consumer notifications.inbox --reason mended --yes"
    )]
    Retry {
        /// Only this one.
        id: Option<String>,
        /// Only those of this consumer.
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
        /// What guards against doing it by mistake.
        #[command(flatten)]
        consent: Consent,
    },
}

/// Where an effect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EffectStateArg {
    /// Still to be carried out.
    Pending,
    /// Carried out.
    Done,
    /// Given up.
    Failed,
}

impl EffectStateArg {
    /// As the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}
