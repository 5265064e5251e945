//! Effects as an operator looks at them, and those given up brought back to life.

use tidewire_core::Commit;
use tidewire_core::effect::{EffectOutcome, EffectPhase, EffectQuery, EffectState, StoredEffect};
use tidewire_core::store::Selection;

use super::acted::{Acted, Actor};
use super::why::EffectRow;
use super::{OperateError, Operator};

/// The most effects begun anew by one request.
pub const MAX_RETRIED: usize = 500;

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
