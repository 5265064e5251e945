use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::words::words;

/// The most keywords given.
pub const MAX_KEYWORDS: usize = 20;

/// Different words and phrases counted at most. A text with more of them (about half a million words of prose)
/// goes on counting those it has; what comes up first only there is no keyword of the whole.
const MAX_CANDIDATES: usize = 200_000;

/// Words in the longest phrase.
const MAX_PHRASE: usize = 3;

/// Shortest and longest word that may tell something, in characters.
const WORD_CHARS: std::ops::RangeInclusive<usize> = 3..=40;

/// A word or phrase that tells what a text is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Keyword {
    /// The keyword, in lower case unless it never occurs so.
    pub text: String,
    /// How often it occurs.
    pub count: u32,
    /// How telling it is, from 0 to 1, the best being 1; comparable within one text only.
    pub score: f64,
}

/// The most telling words and phrases of a text, best first, at most [`MAX_KEYWORDS`].
///
/// Frequent is telling, unless the word is frequent in every text of that language (`language` is a BCP 47
/// tag); phrases tell more than their words; what stands early tells more. Scripts without spaces give none.
#[must_use]
pub fn keywords(text: &str, language: Option<&str>) -> Vec<Keyword> {
    let stop_words = stop_words(language);
    let mut candidates = count(text, &stop_words);
    if language == Some("en") {
        merge_plurals(&mut candidates);
    }
    let mut ranked: Vec<(String, Candidate, f64)> = candidates
        .into_iter()
        .filter(|(_, candidate)| candidate.words == 1 || candidate.count > 1)
        .map(|(key, candidate)| {
            let score = candidate.score(text.len());
            (key, candidate, score)
        })
        .collect();
    // The words themselves break ties, so that the order never depends on the machine.
    ranked.sort_by(|a, b| b.2.total_cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
    let best = ranked.first().map_or(1.0, |first| first.2);
    distinct(ranked).into_iter().map(|(key, candidate, score)| candidate.keyword(key, score / best)).collect()
}

#[derive(Debug)]
struct Candidate {
    count: u32,
    words: usize,
    first: usize,
    /// How it was first written, if it was never written in lower case.
    surface: Option<String>,
}

impl Candidate {
    fn score(&self, text_bytes: usize) -> f64 {
        let phrase = 1.0 + 0.6 * (self.words - 1) as f64;
        let early = 1.0 + 0.5 * (1.0 - self.first as f64 / text_bytes.max(1) as f64);
        f64::from(self.count) * phrase * early
    }

    fn keyword(self, key: String, score: f64) -> Keyword {
        Keyword { text: self.surface.unwrap_or(key), count: self.count, score: (score * 1000.0).round() / 1000.0 }
    }
}

fn stop_words(language: Option<&str>) -> HashSet<&'static str> {
    let of = |tag: &str| stop_words::lookup(tag).unwrap_or_default().iter().copied();
    let language = language.unwrap_or("en");
    // The list for Norwegian goes by the name of the whole.
    of(if language == "nb" { "no" } else { language }).chain(of("en")).collect()
}

fn count(text: &str, stop_words: &HashSet<&str>) -> HashMap<String, Candidate> {
    let mut candidates = HashMap::new();
    // The words that may begin a phrase with the current one: lower case, where it began.
    let mut run: Vec<(String, usize)> = Vec::new();
    let mut end = 0;
    for word in words(text) {
        let lower = word.text.to_lowercase().replace('’', "'");
        let telling = !word.unspaced
            && WORD_CHARS.contains(&lower.chars().count())
            && lower.chars().any(char::is_alphabetic)
            && lower.chars().filter(char::is_ascii_digit).count() * 2 < lower.len()
            && !stop_words.contains(lower.as_str())
            && !lower.split(['\'', '-']).all(|part| part.len() < 3 || stop_words.contains(part));
        // A phrase ends at anything but a single space or line end.
        if !telling || !matches!(&text[end..word.start], " " | "\n") {
            run.clear();
        }
        end = word.start + word.text.len();
        if !telling {
            continue;
        }
        if run.len() == MAX_PHRASE {
            run.remove(0);
        }
        run.push((lower, word.start));
        for from in 0..run.len() {
            let key = run[from..].iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(" ");
            note(&mut candidates, key, run.len() - from, run[from].1, &text[run[from].1..end]);
        }
    }
    candidates
}

fn note(candidates: &mut HashMap<String, Candidate>, key: String, words: usize, first: usize, written: &str) {
    if let Some(candidate) = candidates.get_mut(&key) {
        candidate.count = candidate.count.saturating_add(1);
        if candidate.surface.is_some() && !written.contains(char::is_uppercase) {
            candidate.surface = None;
        }
    } else if candidates.len() < MAX_CANDIDATES {
        let surface = written.contains(char::is_uppercase).then(|| written.replace('\n', " "));
        candidates.insert(key, Candidate { count: 1, words, first, surface });
    }
}

/// Adds the counts of "tides" to those of "tide" if both occur, under the more frequent of the two.
fn merge_plurals(candidates: &mut HashMap<String, Candidate>) {
    let pairs: Vec<(String, String)> = candidates
        .keys()
        .filter_map(|plural| {
            let singular = plural.strip_suffix('s')?;
            candidates.contains_key(singular).then(|| (plural.clone(), singular.to_owned()))
        })
        .collect();
    for (plural, singular) in pairs {
        let (Some(p), Some(s)) = (candidates.get(&plural), candidates.get(&singular)) else { continue };
        let (keep, drop) = if p.count > s.count { (plural, singular) } else { (singular, plural) };
        if let Some(dropped) = candidates.remove(&drop)
            && let Some(kept) = candidates.get_mut(&keep)
        {
            kept.count = kept.count.saturating_add(dropped.count);
            kept.first = kept.first.min(dropped.first);
        }
    }
}

/// Leaves out what a better keyword says already: its parts, unless they occur much more often alone, and its
/// extensions.
fn distinct(ranked: Vec<(String, Candidate, f64)>) -> Vec<(String, Candidate, f64)> {
    let mut kept: Vec<(String, Candidate, f64)> = Vec::new();
    for entry in ranked {
        let padded = format!(" {} ", entry.0);
        let said = kept.iter().any(|(key, candidate, _)| {
            let other = format!(" {key} ");
            (other.contains(&padded) && entry.1.count < candidate.count * 2)
                || padded.contains(&other) && entry.1.count * 2 < candidate.count
        });
        if !said {
            kept.push(entry);
        }
        if kept.len() == MAX_KEYWORDS {
            break;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, language: &str) -> Vec<String> {
        keywords(text, Some(language)).into_iter().map(|keyword| keyword.text).collect()
    }

    #[test]
    fn telling_words_come_first_and_stop_words_never() {
        let text = "The event log is the truth. An event log keeps every event. Readers of the event log remember where they are. \
                    PostgreSQL and the reader agree. PostgreSQL wins.";
        let got = texts(text, "en");
        assert_eq!(got[0], "event log");
        assert!(got.contains(&"PostgreSQL".to_owned()), "{got:?}");
        assert!(got.iter().any(|word| word == "reader") && !got.iter().any(|word| word == "readers"), "{got:?}");
        assert!(!got.iter().any(|word| ["the", "is", "an", "where"].contains(&word.as_str())), "{got:?}");
        let german =
            texts("Die Schleuse und das Wasser. Die Schleuse hält das Wasser, aber nicht immer. Wasser kommt.", "de");
        assert_eq!(german[..2], ["Wasser", "Schleuse"]);
    }

    #[test]
    fn bounded_and_the_same_every_time() {
        let many: String = (0..50_000).map(|n| format!("word{} tide{} ", n % 7000, n % 13)).collect();
        let first = keywords(&many, None);
        assert!(first.len() <= MAX_KEYWORDS);
        assert_eq!(first, keywords(&many, None));
        for text in ["", "the of and", "12 34 56", "潮汐是海水的周期性运动", "a b c"] {
            assert_eq!(keywords(text, Some("en")), [], "{text}");
        }
    }
}
