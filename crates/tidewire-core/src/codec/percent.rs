//! Text in headers of HTTP and NATS.

use std::borrow::Cow;

/// Whether a byte stands for itself in a header: everything visible but `"` and `%`.
fn is_plain(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%'
}

/// Percent-encodes as the bindings to HTTP and NATS have it: space, `"`, `%` and everything outside `!` to `~`. What
/// comes out can stand in any header: it holds no control character and nothing beyond ASCII.
pub fn encode(text: &str) -> Cow<'_, str> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]);
        }
    }
    Cow::Owned(out)
}

/// Undoes one round of percent-encoding; hexadecimal digits may be small.
///
/// # Errors
/// What was expected instead.
pub fn decode(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let Some((hex, after)) = rest.split_first_chunk::<2>() else { return Err(TWO_DIGITS) };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (Some(high), Some(low)) = (digit(hex[0]), digit(hex[1])) else { return Err(TWO_DIGITS) };
        out.push(high * 16 + low);
        rest = after;
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| "percent-encoded UTF-8")
}

const TWO_DIGITS: &str = "two hexadecimal digits after every percent sign";

/// A header's value as it was read.
pub(super) struct Decoded<'a> {
    pub text: Cow<'a, str>,
    /// It stood between quotation marks.
    pub is_quoted: bool,
    /// It held what its writer should have encoded.
    pub is_bare: bool,
}

/// Reads a header's value as the bindings say: white space around it is not part of it, quotation marks are undone
/// before percent signs are.
pub(super) fn read(value: &str) -> Result<Decoded<'_>, &'static str> {
    let value = value.trim_matches([' ', '\t']);
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let Some(inner) = quoted else {
        let is_bare = !value.bytes().all(|byte| is_plain(byte) || byte == b'%');
        return Ok(Decoded { text: decode(value)?, is_quoted: false, is_bare });
    };
    let text = match inner.contains('\\') {
        false => decode(inner)?,
        true => Cow::Owned(decode(&unescaped(inner))?.into_owned()),
    };
    Ok(Decoded { text, is_quoted: true, is_bare: false })
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for text in ["", "plain", "Euro € 😀", "100%25 \"x\"", "a\r\nNats-Rollup: all", "\0\u{7f}"] {
            let encoded = encode(text);
            assert!(encoded.bytes().all(is_plain) || encoded.contains('%'), "{encoded}");
            assert!(encoded.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{encoded}");
            assert_eq!(decode(&encoded).as_deref(), Ok(text));
        }
        assert_eq!(encode("Euro €"), "Euro%20%E2%82%AC");
    }

    #[test]
    fn what_is_badly_encoded_is_refused() {
        for bad in ["%", "a%4", "%zz", "%+1", "%C0%A0", "%é0"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
        assert_eq!(decode("%250A").as_deref(), Ok("%0A"), "one round only");
    }

    #[test]
    fn other_writers_are_understood() {
        let read = |value| read(value).map(|it| (it.text.into_owned(), it.is_quoted, it.is_bare));
        assert_eq!(read(" \"a \\\"b\\\" %c3%bc\" "), Ok(("a \"b\" ü".into(), true, false)));
        assert_eq!(read("two words"), Ok(("two words".into(), false, true)));
        assert_eq!(read("%e2%82%ac"), Ok(("€".into(), false, false)));
        assert_eq!(read("\""), Ok(("\"".into(), false, true)));
    }
}
