//! The survey: a look at every live saga when an orchestrator starts.

use serde::Serialize;
use serde_json::Value;
use tidewire_core::saga::stall::Stored;
use tidewire_core::saga::{Input, Saga, Status};
use tidewire_core::store::DocumentQuery;
use tidewire_core::{HandlerError, StoreError, Unit};

use super::runner::SagaRunner;
use super::stored::{COLLECTION, INDEX, index_id};
use crate::ports::Ports;

/// Sagas looked at together.
const PAGE: usize = 200;

/// What a build can do with the sagas it finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Go on as they are: their definition, with their steps, is in this build.
    pub as_is: u64,
    /// Were taken over from an older definition.
    pub taken_over: u64,
    /// Were stalled, and go on now.
    pub resumed: u64,
    /// Are stalled, because this build does not know them. Nothing of them is lost.
    pub stalled: u64,
    /// Were moved by somebody else meanwhile, who knows them.
    pub moved: u64,
}

/// What is to be done with one.
enum Finding {
    AsIs,
    TakeOver,
    Unknown,
}

impl<G: Saga> SagaRunner<G> {
    /// Looks at every saga of this name that has not ended, before the first reply or deadline does: those of a
    /// definition that this build does not know are stalled with the reason, older ones are taken over, and stalled ones
    /// that it knows go on. Each is one commit, guarded by the saga's revision. Reads page by page; call it once, at the
    /// start. Events are emitted as `source`.
    pub async fn survey(&self, ports: &Ports, source: &str) -> Result<Survey, StoreError> {
        let mut survey = Survey::default();
        for status in [Status::Stalled, Status::Running, Status::Compensating, Status::Stuck] {
            let mut after = None;
            loop {
                let (collection, prefix) = (INDEX.to_owned(), index_id(status, ""));
                let query =
                    DocumentQuery { collection, prefix, after: after.take(), limit: PAGE, ..Default::default() };
                let rows = ports.store.list(&query).await?;
                let is_ours = |row: &Value| row["saga"] == G::NAME;
                let ours = rows.iter().filter(|row| serde_json::from_slice(&row.value).is_ok_and(|row| is_ours(&row)));
                for id in ours.filter_map(|row| row.id.rsplit('/').next()) {
                    self.look(id, ports, source, &mut survey).await?;
                }
                after = rows.last().map(|row| row.id.clone());
                if rows.len() < PAGE {
                    break;
                }
            }
        }
        // They were met again where they went on to.
        survey.as_is = survey.as_is.saturating_sub(survey.resumed);
        Ok(survey)
    }

    async fn look(&self, id: &str, ports: &Ports, source: &str, survey: &mut Survey) -> Result<(), StoreError> {
        let mut unit = Unit::new(ports.store.clone(), ports.clock.clone(), &Self::consumer_name(), source);
        let mut cx = unit.context(None, 1);
        let raw: Value = match cx.get(COLLECTION, id).await {
            Ok(Some(raw)) => raw,
            Ok(None) => return Ok(()),
            Err(HandlerError::Store(error)) => return Err(error),
            Err(error) => return unreadable(id, &error),
        };
        let is_stalled = raw["status"] == Status::Stalled.as_str();
        let count = match self.finding(&raw) {
            Finding::AsIs if !is_stalled => {
                survey.as_is += 1;
                return Ok(());
            }
            Finding::Unknown if is_stalled => {
                survey.stalled += 1;
                return Ok(());
            }
            _ if is_stalled => &mut survey.resumed,
            Finding::TakeOver => &mut survey.taken_over,
            _ => &mut survey.stalled,
        };
        if let Err(error) = self.advance(raw, Input::Wake, &mut cx) {
            return unreadable(id, &error);
        }
        cx.keep();
        match ports.store.commit(unit.into_commit()).await {
            Ok(_) => *count += 1,
            Err(StoreError::Conflict(_)) => survey.moved += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn finding(&self, raw: &Value) -> Finding {
        if self.older_of(raw).is_some() {
            return Finding::AsIs;
        }
        match self.definition.read(raw) {
            Ok(Some(Stored::Known(_))) if raw["definition"] == G::DEFINITION => Finding::AsIs,
            Ok(Some(Stored::Known(_))) => Finding::TakeOver,
            _ => Finding::Unknown,
        }
    }
}

/// It stays as it is; whoever sends it something parks that, and a person sees it there.
fn unreadable(id: &str, error: &HandlerError) -> Result<(), StoreError> {
    tracing::error!(saga = id, code = error.code(), %error, "a saga cannot be read");
    Ok(())
}
