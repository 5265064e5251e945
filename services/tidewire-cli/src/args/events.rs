//! `events lint` and `events emit`.

use std::path::PathBuf;

use clap::Args;

/// `events lint`.
#[derive(Debug, Args)]
#[command(
    long_about = "Read events in the CloudEvents JSON format and name everything that is wrong with them, with its position and what \
                  to do about it. The input is one event, a batch, or events one after the other (JSON lines). Problems are \
                  what no reader may accept; deviations are what tolerant readers accept and strict ones refuse; rules are what \
                  this house asks for beyond CloudEvents. Ends with 5 when any event is invalid, with 6 when there are only \
                  deviations. Nothing is sent, and no instance is asked.",
    after_long_help = "Example:\n  tidewire events lint event.json\n  tidewire events list -o json | tidewire events lint --cloudevents -o json\n  tidewire events lint - --cloudevents"
)]
pub struct Lint {
    /// A file, or `-` for standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// Only the rules of CloudEvents, not those of this house: types without a version, long keys.
    #[arg(long)]
    pub cloudevents: bool,
}

/// `events emit`.
#[derive(Debug, Args)]
#[command(
    long_about = "Emit one event, exactly as POST /v1/events takes it from any service: checked against its schema, durable when the \
                  command ends. The data is sent byte for byte. The same --id and --source again is a duplicate, and does nothing.",
    after_long_help = "Example:\n  tidewire events emit user.followed '{}' --dry-run\n  tidewire events emit order.placed.v1 --key order/7 --file order.json\n  tidewire events emit order.placed.v1 --key order/7 --file - --source /shop --id 7-placed --attribute tenant=a"
)]
pub struct Emit {
    /// The type: user.followed.v1, or without its version for the newest one this build has.
    #[arg(value_name = "TYPE")]
    pub ty: String,
    /// The data, which is JSON unless --content-type says otherwise.
    #[arg(value_name = "DATA", conflicts_with = "file")]
    pub data: Option<String>,
    /// Take the data from a file, or with `-` from standard input.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The key, such as order/7. It may be left out where the data gives it.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Who emits it. Credentials that have a source of their own emit as that one only.
    #[arg(long, value_name = "URI", default_value = "/tidewire-cli")]
    pub source: String,
    /// Its id. A new one unless given.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// What it happened to, where that is narrower than the key.
    #[arg(long, value_name = "TEXT")]
    pub subject: Option<String>,
    /// The media type of the data.
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    pub content_type: String,
    /// One more attribute. May be given several times.
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    pub attributes: Vec<String>,
    /// Only check it, and print what would be sent.
    #[arg(long)]
    pub dry_run: bool,
}
