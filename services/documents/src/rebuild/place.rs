use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire::commit::ExpectDocument;
use tidewire::{Commit, DocumentWrite, Ports, StoreError};

/// Where the place reached is kept.
pub(super) const COLLECTION: &str = "index_rebuild";
pub(super) const ID: &str = "state";

/// How far a rebuild has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The rebuild, as the index knows it.
    pub(super) rebuild: String,
    /// The last line of the listing that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
    /// How many lines that were.
    pub(super) looked_at: u64,
}

impl Place {
    pub(super) fn start(rebuild: String) -> Self {
        Self { rebuild, after: None, looked_at: 0 }
    }

    pub(super) fn step(&mut self, line: String) {
        self.after = Some(line);
        self.looked_at += 1;
    }

    /// The place that this rebuild has reached, if it is known.
    pub(super) async fn load(ports: &Ports, rebuild: &str) -> Result<Option<Self>, StoreError> {
        let found = ports.store.documents(COLLECTION, &[ID.to_owned()]).await?.into_iter().next().flatten();
        let place: Option<Self> = found.and_then(|found| serde_json::from_slice(&found.value).ok());
        Ok(place.filter(|place| place.rebuild == rebuild))
    }

    pub(super) async fn save(&self, ports: &Ports) -> Result<(), StoreError> {
        let json = serde_json::to_vec(self).map_err(|error| StoreError::Invalid(error.to_string()))?;
        write(ports, Some(json.into())).await
    }

    pub(super) async fn remove(ports: &Ports) -> Result<(), StoreError> {
        write(ports, None).await
    }
}

async fn write(ports: &Ports, value: Option<Bytes>) -> Result<(), StoreError> {
    let write = DocumentWrite { collection: COLLECTION.into(), id: ID.into(), expect: ExpectDocument::Any, value };
    ports.store.commit(Commit { documents: vec![write], ..Commit::default() }).await?;
    Ok(())
}
