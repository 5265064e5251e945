//! How far behind groups are, by what the server says of their consumers and members of themselves.

use std::sync::Arc;

use futures::future::try_join_all;
use tidewire_core::BrokerError;
use tidewire_core::broker::Lag;

use super::node::Presence;
use super::roll::Roll;
use super::{Shared, keeper, unpoisoned};

/// Every group there is.
pub(super) async fn all(shared: &Arc<Shared>) -> Result<Vec<Lag>, BrokerError> {
    let keys = shared.board.keys(keeper::KEYS).await?;
    let lags = try_join_all(keys.iter().map(|key| one(shared, key))).await?;
    let mut lags: Vec<Lag> = lags.into_iter().flatten().collect();
    lags.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(lags)
}

async fn one(shared: &Arc<Shared>, key: &str) -> Result<Option<Lag>, BrokerError> {
    let noted = shared.board.get(key).await?.filter(|noted| !noted.value.is_empty());
    let Some(roll) = noted.and_then(|noted| serde_json::from_slice::<Roll>(&noted.value).ok()) else { return Ok(None) };
    let pending = async {
        let readers = roll.readers();
        let infos = readers.iter().map(|reader| shared.api.consumer(&shared.stream, reader));
        let infos = try_join_all(infos).await.map_err(BrokerError::from)?;
        Ok::<u64, BrokerError>(infos.into_iter().flatten().map(|info| info.num_pending + info.num_ack_pending).sum())
    };
    let others = async {
        let others = roll.members.iter().filter(|member| **member != shared.nodes.id);
        try_join_all(others.map(|member| shared.nodes.presence(member, &roll.group))).await
    };
    let (pending, others) = futures::future::try_join(pending, others).await?;
    let here = unpoisoned(&shared.groups).get(&roll.group).cloned();
    let here = here.map(|group| group.state().presence()).unwrap_or_default();
    let mut sum = here;
    for Presence { members, in_flight, retrying } in others {
        sum.members += members;
        sum.in_flight += in_flight;
        sum.retrying += retrying;
    }
    let Presence { members, in_flight, retrying } = sum;
    Ok(Some(Lag { group: roll.group, pending, in_flight, retrying, members }))
}
