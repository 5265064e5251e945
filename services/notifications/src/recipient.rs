//! Whom to tell, found in the log.
//!
//! Who signed up and which workspace a document is in never changes once it happened, so the log can be asked
//! without keeping a copy, and without waiting for one: an event of one key may be handled before an earlier
//! event of another.

use events::{DocumentSubmitted, UserId, UserRegistered};
use tidewire::store::Selection;
use tidewire::{Context, Event, HandlerError, Key};

use crate::inbox::Inbox;

/// Somebody to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipient {
    pub inbox: Inbox,
    /// Where e-mail goes, if anywhere.
    pub email: Option<String>,
}

/// A user, registered here or not.
pub(crate) async fn user(cx: &Context<'_>, user: &UserId) -> Result<Recipient, HandlerError> {
    let email = account(cx, user).await?.and_then(|account| account.email);
    Ok(Recipient { inbox: Inbox::user(user), email })
}

/// Who cares for a workspace: the user it is named after, if there is one; otherwise everybody who looks into
/// the workspace's own inbox.
pub(crate) async fn workspace(cx: &Context<'_>, name: &str) -> Result<Recipient, HandlerError> {
    if let Ok(user) = UserId::new(name)
        && let Some(account) = account(cx, &user).await?
    {
        return Ok(Recipient { inbox: Inbox::user(&user), email: account.email });
    }
    Ok(Recipient { inbox: Inbox::workspace(name), email: None })
}

/// The name to show for a user: the id for somebody who is not registered here.
pub(crate) async fn name(cx: &Context<'_>, user: &UserId) -> Result<String, HandlerError> {
    Ok(account(cx, user).await?.map_or_else(|| user.to_string(), |account| account.name))
}

/// How the document was submitted whose stream is `key`.
pub(crate) async fn submission(cx: &Context<'_>, key: &Key) -> Result<Option<DocumentSubmitted>, HandlerError> {
    first(cx, key).await
}

async fn account(cx: &Context<'_>, user: &UserId) -> Result<Option<UserRegistered>, HandlerError> {
    first(cx, &events::user::key(user)).await
}

/// The first event of type `E` in a stream. One that cannot be read counts as none: it is not the event at
/// hand, and must not keep that from being told.
async fn first<E: Event>(cx: &Context<'_>, key: &Key) -> Result<Option<E>, HandlerError> {
    let selection =
        Selection { key: Some(key.clone()), names: vec![E::TYPE.name().to_owned()], limit: 1, ..Selection::default() };
    let found = cx.store().read(&selection).await?;
    Ok(found.first().and_then(|recorded| E::decode(&recorded.envelope).ok()))
}
