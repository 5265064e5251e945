//! Near-duplicates: documents whose fingerprints differ in a few bits.
//!
//! Two near fingerprints share at least one band, so candidates are found by looking each band up: one row per
//! band and document, in `enrichment_band`, with ids `<workspace>/<band>/<document>`.

use serde::{Deserialize, Serialize};
use tidewire::{Context, HandlerError};

use crate::analysis::{Fingerprint, NEAR_DISTANCE, bands, hamming};

const BANDS: &str = "enrichment_band";
/// Candidates looked at per band: the most alike are in other bands as well, and a band with more is noise
/// such as empty forms.
const MAX_CANDIDATES: usize = 200;
/// Near-duplicates named per document, nearest first.
const MAX_NAMED: usize = 20;

/// What a band row says.
#[derive(Serialize, Deserialize)]
struct Row {
    fingerprint: Fingerprint,
}

/// A document that is nearly the same.
pub struct Near {
    /// Which.
    pub document: String,
    /// How much of the fingerprint agrees, 0 to 1.
    pub similarity: f64,
}

/// The documents of `workspace` that are nearly the same as one with this fingerprint, nearest first.
pub async fn find(
    workspace: &str,
    document: &str,
    fingerprint: Fingerprint,
    cx: &mut Context<'_>,
) -> Result<Vec<Near>, HandlerError> {
    let mut found: Vec<(u32, String)> = Vec::new();
    for band in bands(fingerprint) {
        let prefix = format!("{workspace}/{band}/");
        for (id, row) in cx.list::<Row>(BANDS, &prefix, MAX_CANDIDATES).await? {
            let other = &id[prefix.len()..];
            let distance = hamming(fingerprint, row.fingerprint);
            if other != document && distance <= NEAR_DISTANCE && !found.iter().any(|(_, known)| known == other) {
                found.push((distance, other.to_owned()));
            }
        }
    }
    found.sort();
    found.truncate(MAX_NAMED);
    let similarity = |distance: u32| 1.0 - f64::from(distance) / 64.0;
    Ok(found.into_iter().map(|(distance, document)| Near { document, similarity: similarity(distance) }).collect())
}

/// Makes a document findable for those that come after it.
pub fn remember(
    workspace: &str,
    document: &str,
    fingerprint: Fingerprint,
    cx: &mut Context<'_>,
) -> Result<(), HandlerError> {
    for band in bands(fingerprint) {
        cx.put(BANDS, &format!("{workspace}/{band}/{document}"), &Row { fingerprint })?;
    }
    Ok(())
}

/// Takes that back.
pub fn forget(workspace: &str, document: &str, fingerprint: Fingerprint, cx: &mut Context<'_>) {
    for band in bands(fingerprint) {
        cx.remove(BANDS, &format!("{workspace}/{band}/{document}"));
    }
}
