//! What can be told from a text alone. All functions here are pure, take linear time, and give the same
//! answer for the same text on every machine.

mod entities;
mod fingerprint;
mod keywords;
mod language;
mod words;

use serde::{Deserialize, Serialize};

pub use entities::{Amount, DateMention, Entities, Mention, entities};
pub use fingerprint::{BANDS, Fingerprint, NEAR_DISTANCE, bands, fingerprint, hamming};
pub use keywords::{Keyword, MAX_KEYWORDS, keywords};
pub use language::{Language, language};

/// The longest text that is analysed, in bytes (16 MiB): as long as a text that can be extracted.
pub const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// Words an adult reads in a minute, silently, in languages with spaces (Brysbaert 2019: 238).
const WORDS_PER_MINUTE: u64 = 238;

/// Characters an adult reads in a minute in languages without spaces.
const CHARACTERS_PER_MINUTE: u64 = 500;

/// Why a text was not analysed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    /// The text is longer than [`MAX_TEXT_BYTES`]. Final for this text: analyse its parts.
    #[error("the text has {bytes} bytes, more than the limit of {MAX_TEXT_BYTES}; analyse its parts")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}

/// Everything told from a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The language, if there is enough text to tell.
    pub language: Option<Language>,
    /// The most telling words and phrases, best first; at most [`MAX_KEYWORDS`].
    pub keywords: Vec<Keyword>,
    /// Addresses, links, dates and amounts mentioned.
    pub entities: Entities,
    /// The number of words; in scripts without spaces each character counts as one.
    pub words: u64,
    /// How long it takes to read, in seconds, rounded up.
    pub reading_seconds: u64,
    /// For finding near-duplicates; none if the text has no words.
    pub fingerprint: Option<Fingerprint>,
}

/// Analyses a text.
///
/// # Errors
/// [`AnalysisError::TooLarge`], which is final.
pub fn analyze(text: &str) -> Result<Analysis, AnalysisError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(AnalysisError::TooLarge { bytes: text.len() });
    }
    let language = language(text);
    let (words, reading_seconds) = extent(text);
    Ok(Analysis {
        keywords: keywords(text, language.as_ref().map(|language| language.tag.as_str())),
        language,
        entities: entities(text),
        words,
        reading_seconds,
        fingerprint: fingerprint(text),
    })
}

/// The number of words, and how many seconds it takes to read them.
fn extent(text: &str) -> (u64, u64) {
    let (mut spaced, mut unspaced) = (0u64, 0u64);
    for word in words::words(text) {
        *(if word.unspaced { &mut unspaced } else { &mut spaced }) += 1;
    }
    let seconds = (spaced * 60).div_ceil(WORDS_PER_MINUTE) + (unspaced * 60).div_ceil(CHARACTERS_PER_MINUTE);
    (spaced + unspaced, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_reading_time() {
        let cases =
            [("", 0, 0), ("  -- ", 0, 0), ("One", 1, 1), ("Don't stop-words, 3.5 metres", 4, 2), ("潮汐是海水", 5, 1)];
        for (text, words, seconds) in cases {
            assert_eq!(extent(text), (words, seconds), "{text:?}");
        }
        assert_eq!(extent(&"word ".repeat(238 * 3)), (714, 180));
    }

    #[test]
    fn any_text_is_analysed_and_a_longer_one_refused() {
        for text in ["", " ", "\u{0}", "🌊🌊", "a", &"x".repeat(100_000), &"\u{301}".repeat(1000), &"a@".repeat(50_000)]
        {
            analyze(text).unwrap();
        }
        let bytes = MAX_TEXT_BYTES + 1;
        assert_eq!(analyze(&"a".repeat(bytes)), Err(AnalysisError::TooLarge { bytes }));
    }
}
