//! The doctor: what is wrong with an installation before somebody is hurt by it.
//!
//! What can be known is collected first ([`Facts`]); rules then look at that and at nothing else, so that each can be
//! shown to find what it is for. Every rule stands for a failure that people have met.

mod facts;
mod latency;
mod rules;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use facts::{ConsumerFacts, Facts, SagaFacts};
pub use rules::RULES;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It will hurt when something else goes wrong.
    Warning,
    /// It hurts now, or the next time something happens that always does.
    Critical,
}

/// Something that is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which rule found it.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a consumer, the store, the relay.
    pub subject: String,
    /// What was seen, with numbers.
    pub evidence: String,
    /// What to do about it.
    pub cure: String,
}

/// A rule: what it looks for, and the failure it stands for.
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What happens to those who do not look, in a sentence.
    pub failure: &'static str,
    /// Looks.
    pub look: fn(&Facts) -> Vec<Finding>,
}

/// What a doctor found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What is wrong, the worst first.
    pub items: Vec<Finding>,
    /// The rules that were tried.
    pub rules: Vec<&'static str>,
    /// What could not be found out here, and why.
    pub unknown: Vec<String>,
}

/// Tries every rule.
pub fn examine(facts: &Facts) -> Report {
    let mut items: Vec<Finding> = RULES.iter().flat_map(|rule| (rule.look)(facts)).collect();
    items.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.subject.cmp(&b.subject)));
    Report { items, rules: RULES.iter().map(|rule| rule.name).collect(), unknown: facts.unknown() }
}
