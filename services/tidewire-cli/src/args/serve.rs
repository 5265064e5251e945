//! Commands that run services.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `up`.
#[derive(Debug, Args)]
#[command(
    long_about = "Run every role in one process: gateway, outbox-publisher, saga-orchestrator and all services. \
                  With nothing configured, everything is kept under ./tidewire-data.\n\n\
                  SIGTERM or Ctrl-C finishes what has begun (at most shutdown.deadline); a second one ends at once. \
                  Nothing is lost either way.",
    after_long_help = "Example:\n  tidewire up\n  tidewire up --data-dir /var/lib/tidewire --listen 127.0.0.1:8080\n  tidewire up --without enrichment     a service of yours takes its place"
)]
pub struct UpArgs {
    /// Roles that this process leaves to somebody else, such as a service that takes a step of a saga in its place.
    #[arg(long, value_enum, value_name = "ROLE", value_delimiter = ',')]
    pub without: Vec<Role>,
    /// Address of the HTTP surface; port 0 takes a free one and prints it.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
}

/// `run`.
#[derive(Debug, Args)]
#[command(
    long_about = "Run some roles only. Roles in several processes need backends that processes can share: \
                  PostgreSQL for the log, JetStream or Kafka for the broker. The embedded ones belong to one process, \
                  so on them all roles you need must be named in one `run`, or use `up`.\n\n\
                  Kept on the machine also on shared backends: the search index, by the one process that runs \
                  documents, and the bytes of documents unless objects.url names a folder that all share.",
    after_long_help = "Example:\n  tidewire run gateway documents\n  tidewire run outbox-publisher saga-orchestrator\n  tidewire run gateway social documents --data-dir ./tidewire-data"
)]
pub struct RunArgs {
    /// The roles.
    #[arg(required = true, value_enum, value_name = "ROLE")]
    pub roles: Vec<Role>,
    /// Address of the HTTP surface; port 0 takes a free one and prints it.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
}

/// A part of the whole that can run in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// The HTTP surface.
    Gateway,
    /// The relay from the log to the broker.
    OutboxPublisher,
    /// The sagas and their timers.
    SagaOrchestrator,
    /// Users and follows.
    Social,
    /// Extract, store, index and search documents.
    Documents,
    /// In-app, mail and webhook notifications.
    Notifications,
    /// Language, keywords, entities, near-duplicates.
    Enrichment,
    /// Activity tracking and counts.
    Analytics,
    /// The operators' pages, and the part of the HTTP surface they need.
    Console,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 9] = [
        Self::Gateway,
        Self::OutboxPublisher,
        Self::SagaOrchestrator,
        Self::Social,
        Self::Documents,
        Self::Notifications,
        Self::Enrichment,
        Self::Analytics,
        Self::Console,
    ];

    /// Its name on the command line, which is its service's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::OutboxPublisher => "outbox-publisher",
            Self::SagaOrchestrator => "saga-orchestrator",
            Self::Social => "social",
            Self::Documents => "documents",
            Self::Notifications => "notifications",
            Self::Enrichment => "enrichment",
            Self::Analytics => "analytics",
            Self::Console => "console",
        }
    }

    /// Whether commands of operators are answered where it runs.
    pub fn answers_operators(self) -> bool {
        matches!(self, Self::Gateway | Self::Console)
    }
}

/// `demo`.
#[derive(Debug, Args)]
#[command(
    long_about = "Run everything in this process and send real traffic through the HTTP surface: 50 users, 200 follows, \
                  1,000 tracked activities, and the documents under PATH… (by default this repository's own). Waits until \
                  every saga has ended and every consumer has caught up, looks up every event in the log, on the broker and \
                  in each consumer's inbox, prints a summary, and stays up.\n\n\
                  Takes .pdf, .html, .htm, .xhtml, .md, .markdown and .txt; other files are counted by type, hidden ones \
                  are left alone. Without --data-dir everything is kept in a temporary folder and removed at the end; on PostgreSQL \
                  and JetStream or Kafka, what the servers hold stays there, and the bytes of documents in data_dir.\n\n\
                  Ends with 6 when an event was lost.",
    after_long_help = "Example:\n  tidewire demo\n  tidewire demo ~/Documents --exit\n  tidewire demo --exit -o json\n  tidewire demo /usr/share/doc --data-dir ./tidewire-data --listen 127.0.0.1:4500"
)]
pub struct DemoArgs {
    /// Documents, or folders of documents.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// End after the summary instead of staying up.
    #[arg(long)]
    pub exit: bool,
    /// Address of the HTTP surface; by default a free port on loopback.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_called_on_the_command_line_as_its_service_is() {
        assert_eq!(Role::ALL.len(), Role::value_variants().len());
        for role in Role::ALL {
            assert_eq!(role.to_possible_value().map(|value| value.get_name().to_owned()), Some(role.name().to_owned()));
        }
    }
}
