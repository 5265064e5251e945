//! Scopes: what somebody may do, and with which event types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most scopes of one caller.
const MAX_SCOPES: usize = 64;

/// What can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Emit events (`emit`, or `emit:user.*` for some types).
    Emit,
    /// Read events from the log and its live tail (`events`, or `events:user.*`).
    Events,
    /// Change things through the services: users, follows, documents, tracking.
    Write,
    /// Read what the services show.
    Read,
    /// See how everything is doing: status, consumers, parked events, sagas, metrics.
    Observe,
    /// Repair: redrive, retire, reconcile.
    Operate,
    /// Make, rotate and revoke keys.
    Keys,
    /// Have events sent to endpoints: of types that one may read, answered with types that one may emit.
    Subscribe,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Emit, Self::Events, Self::Write, Self::Read, Self::Observe, Self::Operate, Self::Keys, Self::Subscribe];

    /// Its name in a scope.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emit => "emit",
            Self::Events => "events",
            Self::Write => "write",
            Self::Read => "read",
            Self::Observe => "observe",
            Self::Operate => "operate",
            Self::Keys => "keys",
            Self::Subscribe => "subscribe",
        }
    }

    /// Whether it can be limited to some event types.
    pub fn has_types(self) -> bool {
        matches!(self, Self::Emit | Self::Events)
    }
}

/// One thing that is allowed: `emit:user.*`, `read`, or `*` for everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// `None`: everything.
    operation: Option<Operation>,
    /// A type's name, or a prefix that ends in a dot; empty for all.
    types: String,
}

impl Scope {
    fn allows(&self, operation: Operation, ty: Option<&str>) -> bool {
        let Some(own) = self.operation else { return true };
        let is_type = || match (ty, self.types.as_str()) {
            (_, "") => true,
            (None, _) => false,
            (Some(ty), prefix) if prefix.ends_with('.') => ty.starts_with(prefix),
            (Some(ty), name) => ty == name,
        };
        own == operation && is_type()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(operation) = self.operation else { return f.write_str("*") };
        match self.types.as_str() {
            "" => f.write_str(operation.name()),
            prefix if prefix.ends_with('.') => write!(f, "{}:{prefix}*", operation.name()),
            name => write!(f, "{}:{name}", operation.name()),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self { operation: None, types: String::new() });
        }
        let shown = || text.chars().take(60).flat_map(char::escape_default).collect::<String>();
        let (name, types) = text.split_once(':').map_or((text, None), |(name, types)| (name, Some(types)));
        let Some(operation) = Operation::ALL.into_iter().find(|operation| operation.name() == name) else {
            let known = Operation::ALL.map(Operation::name).join(", ");
            return Err(format!("`{}` is no scope; there are {known}, and `*` for all of them", shown()));
        };
        let types = match types {
            None | Some("*") => "",
            Some(_) if !operation.has_types() => {
                return Err(format!("`{}`: only `emit` and `events` can be limited to types", shown()));
            }
            Some(types) => types.strip_suffix('*').unwrap_or(types),
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let is_prefix = text.ends_with('*');
        if types.len() > 128 || !types.chars().all(is_name) || (!types.is_empty() && is_prefix != types.ends_with('.'))
        {
            return Err(format!("`{}`: a type is written `user.followed`, or `user.*` for all that begin so", shown()));
        }
        Ok(Self { operation: Some(operation), types: types.to_owned() })
    }
}

/// What somebody may do; nothing, when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Everything.
    pub fn all() -> Self {
        Self(vec![Scope { operation: None, types: String::new() }])
    }

    /// Reads scopes between spaces or commas. Unknown ones are refused: a misspelt scope must not look granted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = text.split([' ', ',']).filter(|word| !word.is_empty());
        let scopes = words.map(str::parse).collect::<Result<Vec<Scope>, String>>()?;
        match scopes.len() {
            1..=MAX_SCOPES => Ok(Self(scopes)),
            0 => Err("at least one scope is needed".into()),
            many => Err(format!("{many} scopes; at most {MAX_SCOPES} are taken")),
        }
    }

    /// As [`Scopes::parse`] for a token of somebody else, whose other scopes are other systems' business.
    pub fn known(text: &str) -> Self {
        Self(text.split([' ', ',']).filter_map(|word| word.parse().ok()).take(MAX_SCOPES).collect())
    }

    /// Whether an operation is allowed; on events of this type, where the operation has types. Without a type: on all.
    pub fn allow(&self, operation: Operation, ty: Option<&str>) -> bool {
        self.0.iter().any(|scope| scope.allows(operation, ty))
    }

    /// Whether an operation is allowed on events of at least some type.
    pub fn allow_some(&self, operation: Operation) -> bool {
        self.0.iter().any(|scope| scope.operation.is_none_or(|own| own == operation))
    }

    /// Whether all of these are among what is allowed here: nobody hands out more than he has.
    pub fn include(&self, others: &Self) -> bool {
        others.0.iter().all(|other| match other.operation {
            None => self.0.iter().any(|own| own.operation.is_none()),
            Some(operation) => self.0.iter().any(|own| {
                own.operation.is_none()
                    || (own.operation == Some(operation)
                        && (own.types.is_empty()
                            || own.types == other.types
                            || (own.types.ends_with('.') && other.types.starts_with(&own.types))))
            }),
        })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            write!(f, "{}{scope}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_allow_what_they_say_and_nothing_else() {
        let cases = [
            ("*", Operation::Keys, None, true),
            ("read", Operation::Read, None, true),
            ("read", Operation::Write, None, false),
            ("emit", Operation::Emit, Some("user.followed"), true),
            ("emit:*", Operation::Emit, Some("user.followed"), true),
            ("emit:user.*", Operation::Emit, Some("user.followed"), true),
            ("emit:user.*", Operation::Emit, Some("username.taken"), false),
            ("emit:user.*", Operation::Emit, None, false),
            ("emit:user.*", Operation::Events, Some("user.followed"), false),
            ("emit:user.followed", Operation::Emit, Some("user.followed"), true),
            ("emit:user.followed", Operation::Emit, Some("user.followed.up"), false),
            ("read, emit:saga.*", Operation::Emit, Some("saga.stuck"), true),
        ];
        for (scopes, operation, ty, expected) in cases {
            assert_eq!(Scopes::parse(scopes).unwrap().allow(operation, ty), expected, "{scopes} {operation:?} {ty:?}");
        }
        for bad in ["", " ", "reed", "read:user.*", "emit:User.*", "emit:user*", "emit:user.", "emit:a b:c", "emit:\n"]
        {
            assert!(Scopes::parse(bad).is_err(), "{bad:?}");
        }
        assert!(!Scopes::known("openid profile").allow(Operation::Read, None));
        assert!(Scopes::known("openid read").allow(Operation::Read, None));
        assert!(!Scopes::default().allow(Operation::Read, None));
    }

    #[test]
    fn nobody_hands_out_more_than_he_has() {
        let include = |own: &str, other: &str| Scopes::parse(own).unwrap().include(&Scopes::parse(other).unwrap());
        assert!(
            include("*", "* read") && include("emit", "emit:user.*") && include("emit:user.*", "emit:user.followed")
        );
        assert!(
            !include("read", "*") && !include("emit:user.*", "emit") && !include("emit:user.followed", "emit:user.*")
        );
        let text = "emit:user.* read events:saga.stuck *";
        assert_eq!(Scopes::parse(text).unwrap().to_string(), text);
    }
}
