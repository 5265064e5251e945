//! What an event looks like on the way: the same bytes on every backend.

use sha2::{Digest, Sha256};
use tidewire_core::{BrokerError, Envelope, codec};

/// An event ready to be stored or sent.
pub struct Encoded {
    /// CloudEvents JSON.
    pub json: Vec<u8>,
    /// Its identity.
    pub mark: Mark,
}

/// The identity of an event, (source, id), in 16 bytes: 128 bits of SHA-256, so that nobody can make another
/// event look like one that is already there.
pub type Mark = [u8; 16];

/// The identity of what has this `source` and `id`.
pub fn mark(source: &str, id: &str) -> Mark {
    let mut digest = Sha256::new();
    digest.update((source.len() as u64).to_le_bytes());
    digest.update(source);
    digest.update(id);
    let mut mark = Mark::default();
    mark.copy_from_slice(&digest.finalize()[..16]);
    mark
}

/// Encodes an event of at most `limit` bytes; [`BrokerError::TooLarge`] beyond.
pub fn encode(envelope: &Envelope, limit: usize) -> Result<Encoded, BrokerError> {
    // Data is the only part that can be large: an absurd one is refused before it is copied.
    let data = envelope.data.as_ref().map_or(0, |data| data.len());
    if data > limit {
        return Err(BrokerError::TooLarge { size: data, limit });
    }
    let json = codec::json::write_trusted(envelope);
    if json.len() > limit {
        return Err(BrokerError::TooLarge { size: json.len(), limit });
    }
    Ok(Encoded { json, mark: mark(&envelope.source, &envelope.id) })
}

/// Reads what [`encode`] wrote and a checksum vouched for.
pub fn decode(json: &[u8]) -> Result<Envelope, String> {
    Envelope::from_trusted_json(json).map_err(|error| error.to_string())
}

/// The checksum of a stored event: over its bytes and its identity.
pub fn checksum(json: &[u8], mark: &Mark) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(json), mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_of_source_and_id_together() {
        assert_ne!(mark("/a", "bc"), mark("/ab", "c"));
        assert_eq!(mark("/a", "b"), mark("/a", "b"));
    }
}
