use std::str::CharIndices;

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// Cuts text into words: runs of letters and digits, and each character of a script that is written without
/// spaces, so that a part of a sentence can be found there too.
#[derive(Clone, Default)]
pub(super) struct WordTokenizer {
    token: Token,
}

pub(super) struct Words<'a> {
    text: &'a str,
    chars: std::iter::Peekable<CharIndices<'a>>,
    token: &'a mut Token,
}

impl Tokenizer for WordTokenizer {
    type TokenStream<'a> = Words<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Words<'a> {
        self.token.reset();
        Words { text, chars: text.char_indices().peekable(), token: &mut self.token }
    }
}

impl TokenStream for Words<'_> {
    fn advance(&mut self) -> bool {
        let Some((from, first)) = self.chars.find(|(_, c)| c.is_alphanumeric()) else { return false };
        let mut to = from + first.len_utf8();
        if !stands_alone(first) {
            while let Some((at, c)) = self.chars.next_if(|(_, c)| c.is_alphanumeric() && !stands_alone(*c)) {
                to = at + c.len_utf8();
            }
        }
        self.token.text.clear();
        self.token.text.push_str(&self.text[from..to]);
        self.token.position = self.token.position.wrapping_add(1);
        self.token.offset_from = from;
        self.token.offset_to = to;
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{3040}'..='\u{30FF}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" -- ", &[]),
            ("Ebb, flow2 don't", &["Ebb", "flow2", "don", "t"]),
            ("潮汐 is潮x", &["潮", "汐", "is", "潮", "x"]),
            ("Überfall", &["Überfall"]),
        ];
        for (text, want) in cases {
            let mut tokenizer = WordTokenizer::default();
            let mut stream = tokenizer.token_stream(text);
            let mut got = Vec::new();
            while let Some(token) = stream.next() {
                assert_eq!(&text[token.offset_from..token.offset_to], token.text);
                assert_eq!(token.position, got.len());
                got.push(token.text.clone());
            }
            assert_eq!(got, *want);
        }
    }
}
