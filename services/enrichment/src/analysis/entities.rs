use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::NaiveDate;
use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};

/// The most different entities kept of each kind; further ones are left out.
const MAX_PER_KIND: usize = 100;

/// The longest link kept, in bytes.
const MAX_LINK_BYTES: usize = 2048;

/// What a text mentions, each in order of its first mention, at most a hundred of each kind.
///
/// Only what can be told by its form is here. Postal addresses, names and places are not: without knowledge of
/// the world they would be guesses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Entities {
    /// E-mail addresses, in lower case.
    pub emails: Vec<Mention>,
    /// Links with `http`, `https` or `www.`.
    pub links: Vec<Mention>,
    /// Days of the calendar. Forms that could be two days, such as 3/4/2026, are left out.
    pub dates: Vec<DateMention>,
    /// Sums of money.
    pub amounts: Vec<Amount>,
}

/// Something mentioned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mention {
    /// The thing itself.
    pub text: String,
    /// How often it is mentioned.
    pub count: u32,
}

/// A day mentioned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DateMention {
    /// The day.
    pub date: NaiveDate,
    /// How it was first written.
    pub text: String,
    /// How often it is mentioned, in whatever form.
    pub count: u32,
}

/// A sum of money mentioned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Amount {
    /// The ISO 4217 code, or `$` where the text does not say whose dollar.
    pub currency: String,
    /// The number, with a decimal point and no grouping.
    pub value: String,
    /// How it was first written.
    pub text: String,
    /// How often it is mentioned.
    pub count: u32,
}

/// Finds addresses, links, dates and amounts.
#[must_use]
pub fn entities(text: &str) -> Entities {
    Entities { emails: emails(text), links: links(text), dates: dates(text), amounts: amounts(text) }
}

/// Compiles a pattern of this file.
fn pattern(source: &str) -> Regex {
    // The patterns are constants, and every one of them is compiled by the tests.
    Regex::new(source).expect("a valid pattern")
}

/// Counts things by a key, in the order of their first mention.
struct Tally<T> {
    places: HashMap<String, usize>,
    found: Vec<(T, u32)>,
}

impl<T> Tally<T> {
    fn new() -> Self {
        Self { places: HashMap::new(), found: Vec::new() }
    }

    fn add(&mut self, key: String, thing: impl FnOnce() -> T) {
        if let Some(place) = self.places.get(&key) {
            self.found[*place].1 += 1;
        } else if self.found.len() < MAX_PER_KIND {
            self.places.insert(key, self.found.len());
            self.found.push((thing(), 1));
        }
    }
}

impl Tally<String> {
    fn mentions(self) -> Vec<Mention> {
        self.found.into_iter().map(|(text, count)| Mention { text, count }).collect()
    }
}

fn emails(text: &str) -> Vec<Mention> {
    static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"(?i-u)\b[a-z0-9](?:[a-z0-9._%+-]{0,62}[a-z0-9_%+-])?@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}\b")
    });
    let mut tally = Tally::new();
    for found in EMAIL.find_iter(text) {
        let address = found.as_str().to_ascii_lowercase();
        if !address.contains("..") {
            tally.add(address.clone(), || address);
        }
    }
    tally.mentions()
}

fn links(text: &str) -> Vec<Mention> {
    static LINK: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r#"(?i)\b(?:https?://[^\s<>"{}|\\^`\x00-\x20]+|www\.[a-z0-9-]+\.[^\s<>"{}|\\^`\x00-\x20]+)"#)
    });
    let mut tally = Tally::new();
    for found in LINK.find_iter(text) {
        let link = without_trailing_marks(found.as_str());
        let host = link.split_once("://").map_or(link, |(_, rest)| rest);
        if link.len() <= MAX_LINK_BYTES && host.starts_with(|c: char| c.is_alphanumeric() || c == '[') {
            tally.add(link.to_owned(), || link.to_owned());
        }
    }
    tally.mentions()
}

/// The point that ends the sentence is not part of the link, nor is a bracket that was opened before it.
fn without_trailing_marks(link: &str) -> &str {
    // How many more brackets of each kind are closed than opened; a link may be long, so they are counted once.
    let surplus = |open: char, close: char| link.matches(close).count().saturating_sub(link.matches(open).count());
    let (mut round, mut square) = (surplus('(', ')'), surplus('[', ']'));
    link.trim_end_matches(|last: char| match last {
        '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '"' | '*' | '_' | '’' | '”' | '»' | '…' => true,
        ')' if round > 0 => {
            round -= 1;
            true
        }
        ']' if square > 0 => {
            square -= 1;
            true
        }
        _ => false,
    })
}

const MONTHS: [&[&str]; 12] = [
    &["january", "jan", "januar", "jänner", "janvier"],
    &["february", "feb", "februar", "février"],
    &["march", "mar", "märz", "mars"],
    &["april", "apr", "avril"],
    &["may", "mai"],
    &["june", "jun", "juni", "juin"],
    &["july", "jul", "juli", "juillet"],
    &["august", "aug", "août"],
    &["september", "sep", "sept", "septembre"],
    &["october", "oct", "oktober", "okt", "octobre"],
    &["november", "nov", "novembre"],
    &["december", "dec", "dezember", "dez", "décembre"],
];

fn dates(text: &str) -> Vec<DateMention> {
    static ISO: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})(?:T\d|\b)"));
    static POINTS: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"\b(?P<d>\d{1,2})\.\s?(?P<m>\d{1,2})\.\s?(?P<y>\d{4})\b"));
    static DAY_FIRST: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"\b(?P<d>\d{1,2})(?:st|nd|rd|th|er|\.)?\s(?:of\s)?(?P<n>\p{L}{3,10})\.?,?\s(?P<y>\d{4})\b")
    });
    static MONTH_FIRST: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"\b(?P<n>\p{L}{3,10})\.?\s(?P<d>\d{1,2})(?:st|nd|rd|th)?,?\s(?P<y>\d{4})\b"));
    let patterns: [&Regex; 4] = [&ISO, &POINTS, &DAY_FIRST, &MONTH_FIRST];
    let mut found: Vec<(usize, NaiveDate, &str)> = Vec::new();
    for pattern in patterns {
        let of_this = pattern.captures_iter(text).filter_map(|parts| {
            let whole = parts.get(0)?;
            Some((whole.start(), day(&parts)?, whole.as_str().split('T').next().unwrap_or_default()))
        });
        // A bound in memory, not a limit that matters: mentions are counted, and a date has ten bytes.
        found.extend(of_this.take(MAX_PER_KIND * 1000));
    }
    found.sort_by_key(|(at, ..)| *at);
    let mut tally = Tally::new();
    for (_, date, written) in found {
        tally.add(date.to_string(), || (date, written.to_owned()));
    }
    tally.found.into_iter().map(|((date, text), count)| DateMention { date, text, count }).collect()
}

fn day(parts: &Captures<'_>) -> Option<NaiveDate> {
    let number = |name: &str| parts.name(name)?.as_str().parse::<u32>().ok();
    let month = match parts.name("n") {
        Some(name) => {
            let name = name.as_str().to_lowercase();
            u32::try_from(MONTHS.iter().position(|names| names.contains(&name.as_str()))?).ok()? + 1
        }
        None => number("m")?,
    };
    let year = i32::try_from(number("y")?).ok()?;
    // Other numbers of four digits are rarely years.
    (1000..=2999).contains(&year).then(|| NaiveDate::from_ymd_opt(year, month, number("d")?))?
}

fn amounts(text: &str) -> Vec<Amount> {
    static AMOUNT: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?x)
            (?P<before> [€£¥₹$] | \b(?:EUR|USD|GBP|CHF|JPY|SEK|NOK|DKK|PLN|CAD|AUD|INR|CNY)) [\x20\u{A0}\u{202F}]?
                (?P<a> \d{1,3}(?:[,.'’\x20\u{A0}\u{202F}]\d{3}){1,6}(?:[.,]\d{1,2})?\b | \d{1,15}(?:[.,]\d{1,2})?\b)
            | \b(?P<b> \d{1,3}(?:[,.'’\x20\u{A0}\u{202F}]\d{3}){1,6}(?:[.,]\d{1,2})? | \d{1,15}(?:[.,]\d{1,2})?)
                [\x20\u{A0}\u{202F}]? (?P<after> [€£¥₹] | (?:EUR|USD|GBP|CHF|JPY|SEK|NOK|DKK|PLN|CAD|AUD|INR|CNY)\b)
            ",
        )
    });
    let mut tally = Tally::new();
    for parts in AMOUNT.captures_iter(text) {
        let (Some(currency), Some(number)) =
            (parts.name("before").or(parts.name("after")), parts.name("a").or(parts.name("b")))
        else {
            continue;
        };
        let currency = code(currency.as_str());
        let value = decimal(number.as_str());
        tally.add(format!("{currency} {value}"), || (currency.to_owned(), value.clone(), parts[0].to_owned()));
    }
    tally.found.into_iter().map(|((currency, value, text), count)| Amount { currency, value, text, count }).collect()
}

fn code(symbol: &str) -> &str {
    match symbol {
        "€" => "EUR",
        "£" => "GBP",
        "₹" => "INR",
        other => other,
    }
}

/// A separator before one or two final digits is the decimal one; all others group.
fn decimal(number: &str) -> String {
    let digits = |part: &str| part.chars().filter(char::is_ascii_digit).collect::<String>();
    match number.rfind(['.', ',']) {
        Some(at) if number.len() - at <= 3 => format!("{}.{}", digits(&number[..at]), &number[at + 1..]),
        _ => digits(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(mentions: Vec<Mention>) -> Vec<String> {
        mentions.into_iter().map(|mention| mention.text).collect()
    }

    #[test]
    fn addresses() {
        let text = "Write to Gauge@Marsh.example, gauge@marsh.example. Or <a.b+c@x-y.co.uk>; not a@b, @x.com, x@y..com, v1@2.3";
        assert_eq!(texts(emails(text)), ["gauge@marsh.example", "a.b+c@x-y.co.uk"]);
        assert_eq!(emails(text)[0].count, 2);
    }

    #[test]
    fn hyperlinks() {
        let text = "See https://a.example/x?y=1#z. (http://b.example/p_(q)) [c](https://c.example/d), www.d.example/e! \
                    <https://e.example> \"http://f.example\" http:// https://. ftp://no.example";
        let want = [
            "https://a.example/x?y=1#z",
            "http://b.example/p_(q)",
            "https://c.example/d",
            "www.d.example/e",
            "https://e.example",
            "http://f.example",
        ];
        assert_eq!(texts(links(text)), want);
    }

    #[test]
    fn days() {
        let cases = [
            ("on 2026-06-09", "2026-06-09"),
            ("at 2026-06-09T07:42:00Z", "2026-06-09"),
            ("17 February 2022", "2022-02-17"),
            ("the 1st of March, 2024", "2024-03-01"),
            ("Mar. 3, 2021", "2021-03-03"),
            ("September 14th, 2026", "2026-09-14"),
            ("am 3. März 2026", "2026-03-03"),
            ("le 1er août 2025", "2025-08-01"),
            ("03.05.2026", "2026-05-03"),
        ];
        for (text, want) in cases {
            let got = dates(text);
            assert_eq!(got.len(), 1, "{text}: {got:?}");
            assert_eq!(got[0].date.to_string(), want, "{text}");
        }
        for text in
            ["2026-13-01", "30 February 2022", "3/4/2026", "12 apples 2026", "1.2.3.4", "2026-06-091", "Room 12, 2026"]
        {
            assert_eq!(dates(text), [], "{text}");
        }
        let twice = dates("2 March 2026 and 2026-03-02, then 1 March 2026");
        assert_eq!((twice[0].count, twice[0].text.as_str(), twice.len()), (2, "2 March 2026", 2));
    }

    #[test]
    fn money() {
        let cases = [
            ("€1,250 in credits", "EUR", "1250"),
            ("1.250,50 EUR", "EUR", "1250.50"),
            ("£14.50", "GBP", "14.50"),
            ("CHF 1'000'000", "CHF", "1000000"),
            ("$5", "$", "5"),
            ("12 500 €", "EUR", "12500"),
            ("USD 0.5", "USD", "0.5"),
        ];
        for (text, currency, value) in cases {
            let got = amounts(text);
            assert_eq!(got.len(), 1, "{text}: {got:?}");
            assert_eq!((got[0].currency.as_str(), got[0].value.as_str()), (currency, value), "{text}");
        }
        for text in ["14.50", "EURO 5", "5 EUROS", "US$ five"] {
            assert_eq!(amounts(text), [], "{text}");
        }
    }

    #[test]
    fn bounded_and_quick_on_text_made_to_hurt() {
        for piece in ["a@", "1.", "http://a)", "2026-01-", "€1,111,", "a.b@c.", "1 may ", "www.x."] {
            let _ = entities(&piece.repeat(100_000 / piece.len()));
        }
        let many: String = (0..5000).map(|n| format!("u{n}@x.example ")).collect();
        assert_eq!(emails(&many).len(), MAX_PER_KIND);
    }
}
