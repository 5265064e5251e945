//! Cutting a text into pieces of about one size, at the places where a reader would pause.

use std::ops::Range;

/// How texts are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkOptions {
    /// The length aimed at, in characters. Default 1,200, about two hundred words: a search hit that can
    /// be read at a glance. At least [`MIN_CHARS`].
    pub chars: usize,
    /// How many characters of its predecessor a chunk repeats, at most a quarter of `chars`. Default 0.
    pub overlap: usize,
}

/// The smallest chunk length that is honoured, in characters.
pub const MIN_CHARS: usize = 16;

impl Default for ChunkOptions {
    fn default() -> Self {
        Self { chars: 1200, overlap: 0 }
    }
}

/// One piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Its place, from 0, without gaps. The same text and options always give the same chunks.
    pub ordinal: u32,
    /// Where it lies in the text, in bytes, on character boundaries.
    pub range: Range<usize>,
    /// The piece itself, white space included.
    pub text: &'a str,
}

/// Cuts a text into chunks: at the end of a paragraph if there is one in the second half, else of a
/// sentence, a line, a word, and else between two characters.
///
/// Without overlap the chunks joined are the text; with it, each begins in its predecessor. No chunk is
/// longer than one and a quarter of the length aimed at, and none is empty. The cost is linear.
#[must_use]
pub fn split(text: &str, options: ChunkOptions) -> Vec<Chunk<'_>> {
    let chars = options.chars.max(MIN_CHARS);
    let overlap = options.overlap.min(chars / 4);
    let mut chunks = Vec::new();
    let mut start = 0;
    // Where the chunks so far end: each must go beyond it.
    let mut covered = 0;
    while covered < text.len() {
        let end = match nth_char(text, start, chars + chars / 4) {
            None => text.len(),
            // The overlap is a quarter and a cut lies in the second half, so this goes on from `covered`.
            Some(_) => cut(text, start, chars),
        };
        chunks.push(Chunk {
            ordinal: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
            range: start..end,
            text: &text[start..end],
        });
        covered = end;
        start = if end < text.len() { step_back(text, start, end, overlap) } else { end };
    }
    chunks
}

/// The byte offset `count` characters after `from`, or nothing if the text ends before.
fn nth_char(text: &str, from: usize, count: usize) -> Option<usize> {
    text[from..].char_indices().nth(count).map(|(at, _)| from + at)
}

/// The best place to end a chunk that begins at `start`: after white space, in its second half.
fn cut(text: &str, start: usize, chars: usize) -> usize {
    let hard = nth_char(text, start, chars).unwrap_or(text.len());
    let half = nth_char(text, start, chars / 2).unwrap_or(start);
    let (mut paragraph, mut sentence, mut line, mut word) = (None, None, None, None);
    let mut before = None;
    let mut ended = false;
    let window = &text[half..hard];
    for (at, c) in window.char_indices() {
        let after = half + at + c.len_utf8();
        if c.is_whitespace() {
            word = Some(after);
            if c == '\n' {
                line = Some(after);
                if before == Some('\n') {
                    paragraph = Some(after);
                }
            }
            if ended {
                sentence = Some(after);
            }
        } else if matches!(c, '。' | '！' | '？') {
            sentence = Some(after);
        }
        // Closing quotes and brackets belong to the sentence they close.
        ended = matches!(c, '.' | '!' | '?' | '…') || (ended && matches!(c, '"' | '\'' | ')' | ']' | '”' | '’' | '»'));
        before = Some(c);
    }
    paragraph.or(sentence).or(line).or(word).unwrap_or(hard)
}

/// Where the next chunk begins: `overlap` characters before `end`, moved forward to the start of a word.
fn step_back(text: &str, start: usize, end: usize, overlap: usize) -> usize {
    if overlap == 0 {
        return end;
    }
    let back = text[start..end].char_indices().rev().nth(overlap - 1).map_or(end, |(at, _)| start + at);
    let word = text[back..end].char_indices().find(|(_, c)| c.is_whitespace()).map(|(at, c)| back + at + c.len_utf8());
    word.filter(|word| *word < end).unwrap_or(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts with everything that makes cutting hard, from a fixed sequence.
    fn texts() -> Vec<String> {
        let parts = [
            "tide ",
            "water. ",
            "\n\n",
            "\n",
            "Überlänge",
            "潮汐是海水的涨落。",
            "🌊",
            "a\u{301}",
            "?\" ",
            "   ",
            "x",
            "…»\t",
        ];
        let mut state = 7u64;
        let mut texts = vec![String::new(), " ".into(), "x".repeat(10_000), "潮".repeat(5_000), "\n".repeat(5_000)];
        for length in [1, 5, 50, 500, 3_000] {
            for _ in 0..8 {
                let text = (0..length).map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    parts[(state >> 33) as usize % parts.len()]
                });
                texts.push(text.collect());
            }
        }
        texts
    }

    #[test]
    fn chunks_joined_are_the_text() {
        for text in texts() {
            for chars in [0, 16, 100, 1200] {
                let chunks = split(&text, ChunkOptions { chars, overlap: 0 });
                assert_eq!(chunks.iter().map(|chunk| chunk.text).collect::<String>(), text);
                for (n, chunk) in chunks.iter().enumerate() {
                    assert_eq!(chunk.ordinal as usize, n);
                    assert_eq!(&text[chunk.range.clone()], chunk.text);
                    let length = chunk.text.chars().count();
                    assert!(length > 0 && length <= chars.max(MIN_CHARS) * 5 / 4, "{length} for {chars}");
                }
            }
        }
    }

    #[test]
    fn with_overlap_every_byte_is_covered_and_each_chunk_goes_on() {
        for text in texts() {
            for (chars, overlap) in [(16, 8), (100, 30), (100, 1_000), (1200, 200)] {
                let chunks = split(&text, ChunkOptions { chars, overlap });
                let mut covered = 0;
                let mut begun = None;
                for chunk in &chunks {
                    assert!(chunk.range.start <= covered && chunk.range.end > covered, "gap or no progress");
                    assert!(begun < Some(chunk.range.start), "no progress");
                    begun = Some(chunk.range.start);
                    covered = chunk.range.end;
                }
                assert_eq!(covered, text.len());
            }
        }
    }

    #[test]
    fn cuts_where_a_reader_pauses() {
        let options = ChunkOptions { chars: 40, overlap: 0 };
        let cases = [
            ("First part of the text.\n\nSecond part, which goes on for a long while.", "First part of the text.\n\n"),
            ("A sentence that ends here (so). Another that does not end for long.", "A sentence that ends here (so). "),
            (
                "Words without any end of a sentence for a long long while to come",
                "Words without any end of a sentence for ",
            ),
        ];
        for (text, first) in cases {
            assert_eq!(split(text, options)[0].text, first);
        }
        let long = "x".repeat(60);
        assert_eq!(split(&long, options)[0].text.len(), 40);
    }
}
