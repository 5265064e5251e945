//! `keys`: who may do what.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::Consent;

/// `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List API keys. Secrets are not kept and cannot be shown.
    #[command(after_long_help = "Example:\n  tidewire keys list -o wide")]
    List,
    /// Make an API key. It is shown once.
    #[command(
        after_long_help = "Example:\n  tidewire keys create --name admin --scopes '*'\n  tidewire keys create --name billing --scopes emit:invoice.* --source /billing --expires 90d\n  tidewire keys create --name dashboard --scopes observe,read -o name\n\nScopes: emit, events (both also for some types: emit:user.*), write, read, observe, operate, subscribe, keys, * for all."
    )]
    Create(NewKeyArgs),
    /// Give a key a new secret, which is shown once. The old one stops working within seconds.
    #[command(after_long_help = "Example:\n  tidewire keys rotate Hs0TyBzQ3kVn")]
    Rotate {
        /// Its id, from `keys list`.
        id: String,
    },
    /// Take a key back. It stays listed.
    #[command(after_long_help = "Example:\n  tidewire keys revoke Hs0TyBzQ3kVn --yes")]
    Revoke {
        /// Its id, from `keys list`.
        id: String,
        /// Whether it was meant.
        #[command(flatten)]
        consent: Consent,
    },
}

/// What a key is made for.
#[derive(Debug, Args)]
pub struct NewKeyArgs {
    /// Whose it is, for people.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// What it allows, between spaces or commas.
    #[arg(long, value_name = "SCOPES")]
    pub scopes: String,
    /// The `source` of what it emits, such as /billing. Without it any source is taken.
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<String>,
    /// How long it is good for, such as 90d. Without it until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = super::span)]
    pub expires: Option<Duration>,
}
