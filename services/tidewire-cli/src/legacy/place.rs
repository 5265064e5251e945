//! How far an import has come, kept beside its mapping file.

use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::mapping::Mapping;
use crate::failure::Failure;

/// How far an import has come. It is written after the events of its rows are in the log, so that after a crash some rows
/// are read twice, and recognised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The mapping it belongs to.
    pub digest: String,
    /// The last row's value in the column that orders them, or its number in a file.
    pub after: Value,
    /// Rows read so far.
    pub rows: u64,
    /// Events taken so far.
    pub events: u64,
}

fn file(mapping: &Mapping) -> PathBuf {
    let mut name = mapping.path.clone().into_os_string();
    name.push(".place");
    name.into()
}

impl Place {
    /// Where the last run of this mapping ended, or its beginning.
    pub fn load(mapping: &Mapping, restart: bool) -> Result<Self, Failure> {
        let fresh = Self { digest: mapping.digest.clone(), ..Self::default() };
        let path = file(mapping);
        let text = match std::fs::read(&path) {
            Ok(text) if !restart => text,
            Ok(_) => return Ok(fresh),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(fresh),
            Err(error) => return Err(super::mapping(format!("{}: {error}", path.display()))),
        };
        let place: Self = serde_json::from_slice(&text)
            .map_err(|error| super::mapping(format!("{}: {error}", path.display())).hint("--restart begins anew"))?;
        if place.digest != mapping.digest {
            let message = format!("{} says other things than when the import began", mapping.path.display());
            return Err(super::mapping(message)
                .hint("--restart reads every row again; rows whose ids are made as before are recognised"));
        }
        Ok(place)
    }

    /// Keeps it: whole, or as it was.
    pub fn keep(&self, mapping: &Mapping) -> Result<(), Failure> {
        let path = file(mapping);
        let failed = |error: std::io::Error| super::mapping(format!("{} cannot be written: {error}", path.display()));
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
        let mut new = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
        new.write_all(&serde_json::to_vec(self).unwrap_or_default()).map_err(failed)?;
        new.as_file().sync_data().map_err(failed)?;
        new.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}
