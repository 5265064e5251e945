//! `replay` and `projections`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Consent;

/// `replay`.
#[derive(Debug, Subcommand)]
pub enum ReplayCommand {
    /// Say what a replay would do. Nothing changes; the plan is kept under its hash.
    Plan(ReplayPlan),
    /// Carry a plan out, or go on with one that was stopped.
    Apply(ReplayApply),
    /// List replays, newest first.
    #[command(after_long_help = "Example:\n  tidewire replay list -o wide")]
    List,
    /// Show how far a replay has come.
    #[command(after_long_help = "Example:\n  tidewire replay show 00112233445566778899aabbccddeeff")]
    Show {
        /// The hash of its plan.
        hash: String,
    },
    /// Stop a replay after the batch it is at. Applying the plan again goes on there.
    #[command(after_long_help = "Example:\n  tidewire replay stop 00112233445566778899aabbccddeeff --yes")]
    Stop {
        /// The hash of its plan.
        hash: String,
        /// What guards against stopping by mistake.
        #[command(flatten)]
        consent: Consent,
    },
    /// Record what a handler does for a window of events, for `replay diff`.
    #[command(
        long_about = "Run the handler of a consumer for a window of events with everything muted, and record what it \
                      emitted, which effects and timers it asked for, how it failed, and the rows it left. Nothing of it \
                      becomes true.",
        after_long_help = "Example:\n  tidewire replay record social.feed --to 1000 --save before.json\n  tidewire replay record social.feed --given window.jsonl --save before.json"
    )]
    Record {
        /// Which handler, and which events.
        #[command(flatten)]
        window: Window,
        /// Write the recording here instead of printing it.
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    /// Compare what a handler does with what was recorded. Ends with 6 when anything differs.
    #[command(
        long_about = "Run the handler of a consumer for a window of events as `replay record` does, and compare that with \
                      a recording that an earlier build made: what was emitted, effects, timers, failures and rows. Ends \
                      with 6 when anything differs, for builds that must not be released then.",
        after_long_help = "Example:\n  tidewire replay diff social.feed --to 1000 --against before.json\n  tidewire replay diff social.feed --given window.jsonl --against before.json -o json"
    )]
    Diff {
        /// Which handler, and which events.
        #[command(flatten)]
        window: Window,
        /// The recording.
        #[arg(long, value_name = "FILE")]
        against: PathBuf,
    },
}

/// Which events.
#[derive(Debug, Clone, Default, Args)]
pub struct Range {
    /// Begin with this position (4711), time (RFC 3339), or so long ago (2h).
    #[arg(long, value_name = "POSITION|TIME|DURATION", value_parser = super::operate::since)]
    pub from: Option<String>,
    /// End with this position, before this time, or so long ago. Otherwise the last event there is now.
    #[arg(long, value_name = "POSITION|TIME|DURATION", value_parser = super::operate::since)]
    pub to: Option<String>,
    /// Only of this type, such as user.followed or user.*; may be given several times.
    #[arg(long = "type", value_name = "NAME")]
    pub types: Vec<String>,
    /// Only with this key, such as user/ana.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Only of this flow (correlation id).
    #[arg(long, value_name = "ID")]
    pub flow: Option<String>,
    /// Only where this CloudEvents SQL is true.
    #[arg(long = "filter", value_name = "CESQL")]
    pub expression: Option<String>,
}

impl Range {
    /// As the API takes it.
    pub fn json(&self) -> Value {
        json!({
            "from": self.from, "to": self.to, "types": self.types, "key": self.key, "correlation": self.flow,
            "filter": self.expression,
        })
    }
}

/// Which handler, and which events.
#[derive(Debug, Args)]
pub struct Window {
    /// The consumer.
    pub consumer: String,
    /// Events of the log.
    #[command(flatten)]
    pub range: Range,
    /// These events instead: CloudEvents as JSON, one per line.
    #[arg(long, value_name = "FILE")]
    pub given: Option<PathBuf>,
}

/// `replay plan`.
#[derive(Debug, Args)]
#[command(
    long_about = "Say what a replay would do: how many events of which types and versions, how large, from when to when; which \
                  handler would run and what it would ask for (tried on the first events, nothing kept); upcasts, types newer \
                  than this build, parked keys in the way; how long it would take. The end of the range is fixed now. Nothing \
                  changes but that the plan is kept under its hash.\n\n\
                  TARGET is one of\n  consumer:NAME        what the consumer has not handled; with --again also what it has\n  \
                  new:NAME=CONSUMER    the consumer's handler under another name, with rows of its own\n  \
                  projection:NAME      the same as `projections rebuild`\n  \
                  file                 JSON lines, written by `replay apply --file`\n  \
                  domain:NAME          the broker, under other subjects or topics\n\n\
                  Effects, emitted events and timers are muted unless --with-effects is given here and when applying.",
    after_long_help = "Example:\n  tidewire replay plan --target consumer:notifications.inbox --again --from 2h --type user.followed\n  tidewire replay plan --target new:trial=notifications.inbox --to 5000\n  tidewire replay plan --target file --key user/ana"
)]
pub struct ReplayPlan {
    /// Which events.
    #[command(flatten)]
    pub range: Range,
    /// Where to.
    #[arg(long, value_name = "TARGET", value_parser = target)]
    pub target: Value,
    /// Of consumers: also what was handled before.
    #[arg(long)]
    pub again: bool,
    /// Carry out what the handler asks for.
    #[arg(long)]
    pub with_effects: bool,
    /// At most so many events per second. Consumers with live rows get 5000 otherwise.
    #[arg(long, value_name = "N")]
    pub rate: Option<u32>,
}

/// `replay apply`.
#[derive(Debug, Args)]
#[command(
    long_about = "Carry a plan out, and nothing but that plan. The instance works in the background, batch by batch, each with \
                  its place in one commit: so it goes on exactly where it was after a crash, in another process if need be. \
                  This command follows it; interrupting the command does not stop it. Applying a plan that is done changes \
                  nothing; applying one that was stopped or failed goes on with it. Without a terminal, --yes is needed.",
    after_long_help = "Example:\n  tidewire replay apply 00112233445566778899aabbccddeeff --yes --reason remapped\n  tidewire replay apply 00112233445566778899aabbccddeeff --file events.jsonl --yes"
)]
pub struct ReplayApply {
    /// The plan's hash.
    pub hash: String,
    /// Agree that effects, emitted events and timers become true, as the plan says. Needs --reason.
    #[arg(long)]
    pub with_effects: bool,
    /// Of plans for a file: the file. One that is there is gone on with.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Do not follow it.
    #[arg(long)]
    pub detach: bool,
    /// What guards against replaying by mistake.
    #[command(flatten)]
    pub consent: Consent,
}

/// `projections`.
#[derive(Debug, Subcommand)]
pub enum ProjectionsCommand {
    /// List projections with their generation, how far they are, and how many rows they have.
    #[command(after_long_help = "Example:\n  tidewire projections list -o wide")]
    List,
    /// Build a projection anew beside the live one, compare both, and swap them.
    Rebuild(Rebuild),
}

/// `projections rebuild`.
#[derive(Debug, Args)]
#[command(
    long_about = "Build a projection anew from the whole log, beside the live one, compare the rows of both, and swap them in one \
                  commit. Readers see the old rows or the new ones, never a half. What was live is kept: --rollback brings it \
                  up to date and goes back to it. Ends with 6 when --only-if-equal kept it from swapping.",
    after_long_help = "Example:\n  tidewire projections rebuild social.feed --dry-run\n  tidewire projections rebuild social.feed --yes --reason remapped\n  tidewire projections rebuild social.feed --rollback --yes"
)]
pub struct Rebuild {
    /// The projection.
    pub name: String,
    /// Go back to the generation that was live before.
    #[arg(long)]
    pub rollback: bool,
    /// Swap only if both hold the same.
    #[arg(long)]
    pub only_if_equal: bool,
    /// At most so many events per second.
    #[arg(long, value_name = "N")]
    pub rate: Option<u32>,
    /// Do not follow it.
    #[arg(long)]
    pub detach: bool,
    /// What guards against rebuilding by mistake.
    #[command(flatten)]
    pub consent: Consent,
}

/// A target as the API takes it.
fn target(text: &str) -> Result<Value, String> {
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    match (kind, name) {
        ("file", "") => Ok(json!({"kind": "file"})),
        (_, "") => Err("expected consumer:NAME, new:NAME=CONSUMER, projection:NAME, file or domain:NAME".into()),
        ("consumer" | "projection" | "domain", name) => Ok(json!({"kind": kind, "name": name})),
        ("new", name) => match name.split_once('=') {
            Some((name, handler)) if !name.is_empty() && !handler.is_empty() => {
                Ok(json!({"kind": "new", "name": name, "handler": handler}))
            }
            _ => Err("expected new:NAME=CONSUMER".into()),
        },
        (other, _) => Err(format!("there is no target `{other}`: consumer, new, projection, file or domain")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_typed_as_kind_and_name() {
        for (text, expected) in [
            ("file", Some(json!({"kind": "file"}))),
            ("consumer:a.b", Some(json!({"kind": "consumer", "name": "a.b"}))),
            ("new:x=a.b", Some(json!({"kind": "new", "name": "x", "handler": "a.b"}))),
            ("new:x", None),
            ("consumer", None),
            ("consumer:", None),
            ("table:x", None),
            ("", None),
        ] {
            assert_eq!(target(text).ok(), expected, "{text}");
        }
    }
}
