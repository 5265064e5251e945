//! `import` and `verify`: out of a monolith.

use std::path::PathBuf;

use clap::Args;

use super::operate::Consent;

/// The most events per second that can be asked for: beyond it there is no pace to keep.
const MAX_RATE: u64 = 1_000_000;

/// `import`.
#[derive(Debug, Args)]
#[command(
    long_about = "Turn rows of an old system (a PostgreSQL or SQLite query, or a CSV file) into events, as a mapping file says. The ids of \
                  the events are made of the rows, so a row that is imported twice is recognised; and how far the import has \
                  come is kept beside the mapping file, so that it goes on there after a crash, and later takes only what is new.\n\n\
                  TIDEWIRE_LEGACY_URL, or the file that TIDEWIRE_LEGACY_URL_FILE names, says where the old system is without \
                  writing its password into the mapping. A row that is refused ends the import, unless --refused names a file for such rows.",
    after_long_help = "Example:\n  tidewire import users.toml --dry-run\n  tidewire import users.toml --yes --rate 2000 --refused refused.jsonl\n\n\
                       A mapping:\n  from = \"postgres://reader@db/shop\"\n  query = \"select id, name, email, created_at from users\"\n  order = \"id\"\n  \
                       source = \"/legacy\"\n\n  [[event]]\n  type = \"user.registered.v1\"\n  id = \"users/{id}\"\n  time = \"{created_at}\"\n  \
                       data = { user_id = \"{id:text}\", name = \"{name}\", email = \"{email}\" }"
)]
pub struct ImportArgs {
    /// The mapping file.
    #[arg(value_name = "MAPPING")]
    pub mapping: PathBuf,
    /// At most so many events per second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_RATE))]
    pub rate: Option<u64>,
    /// Write rows that are refused into this file, one JSON object per line, and go on.
    #[arg(long, value_name = "FILE")]
    pub refused: Option<PathBuf>,
    /// Read every row again.
    #[arg(long)]
    pub restart: bool,
    /// What guards against importing by mistake.
    #[command(flatten)]
    pub consent: Consent,
}

/// `verify`.
#[derive(Debug, Args)]
#[command(
    long_about = "Compare rows of an old system with a projection while both are written: counts, a hash over all rows of each side, the \
                  share that is equal, and every key that differs, with both values. The mapping file's [verify] names the \
                  collection, the id and the members to compare. Ends with 6 when anything differs; what is still on its way \
                  differs too, so ask again once everything has settled.",
    after_long_help = "Example:\n  tidewire verify users.toml\n  tidewire verify users.toml -o json | jq .percent\n\n\
                       In the mapping:\n  [verify]\n  collection = \"user\"\n  id = \"{id:text}\"\n  row = { name = \"{name}\", email = \"{email}\" }"
)]
pub struct VerifyArgs {
    /// The mapping file.
    #[arg(value_name = "MAPPING")]
    pub mapping: PathBuf,
}
