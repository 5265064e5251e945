//! Which events a reader wants.

use std::sync::Arc;

use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use tidewire::cesql::Expression;
use tidewire::http::Problem;
use tidewire::identity::{Caller, Operation, Scopes};
use tidewire::store::Selection;
use tidewire::{Envelope, Key};

use crate::contracts::Contracts;

/// Patterns in one filter.
const MAX_PATTERNS: usize = 50;

/// Which events: `?type=user.*,document.ingested&key=user/42&correlation=…&id=…&filter=…`. Every part that is there
/// must hold. A type is a name without its version, or a prefix of names that ends in `.*`; `filter` is CloudEvents
/// SQL. Types, keys, flows and ids are found through the log's indexes; `filter` looks at each event they leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub names: Vec<String>,
    pub key: Option<Key>,
    pub correlation: Option<String>,
    pub id: Option<String>,
    pub expression: Option<Expression>,
    /// Whoever asks sees the types he may see.
    pub scopes: Scopes,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    ty: Option<String>,
    filter: Option<String>,
    key: Option<String>,
    correlation: Option<String>,
    id: Option<String>,
}

impl Filter {
    /// Reads the filter from a query string. Types that match nothing there is are refused: silence would look
    /// like nothing happening.
    pub(super) fn of(uri: &Uri, caller: &Caller, contracts: &Contracts) -> Result<Self, Problem> {
        let Query(raw) = Query::<Raw>::try_from_uri(uri).map_err(Problem::invalid)?;
        let expression = raw.filter.as_deref().map(Expression::filter).transpose().map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, "filter.invalid", format!("`filter` is no CloudEvents SQL: {error}"))
                .with("position", error.at + 1)
        })?;
        let mut names = Vec::new();
        if let Some(patterns) = &raw.ty {
            let patterns: Vec<&str> = patterns.split(',').map(str::trim).collect();
            if patterns.len() > MAX_PATTERNS {
                return Err(Problem::invalid(format!("at most {MAX_PATTERNS} types are taken in one filter")));
            }
            for pattern in patterns {
                expand(pattern, contracts, &mut names)?;
            }
        }
        names.sort_unstable();
        names.dedup();
        let key = raw.key.map(|key| Key::new(Arc::<str>::from(key))).transpose().map_err(Problem::invalid)?;
        Ok(Self { names, key, correlation: raw.correlation, id: raw.id, expression, scopes: caller.scopes.clone() })
    }

    /// Whether an event that [`Filter::selection`] selects is wanted.
    pub(super) fn wants(&self, envelope: &Envelope) -> bool {
        self.scopes.allow(Operation::Events, Some(envelope.ty.name()))
            && self.expression.as_ref().is_none_or(|expression| expression.matches(envelope))
    }

    /// Whether events that [`Filter::selection`] selects may be unwanted.
    pub(super) fn is_picky(&self) -> bool {
        self.expression.is_some() || !self.scopes.allow(Operation::Events, None)
    }

    /// The filter in one way of writing it, however it was asked for: equal for equal filters.
    pub(super) fn canonical(&self) -> String {
        let parts = [
            ("type", (!self.names.is_empty()).then(|| self.names.join(","))),
            ("key", self.key.as_ref().map(|key| key.as_str().to_owned())),
            ("correlation", self.correlation.clone()),
            ("id", self.id.clone()),
            ("filter", self.expression.as_ref().map(|expression| expression.text().to_owned())),
        ];
        let written = parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        written.collect::<Vec<String>>().join("&")
    }

    /// The filter as the log takes it.
    pub(super) fn selection(&self) -> Selection {
        Selection {
            names: self.names.clone(),
            key: self.key.clone(),
            correlationid: self.correlation.clone(),
            id: self.id.clone(),
            ..Selection::default()
        }
    }
}

fn expand(pattern: &str, contracts: &Contracts, names: &mut Vec<String>) -> Result<(), Problem> {
    let before = names.len();
    let mut known = contracts.names();
    match pattern.strip_suffix('*') {
        Some("") => names.extend(known.map(str::to_owned)),
        Some(prefix) if prefix.ends_with('.') => {
            names.extend(known.filter(|name| name.starts_with(prefix)).map(str::to_owned));
        }
        Some(_) => return Err(Problem::invalid("a prefix of types ends in `.*`, such as `user.*`")),
        None => names.extend(known.find(|name| *name == pattern).map(str::to_owned)),
    }
    if names.len() == before { Err(contracts.unknown(&pattern.chars().take(128).collect::<String>())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Result<Filter, String> {
        let uri = format!("/v1/events?{query}").parse().unwrap();
        Filter::of(&uri, &Caller::local(), &Contracts::default()).map_err(|problem| problem.code)
    }

    #[test]
    fn types_are_names_and_prefixes() {
        assert!(filter("").unwrap().names.is_empty() && !filter("").unwrap().is_picky());
        assert_eq!(filter("type=user.followed").unwrap().names, ["user.followed"]);
        assert_eq!(filter("type=user.*").unwrap().names, ["user.followed", "user.registered", "user.unfollowed"]);
        assert_eq!(filter("type=user.*,saga.stuck,user.followed").unwrap().names.len(), 4);
        assert_eq!(filter("key=user/42").unwrap().key.unwrap().as_str(), "user/42");
    }

    #[test]
    fn what_would_match_nothing_is_refused() {
        for unknown in ["type=user.folowed", "type=users.*", "type=user.followed.v1", "type="] {
            assert_eq!(filter(unknown), Err("event.unknown_type".into()), "{unknown}");
        }
        for unread in ["filter=type=", "filter=user.*", "filter=REGEX(type)", "filter="] {
            assert_eq!(filter(unread), Err("filter.invalid".into()), "{unread}");
        }
        for invalid in ["type=user*", "key=", "key=a%0Ab", "type=user.*&type=saga.*"] {
            assert_eq!(filter(invalid), Err("http.invalid".into()), "{invalid}");
        }
    }
}
