//! Effects as an operator looks at them, and those given up brought back to life.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tidewire_core::effect::{EffectOutcome, EffectPhase, EffectQuery, EffectState, StoredEffect};
use tidewire_core::store::Selection;
use tidewire_core::{Call, Commit};

use super::acted::{Acted, Actor};
use super::{OperateError, Operator};

/// The most effects begun anew by one request.
pub const MAX_RETRIED: usize = 500;

/// An effect, as lists show it.
#[derive(Clone, Debug, Serialize)]
pub struct EffectRow {
    /// Its id, which is the idempotency key that goes with it.
    pub id: String,
    /// Who wants it.
    pub consumer: String,
    /// The event it follows from.
    pub cause: String,
    /// `mail` or `http`.
    pub kind: &'static str,
    /// Whom it goes to: an address, or a method and a URL without what comes after its path, which may be secret.
    pub target: String,
    /// `pending`, `done` or `failed`, which is given up.
    pub state: &'static str,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<DateTime<Utc>>,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<StoredEffect> for EffectRow {
    fn from(stored: StoredEffect) -> Self {
        let StoredEffect { effect, state, attempts, error } = stored;
        let (word, due) = match state {
            EffectState::Pending(due) => ("pending", Some(due)),
            EffectState::Done => ("done", None),
            EffectState::Failed => ("failed", None),
        };
        let target = target(&effect.call);
        let kind = effect.call.kind();
        Self {
            id: effect.id,
            consumer: effect.consumer,
            cause: effect.cause,
            kind,
            target,
            state: word,
            due,
            attempts,
            error,
        }
    }
}

fn target(call: &Call) -> String {
    match call {
        Call::Mail { to, .. } => to.clone(),
        Call::Http { method, url, .. } => {
            let open = url.split(['?', '#']).next().unwrap_or_default();
            // What stands before `@` is who is asking, and his password.
            let (scheme, rest) = open.split_once("://").unwrap_or(("", open));
            let host = rest.split('/').next().unwrap_or_default();
            let rest = match host.rsplit_once('@') {
                Some((secret, _)) => &rest[secret.len() + 1..],
                None => rest,
            };
            format!("{method} {scheme}://{rest}")
        }
        _ => String::new(),
    }
}

impl Operator {
    /// Effects, in the order of their ids.
    pub async fn effects(&self, query: &EffectQuery) -> Result<Vec<EffectRow>, OperateError> {
        Ok(self.ports.store.effects(query).await?.into_iter().map(EffectRow::from).collect())
    }

    /// Begins anew with effects that were given up: at most `limit` of those that `query` selects, whatever its phase.
    /// They are carried out with the same idempotency key as ever. Answers them as they are now.
    pub async fn retry_effects(
        &self,
        actor: &Actor,
        reason: &str,
        query: &EffectQuery,
    ) -> Result<Vec<EffectRow>, OperateError> {
        let query =
            EffectQuery { phase: Some(EffectPhase::Failed), limit: query.limit.min(MAX_RETRIED), ..query.clone() };
        let mut retried = Vec::new();
        for stored in self.ports.store.effects(&query).await? {
            retried.push(self.retry_effect(actor, reason, stored).await?);
        }
        Ok(retried)
    }

    async fn retry_effect(&self, actor: &Actor, reason: &str, stored: StoredEffect) -> Result<EffectRow, OperateError> {
        let StoredEffect { effect, attempts, error, .. } = stored;
        let state = EffectState::Pending(self.ports.clock.now());
        let mut acted = Acted::new(actor, "effects retry", format!("{}#{}", effect.consumer, effect.id), reason)
            .with("effect", effect.id.clone())
            .with("event", effect.cause.clone())
            .with("attempts", attempts);
        if let Some(error) = &error {
            acted = acted.with("error", error.clone());
        }
        let cause = Selection { id: Some(effect.cause.clone()), limit: 1, ..Default::default() };
        if let Some(cause) = self.ports.store.read(&cause).await?.first() {
            acted = acted.about(&cause.envelope);
        }
        let commit = Commit {
            settled: vec![EffectOutcome { id: effect.id.clone(), state, error: error.clone() }],
            append: vec![acted.append(self.ports.clock.as_ref())],
            ..Commit::default()
        };
        self.ports.store.commit(commit).await?;
        Ok(StoredEffect { effect, state, attempts: 0, error }.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_may_be_secret_in_a_url_is_not_shown() {
        for (url, shown) in [
            ("https://h.example/hook?token=canary", "POST https://h.example/hook"),
            ("https://user:canary@h.example:8/a@b#canary", "POST https://h.example:8/a@b"),
        ] {
            let call =
                Call::Http { method: "POST".into(), url: url.into(), headers: BTreeMap::new(), body: String::new() };
            assert_eq!(target(&call), shown);
        }
    }
}
