//! Text that is safe to show: what an event carries must not steer a terminal.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::ValueEnum;

/// How times are shown in tables. Scripts always get RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum TimeStyle {
    /// `12s ago`.
    #[default]
    Relative,
    /// `2026-11-20T13:04:03Z`.
    Iso,
}

/// `text` with everything made visible that could move the cursor, recolour, reorder or forge a line:
/// control characters, and the marks that change the direction of text.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() || is_steering(c) => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// Bidirectional overrides, invisible separators and tags: they show one text and mean another.
fn is_steering(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// At most `most` characters of `text`, made printable, with an ellipsis where something is missing.
pub fn shortened(text: &str, most: usize) -> String {
    let shown = printable(text);
    if shown.chars().count() <= most {
        return shown;
    }
    let mut cut: String = shown.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A time as `style` asks for, seen from `now`. What is no time is shown as it is.
pub fn time(text: &str, style: TimeStyle, now: DateTime<Utc>) -> String {
    match DateTime::parse_from_rfc3339(text) {
        Err(_) => printable(text),
        Ok(time) if style == TimeStyle::Iso => time.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true),
        Ok(time) => relative(now.signed_duration_since(time.to_utc()).num_seconds()),
    }
}

fn relative(seconds: i64) -> String {
    let amount = match seconds.unsigned_abs() {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7_200 => format!("{}m", s / 60),
        s @ 7_200..172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    };
    if seconds < 0 { format!("in {amount}") } else { format!("{amount} ago") }
}

/// `1234567` as `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes in the unit people read.
pub fn bytes(number: u64) -> String {
    let (mut value, mut unit) = (number as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_survives() {
        for (hostile, shown) in [
            ("\u{1b}[31mred", r"\u{1b}[31mred"),
            ("a\r\nb", r"a\r\nb"),
            ("\u{9b}2J", r"\u{9b}2J"),
            ("gnp.\u{202e}exe", r"gnp.\u{202e}exe"),
            ("plain ü 漢", "plain ü 漢"),
        ] {
            assert_eq!(printable(hostile), shown);
        }
    }

    #[test]
    fn times_and_amounts_read_well() {
        let now = DateTime::parse_from_rfc3339("2026-11-20T12:00:00Z").unwrap().to_utc();
        for (text, shown) in [
            ("2026-11-20T11:59:48.5Z", "11s ago"),
            ("2026-11-20T11:00:00Z", "60m ago"),
            ("2026-11-17T12:00:00Z", "3d ago"),
            ("2026-11-20T12:05:00Z", "in 5m"),
            ("soon\u{7}", r"soon\u{7}"),
        ] {
            assert_eq!(time(text, TimeStyle::Relative, now), shown, "{text}");
        }
        assert_eq!(time("2026-11-20T13:00:00.123+01:00", TimeStyle::Iso, now), "2026-11-20T12:00:00Z");
        assert_eq!((count(0).as_str(), count(1_234_567).as_str(), count(999).as_str()), ("0", "1,234,567", "999"));
        assert_eq!((bytes(12).as_str(), bytes(1536).as_str()), ("12 B", "1.5 KiB"));
        assert_eq!(shortened("abcdef", 4), "abc…");
    }
}
