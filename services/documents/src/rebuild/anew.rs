//! `documents.search`: the search index as a projection that is rebuilt beside the live one.

use std::sync::Arc;

use tidewire::objects::Objects;
use tidewire::replay::{Compared, Difference, Elsewhere};
use tidewire::{HandlerError, Ports, async_trait};
use tokio_util::sync::CancellationToken;

use super::Rebuild;
use crate::index::{Coverage, Index, IndexError, differing};
use crate::live::Live;
use crate::parts::index_error;

/// Its name among projections.
pub const NAME: &str = "documents.search";
/// Differing documents named.
const NAMED: usize = 20;

/// The search index as a projection.
pub struct Search {
    /// Where the streams of documents are.
    pub ports: Ports,
    /// Where their texts are.
    pub objects: Objects,
    /// What is rebuilt.
    pub live: Live,
}

#[async_trait]
impl Elsewhere for Search {
    fn name(&self) -> &str {
        NAME
    }

    async fn rows(&self) -> Result<u64, HandlerError> {
        Ok(self.live.index().await.holdings().await.map_err(index_error)?.len() as u64)
    }

    async fn rebuild(&self, only_if_equal: bool, stop: &CancellationToken) -> Result<Compared, HandlerError> {
        if self.live.index().await.coverage() != Coverage::Whole {
            return Err(HandlerError::transient("the live index is being filled; that goes first"));
        }
        let beside = self.live.begin().await.map_err(index_error)?;
        let rebuilt = self.fill(beside, only_if_equal, stop).await;
        if rebuilt.is_err() {
            self.live.give_up().await;
        }
        rebuilt
    }
}

impl Search {
    async fn fill(
        &self,
        beside: Arc<Index>,
        only_if_equal: bool,
        stop: &CancellationToken,
    ) -> Result<Compared, HandlerError> {
        let rebuild = Rebuild::new(self.ports.clone(), self.objects.clone(), beside.clone());
        rebuild.run(stop).await;
        if beside.coverage() != Coverage::Whole {
            return Err(HandlerError::transient("the new index is not whole"));
        }
        // What was on its way when it began: put into the live one before, and not yet told of when its turn came.
        let live = self.live.index().await;
        let both = (live.holdings().await.map_err(index_error)?, beside.holdings().await.map_err(index_error)?);
        for (id, _) in differing(&both.0, &both.1) {
            rebuild.again(&id).await.map_err(HandlerError::transient)?;
        }
        self.live.swap(|live, beside| agree(live, beside, only_if_equal)).await.map_err(index_error)
    }
}

/// Compares both, and says whether the new one may take the live one's place.
async fn agree(live: Arc<Index>, beside: Arc<Index>, only_if_equal: bool) -> Result<(bool, Compared), IndexError> {
    let (live, new) = (live.holdings().await?, beside.holdings().await?);
    let found = differing(&live, &new);
    let compared = Compared {
        rows: live.len().max(new.len()) as u64,
        differing: found.len() as u64,
        first: found
            .iter()
            .take(NAMED)
            .map(|(id, what)| Difference { collection: NAME.into(), id: id.clone(), what: (*what).into() })
            .collect(),
        held: 0.0,
    };
    Ok((found.is_empty() || !only_if_equal, compared))
}
