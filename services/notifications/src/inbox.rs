//! Whose notifications.

use std::fmt;

use events::UserId;

const WORKSPACE: &str = "workspace:";
const OPERATORS: &str = "role:operators";

/// The name of an inbox: a user's id; `workspace:<name>` for a workspace that is no user's; or
/// `role:operators` for those who run the installation. Colons cannot be in user ids, so none is taken for
/// another; slashes are in no name, so none is a prefix of another's rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inbox(String);

impl Inbox {
    /// A user's own.
    pub fn user(user: &UserId) -> Self {
        Self(user.to_string())
    }

    /// The one everybody in a workspace shares. What a user id could not hold is percent-encoded.
    pub fn workspace(name: &str) -> Self {
        let mut text = WORKSPACE.to_owned();
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => text.push(char::from(byte)),
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
        Self(text)
    }

    /// The operators'.
    pub fn operators() -> Self {
        Self(OPERATORS.to_owned())
    }

    /// Reads a name as it stands in a URL; `None` when it can be none.
    pub fn parse(text: &str) -> Option<Self> {
        if text == OPERATORS {
            return Some(Self::operators());
        }
        match text.strip_prefix(WORKSPACE) {
            Some(name) => {
                (!name.is_empty() && name.chars().count() <= events::limits::WORKSPACE).then(|| Self::workspace(name))
            }
            None => UserId::new(text).ok().map(|user| Self::user(&user)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_taken_for_another() {
        for (text, name) in [
            ("42", "42"),
            ("workspace:research", "workspace:research"),
            ("workspace:a/b c", "workspace:a%2Fb%20c"),
            ("role:operators", "role:operators"),
        ] {
            assert_eq!(Inbox::parse(text).unwrap().as_str(), name);
        }
        assert_ne!(Inbox::workspace("a/b"), Inbox::workspace("a%2Fb"));
        for bad in ["", "workspace:", "role:other", "a/b", "..", &format!("workspace:{}", "x".repeat(65))] {
            assert!(Inbox::parse(bad).is_none(), "{bad:?}");
        }
    }
}
