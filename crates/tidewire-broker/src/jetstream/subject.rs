//! Subjects: where events lie in the stream, and how groups ask for them.
//!
//! `tw.<domain>.<bucket>.<name tokens>.v<version>`: `tw.main.07.user.followed.v1`. The bucket is the key's, of two
//! digits; the name's parts are tokens, so that other clients can ask for `tw.main.*.user.>`.
//!
//! A token is made of letters, digits, `-` and `_`; every other byte is written `%XX`, and an empty token `%`. So no
//! name, whatever it holds, makes a wildcard, an empty token or white space, and different names never meet.

use std::fmt::Write;

use tidewire_core::key::BUCKETS;
use tidewire_core::{EventType, Key};

/// Beyond so many filters a consumer asks for whole buckets, and what was not wanted is dropped here: the server
/// looks every event up in them.
const MAX_FILTERS: usize = 256;

/// What the stream takes.
pub(super) fn all(domain: &str) -> String {
    format!("tw.{domain}.*.>")
}

/// Where an event lies.
pub(super) fn of(domain: &str, key: &Key, ty: &EventType) -> String {
    let mut subject = String::with_capacity(domain.len() + ty.name().len() + 16);
    subject.push_str("tw.");
    subject.push_str(domain);
    subject.push('.');
    push_bucket(&mut subject, key.bucket());
    subject.push('.');
    push_name(&mut subject, ty.name());
    // Writing to a string cannot fail.
    let _ = write!(subject, ".v{}", ty.version());
    subject
}

/// The bucket of what lies under `subject`.
pub(super) fn bucket(domain: &str, subject: &str) -> Option<u8> {
    let token = subject.strip_prefix("tw.")?.strip_prefix(domain)?.strip_prefix('.')?.split('.').next()?;
    let is_canonical = token.len() == 2 && token.bytes().all(|byte| byte.is_ascii_digit());
    token.parse().ok().filter(|bucket| is_canonical && *bucket < BUCKETS)
}

/// What to ask for: these names (all when empty) in these buckets. Whether whole buckets are asked for although
/// names were given.
pub(super) fn filters(domain: &str, buckets: &[u8], names: &[String]) -> (Vec<String>, bool) {
    let tokens: Vec<String> = match buckets.len() == usize::from(BUCKETS) {
        true => vec!["*".into()],
        false => buckets.iter().map(|bucket| format!("{bucket:02}")).collect(),
    };
    let is_coarse = tokens.len() * names.len() > MAX_FILTERS;
    if names.is_empty() || is_coarse {
        return (tokens.iter().map(|token| format!("tw.{domain}.{token}.>")).collect(), is_coarse);
    }
    let mut filters = Vec::with_capacity(tokens.len() * names.len());
    for token in &tokens {
        for name in names {
            let mut filter = format!("tw.{domain}.{token}.");
            push_name(&mut filter, name);
            filter.push_str(".*");
            filters.push(filter);
        }
    }
    (filters, false)
}

/// A name as one token, for consumers and keys; not to be read back. At most 80 bytes, different for different names.
pub(super) fn label(name: &str) -> String {
    let mark = crate::wire::mark("label", name);
    let mut label: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(64).collect();
    let _ = write!(label, "-{:08x}", u32::from_be_bytes([mark[0], mark[1], mark[2], mark[3]]));
    label
}

fn push_bucket(out: &mut String, bucket: u8) {
    out.push(char::from(b'0' + bucket / 10));
    out.push(char::from(b'0' + bucket % 10));
}

fn push_name(out: &mut String, name: &str) {
    for (index, token) in name.split('.').enumerate() {
        if index > 0 {
            out.push('.');
        }
        if token.is_empty() {
            out.push('%');
        }
        for byte in token.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
                _ => {
                    let _ = write!(out, "%{byte:02X}");
                }
            }
        }
    }
}

/// Reads what [`push_name`] wrote.
#[cfg(test)]
fn name_of(tokens: &str) -> Option<String> {
    let mut bytes = Vec::new();
    for (index, token) in tokens.split('.').enumerate() {
        if index > 0 {
            bytes.push(b'.');
        }
        let mut rest = token.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = match (byte, after.first_chunk::<2>()) {
                (b'%', Some(hex)) => {
                    bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
                    &after[2..]
                }
                (b'%', None) => after,
                _ => {
                    bytes.push(byte);
                    after
                }
            };
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(name: &str) -> String {
        let mut out = String::new();
        push_name(&mut out, name);
        out
    }

    #[test]
    fn subjects_are_as_documented() {
        let key = Key::new("user/42").unwrap();
        assert_eq!(of("main", &key, &EventType::new("user.followed", 1)), "tw.main.63.user.followed.v1");
        assert_eq!(bucket("main", "tw.main.63.user.followed.v1"), Some(63));
        for foreign in ["tw.main.64.a.v1", "tw.main.7.a.v1", "tw.main2.07.a.v1", "tw.main", "x", "tw.main.+7.a"] {
            assert_eq!(bucket("main", foreign), None, "{foreign}");
        }
    }

    #[test]
    fn filters_are_few() {
        let all: Vec<u8> = (0..BUCKETS).collect();
        let names = ["a.b".to_owned(), "c".to_owned()];
        assert_eq!(filters("d", &all, &[]).0, ["tw.d.*.>"]);
        assert_eq!(filters("d", &all, &names).0, ["tw.d.*.a.b.*", "tw.d.*.c.*"]);
        assert_eq!(filters("d", &[1, 7], &[]).0, ["tw.d.01.>", "tw.d.07.>"]);
        assert_eq!(filters("d", &[1], &names).0, ["tw.d.01.a.b.*", "tw.d.01.c.*"]);
        let many: Vec<String> = (0..200).map(|n| format!("n{n}")).collect();
        assert_eq!(filters("d", &[1, 7], &many), (vec!["tw.d.01.>".into(), "tw.d.07.>".into()], true));
    }

    /// Any text: comes back, and is neither a wildcard nor white space nor an empty token.
    #[test]
    fn names_travel_whatever_they_hold() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut draw = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let alphabet: Vec<char> = "ab1.-_*>% \t\r\n\0$ü😀A\u{7f}\"".chars().collect();
        let mut seen = std::collections::HashMap::new();
        for _ in 0..20_000 {
            let length = draw(8);
            let name: String = (0..length).map(|_| alphabet[draw(alphabet.len() as u64) as usize]).collect();
            let written = escaped(&name);
            assert_eq!(name_of(&written).as_deref(), Some(name.as_str()), "{written}");
            for token in written.split('.') {
                assert!(!token.is_empty(), "{name:?}");
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_%".contains(&byte);
                assert!(token.bytes().all(is_plain), "{written}");
            }
            let other = seen.insert(written, name.clone());
            assert!(other.is_none_or(|other| other == name));
        }
        // What is allowed in a name anyway stays readable.
        assert_eq!(escaped("user.followed-twice_over"), "user.followed-twice_over");
    }

    #[test]
    fn labels_are_tokens_and_differ() {
        assert_ne!(label("a.b"), label("a_b"));
        assert!(label(&"ü.*> ".repeat(60)).bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert!(label(&"x".repeat(256)).len() <= 80);
    }
}
