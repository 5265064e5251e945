//! E-mail addresses.

use std::fmt;

/// The longest local part, by RFC 5321.
const MAX_LOCAL: usize = 64;
/// The longest label of a domain, by RFC 1035.
const MAX_LABEL: usize = 63;

/// An e-mail address as people have them: a dotted local part of ASCII, and a domain name with at least one
/// dot. Quoted local parts, comments and address literals are valid by RFC 5321 and refused here: nobody signs
/// up with them, and mail libraries disagree about them. Whether anybody reads it, only sending can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

/// A text that is no e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not an e-mail address: {reason}")]
pub struct InvalidEmail {
    /// What was found, escaped and cut to a length that is safe to print.
    pub found: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Email {
    /// Checks and takes an address.
    pub fn new(text: &str) -> Result<Self, InvalidEmail> {
        match fault(text) {
            None => Ok(Self(text.to_owned())),
            Some(reason) => {
                Err(InvalidEmail { found: text.chars().take(80).flat_map(char::escape_default).collect(), reason })
            }
        }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fault(text: &str) -> Option<&'static str> {
    if text.len() > events::limits::EMAIL {
        return Some("it is longer than 254 bytes");
    }
    let Some((local, domain)) = text.rsplit_once('@') else { return Some("it has no `@`") };
    if local.is_empty() || local.len() > MAX_LOCAL {
        return Some("the part before the `@` must have 1 to 64 bytes");
    }
    let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&byte);
    if !local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom)) {
        return Some("the part before the `@` holds a character or a dot that may not be there");
    }
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !domain.contains('.') || !domain.split('.').all(is_label) {
        return Some("the part after the `@` is no domain name");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_people_have() {
        for good in ["ada@example.org", "a.b+tag@mail.example.co.uk", "o'neil@xn--bcher-kva.example", "1@2.3"] {
            assert!(Email::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn refuses_what_could_not_be_mailed_or_would_break_a_header() {
        let long = format!("{}@example.org", "x".repeat(65));
        let label = format!("a@{}.org", "x".repeat(64));
        let whole = format!("a@{}.org", ["abcdefgh"; 30].join("."));
        let bad = [
            "",
            "@",
            "ada",
            "ada@",
            "@example.org",
            "ada@localhost",
            "a@b@example.org",
            "ada@example..org",
            ".a@b.org",
            "a.@b.org",
            "a..b@c.org",
            "ada@-b.org",
            "a b@c.org",
            "a@b.org\r\nBcc: all@b.org",
            "\"a\"@b.org",
            "a@[1.2.3.4]",
            "ü@b.org",
            "<a@b.org>",
            &long,
            &label,
            &whole,
        ];
        for bad in bad {
            assert!(Email::new(bad).is_err(), "{bad:?}");
        }
    }
}
