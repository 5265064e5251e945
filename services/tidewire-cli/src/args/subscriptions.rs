//! `subscriptions`: HTTP endpoints as consumers.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::Consent;

/// `subscriptions`.
#[derive(Debug, Subcommand)]
pub enum SubscriptionsCommand {
    /// List push subscriptions, and how their deliveries go.
    #[command(after_long_help = "Example:\n  tidewire subscriptions list\n  tidewire subscriptions list -o name")]
    List,
    /// Show one subscription.
    #[command(after_long_help = "Example:\n  tidewire subscriptions show followers -o yaml")]
    Show {
        /// Its id, from `subscriptions list`.
        id: String,
    },
    /// Have events sent to an HTTP endpoint. What signs its deliveries is shown once.
    #[command(
        after_long_help = "Example:\n  tidewire subscriptions create --sink https://example.org/hook --type 'user.*'\n  tidewire subscriptions create --id enricher --sink https://ml.example.org/enrich --type document.enrichment.requested --reply document.enriched --reply-source /enricher\n  tidewire subscriptions create --sink https://example.org/hook --type order.placed --filter \"region = 'eu'\" --start earliest"
    )]
    Create(Box<NewSubscription>),
    /// Change a subscription. What is not named stays as it is.
    #[command(
        after_long_help = "Example:\n  tidewire subscriptions update followers --sink https://example.org/v2/hook --yes\n  tidewire subscriptions update followers --type 'user.*' --concurrency 2 --dry-run"
    )]
    Update {
        /// Its id.
        id: String,
        /// What changes.
        #[command(flatten)]
        change: Box<Wish>,
        /// Whether it was meant.
        #[command(flatten)]
        consent: Consent,
    },
    /// Stop delivering for a while. Events wait.
    #[command(
        after_long_help = "Example:\n  tidewire subscriptions pause followers --yes --reason 'the endpoint moves'"
    )]
    Pause {
        /// Its id.
        id: String,
        /// Whether it was meant.
        #[command(flatten)]
        consent: Consent,
    },
    /// Go on delivering, also to an endpoint that said it was gone.
    #[command(after_long_help = "Example:\n  tidewire subscriptions resume followers --yes")]
    Resume {
        /// Its id.
        id: String,
        /// Whether it was meant.
        #[command(flatten)]
        consent: Consent,
    },
    /// Sign with a new secret, which is shown once, and for a while with the old one as well.
    #[command(
        after_long_help = "Example:\n  tidewire subscriptions rotate followers\n  tidewire subscriptions rotate followers --overlap 2d -o name\n  tidewire subscriptions rotate leaked --overlap 0s --yes"
    )]
    Rotate {
        /// Its id.
        id: String,
        /// How long the old secret goes on signing beside the new one.
        #[arg(long, value_name = "TIME", value_parser = super::span, default_value = "24h")]
        overlap: Duration,
        /// Whether it was meant.
        #[command(flatten)]
        consent: Consent,
    },
    /// Send the endpoint an event that nobody else sees, and show what it made of it.
    #[command(after_long_help = "Example:\n  tidewire subscriptions test followers")]
    Test {
        /// Its id.
        id: String,
    },
    /// End a subscription for good. What it has yet to deliver is given up.
    #[command(after_long_help = "Example:\n  tidewire subscriptions delete followers --yes")]
    Delete {
        /// Its id.
        id: String,
        /// Whether it was meant.
        #[command(flatten)]
        consent: Consent,
    },
}

/// A subscription to be made.
#[derive(Debug, Args)]
pub struct NewSubscription {
    /// The name it is wanted under; otherwise one is made up. Its consumer is push.ID.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// From which events on.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub start: Start,
    /// The rest.
    #[command(flatten)]
    pub wish: Wish,
}

/// What a subscription asks for.
#[derive(Debug, Default, Args)]
pub struct Wish {
    /// Where events go: an https URL.
    #[arg(long, value_name = "URL")]
    pub sink: Option<String>,
    /// Only these types, such as user.followed or 'user.*'. May be given several times; without it all.
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only events of this source.
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<String>,
    /// Only events that pass, in CloudEvents SQL. May be given several times: all must pass.
    #[arg(long = "filter", value_name = "EXPRESSION")]
    pub filters: Vec<String>,
    /// What it is, for people.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// What a request looks like.
    #[arg(long, value_enum, value_name = "MODE")]
    pub mode: Option<Mode>,
    /// Requests at once, each of another key.
    #[arg(long, value_name = "NUMBER")]
    pub concurrency: Option<u16>,
    /// Longest wait for an answer, in whole seconds.
    #[arg(long, value_name = "TIME", value_parser = super::span)]
    pub answer_within: Option<Duration>,
    /// Starts of a delivery before its event is parked.
    #[arg(long, value_name = "NUMBER")]
    pub max_attempts: Option<u32>,
    /// A type the endpoint may answer with. May be given several times.
    #[arg(long = "reply", value_name = "TYPE")]
    pub replies: Vec<String>,
    /// The `source` of what it answers with.
    #[arg(long, value_name = "SOURCE", requires = "replies")]
    pub reply_source: Option<String>,
}

/// From which events on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Start {
    /// Those that come after it was made.
    #[default]
    Now,
    /// All that the broker still holds.
    Earliest,
}

/// What a request looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Attributes in headers, the data as the body.
    Binary,
    /// The whole event as the body.
    Structured,
}
