//! `schemas`: the contracts.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use tidewire::contract::Mode;

/// `schemas`.
#[derive(Debug, Subcommand)]
pub enum SchemasCommand {
    /// List every event type with its versions.
    #[command(
        after_long_help = "Example:\n  tidewire schemas list\n  tidewire schemas list --catalogue schemas -o name"
    )]
    List {
        /// The catalogue: a folder, git:REVISION[:FOLDER] or a URL. Without it, the one of this build.
        #[arg(long, value_name = "SOURCE")]
        catalogue: Option<String>,
    },
    /// Compare the catalogue with a published one, and name everything that breaks. Exit code 6 with findings.
    #[command(
        after_long_help = "Example:\n  tidewire schemas check --against git:main\n  tidewire schemas check --against https://events.example.org/schemas --mode full_transitive\n  tidewire schemas check --catalogue ./schemas --against ../published/schemas\n  tidewire schemas check --against log       can this build read everything that is stored?"
    )]
    Check {
        /// What was published: a folder, git:REVISION[:FOLDER], a URL that serves it, or `log` for what is stored.
        #[arg(long, value_name = "SOURCE", default_value = "git:HEAD")]
        against: String,
        /// The new catalogue: a folder, git:REVISION[:FOLDER] or a URL. Without it, the one of this build.
        #[arg(long, value_name = "SOURCE")]
        catalogue: Option<String>,
        /// Who must understand whom: none, backward, backward_transitive, forward, forward_transitive, full, full_transitive.
        #[arg(long, value_name = "MODE", default_value_t)]
        mode: Mode,
    },
    /// Show what a reader of one version does not understand of another.
    #[command(after_long_help = "Example:\n  tidewire schemas diff activity.tracked 1 2")]
    Diff {
        /// The type, without a version.
        name: String,
        /// The older version.
        from: u16,
        /// The newer version.
        to: u16,
        /// The catalogue: a folder, git:REVISION[:FOLDER] or a URL. Without it, the one of this build.
        #[arg(long, value_name = "SOURCE")]
        catalogue: Option<String>,
    },
    /// Write the catalogue for other tools.
    #[command(
        after_long_help = "Example:\n  tidewire schemas export --format asyncapi > asyncapi.json\n  tidewire schemas export --format eventcatalog ./catalog"
    )]
    Export {
        /// Which tools.
        #[arg(long, value_enum, default_value_t)]
        format: ExportFormat,
        /// Folder to write to. Without one, a format of a single document goes to standard output.
        folder: Option<PathBuf>,
    },
}

/// What a catalogue can be exported as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// An AsyncAPI 3.0 document.
    #[default]
    Asyncapi,
    /// An xRegistry 1.0 document of schemas and messages.
    Xregistry,
    /// The folders of EventCatalog: a page and a schema per event.
    Eventcatalog,
    /// The JSON Schemas alone: `<type>/v<N>.json`.
    Schemas,
}
