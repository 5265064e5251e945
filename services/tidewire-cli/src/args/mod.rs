//! The command line: what can be typed. What it does is in `command/`, `up.rs`, `run.rs` and `demo/`.

mod events;
mod keys;
mod migrate;
mod operate;
mod parked;
mod replay;
mod sagas;
mod schemas;
mod serve;
mod subscriptions;

pub use events::{Emit, Lint};
pub use keys::{KeysCommand, NewKeyArgs};
pub use migrate::{ImportArgs, VerifyArgs};
pub use operate::{
    ConfigCommand, Consent, ConsumersCommand, EventFilter, EventsCommand, LogCommand, Reconcile, Retire,
};
pub use parked::{Edit, EffectsCommand, ParkedCommand, Redrive};
pub use replay::{ProjectionsCommand, Rebuild, ReplayApply, ReplayCommand, ReplayPlan, Window};
pub use sagas::{OrderArgs, ReplyArgs, SagasCommand, SignalArgs, StartArgs};
pub use schemas::{ExportFormat, SchemasCommand};
pub use serve::{DemoArgs, Role, RunArgs, UpArgs};
pub use subscriptions::{Mode, NewSubscription, Start, SubscriptionsCommand, Wish};

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit;
use crate::output::Format;
use crate::output::text::TimeStyle;

/// What `main` starts a text extraction child with. Not for people.
pub const EXTRACT_CHILD: &str = "extract-child";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "tidewire",
    bin_name = "tidewire",
    version,
    about = "The event backbone: emit, deliver, undo, see and repair domain events.",
    after_help = "Try `tidewire demo`, then `tidewire status`. `tidewire COMMAND --help` has an example for each command.",
    after_long_help = long_help(),
    propagate_version = true,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

fn long_help() -> String {
    format!(
        "Example:\n  tidewire demo --exit        the whole path once, with real traffic\n  tidewire up                 every role in one process, until Ctrl-C\n  tidewire status             in a second terminal\n\nPrecedence: flag over environment over file; `tidewire config show` prints where each value came from.\n\n{}",
        exit::TABLE
    )
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// How results are printed.
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Output")]
    pub output: Format,
    /// How times are shown in tables.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "STYLE", help_heading = "Output")]
    pub time: TimeStyle,
    /// Colours: auto, always or never. NO_COLOR is honoured.
    #[arg(long, global = true, value_enum, value_name = "WHEN", help_heading = "Output")]
    pub color: Option<Color>,
    /// Folder for everything the embedded parts keep.
    #[arg(long, global = true, value_name = "DIR", help_heading = "Configuration")]
    pub data_dir: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<PathBuf>,
    /// Read no configuration file.
    #[arg(long, global = true, conflicts_with = "config", help_heading = "Configuration")]
    pub no_config: bool,
    /// Set one configuration key, such as relay.batch=64. May be given several times.
    #[arg(long, global = true, value_name = "KEY=VALUE", help_heading = "Configuration")]
    pub set: Vec<String>,
    /// Address of the running instance, such as http://127.0.0.1:4500. Otherwise TIDEWIRE_URL, else the
    /// instance on the data directory, else the data directory itself.
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    pub url: Option<String>,
    /// Longest wait for an answer.
    #[arg(long, global = true, value_parser = span, default_value = "30s", value_name = "TIME", help_heading = "Connection")]
    pub timeout: Duration,
}

fn span(text: &str) -> Result<Duration, String> {
    tidewire::config::parse_span(text).map_err(|error| error.to_string())
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Also into files and pipes.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run every role in one process.
    Up(UpArgs),
    /// Run everything with real traffic: follows, tracked activity and documents.
    Demo(DemoArgs),
    /// Run some roles only, on shared backends.
    Run(RunArgs),
    /// Show how the instance is doing.
    #[command(after_long_help = "Example:\n  tidewire status\n  tidewire status -o json | jq .log.head")]
    Status,
    /// Look for what is wrong, and say what to do about it.
    #[command(
        long_about = "Look for what is wrong before somebody is hurt by it: each rule stands for a failure that people have met. \
                      Ends with 6 when something was found.",
        after_long_help = "Example:\n  tidewire doctor\n  tidewire doctor -o json | jq .items"
    )]
    Doctor,
    /// Explain an error code: its cause and its cure.
    #[command(
        after_long_help = "Example:\n  tidewire explain saga.stuck\n  tidewire explain -o name        every code"
    )]
    Explain {
        /// The code, such as saga.stuck. Without one, every code is listed.
        code: Option<String>,
    },
    /// Look at events in the log.
    #[command(subcommand, after_long_help = "Example:\n  tidewire events list --type user.followed --limit 5")]
    Events(EventsCommand),
    /// Look at consumers: who handles what, and how far behind; pause and resume them.
    #[command(subcommand, after_long_help = "Example:\n  tidewire consumers list")]
    Consumers(ConsumersCommand),
    /// Look at parked events; redrive, edit or drop them.
    #[command(subcommand, after_long_help = "Example:\n  tidewire parked groups")]
    Parked(ParkedCommand),
    /// Look at what was asked to be done outside, and retry what was given up.
    #[command(subcommand, after_long_help = "Example:\n  tidewire effects list --state failed")]
    Effects(EffectsCommand),
    /// Look at sagas, start and signal them, and repair those that are stuck.
    #[command(subcommand, after_long_help = "Example:\n  tidewire sagas list --status stuck")]
    Sagas(SagasCommand),
    /// Replay events: to a consumer, under another name, into a file or another domain of the broker.
    #[command(subcommand, after_long_help = "Example:\n  tidewire replay plan --target file --from 1h")]
    Replay(ReplayCommand),
    /// Look at projections and build them anew.
    #[command(subcommand, after_long_help = "Example:\n  tidewire projections list")]
    Projections(ProjectionsCommand),
    /// Look at the log: its size, and whether everything in it has arrived.
    #[command(subcommand, after_long_help = "Example:\n  tidewire log verify")]
    Log(LogCommand),
    /// Turn rows of an old system into events: resumable, and as often as one likes.
    Import(ImportArgs),
    /// Compare rows of an old system with a projection, key by key.
    Verify(VerifyArgs),
    /// Look at the contracts: event types, their versions, and what a change would break.
    #[command(subcommand, after_long_help = "Example:\n  tidewire schemas check --against git:main")]
    Schemas(SchemasCommand),
    /// Have events sent to HTTP endpoints: signed, in order per key, until they arrive.
    #[command(subcommand, after_long_help = "Example:\n  tidewire subscriptions list")]
    Subscriptions(SubscriptionsCommand),
    /// Make, rotate and revoke API keys.
    #[command(subcommand, after_long_help = "Example:\n  tidewire keys list")]
    Keys(KeysCommand),
    /// Look at the configuration.
    #[command(subcommand, after_long_help = "Example:\n  tidewire config show -o wide")]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    #[command(
        after_long_help = "Example:\n  tidewire completions bash > ~/.local/share/bash-completion/completions/tidewire"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages.
    #[command(after_long_help = "Example:\n  tidewire man ~/.local/share/man/man1\n  tidewire man | man -l -")]
    Man {
        /// Folder for one page per command. Without one, the main page goes to standard output.
        dir: Option<PathBuf>,
    },
    /// Extract the text of one document from standard input, in a process of its own.
    #[command(name = EXTRACT_CHILD, hide = true)]
    ExtractChild,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn each(command: &mut clap::Command, path: &str, look: &mut impl FnMut(&str, &mut clap::Command)) {
        look(path, command);
        for child in command.get_subcommands_mut().filter(|child| !child.is_hide_set() && child.get_name() != "help") {
            let path = format!("{path} {}", child.get_name());
            each(child, &path, look);
        }
    }

    #[test]
    fn the_tree_is_sound_and_every_long_help_has_an_example() {
        Cli::command().debug_assert();
        let mut looked_at = 0;
        let mut root = Cli::command();
        root.build();
        each(&mut root, "tidewire", &mut |path, command| {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example:\n  tidewire"), "{path} has no example");
            assert!(command.get_about().is_some(), "{path} does not say what it does");
            looked_at += 1;
        });
        assert!(looked_at > 20, "{looked_at}");
    }

    /// As a shell takes them apart, up to a pipe or a file.
    fn shell_words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for letter in line.chars().chain([' ']) {
            match (letter, quote) {
                (letter, Some(open)) if letter == open => quote = None,
                ('\'' | '"', None) => quote = Some(letter),
                ('|' | '>', None) => break,
                (' ', None) => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
                (letter, _) => word.push(letter),
            }
        }
        words
    }

    /// Examples that do not parse are worse than none.
    #[test]
    fn every_example_parses() {
        let mut parsed = 0;
        // A wrapped example would be two halves.
        let mut root = Cli::command().term_width(0);
        root.build();
        each(&mut root, "tidewire", &mut |path, command| {
            let help = command.render_long_help().to_string();
            for line in help.lines().filter_map(|line| line.strip_prefix("  tidewire ")) {
                let line = line.split("    ").next().unwrap_or(line);
                let words = std::iter::once("tidewire".to_owned()).chain(shell_words(line));
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{path}: `tidewire {line}`: {error}");
                }
                parsed += 1;
            }
        });
        assert!(parsed > 25, "{parsed}");
    }
}
