use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::words::words;

/// The number of keys a fingerprint is filed under.
pub const BANDS: usize = 6;

/// The most bits in which fingerprints of near-duplicates differ. In tests, texts of four hundred words with one
/// word in thirty changed differ in 3 bits on average, and different texts on the same subject in 11 or more.
/// It is one less than the number of bands, so that near-duplicates always share a key.
pub const NEAR_DISTANCE: u32 = BANDS as u32 - 1;

/// A text in 64 bits, such that similar texts differ in few of them (SimHash over words and pairs of words).
///
/// It is written as 16 hexadecimal digits, because JSON numbers lose bits. It is stable: stored ones stay valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::invalid_value(de::Unexpected::Str(&text), &"16 hexadecimal digits");
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u64::from_str_radix(&text, 16).map(Self).map_err(|_| wrong())
    }
}

/// The fingerprint of a text; none if it has no words. Case, punctuation and layout do not matter.
#[must_use]
pub fn fingerprint(text: &str) -> Option<Fingerprint> {
    let mut votes = [0i64; 64];
    let mut last = None;
    for word in words(text) {
        let hash = hash(word.text);
        vote(&mut votes, mix(hash));
        if let Some(before) = last.replace(hash) {
            vote(&mut votes, mix(u64::rotate_left(before, 29) ^ hash));
        }
    }
    last?;
    let bits = votes.iter().enumerate().filter(|(_, votes)| **votes > 0);
    Some(Fingerprint(bits.fold(0, |bits, (n, _)| bits | 1 << n)))
}

/// The number of bits in which two fingerprints differ: 0 for the same text, about 32 for unrelated ones.
#[must_use]
pub fn hamming(a: Fingerprint, b: Fingerprint) -> u32 {
    (a.0 ^ b.0).count_ones()
}

/// The keys to file a fingerprint under and to look for near-duplicates under.
///
/// Two fingerprints that differ in at most [`NEAR_DISTANCE`] bits share at least one key; most that share one
/// differ in more, so compare them with [`hamming`]. Of unrelated documents, each key finds about one in 1,500.
#[must_use]
pub fn bands(fingerprint: Fingerprint) -> [String; BANDS] {
    std::array::from_fn(|band| {
        // 64 bits in six bands: four of 11 bits, then two of 10.
        let (from, width) = if band < 4 { (band * 11, 11) } else { (44 + (band - 4) * 10, 10) };
        let bits = fingerprint.0 >> from & ((1 << width) - 1);
        format!("{band}-{bits:03x}")
    })
}

fn vote(votes: &mut [i64; 64], hash: u64) {
    for (bit, votes) in votes.iter_mut().enumerate() {
        *votes += if hash >> bit & 1 == 1 { 1 } else { -1 };
    }
}

/// FNV-1a over the lower-case word. The standard library's hashes may change between versions.
fn hash(word: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for c in word.chars().flat_map(char::to_lowercase) {
        let c = if c == '’' { '\'' } else { c };
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

/// Spreads every input bit over all output bits, which FNV alone does not do for short words.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> String {
        std::fs::read_to_string(format!("{}/../../tests/data/documents/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn stable_for_ever() {
        // A change here makes every stored fingerprint worthless.
        assert_eq!(fingerprint("The tide turns at noon.").unwrap().to_string(), "1257ce15122d9b8a");
        assert_eq!(fingerprint("THE TIDE  turns,\nat noon"), fingerprint("The tide turns at noon."));
        assert_eq!(fingerprint(" -- "), None);
    }

    #[test]
    fn near_duplicates_are_near_and_others_far() {
        let names = [
            "tide-tables.txt",
            "tide-tables-revised.txt",
            "outbox-pattern.md",
            "runbook-parked-keys.md",
            "exactly-once.html",
            "spring-tides.html",
        ];
        let prints = names.map(|name| fingerprint(&data(name)).unwrap());
        for (n, a) in prints.iter().enumerate() {
            for (m, b) in prints.iter().enumerate().skip(n + 1) {
                let near = (n, m) == (0, 1);
                assert_eq!(
                    hamming(*a, *b) <= NEAR_DISTANCE,
                    near,
                    "{} and {}: {}",
                    names[n],
                    names[m],
                    hamming(*a, *b)
                );
            }
        }
    }

    #[test]
    fn all_within_the_distance_share_a_key() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let flips = (0..NEAR_DISTANCE).fold(0u64, |flips, n| flips | 1 << (mix(state ^ u64::from(n)) % 64));
            let (a, b) = (Fingerprint(mix(state)), Fingerprint(mix(state) ^ flips));
            assert!(bands(a).iter().zip(bands(b)).any(|(a, b)| *a == b));
        }
        let keys = bands(Fingerprint(u64::MAX));
        assert_eq!(keys, ["0-7ff", "1-7ff", "2-7ff", "3-7ff", "4-3ff", "5-3ff"]);
    }

    #[test]
    fn json_keeps_all_bits() {
        let print = Fingerprint(0x0123_4567_89ab_cdef);
        let json = serde_json::to_string(&print).unwrap();
        assert_eq!(json, "\"0123456789abcdef\"");
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), print);
        for wrong in ["\"\"", "\"+123456789abcdef\"", "\"0123456789abcdeg\"", "5"] {
            assert!(serde_json::from_str::<Fingerprint>(wrong).is_err());
        }
    }
}
