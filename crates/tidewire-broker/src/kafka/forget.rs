//! Ending a group for good.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use tidewire_core::BrokerError;

use super::context::Quiet;
use super::error::{from_code, from_kafka};
use super::options::KafkaOptions;

/// How long the cluster may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Deletes the consumer group of a group, with the offsets it keeps; refused by the cluster while it has members.
pub(super) async fn forget(options: &KafkaOptions, group: &str) -> Result<(), BrokerError> {
    let admin: AdminClient<Quiet> = AdminClient::from_config_and_context(&options.reader(), Quiet)
        .map_err(|error| from_kafka("opening", &error))?;
    let id = options.group_id(group);
    let asked = AdminOptions::new().request_timeout(Some(PATIENCE));
    let answers = admin.delete_groups(&[&id], &asked).await;
    let answers = answers.map_err(|error| from_kafka("deleting a group", &error))?;
    match answers.into_iter().next() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound))) => Ok(()),
        Some(Err((_, code))) => Err(from_code("deleting a group", code)),
    }
}
