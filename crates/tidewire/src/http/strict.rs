//! Strict JSON: what parsers differ on is refused, not guessed.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use tidewire_core::envelope::{MAX_JSON_DEPTH, json_depth};

/// The most values (of objects and arrays together) in one text: far beyond what people send, and few enough
/// that the tree built from them stays within some tens of megabytes.
pub const MAX_JSON_VALUES: usize = 100_000;

/// The longest member name, in bytes.
pub const MAX_JSON_KEY_BYTES: usize = 1_024;

/// Why a text is not acceptable JSON. Permanent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Nothing was sent.
    #[error("the body is empty; JSON was expected")]
    Empty,
    /// It is no JSON, or more than one value, or not UTF-8, or holds U+0000 or half a surrogate pair.
    #[error("the body is not acceptable JSON: {0}")]
    Malformed(String),
    /// It nests too deeply.
    #[error("the JSON nests {0} deep; at most {MAX_JSON_DEPTH} is taken")]
    TooDeep(usize),
    /// One object names a member twice.
    #[error("an object has two members named `{0}`")]
    Duplicate(String),
    /// It has too many members and elements, or a member name that is too long.
    #[error("{0}")]
    TooMany(String),
    /// A number that would be rounded.
    #[error("the number `{0}` cannot be kept exactly; send it as a string")]
    Number(String),
    /// It is JSON, but not of the shape expected here.
    #[error("{0}")]
    Shape(String),
}

impl JsonError {
    /// The stable code for clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "http.empty_body",
            Self::Malformed(_) => "http.malformed_json",
            Self::TooDeep(_) => "http.too_deep",
            Self::Duplicate(_) => "http.duplicate_member",
            Self::TooMany(_) => "http.too_many_values",
            Self::Number(_) => "http.inexact_number",
            Self::Shape(_) => "http.invalid",
        }
    }
}

/// Reads `bytes` as exactly one `T`, after [`check_json`] and [`check_numbers`].
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    check_json(bytes)?;
    check_numbers(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| JsonError::Shape(error.to_string()))
}

/// Checks that `bytes` are exactly one JSON value within the limits, with no member named twice and every
/// string free of U+0000. Builds no tree.
pub fn check_json(bytes: &[u8]) -> Result<(), JsonError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(JsonError::Empty);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::Malformed(error.to_string()))?;
    let depth = json_depth(bytes);
    if depth > MAX_JSON_DEPTH {
        return Err(JsonError::TooDeep(depth));
    }
    let found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let walked = Walk(&found).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    walked.map_err(|error| found.error.take().unwrap_or_else(|| JsonError::Malformed(error.to_string())))
}

/// What the walk has found so far.
#[derive(Default)]
struct Found {
    values: Cell<usize>,
    error: Cell<Option<JsonError>>,
}

impl Found {
    fn refuse<E: serde::de::Error>(&self, error: JsonError) -> E {
        let text = error.to_string();
        self.error.set(Some(error));
        E::custom(text)
    }

    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > MAX_JSON_VALUES {
            return Err(self.refuse(JsonError::TooMany(format!("at most {MAX_JSON_VALUES} values are taken"))));
        }
        Ok(())
    }

    fn text<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        // No database can hold it as text, and C programs end strings there.
        if text.contains('\0') { Err(E::custom("a string holds U+0000")) } else { Ok(()) }
    }
}

/// Walks one value.
struct Walk<'a>(&'a Found);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.0.text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Walk(self.0))?.is_some() {
            self.0.count()?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::<Cow<'de, str>>::new();
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            self.0.count()?;
            self.0.text(&name)?;
            if name.len() > MAX_JSON_KEY_BYTES {
                let detail =
                    format!("a member name is {} bytes long; at most {MAX_JSON_KEY_BYTES} are taken", name.len());
                return Err(self.0.refuse(JsonError::TooMany(detail)));
            }
            if let Some(name) = names.replace(name) {
                return Err(self.0.refuse(JsonError::Duplicate(printable(&name))));
            }
            map.next_value_seed(Walk(self.0))?;
        }
        Ok(())
    }
}

/// A member name, borrowed where it has no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

fn printable(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}

/// Checks that every number in `json` (valid JSON) is one that `i64`, `u64` or `f64` holds exactly, or whose
/// shortest decimal form is what was sent: parsers round the others without a word.
pub fn check_numbers(json: &[u8]) -> Result<(), JsonError> {
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        at += match byte {
            b'"' => string_length(&json[at..]),
            b'-' | b'0'..=b'9' => {
                let is_part = |b: &&u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let length = json[at..].iter().take_while(is_part).count();
                let token = std::str::from_utf8(&json[at..at + length]).unwrap_or_default();
                if !is_exact(token) {
                    return Err(JsonError::Number(printable(token)));
                }
                length
            }
            _ => 1,
        };
    }
    Ok(())
}

/// The bytes of the string that `json` starts with, quotes included.
fn string_length(json: &[u8]) -> usize {
    let mut escaped = false;
    let closing = json.iter().skip(1).position(|&byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    closing.map_or(json.len(), |closing| closing + 2)
}

fn is_exact(token: &str) -> bool {
    if token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok() {
        return true;
    }
    match token.parse::<f64>() {
        Ok(number) if number.is_finite() => decimal(token) == decimal(&format!("{number:e}")),
        _ => false,
    }
}

/// The significant digits of a number and the power of ten of the last of them.
fn decimal(token: &str) -> (String, i64) {
    let token = token.trim_start_matches('-');
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i64 = exponent.trim_start_matches('+').parse().unwrap_or(i64::MAX / 2);
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return (String::new(), 0);
    }
    let dropped = digits.len() - digits.trim_end_matches('0').len();
    (significant.to_owned(), exponent - fraction.len() as i64 + dropped as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn takes_ordinary_json_whole() {
        let text = r#"{"a":[1,-2,1.5,1e3,"\"[{","ü"],"b":{"a":null},"c":true,"\u00e9":9007199254740993}"#;
        let value: Value = parse_json(text.as_bytes()).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn refuses_what_parsers_differ_on() {
        let (deep, mixed) = ("[".repeat(10_000) + &"]".repeat(10_000), "[{\"a\":".repeat(5_000));
        let many = format!("[{}1]", "1,".repeat(MAX_JSON_VALUES));
        let keys = format!("{{{}\"z\":1}}", (0..MAX_JSON_VALUES).map(|n| format!("\"{n}\":1,")).collect::<String>());
        let long = format!("{{\"{}\":1}}", "k".repeat(MAX_JSON_KEY_BYTES + 1));
        let cases: Vec<(&[u8], &str)> = vec![
            (b"", "http.empty_body"),
            (b" \n", "http.empty_body"),
            (deep.as_bytes(), "http.too_deep"),
            (mixed.as_bytes(), "http.too_deep"),
            (many.as_bytes(), "http.too_many_values"),
            (keys.as_bytes(), "http.too_many_values"),
            (long.as_bytes(), "http.too_many_values"),
            (br#"{"id":1,"id":2}"#, "http.duplicate_member"),
            (br#"[{"a":{"b":1,"\u0062":2}}]"#, "http.duplicate_member"),
            (b"{} {}", "http.malformed_json"),
            (b"{}x", "http.malformed_json"),
            (b"{\"a\":1,}", "http.malformed_json"),
            (b"[01]", "http.malformed_json"),
            (b"[.5]", "http.malformed_json"),
            (b"[NaN]", "http.malformed_json"),
            (b"[1e400]", "http.malformed_json"),
            (b"[1e-400]", "http.inexact_number"),
            (b"[1234567890123456789012345678901234567890]", "http.inexact_number"),
            (b"[9007199254740993.0]", "http.inexact_number"),
            (b"[0.1000000000000000055511151231257827]", "http.inexact_number"),
            (b"[\"\xff\"]", "http.malformed_json"),
            (b"[\"\xc0\xaf\"]", "http.malformed_json"),
            (br#"["\ud800"]"#, "http.malformed_json"),
            (br#"["\u0000"]"#, "http.malformed_json"),
            (br#"{"\u0000":1}"#, "http.malformed_json"),
            (b"\xef\xbb\xbf{}", "http.malformed_json"),
        ];
        for (bytes, code) in cases {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
            assert_eq!(parse_json::<Value>(bytes).map_err(|error| error.code()), Err(code), "{shown}");
        }
    }

    #[test]
    fn numbers_that_survive_are_taken() {
        for good in [
            "0",
            "-0",
            "-0.0",
            "0.1",
            "1.10",
            "100e-2",
            "1E+2",
            "5e-324",
            "1.7976931348623157e308",
            "18446744073709551615",
        ] {
            assert_eq!(check_numbers(good.as_bytes()), Ok(()), "{good}");
        }
    }

    #[test]
    fn the_wrong_shape_is_told_apart() {
        assert!(matches!(parse_json::<Vec<u8>>(b"{}"), Err(JsonError::Shape(_))));
    }
}
