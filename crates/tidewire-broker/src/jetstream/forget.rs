//! Ending a group for good.

use tidewire_core::BrokerError;

use super::roll::Roll;
use super::{Shared, keeper};

/// Takes a group's place off the board and its consumers off the server, unless a process that lives has members in it.
pub(super) async fn forget(shared: &Shared, group: &str) -> Result<(), BrokerError> {
    let key = keeper::key(group);
    let Some(noted) = shared.board.get(&key).await?.filter(|noted| !noted.value.is_empty()) else { return Ok(()) };
    let roll: Roll = serde_json::from_slice(&noted.value)
        .map_err(|error| BrokerError::Corrupt(format!("the seats of `{group}` cannot be read: {error}")))?;
    for member in &roll.members {
        let is_here = *member == shared.nodes.id;
        if is_here || !shared.nodes.is_dead(member).await? {
            return Err(BrokerError::Unavailable(format!("the group `{group}` has members")));
        }
    }
    // Empty is as good as not there, and nobody who joins meanwhile is overlooked.
    if shared.board.change(&key, Vec::new(), noted.revision).await?.is_none() {
        return Err(BrokerError::Unavailable(format!("the group `{group}` is just being joined")));
    }
    for reader in roll.readers() {
        shared.api.delete_consumer(&shared.stream, &reader).await.map_err(BrokerError::from)?;
    }
    Ok(())
}
