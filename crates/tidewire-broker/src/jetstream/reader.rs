//! A reader: pulls one consumer's deliveries, as many as there is room for.
//!
//! The row of deliveries must be unbroken (the consumer numbers them). One that was lost on the way would otherwise
//! come again after what follows on its key; so a reader whose row breaks is replaced, and so is one of which the
//! server says that it delivered, or had acknowledged, other than what happened here.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tidewire_core::Backoff;
use tokio::sync::watch;
use tokio::time::Instant;

use super::arrival::{self, Arrival};
use super::group::{Broken, Group, MAX_BATCH};

/// How long a request for deliveries stands.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that a request still stands. Twice this without anything: the request is lost.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Bytes that one request may bring, unless one event has more.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// How often the server is asked whether it sees things as we do, while nothing comes.
const LOOK: Duration = Duration::from_secs(10);
/// How often what the server says may differ before it is believed: answers are still on their way.
const MAX_DOUBTS: u32 = 3;
/// Waits between looks that differ.
const DOUBT: Duration = Duration::from_millis(200);
/// Waits after something went wrong.
const AGAIN: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Why a session ended.
enum End {
    Stopped,
    /// The row is broken, or the consumer gone.
    Lost(&'static str),
    /// To be tried again.
    Again(String),
}

/// Who pulls.
pub(super) struct Reader {
    pub group: Arc<Group>,
    pub name: Arc<str>,
    pub stop: watch::Receiver<bool>,
}

/// Requests that stand.
struct Session {
    inbox: String,
    deliveries: Subscriber,
    /// Deliveries asked for that did not come.
    asked: usize,
    /// The last thing the server said.
    heard: Instant,
    /// When to look again whether the server sees things as we do.
    look_at: Instant,
    doubts: u32,
}

impl Reader {
    /// Runs until it is stopped or its row breaks.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            match self.session().await {
                End::Stopped => return,
                End::Lost(reason) => {
                    tracing::warn!(group = self.group.name, reader = %self.name, reason, "a reader is replaced");
                    self.group.state().broken.insert(self.name.clone());
                    self.group.nudge.notify_one();
                    return;
                }
                End::Again(reason) => {
                    failures = if began.elapsed() > EXPIRES { 1 } else { failures + 1 };
                    tracing::info!(group = self.group.name, reader = %self.name, reason, "a reader asks anew");
                    let wait = AGAIN.after(failures, self.group.shared.clock.random());
                    if tokio::time::timeout(wait, stopped(&mut self.stop)).await.is_ok() {
                        return;
                    }
                }
            }
        }
    }

    async fn session(&self) -> End {
        let shared = self.group.shared.clone();
        let mut stop = self.stop.clone();
        let mut connections = shared.link.connections();
        while !shared.link.is_up() {
            tokio::select! {
                () = stopped(&mut stop) => return End::Stopped,
                _ = connections.changed() => {}
            }
        }
        connections.mark_unchanged();
        for _ in 0..MAX_DOUBTS {
            match self.look().await {
                Ok(None) => break,
                Ok(Some(_)) => tokio::time::sleep(DOUBT).await,
                Err(end) => return end,
            }
        }
        if let Ok(Some(reason)) = self.look().await {
            return End::Lost(reason);
        }
        let inbox = shared.link.client.new_inbox();
        let deliveries = match shared.link.client.subscribe(inbox.clone()).await {
            Ok(deliveries) => deliveries,
            Err(error) => return End::Again(error.to_string()),
        };
        let now = Instant::now();
        let mut session = Session { inbox, deliveries, asked: 0, heard: now, look_at: now + LOOK, doubts: 0 };
        loop {
            let room = self.group.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if let Err(end) = self.ask(&mut session).await {
                return end;
            }
            let silent = session.heard + HEARTBEAT * 2;
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return End::Stopped,
                message = session.deliveries.next() => match message {
                    Some(message) => if let Err(end) = self.take(&mut session, message) { return end },
                    None => return End::Again("the subscription ended".into()),
                },
                // While something was asked for, asking for more follows its coming.
                () = &mut room, if session.asked == 0 => {}
                _ = connections.changed() => return End::Again("the connection was made anew".into()),
                () = tokio::time::sleep_until(silent), if session.asked > 0 => {
                    return End::Again("the server says nothing".into());
                }
                () = tokio::time::sleep_until(session.look_at) => {
                    if let Err(end) = self.look_again(&mut session).await {
                        return end;
                    }
                }
            }
        }
    }

    /// Asks for more when half of what there is room for has come.
    async fn ask(&self, session: &mut Session) -> Result<(), End> {
        let quota = self.group.state().quota();
        if quota == 0 || session.asked > quota / 2 {
            return Ok(());
        }
        let shared = &self.group.shared;
        let nanos = |duration: Duration| duration.as_nanos() as u64;
        let request = json!({
            "batch": (quota - session.asked).min(MAX_BATCH),
            "max_bytes": MAX_REQUEST_BYTES.max(2 * shared.options.max_event_bytes),
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(HEARTBEAT),
        });
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", shared.stream, self.name);
        let sent = shared.link.client.publish_with_reply(subject, session.inbox.clone(), request.to_string().into());
        sent.await.map_err(|error| End::Again(error.to_string()))?;
        if session.asked == 0 {
            session.heard = Instant::now();
        }
        session.asked = quota;
        Ok(())
    }

    /// Takes a delivery and all that came with it.
    fn take(&self, session: &mut Session, first: Message) -> Result<(), End> {
        let now = Instant::now();
        session.heard = now;
        let mut arrivals: Vec<Arrival> = Vec::new();
        let mut end = None;
        let mut next = Some(first);
        while let Some(message) = next {
            match message.status {
                None | Some(StatusCode::OK) => {
                    session.asked = session.asked.saturating_sub(1);
                    arrivals.extend(arrival::read(message, &self.group.shared.options.domain));
                }
                Some(status) => end = end.or(heed(session, status, &message)),
            }
            next = match arrivals.len() < MAX_BATCH {
                true => session.deliveries.next().now_or_never().flatten(),
                false => None,
            };
        }
        if !arrivals.is_empty() {
            (session.look_at, session.doubts) = (now + LOOK, 0);
            let arrived = self.group.arrive(&self.name, arrivals);
            arrived.map_err(|Broken| End::Lost("a delivery was lost on its way"))?;
        }
        end.map_or(Ok(()), Err)
    }

    /// Looks whether the server sees things as we do, and believes it when it says the same for a while.
    async fn look_again(&self, session: &mut Session) -> Result<(), End> {
        session.look_at = Instant::now() + LOOK;
        let Some(reason) = self.look().await? else {
            session.doubts = 0;
            return Ok(());
        };
        session.doubts += 1;
        if session.doubts >= MAX_DOUBTS {
            return Err(End::Lost(reason));
        }
        // Soon again, but not before what is on its way could be taken.
        session.look_at = Instant::now() + DOUBT;
        Ok(())
    }

    /// What the server sees differently.
    async fn look(&self) -> Result<Option<&'static str>, End> {
        let shared = &self.group.shared;
        let info = match shared.api.consumer(&shared.stream, &self.name).await {
            Ok(Some(info)) => info,
            Ok(None) => return Err(End::Lost("the consumer is gone")),
            Err(error) => return Err(End::Again(error.to_string())),
        };
        let state = self.group.state();
        let Some(progress) = state.readers.get(&self.name) else { return Err(End::Stopped) };
        if info.delivered.consumer_seq != progress.delivered {
            return Ok(Some("deliveries were lost on their way"));
        }
        let has_lost = info.num_ack_pending > state.open_of(&self.name) as u64;
        Ok(has_lost.then_some("acknowledgements were lost on their way"))
    }
}

/// Waits until there is nothing more to do, or nobody who would say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What a status means.
fn heed(session: &mut Session, status: StatusCode, message: &Message) -> Option<End> {
    if status == StatusCode::IDLE_HEARTBEAT {
        return None;
    }
    let text = message.description.clone().unwrap_or_default();
    let lower = text.to_ascii_lowercase();
    if lower.contains("consumer deleted") {
        return Some(End::Lost("the consumer was deleted"));
    }
    // A request ended before it was filled, and says by how much.
    let left = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
    let left = left.and_then(|left| left.as_str().parse::<usize>().ok());
    let has_ended = matches!(status, StatusCode::TIMEOUT | StatusCode::NOT_FOUND)
        || lower.contains("maxbytes")
        || lower.contains("batch completed");
    if has_ended {
        session.asked = left.map_or(0, |left| session.asked.saturating_sub(left));
        return None;
    }
    Some(End::Again(format!("the server ended the request: {status} {text}")))
}
