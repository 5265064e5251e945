//! Making new inputs out of known ones.

/// Changes inputs at random. The same seed gives the same changes.
pub struct Mutator {
    state: u64,
    dictionary: &'static [&'static str],
    limit: usize,
}

/// What breaks parsers of text in general.
const SPICE: &[&str] = &[
    "\0",
    "\r\n",
    "\"",
    "\\",
    "%",
    "%0D%0A",
    "%C0%A0",
    "\u{feff}",
    "\u{202e}",
    "\u{ffff}",
    "\u{d7ff}",
    "😀",
    "ü",
    "-1",
    "0",
    "2147483648",
    "-2147483649",
    "99999999999999999999",
    "1e999",
    "null",
    "true",
    "{}",
    "[]",
    "[[[[[[[[",
    "\\ud800",
    "\\u0000",
    "''",
    "$",
    "//",
    " ",
    "\t",
    "\n",
    "=",
    ",",
    ":",
    ";",
    "(",
    ")",
];

impl Mutator {
    pub fn new(seed: u64, dictionary: &'static [&'static str], limit: usize) -> Self {
        Self { state: seed | 1, dictionary, limit }
    }

    fn next(&mut self) -> u64 {
        // xorshift64*: small, and good enough to choose places.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap_or(usize::MAX) % limit.max(1)
    }

    /// One of the corpus with one to four changes.
    pub fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input, corpus);
        }
        input.truncate(self.limit);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let length = self.below(32.min(input.len() - at) + 1);
        match self.below(9) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..at + length)),
            2 if at < input.len() => input[at] ^= 1 << self.below(8),
            3 if at < input.len() => input[at] = self.below(256) as u8,
            4 => {
                let part = input[at..at + length].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, part);
            }
            5 => {
                let part = input[at..at + length].repeat(self.below(80));
                input.splice(at..at, part);
            }
            6 => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len() + 1);
                let part = other[from..(from + self.below(64)).min(other.len())].to_vec();
                input.splice(at..at, part);
            }
            _ => {
                let words = if self.below(2) == 0 && !self.dictionary.is_empty() { self.dictionary } else { SPICE };
                let word = words[self.below(words.len())].bytes();
                // Over what is there, or between.
                let replaced = if self.below(2) == 0 { length } else { 0 };
                input.splice(at..at + replaced, word);
            }
        }
        input.truncate(2 * self.limit);
    }
}
