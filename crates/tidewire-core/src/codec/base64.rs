//! Binary data in JSON.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::deviation::Departure;

const STRICT: GeneralPurpose = base64::engine::general_purpose::STANDARD;
const EITHER: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const UNPADDED: GeneralPurpose = GeneralPurpose::new(&STANDARD, EITHER);
const URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, EITHER);

pub(super) fn encode(bytes: &[u8]) -> String {
    STRICT.encode(bytes)
}

/// Reads `text`, and says in what it departs from the standard alphabet, padded and in one piece. `None` for what is no
/// base64 in any of its forms.
pub(super) fn decode(text: &str) -> Option<(Vec<u8>, Vec<Departure>)> {
    if let Ok(bytes) = STRICT.decode(text) {
        return Some((bytes, Vec::new()));
    }
    let mut departures = Vec::new();
    let joined: String = text.split_ascii_whitespace().collect();
    if joined.len() != text.len() {
        departures.push(Departure::Base64Whitespace);
    }
    let is_url = joined.contains(['-', '_']);
    if is_url {
        departures.push(Departure::Base64Url);
    }
    if !joined.len().is_multiple_of(4) {
        departures.push(Departure::Base64Unpadded);
    }
    let bytes = if is_url { URL.decode(&joined) } else { UNPADDED.decode(&joined) };
    bytes.ok().map(|bytes| (bytes, departures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_named() {
        let read = |text: &str| decode(text);
        assert_eq!(read("/+8="), Some((vec![0xff, 0xef], vec![])));
        assert_eq!(read("_-8="), Some((vec![0xff, 0xef], vec![Departure::Base64Url])));
        assert_eq!(read("/+8"), Some((vec![0xff, 0xef], vec![Departure::Base64Unpadded])));
        assert_eq!(read("/+\r\n8="), Some((vec![0xff, 0xef], vec![Departure::Base64Whitespace])));
        assert_eq!(read(""), Some((vec![], vec![])));
        for bad in ["/-8=", "é", "/+8=/+8=", "a", "/+9=", "{}"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
