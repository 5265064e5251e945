//! `sagas`: looking at sagas, and deciding about them.

use clap::{Args, Subcommand};

use super::operate::{Consent, Paging};

/// `sagas`.
#[derive(Debug, Subcommand)]
pub enum SagasCommand {
    /// List sagas, newest first.
    #[command(after_long_help = "Example:\n  tidewire sagas list\n  tidewire sagas list --status stuck -o wide")]
    List {
        /// Only in this state, such as running, completed, undone or stuck.
        #[arg(long, value_name = "STATE")]
        status: Option<String>,
        /// Only of this type.
        #[arg(long = "type", value_name = "NAME")]
        ty: Option<String>,
        /// Where the list begins and ends.
        #[command(flatten)]
        page: Paging,
    },
    /// Show one saga: every step, request, reply, undo and timer, and how long each took.
    #[command(after_long_help = "Example:\n  tidewire sagas show 01990000-0000-5000-8000-000000000000")]
    Show {
        /// The saga's id.
        id: String,
    },
    /// Start a saga.
    #[command(
        long_about = "Start a saga with the data of the event that starts it. The same --token starts one saga, however often \
                      the command is repeated.",
        after_long_help = "Example:\n  tidewire sagas start document-ingestion --data @submitted.json --token import-17 --yes"
    )]
    Start(StartArgs),
    /// Give a waiting step what it waits for.
    #[command(
        long_about = "Give a step that waits for a person or an outside event what it waits for: the data of that event. A step \
                      that is not reached yet gets it when it is; only the first counts.",
        after_long_help = "Example:\n  tidewire sagas signal ID approve --data '{\"by\":\"ana\"}' --dry-run\n  tidewire sagas signal ID approve --data @approval.json --yes --reason 'ticket 4711'"
    )]
    Signal(SignalArgs),
    /// Ask again for what failed or is waited for, with its tries counted from the beginning.
    #[command(
        after_long_help = "Example:\n  tidewire sagas retry ID --dry-run\n  tidewire sagas retry ID --step index --yes --reason 'disk is free again'"
    )]
    Retry(OrderArgs),
    /// Go on without the reply of a step, with what it would have said supplied.
    #[command(
        long_about = "Go on without the reply of a step. --reply is what it would have said, so that the steps after it have \
                      what they need. Whether the step happened stays open: if the saga turns back later, it is undone like one that may have.",
        after_long_help = "Example:\n  tidewire sagas skip ID --step enrich --dry-run\n  tidewire sagas skip ID --step extract --reply @extracted.json --yes --reason 'extracted by hand'"
    )]
    Skip(ReplyArgs),
    /// Count a step as done by hand; where the saga goes back, count it as undone.
    #[command(
        after_long_help = "Example:\n  tidewire sagas done ID --step charge --yes --reason 'found the payment in the bank statement'\n  tidewire sagas done ID --step store --yes --reason 'removed the object by hand'"
    )]
    Done(ReplyArgs),
    /// Turn back from here and undo everything. Says that a point of no return nobody answered for did not happen.
    #[command(
        after_long_help = "Example:\n  tidewire sagas compensate ID --dry-run\n  tidewire sagas compensate ID --yes --reason 'the bank has no such payment'"
    )]
    Compensate(OrderArgs),
    /// Stop undoing, and go forward again: what is undone already is asked for again.
    #[command(
        after_long_help = "Example:\n  tidewire sagas forward ID --dry-run\n  tidewire sagas forward ID --yes --reason 'the service is back'"
    )]
    Forward(OrderArgs),
    /// Turn back and undo everything, if nothing stands in the way; refused past the point of no return.
    #[command(
        after_long_help = "Example:\n  tidewire sagas cancel ID --dry-run\n  tidewire sagas cancel ID --yes --reason 'sent by mistake'"
    )]
    Cancel(OrderArgs),
}

/// What an order is about.
#[derive(Debug, Args)]
pub struct OrderArgs {
    /// The saga's id.
    pub id: String,
    /// Which step, where it could be several (retry only).
    #[arg(long, value_name = "STEP")]
    pub step: Option<String>,
    /// Only if the saga is still at this revision, as `sagas show` printed it; by default, at the one just looked at.
    #[arg(long, value_name = "N")]
    pub revision: Option<u64>,
    /// What guards against deciding by mistake.
    #[command(flatten)]
    pub consent: Consent,
}

/// An order that stands for a reply.
#[derive(Debug, Args)]
pub struct ReplyArgs {
    /// Which saga and step.
    #[command(flatten)]
    pub order: OrderArgs,
    /// What the reply would have said: the JSON of its data, or @FILE.
    #[arg(long, value_name = "JSON|@FILE")]
    pub reply: Option<String>,
}

/// `sagas start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// The saga, such as document-ingestion.
    pub saga: String,
    /// The data of the event that starts it, as JSON, or @FILE.
    #[arg(long, value_name = "JSON|@FILE")]
    pub data: String,
    /// Names this start, so that repeating the command starts nothing else.
    #[arg(long, value_name = "TEXT")]
    pub token: Option<String>,
    /// What guards against starting by mistake.
    #[command(flatten)]
    pub consent: Consent,
}

/// `sagas signal`.
#[derive(Debug, Args)]
pub struct SignalArgs {
    /// The saga's id.
    pub id: String,
    /// The step that waits.
    pub step: String,
    /// The data of the event it waits for, as JSON, or @FILE.
    #[arg(long, value_name = "JSON|@FILE")]
    pub data: String,
    /// What guards against signalling by mistake.
    #[command(flatten)]
    pub consent: Consent,
}
