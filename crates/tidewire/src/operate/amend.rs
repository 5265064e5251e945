//! Editing and dropping parked events.

use bytes::Bytes;
use serde::Serialize;
use tidewire_core::commit::Place;
use tidewire_core::store::{Parked, ParkedQuery};
use tidewire_core::{Attribute, Commit, Committed, Envelope, Mark, Park, Seen, Unpark};

use super::acted::{Acted, Actor};
use super::parked::{BEHIND, ParkedSelection};
use super::redrive::{Redrive, Redriven};
use super::turn::Turn;
use super::{OperateError, Operator};

/// The extension attribute of an edited event: the id of the one it was made of.
pub const EDITED_FROM: &str = "editedfrom";
/// What follows on the key of a dropped event and is run at once; the rest is left to `parked redrive`.
const MAX_FOLLOWERS: usize = 500;

/// A parked event before and after it was edited.
#[derive(Clone, Debug, Serialize)]
pub struct Edited {
    /// Its number among the parked, which stays.
    pub ordinal: u64,
    /// As it was.
    pub before: Envelope,
    /// As it is now.
    pub after: Envelope,
}

/// A parked event that is no more.
#[derive(Clone, Debug, Serialize)]
pub struct Dropped {
    /// Its consumer.
    pub consumer: String,
    /// Its number among the parked.
    pub ordinal: u64,
    /// Its id.
    pub id: String,
    /// What became of those that waited behind it.
    pub followed: Vec<Redriven>,
}

impl Operator {
    /// The parked event as it would be with other data: a new id, a link to the one it is made of, everything else as it
    /// was. Nothing is written; whether the data follows its schema is for whoever knows the schemas.
    pub async fn edit_preview(&self, ordinal: u64, data: Bytes) -> Result<(Parked, Envelope), OperateError> {
        let parked = self.parked_one(ordinal).await?;
        let mut after = parked.envelope.clone();
        after.id = self.ports.clock.id().to_string();
        after.data = Some(data);
        after.extensions.insert(EDITED_FROM.to_owned(), Attribute::Text(parked.envelope.id.clone()));
        after.check().map_err(|error| OperateError::Invalid(error.to_string()))?;
        let (size, limit) = (after.size(), self.ports.broker.features().max_event_bytes);
        if size > limit {
            return Err(OperateError::Invalid(format!(
                "the event would take about {size} bytes; at most {limit} are taken"
            )));
        }
        Ok((parked, after))
    }

    /// Puts `after` in the place of `parked`, both as [`Operator::edit_preview`] gave them. The one that was there counts
    /// as handled by its consumer, whatever the broker hands out. [`OperateError::Changed`]: somebody was faster.
    pub async fn edit(
        &self,
        actor: &Actor,
        reason: &str,
        parked: Parked,
        after: Envelope,
    ) -> Result<Edited, OperateError> {
        let Parked { ordinal, consumer, envelope: before, code, reason: parked_for, since, .. } = parked;
        let acted = Acted::new(actor, "parked edit", format!("{consumer}#{ordinal}"), reason)
            .with("event", before.id.clone())
            .with("edited_as", after.id.clone())
            .with("before", before.data_text())
            .with("after", after.data_text())
            .about(&before);
        let park = Park {
            consumer: consumer.clone(),
            envelope: after.clone(),
            code,
            reason: parked_for,
            attempts: 0,
            follower: false,
            place: Some(Place { ordinal, since }),
        };
        let commit = Commit { park: vec![park], ..self.taken_out(&consumer, ordinal, &before, &acted) };
        self.in_turn(&consumer, ordinal, commit).await?;
        Ok(Edited { ordinal, before, after })
    }

    /// Drops a parked event: it counts as handled, and nobody ever sees it again except in the log. If it was the first
    /// of its key, what was parked only for waiting behind it runs now, in order, up to the first that fails.
    pub async fn drop_parked(&self, actor: &Actor, reason: &str, ordinal: u64) -> Result<Dropped, OperateError> {
        let Parked { consumer, envelope, code, .. } = self.parked_one(ordinal).await?;
        let first =
            ParkedQuery { consumer: Some(consumer.clone()), key: Some(envelope.key.clone()), after: 0, limit: 1 };
        let was_first = self.ports.store.parked(&first).await?.first().is_none_or(|first| first.ordinal == ordinal);
        let acted = Acted::new(actor, "parked drop", format!("{consumer}#{ordinal}"), reason)
            .with("event", envelope.id.clone())
            .with("code", code)
            .about(&envelope);
        let commit = self.taken_out(&consumer, ordinal, &envelope, &acted);
        self.in_turn(&consumer, ordinal, commit).await?;
        let followed = if was_first { self.follow(actor, reason, &consumer, &envelope).await? } else { Vec::new() };
        Ok(Dropped { consumer, ordinal, id: envelope.id, followed })
    }

    async fn follow(
        &self,
        actor: &Actor,
        reason: &str,
        consumer: &str,
        dropped: &Envelope,
    ) -> Result<Vec<Redriven>, OperateError> {
        let selection =
            ParkedSelection { key: Some(dropped.key.clone()), code: Some(BEHIND.into()), ..Default::default() };
        let redrive = Redrive { consumer, selection, after: 0, limit: MAX_FOLLOWERS, dry_run: false };
        match self.redrive_selected(actor, reason, &redrive).await {
            Ok(report) => Ok(report.items),
            // Its build is not this one: whoever runs it will.
            Err(OperateError::NoConsumer { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn taken_out(&self, consumer: &str, ordinal: u64, envelope: &Envelope, acted: &Acted) -> Commit {
        Commit {
            unpark: vec![Unpark { consumer: consumer.to_owned(), ordinal }],
            seen: vec![Seen { consumer: consumer.to_owned(), mark: Mark::of(envelope) }],
            append: vec![acted.append(self.ports.clock.as_ref())],
            ..Commit::default()
        }
    }

    /// Commits while nobody else works on the parked events of this consumer.
    async fn in_turn(&self, consumer: &str, ordinal: u64, mut commit: Commit) -> Result<(), OperateError> {
        let turn = Turn::take(&self.ports, consumer, Default::default()).await?;
        commit.fence = Some(turn.fence());
        let committed = self.ports.store.commit(commit).await;
        turn.end().await;
        match committed? {
            Committed::Applied { .. } => Ok(()),
            Committed::Duplicate => Err(OperateError::Changed { ordinal }),
        }
    }
}
