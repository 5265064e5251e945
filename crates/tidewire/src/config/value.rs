//! Values: what a key may hold, how it is read from text, and how it is printed back.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::SecretString;
use super::url::{ServiceUrl, UrlRule};

/// What a key accepts. Bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text; empty only where `empty` says so.
    Text {
        /// Whether the empty text is a value.
        empty: bool,
    },
    /// Text that is never shown; empty means none.
    Secret,
    /// A folder or file name.
    Path,
    /// `true` or `false`.
    Bool,
    /// A whole number of `unit`.
    Count {
        /// Smallest accepted.
        min: u64,
        /// Largest accepted.
        max: u64,
        /// What is counted, in the plural.
        unit: &'static str,
    },
    /// A size in bytes, written with its unit: `64KiB`.
    Size {
        /// Smallest accepted, in bytes.
        min: u64,
        /// Largest accepted, in bytes.
        max: u64,
    },
    /// A span of time, written with its unit: `250ms`.
    Span {
        /// Shortest accepted.
        min: Duration,
        /// Longest accepted.
        max: Duration,
    },
    /// `IP:PORT`.
    Socket,
    /// Where a service is.
    Url(UrlRule),
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A filter for log lines: `info`, or `info,tidewire_store=debug`.
    LogFilter,
}

/// A value that fits its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Secret(SecretString),
    Path(PathBuf),
    Bool(bool),
    Count(u64),
    Size(u64),
    Span(Duration),
    Socket(SocketAddr),
    Url(ServiceUrl),
}

/// A value as a layer holds it. Flags and environment hold text only; a file knows more types.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// Text of a flag or a variable: read as whatever the key wants.
    Text(String),
    /// A TOML string.
    Str(String),
    /// A TOML integer, as written.
    Int(String),
    /// A TOML boolean.
    Bool(bool),
    /// A TOML type that no key wants: its name.
    Other(&'static str),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Str(text) if text.is_empty() => f.write_str("(empty)"),
            Self::Text(text) | Self::Str(text) | Self::Int(text) => f.write_str(text),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Other(name) => write!(f, "a TOML {name}"),
        }
    }
}

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub code: &'static str,
    pub hint: String,
}

fn wrong(hint: impl Into<String>) -> Mismatch {
    Mismatch { code: "config.invalid_value", hint: hint.into() }
}

fn out_of_range() -> Mismatch {
    Mismatch { code: "config.out_of_range", hint: String::new() }
}

impl Kind {
    /// The accepted values in words, with bounds and unit.
    pub fn expected(&self) -> String {
        match self {
            Self::Text { empty: true } => "text".into(),
            Self::Text { empty: false } => "text that is not empty".into(),
            Self::Secret => "text, never shown".into(),
            Self::Path => "a path".into(),
            Self::Bool => "true or false".into(),
            Self::Count { min, max, unit } => format!("a number of {unit} from {min} to {max}"),
            Self::Size { min, max } => format!("a size from {} to {}", show_size(*min), show_size(*max)),
            Self::Span { min, max } => format!("a duration from {} to {}", show_span(*min), show_span(*max)),
            Self::Socket => "an address and a port, such as 127.0.0.1:4500 or [::1]:4500".into(),
            Self::Url(rule) => rule.expected(),
            Self::Choice(words) => either(words),
            Self::LogFilter => {
                "error, warn, info, debug or trace, optionally per target: info,tidewire_store=debug".into()
            }
        }
    }

    /// Reads a value. Never panics; the refusal says what to write instead.
    pub(super) fn read(&self, raw: &Raw) -> Result<Value, Mismatch> {
        match (self, raw) {
            (Self::Bool, Raw::Bool(value)) => Ok(Value::Bool(*value)),
            (Self::Count { min, max, .. }, Raw::Int(text) | Raw::Text(text)) => read_count(text, *min, *max),
            (Self::Size { .. } | Self::Span { .. }, Raw::Int(text)) => {
                Err(wrong(format!("a bare number has no unit: write \"{}\"", self.with_unit(text))))
            }
            (Self::Count { .. } | Self::Bool, Raw::Str(_)) => Err(wrong("write it without quotes")),
            (_, Raw::Text(text) | Raw::Str(text)) => self.read_text(text),
            (_, Raw::Int(_) | Raw::Bool(_)) => Err(wrong("write it in quotes")),
            (_, Raw::Other(_)) => Err(wrong("this type is not used here")),
        }
    }

    fn with_unit(&self, text: &str) -> String {
        format!("{text}{}", if matches!(self, Self::Size { .. }) { "B" } else { "s" })
    }

    fn read_text(&self, text: &str) -> Result<Value, Mismatch> {
        match self {
            Self::Text { empty: false } | Self::Path if text.trim().is_empty() => {
                Err(wrong("unset it for the default"))
            }
            Self::Text { .. } | Self::Secret if text.chars().any(char::is_control) => {
                Err(wrong("control characters are not accepted"))
            }
            Self::Text { .. } => Ok(Value::Text(text.to_owned())),
            Self::Secret => Ok(Value::Secret(SecretString::new(text))),
            Self::Path if text.contains('\0') => Err(wrong("a path holds no zero byte")),
            Self::Path => Ok(Value::Path(text.into())),
            Self::Bool => text.parse().map(Value::Bool).map_err(|_| wrong("")),
            Self::Count { min, max, .. } => read_count(text, *min, *max),
            Self::Size { min, max } => {
                let size = parse_size(text).map_err(wrong)?;
                if (*min..=*max).contains(&size) { Ok(Value::Size(size)) } else { Err(out_of_range()) }
            }
            Self::Span { min, max } => {
                let span = parse_span(text).map_err(wrong)?;
                if (*min..=*max).contains(&span) { Ok(Value::Span(span)) } else { Err(out_of_range()) }
            }
            Self::Socket => text.parse().map(Value::Socket).map_err(|_| wrong(socket_hint(text))),
            Self::Url(rule) => rule.check(text).map(Value::Url).map_err(wrong),
            Self::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::Choice(words) => Err(wrong(did_you_mean(text, words))),
            Self::LogFilter => match tracing_subscriber::EnvFilter::builder().parse(text) {
                Ok(_) if !text.trim().is_empty() => Ok(Value::Text(text.to_owned())),
                Ok(_) => Err(wrong("unset it for the default")),
                Err(error) => Err(wrong(error.to_string())),
            },
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Secret(secret) => write!(f, "{secret}"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Size(bytes) => f.write_str(&show_size(*bytes)),
            Self::Span(span) => f.write_str(&show_span(*span)),
            Self::Socket(address) => write!(f, "{address}"),
            Self::Url(url) => write!(f, "{url}"),
        }
    }
}

fn read_count(text: &str, min: u64, max: u64) -> Result<Value, Mismatch> {
    // TOML allows 10_000; the environment may as well.
    let digits = text.replace('_', "");
    if digits.starts_with('-') && digits[1..].chars().all(|c| c.is_ascii_digit()) {
        return Err(out_of_range());
    }
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return Err(wrong("write a whole number"));
    }
    match digits.parse() {
        Ok(count) if (min..=max).contains(&count) => Ok(Value::Count(count)),
        _ => Err(out_of_range()),
    }
}

fn socket_hint(text: &str) -> String {
    match text.rsplit_once(':') {
        Some(("localhost", port)) => format!("names are not looked up here: write 127.0.0.1:{port}"),
        Some(("" | "*", port)) => format!("write 127.0.0.1:{port} for this machine, 0.0.0.0:{port} for all interfaces"),
        _ if text.parse::<std::net::IpAddr>().is_ok() => "the port is missing".into(),
        _ => String::new(),
    }
}

const SPAN_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads `250ms`, `30s`, `5m`, `12h`, `7d` and sums such as `1h30m`. A bare number, a fraction and a
/// negative span are refused with what to write instead.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    parse_units(text, &SPAN_UNITS, "a unit is missing or unknown: use ms, s, m, h or d").map(Duration::from_millis)
}

/// Reads `512B`, `64KiB`, `16MiB`, `1GiB`, `2TiB`. Units are powers of 1024 and say so: `MB` is refused.
pub fn parse_size(text: &str) -> Result<u64, String> {
    parse_units(text, &SIZE_UNITS, "a unit is missing or unknown: use B, KiB, MiB, GiB or TiB")
}

fn parse_units(text: &str, units: &[(&str, u64)], unit_hint: &str) -> Result<u64, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err("a negative value makes no sense here".into());
    }
    if text.contains(['.', ',']) {
        return Err("fractions are not accepted: use a smaller unit".into());
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, next) = tail.split_at(letters);
        if number.is_empty() {
            return Err("write a number and its unit".into());
        }
        let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or(unit_hint)?;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        total = part.and_then(|part| total.checked_add(part)).ok_or("the number is too large")?;
        rest = next;
    }
    if text.is_empty() { Err("write a number and its unit".into()) } else { Ok(total) }
}

/// The shortest exact way to write a span: `90s`, `5m`, `250ms`.
pub fn show_span(span: Duration) -> String {
    show_units(u64::try_from(span.as_millis()).unwrap_or(u64::MAX), &SPAN_UNITS, "0s")
}

/// The shortest exact way to write a size: `64KiB`, `1GiB`.
pub fn show_size(bytes: u64) -> String {
    show_units(bytes, &SIZE_UNITS, "0B")
}

fn show_units(total: u64, units: &[(&str, u64)], zero: &str) -> String {
    let largest = units.iter().rev().find(|(_, factor)| total > 0 && total.is_multiple_of(*factor));
    largest.map_or_else(|| zero.to_owned(), |(name, factor)| format!("{}{name}", total / factor))
}

/// `a, b or c`.
pub(super) fn either(words: &[impl AsRef<str>]) -> String {
    match words {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [init @ .., last] => {
            let init: Vec<&str> = init.iter().map(AsRef::as_ref).collect();
            format!("{} or {}", init.join(", "), last.as_ref())
        }
    }
}

/// ``did you mean `x`?`` for the nearest word, or nothing when none is near.
pub(super) fn did_you_mean(text: &str, words: &[&str]) -> String {
    nearest(text, words.iter().copied()).map_or_else(String::new, |word| format!("did you mean `{word}`?"))
}

/// The nearest word by edits, if it is near enough to be what was meant: a third of the letters at most.
pub(crate) fn nearest<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_ascii_lowercase();
    words
        .map(|word| (strsim::damerau_levenshtein(&text, word), word))
        .filter(|(distance, word)| *distance <= (word.len().max(text.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_read_and_written_back() {
        for (text, millis, shown) in [
            ("250ms", 250, "250ms"),
            ("30s", 30_000, "30s"),
            ("90s", 90_000, "90s"),
            ("60s", 60_000, "1m"),
            ("1h30m", 5_400_000, "90m"),
            ("7d", 604_800_000, "7d"),
            ("0s", 0, "0s"),
        ] {
            let span = parse_span(text).unwrap();
            assert_eq!((span.as_millis(), show_span(span).as_str()), (millis, shown));
        }
        for (text, bytes, shown) in
            [("512B", 512, "512B"), ("64KiB", 65_536, "64KiB"), ("1024MiB", 1 << 30, "1GiB"), ("0B", 0, "0B")]
        {
            assert_eq!((parse_size(text).unwrap(), show_size(bytes).as_str()), (bytes, shown));
        }
    }

    #[test]
    fn spans_and_sizes_without_a_clear_unit_are_refused() {
        for bad in [
            "",
            " ",
            "30",
            "s",
            "-5s",
            "1.5s",
            "30 s",
            "30S",
            "30min",
            "1h30",
            "99999999999999999999s",
            "18446744073709551615d",
            "٣s",
        ] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
        for bad in ["", "64", "64K", "64KB", "64kib", "MiB", "-1B", "1.5GiB", "99999999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn kinds_refuse_with_the_right_code() {
        let count = Kind::Count { min: 1, max: 64, unit: "shards" };
        let text = |text: &str| Raw::Text(text.into());
        for (kind, raw, code) in [
            (count, text("0"), "config.out_of_range"),
            (count, text("-1"), "config.out_of_range"),
            (count, text("99999999999999999999999"), "config.out_of_range"),
            (count, text("many"), "config.invalid_value"),
            (count, Raw::Str("4".into()), "config.invalid_value"),
            (count, Raw::Other("array"), "config.invalid_value"),
            (Kind::Bool, text("yes"), "config.invalid_value"),
            (Kind::Bool, Raw::Str("true".into()), "config.invalid_value"),
            (Kind::Socket, text("localhost:4500"), "config.invalid_value"),
            (Kind::Choice(&["text", "json"]), text("jsn"), "config.invalid_value"),
            (Kind::Path, text(""), "config.invalid_value"),
            (Kind::LogFilter, text("loud=very"), "config.invalid_value"),
            (Kind::Size { min: 1, max: 10 }, Raw::Int("5".into()), "config.invalid_value"),
            (Kind::Size { min: 1, max: 10 }, text("11B"), "config.out_of_range"),
        ] {
            assert_eq!(kind.read(&raw).unwrap_err().code, code, "{kind:?} {raw}");
        }
        assert_eq!(count.read(&text("64")), Ok(Value::Count(64)));
        assert_eq!(count.read(&Raw::Int("64".into())), Ok(Value::Count(64)));
        assert_eq!(Kind::Choice(&["text", "json"]).read(&text("jsn")).unwrap_err().hint, "did you mean `json`?");
        assert!(Kind::Socket.read(&text("localhost:4500")).unwrap_err().hint.contains("127.0.0.1:4500"));
    }
}
