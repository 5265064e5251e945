//! The connection: made once, restored by itself for ever, and what is known about it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError};
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
        let (addresses, login) = addresses(&options.url)?;
        let mut connect = ConnectOptions::new()
            .name(&options.name)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .request_timeout(Some(options.ack_timeout))
            .max_reconnects(None);
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
        let client = connect.connect(addresses).await.map_err(|error| match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                BrokerError::Denied(error.to_string())
            }
            ConnectErrorKind::ServerParse => BrokerError::Invalid(error.to_string()),
            _ => BrokerError::Unavailable(error.to_string()),
        })?;
        Ok(Self { client, signs })
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
    super::binding::unescape_percent(text.as_bytes(), false).ok()
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
