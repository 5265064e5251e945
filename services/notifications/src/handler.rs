//! `notifications.inbox`: turns events into notifications.

use std::collections::BTreeSet;
use std::sync::Arc;

use events::{DocumentIngested, DocumentRejected, SagaStuck, UserFollowed};
use tidewire::handler::{Consumer, Run};
use tidewire::{Call, Context, Envelope, EventSet, Handler, HandlerError, Key, async_trait, event_set};

use crate::hub::Hub;
use crate::inbox::Inbox;
use crate::notification::{INBOXES, Notification, deliver};
use crate::preferences::{PREFERENCES, Preferences};
use crate::recipient::{self, Recipient};
use crate::wording::{self, Wording};

event_set! {
    /// What people are told of.
    pub enum NotificationEvent {
        Followed(UserFollowed),
        Ingested(DocumentIngested),
        Rejected(DocumentRejected),
        Stuck(SagaStuck),
    }
}

/// The handler. Inboxes are shared by many keys, so whole batches are taken in one commit.
pub struct Notifier {
    hub: Arc<Hub>,
    mail: bool,
}

impl Notifier {
    /// `hub` is woken when there is something to look for; without `mail` no e-mail is asked for.
    pub fn new(hub: Arc<Hub>, mail: bool) -> Self {
        Self { hub, mail }
    }

    async fn tell(
        &self,
        envelope: &Envelope,
        cx: &mut Context<'_>,
        recipient: Recipient,
        wording: &Wording,
    ) -> Result<(), HandlerError> {
        let preferences: Preferences =
            cx.get(PREFERENCES, Preferences::id(&recipient.inbox)).await?.unwrap_or_default();
        if !preferences.tells(wording.kind) {
            return Ok(());
        }
        let notification = Notification {
            kind: wording.kind,
            event_id: envelope.id.clone(),
            subject: envelope.key.to_string(),
            time: envelope.time,
            title: wording.title.clone(),
            text: wording.text.clone(),
            read: None,
        };
        deliver(cx, &recipient.inbox, &notification).await?;
        if let Some(to) = recipient.email.filter(|_| self.mail && preferences.mails(wording.kind)) {
            cx.effect(Call::Mail { to, subject: wording.title.clone(), text: wording.letter() });
        }
        Ok(())
    }

    async fn tell_stuck(
        &self,
        envelope: &Envelope,
        event: &SagaStuck,
        cx: &mut Context<'_>,
    ) -> Result<(), HandlerError> {
        let submitted = match Key::new(event.subject.as_str()) {
            Ok(key) => recipient::submission(cx, &key).await?,
            Err(_) => None,
        };
        let document =
            submitted.as_ref().map(|s| wording::document(s.title.as_deref(), s.filename.as_deref(), &s.document_id));
        let wording = wording::stuck(event, document.as_deref());
        let operators = Recipient { inbox: Inbox::operators(), email: None };
        self.tell(envelope, cx, operators, &wording).await?;
        if let Some(submitted) = submitted {
            let recipient = recipient::workspace(cx, &submitted.workspace).await?;
            self.tell(envelope, cx, recipient, &wording).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for Notifier {
    fn consumer(&self) -> Consumer {
        Consumer { run: Run::Batch, ..Consumer::new("notifications.inbox", NotificationEvent::types()) }
    }

    async fn prepare(&self, events: &[&Envelope], cx: &mut Context<'_>) -> Result<(), HandlerError> {
        // Only follows name their inbox; they are also what comes in crowds.
        let inbox = |envelope: &&Envelope| match NotificationEvent::decode(envelope) {
            Ok(Some(NotificationEvent::Followed(event))) => Some(Inbox::user(&event.followed_id).to_string()),
            _ => None,
        };
        let inboxes: BTreeSet<String> = events.iter().filter_map(inbox).collect();
        let inboxes: Vec<String> = inboxes.into_iter().collect();
        cx.prefetch(INBOXES, &inboxes).await?;
        cx.prefetch(PREFERENCES, &inboxes).await
    }

    async fn handle(&self, envelope: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let Some(event) = NotificationEvent::decode(envelope)? else { return Ok(()) };
        match event {
            NotificationEvent::Followed(event) => {
                let wording = wording::followed(&recipient::name(cx, &event.follower_id).await?);
                let recipient = recipient::user(cx, &event.followed_id).await?;
                self.tell(envelope, cx, recipient, &wording).await?;
            }
            NotificationEvent::Ingested(event) => {
                let recipient = recipient::workspace(cx, &event.workspace).await?;
                self.tell(envelope, cx, recipient, &wording::ingested(&event)).await?;
            }
            NotificationEvent::Rejected(event) => {
                let recipient = recipient::workspace(cx, &event.workspace).await?;
                self.tell(envelope, cx, recipient, &wording::rejected(&event)).await?;
            }
            NotificationEvent::Stuck(event) => self.tell_stuck(envelope, &event, cx).await?,
        }
        // Only a hint: the commit comes after this.
        self.hub.hint();
        Ok(())
    }
}
