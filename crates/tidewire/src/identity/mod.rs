//! Who asks, and what he may: API keys, JSON Web Tokens, scopes.
//!
//! A [`Caller`] is found out once, at the edge. What he may do is a list of [`Scopes`]; what he emits carries his
//! `source` and nobody else's. Nothing here prints or stores a secret: of a key only its digest is kept.

mod key;
mod scope;
mod token;

pub use key::{ApiKey, NewKey, Secret};
pub use scope::{Operation, Scope, Scopes};
pub use token::{Jwks, JwtRules};

/// Somebody who was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For logs and audits: `key:<id>`, `jwt:<subject>`, or `local` where nobody is asked.
    pub name: String,
    /// What he may do.
    pub scopes: Scopes,
    /// The `source` of what he emits, and of nothing else; `None` where any is taken.
    pub source: Option<String>,
}

impl Caller {
    /// Whoever reaches a surface that asks nobody: the machine's own users, on loopback.
    pub fn local() -> Self {
        Self { name: "local".into(), scopes: Scopes::all(), source: None }
    }
}

/// Why somebody was not recognised. What is told to him is the code and nothing that helps to guess.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No credentials where some are needed.
    #[error("this needs an API key or a token")]
    Missing,
    /// Not a key or token of ours, or its signature or secret is wrong.
    #[error("the credentials are not valid: {0}")]
    Invalid(&'static str),
    /// Valid once.
    #[error("the credentials have expired or were revoked")]
    Expired,
}

impl IdentityError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "auth.missing",
            Self::Invalid(_) => "auth.invalid",
            Self::Expired => "auth.expired",
        }
    }
}
