//! The connection: made once, restored by itself for ever, and what is known about it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ReconnectToServer, ServerAddr, ServerError,
};
use tidewire_core::{Backoff, BrokerError, Clock};
use tokio::sync::watch;
use tokio::time::Instant;

use super::options::JetStreamOptions;
use super::unpoisoned;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the connection is tried out while nothing else is said.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Waits between attempts to connect again: for ever.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// The server does not say which request it forbade, nor does it answer that one: what got no answer within this time
/// after it is taken to be it. Longer than any request waits.
const FORBIDDEN: Duration = Duration::from_secs(20);
/// How many deliveries may wait in one subscription before more are dropped, which the readers notice: beyond what
/// they ever ask for at once.
const SUBSCRIPTION_CAPACITY: usize = 65_536;
/// Where nobody listens, ever: a lane that is lost goes there instead of to a server, and so ends.
const NOWHERE: &str = "nats://127.0.0.1:0";

/// What is known about the connection beside whether it is there.
pub(super) struct Signs {
    /// Why the server would not have us, since when it last would.
    refused: Mutex<Option<String>>,
    /// What it would not let us do, and when.
    forbidden: Mutex<Option<(Instant, String)>>,
    /// How often the connection was made.
    connected: watch::Sender<u64>,
}

/// The connection.
pub(super) struct Link {
    pub client: Client,
    signs: Arc<Signs>,
    options: JetStreamOptions,
    clock: Arc<dyn Clock>,
}

impl Link {
    /// Connects. [`BrokerError::Denied`] when the server refuses the credentials; [`BrokerError::Unavailable`] when
    /// it cannot be reached.
    pub(super) async fn connect(options: &JetStreamOptions, clock: &Arc<dyn Clock>) -> Result<Self, BrokerError> {
        let signs = Arc::new(Signs {
            refused: Mutex::default(),
            forbidden: Mutex::default(),
            connected: watch::Sender::new(0),
        });
        let (addresses, mut connect) = prepare(options)?;
        connect = connect.max_reconnects(None);
        let jitter = clock.clone();
        connect = connect.reconnect_delay_callback(move |attempt| match u32::try_from(attempt) {
            // The attempts of the first round: one for each server.
            Ok(0 | 1) => Duration::ZERO,
            Ok(attempt) => RECONNECT.after(attempt - 1, jitter.random()),
            Err(_) => RECONNECT.max,
        });
        let watched = signs.clone();
        connect = connect.event_callback(move |event| {
            watched.note(&event);
            std::future::ready(())
        });
        let client = connect.connect(addresses).await.map_err(|error| why_not(&error))?;
        Ok(Self { client, signs, options: options.clone(), clock: clock.clone() })
    }

    /// One more connection, which is never restored: when it is lost its client ends, with whatever it had not sent
    /// yet. A client that connects again sends that then, long after its caller gave it up, and to a server that may
    /// have another record by now.
    pub(super) async fn lane(&self) -> Result<Client, BrokerError> {
        let (mut addresses, connect) = prepare(&self.options)?;
        for url in self.client.server_info().connect_urls {
            // What a server says of others may be no address to us.
            addresses.extend(url.parse::<ServerAddr>().ok().filter(|found| !addresses.contains(found)));
        }
        let first = self.clock.random() % addresses.len().max(1) as u64;
        addresses.rotate_left(usize::try_from(first).unwrap_or(0));
        let nowhere: ServerAddr =
            NOWHERE.parse().map_err(|error: std::io::Error| BrokerError::Invalid(error.to_string()))?;
        addresses.push(nowhere.clone());
        let was_made = Arc::new(AtomicBool::new(false));
        let (is_lost, signs) = (was_made.clone(), self.signs.clone());
        let connecting = connect
            .retain_servers_order()
            // Not zero: that would mean for ever.
            .max_reconnects(addresses.len())
            .reconnect_to_server_callback(move |_, _| {
                let target = ReconnectToServer { addr: nowhere.clone(), delay: Some(Duration::ZERO) };
                std::future::ready(is_lost.load(Ordering::Acquire).then_some(target))
            })
            .event_callback(move |event| {
                // The other connection tells whether the servers are there.
                if !matches!(event, Event::Connected | Event::Disconnected) {
                    signs.note(&event);
                }
                std::future::ready(())
            })
            .connect(addresses);
        match connecting.await {
            Ok(client) => {
                was_made.store(true, Ordering::Release);
                Ok(client)
            }
            Err(error) => {
                let error = why_not(&error);
                if let BrokerError::Denied(reason) = &error {
                    self.signs.refuse(reason);
                }
                Err(error)
            }
        }
    }

    /// Opens a [lane](Self::lane), again and again until there is one.
    pub(super) async fn lane_at_last(&self) -> Client {
        for attempt in 0_u32.. {
            let wait = if attempt == 0 { Duration::ZERO } else { RECONNECT.after(attempt, self.clock.random()) };
            tokio::time::sleep(wait).await;
            match self.lane().await {
                Ok(client) => return client,
                Err(error) => tracing::debug!(code = error.code(), %error, "cannot connect for publishing yet"),
            }
        }
        std::future::pending().await
    }

    /// Whether the connection is up.
    pub(super) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Why the server would not have us, if that was the last it said.
    pub(super) fn refusal(&self) -> Option<String> {
        unpoisoned(&self.signs.refused).clone()
    }

    /// Changes whenever the connection is made anew.
    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.signs.connected.subscribe()
    }

    /// What to answer when something did not work within its time.
    pub(super) fn unavailable(&self, what: &str) -> BrokerError {
        match self.refusal().or_else(|| self.signs.forbidden_now()) {
            Some(reason) => BrokerError::Denied(reason),
            None if self.is_up() => BrokerError::Unavailable(what.to_owned()),
            None => BrokerError::Unavailable("there is no connection to the server".into()),
        }
    }
}

impl Signs {
    fn note(&self, event: &Event) {
        let says = |text: String, what: &str| text.to_ascii_lowercase().contains(what);
        match event {
            Event::Connected => {
                *unpoisoned(&self.refused) = None;
                self.connected.send_modify(|times| *times += 1);
                tracing::info!("connected to NATS");
            }
            Event::Disconnected => tracing::warn!("the connection to NATS is gone; connecting again"),
            Event::SlowConsumer(_) => tracing::warn!("deliveries came faster than they were taken; they come again"),
            Event::LameDuckMode => tracing::info!("the NATS server is about to stop; moving to another one"),
            Event::ServerError(ServerError::AuthorizationViolation) => self.refuse("authorization violation"),
            Event::ServerError(error) if says(error.to_string(), "permissions violation") => {
                tracing::error!(%error, code = "broker.denied", "the NATS server does not let us do this");
                *unpoisoned(&self.forbidden) = Some((Instant::now(), error.to_string()));
            }
            Event::ClientError(error) if says(error.to_string(), "authorization violation") => {
                self.refuse(&error.to_string());
            }
            Event::ServerError(error) => tracing::warn!(%error, "the NATS server reports an error"),
            Event::ClientError(error) => tracing::debug!(%error, "the NATS client reports an error"),
            _ => {}
        }
    }

    /// What was forbidden so lately that it may be why something else got no answer.
    fn forbidden_now(&self) -> Option<String> {
        let forbidden = unpoisoned(&self.forbidden);
        forbidden.as_ref().filter(|(at, _)| at.elapsed() < FORBIDDEN).map(|(_, reason)| reason.clone())
    }

    fn refuse(&self, reason: &str) {
        let before = unpoisoned(&self.refused).replace(reason.to_owned());
        if before.is_none() {
            tracing::error!(reason, code = "broker.denied", "the NATS server refuses access");
        }
    }
}

/// What every connection has in common: where to, and as whom.
fn prepare(options: &JetStreamOptions) -> Result<(Vec<ServerAddr>, ConnectOptions), BrokerError> {
    let (addresses, login) = addresses(&options.url)?;
    let mut connect = ConnectOptions::new()
        .name(&options.name)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .request_timeout(Some(options.ack_timeout));
    connect = match login {
        Some(Login::User(user, password)) => connect.user_and_password(user, password),
        Some(Login::Token(token)) => connect.token(token),
        None => connect,
    };
    if let Some(path) = &options.nkey_file {
        connect = connect.nkey(read(path)?.trim().to_owned());
    }
    if let Some(path) = &options.credentials_file {
        // The reason may not quote the file.
        let unreadable = || BrokerError::Invalid(format!("{} holds no NATS credentials", path.display()));
        connect = connect.credentials(&read(path)?).map_err(|_| unreadable())?;
    }
    if let Some(path) = &options.root_ca {
        connect = connect.add_root_certificates(path.clone());
    }
    Ok((addresses, connect))
}

fn why_not(error: &ConnectError) -> BrokerError {
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            BrokerError::Denied(error.to_string())
        }
        ConnectErrorKind::ServerParse => BrokerError::Invalid(error.to_string()),
        _ => BrokerError::Unavailable(error.to_string()),
    }
}

enum Login {
    User(String, String),
    Token(String),
}

/// The servers of a URL, without the credentials in it: those would be shown in the client's logs.
fn addresses(url: &str) -> Result<(Vec<ServerAddr>, Option<Login>), BrokerError> {
    // The reason may not quote the URL.
    let invalid = || BrokerError::Invalid("the URL is not of the form nats://[user:password@]host[:port]".into());
    let (mut addresses, mut login) = (Vec::new(), None);
    for one in url.split(',').map(str::trim) {
        let parsed: ServerAddr = one.parse().map_err(|_| invalid())?;
        let mut url = parsed.into_inner();
        if !matches!(url.scheme(), "nats" | "tls") || url.host_str().is_none_or(str::is_empty) {
            return Err(invalid());
        }
        if login.is_none() && !url.username().is_empty() {
            let user = percent_decoded(url.username()).ok_or_else(invalid)?;
            login = Some(match url.password() {
                Some(password) => Login::User(user, percent_decoded(password).ok_or_else(invalid)?),
                None => Login::Token(user),
            });
        }
        url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| invalid())?;
        addresses.push(ServerAddr::from_url(url).map_err(|_| invalid())?);
    }
    Ok((addresses, login))
}

fn percent_decoded(text: &str) -> Option<String> {
    tidewire_core::codec::percent::decode(text).ok().map(std::borrow::Cow::into_owned)
}

fn read(path: &Path) -> Result<String, BrokerError> {
    std::fs::read_to_string(path).map_err(|error| BrokerError::Invalid(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_the_url() {
        let (servers, login) = addresses("nats://me:p%40ss@a:1, tls://b").unwrap();
        assert!(matches!(login, Some(Login::User(user, password)) if user == "me" && password == "p@ss"));
        let shown = format!("{servers:?}");
        assert!(!shown.contains("p%40ss") && !shown.contains("\"me\""), "{shown}");
        assert!(servers[1].tls_required());
        let (_, login) = addresses("nats://secret@a").unwrap();
        assert!(matches!(login, Some(Login::Token(token)) if token == "secret"));
        for bad in ["", "http://a", "nats://", "nats://a,,"] {
            assert!(matches!(addresses(bad), Err(BrokerError::Invalid(_))), "{bad}");
        }
    }
}
