//! Asking the instance: over HTTP when one runs, otherwise the same routes in this process on the same files.

mod path;
mod problem;
mod sse;
mod transport;

pub use path::{path, with_query};
pub use sse::SseParser;
pub use transport::Body;

use std::path::Path;
use std::time::Duration;

use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde_json::Value;
use tidewire::operate::TIDEWIRE_ACTOR;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::local::Local;
use crate::runfile::RunFile;
use crate::session::Session;
use crate::wire;
use transport::{Http, Reply, Transport};

/// The largest answer held in memory: the largest page of the largest events, and then some.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// How long an instance that has published its address may take to accept a connection before it counts as gone.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// The largest key or token that is read from a file, in bytes.
const MAX_TOKEN_BYTES: u64 = 16 << 10;

/// TIDEWIRE_TOKEN, or what is in the file that TIDEWIRE_TOKEN_FILE names.
pub fn token(session: &Session) -> Result<Option<String>, Failure> {
    if let Some(token) = session.env.non_empty("TIDEWIRE_TOKEN") {
        return Ok(Some(token.to_owned()));
    }
    let Some(file) = session.env.non_empty("TIDEWIRE_TOKEN_FILE") else { return Ok(None) };
    let read = std::fs::File::open(file).and_then(|file| {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_TOKEN_BYTES), &mut text)?;
        Ok(text)
    });
    match read {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) => Err(Failure::new(Exit::Error, "command.failed", format!("TIDEWIRE_TOKEN_FILE {file}: {error}"))),
    }
}

/// Where questions go.
pub struct Client {
    transport: Transport,
    timeout: Duration,
    /// Who typed the command, for the record of what operators did.
    actor: Option<HeaderValue>,
}

/// The user of this machine, as his shell calls him.
fn user(session: &Session) -> Option<HeaderValue> {
    let name = session.env.non_empty("USER").or_else(|| session.env.non_empty("LOGNAME"))?;
    HeaderValue::from_str(name).ok()
}

impl Client {
    /// The instance named by `--url` or TIDEWIRE_URL; else the one that has the data directory open; else the
    /// backends themselves, opened here for as long as the command takes. Shared ones can be while others run.
    pub async fn connect(session: &Session) -> Result<Self, Failure> {
        let timeout = session.global.timeout;
        if let Some(url) = session.global.url.as_deref().or_else(|| session.env.non_empty("TIDEWIRE_URL")) {
            return Ok(Self { actor: user(session), ..Self::http(url, timeout, token(session)?.as_deref())? });
        }
        let config = session.config(&[])?;
        let answers = |running: &RunFile| running.answers_operators() || !wire::is_shared(&config);
        if let Some(running) = running(&config.data_dir).await.filter(answers) {
            return Ok(Self { actor: user(session), ..Self::http(&running.url, timeout, token(session)?.as_deref())? });
        }
        let local = Local::open(&config, session.clock.clone()).await?;
        Ok(Self { transport: Transport::Local(Box::new(local)), timeout, actor: user(session) })
    }

    /// The instance at `url`, with the API key or token that goes with every request.
    pub fn http(url: &str, timeout: Duration, token: Option<&str>) -> Result<Self, Failure> {
        Ok(Self { transport: Transport::Http(Http::new(url, token)?), timeout, actor: None })
    }

    /// Whether an instance answers, rather than this process itself.
    pub fn is_live(&self) -> bool {
        matches!(self.transport, Transport::Http(_))
    }

    /// Reads JSON.
    pub async fn get(&self, target: &str) -> Result<Value, Failure> {
        let request = request(Method::GET, target).body(Body::empty()).map_err(malformed)?;
        self.json(request).await.map(|(_, value)| value)
    }

    /// Sends JSON and reads JSON.
    pub async fn send(&self, method: Method, target: &str, body: &Value) -> Result<(StatusCode, Value), Failure> {
        let mut request = request(method, target)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .map_err(malformed)?;
        if let Some(actor) = &self.actor {
            request.headers_mut().insert(TIDEWIRE_ACTOR, actor.clone());
        }
        self.json(request).await
    }

    /// Sends a request and reads the answer as JSON; null when it is empty.
    pub async fn json(&self, request: Request<Body>) -> Result<(StatusCode, Value), Failure> {
        let patience = self.timeout;
        let exchange = async {
            let reply = self.transport.send(request).await?;
            let (status, body) = (reply.status, read(reply).await?);
            if !status.is_success() {
                return Err(problem::failure(status.as_u16(), &body));
            }
            if body.is_empty() {
                return Ok((status, Value::Null));
            }
            let value = serde_json::from_slice(&body).map_err(|_| problem::failure(502, &body))?;
            Ok((status, value))
        };
        tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| {
            Err(Failure::new(
                Exit::Unavailable,
                "client.timed_out",
                format!("no answer within {} s", patience.as_secs()),
            )
            .hint("--timeout 2m waits longer; `tidewire status` shows whether the instance is well"))
        })
    }

    /// Opens a stream of server-sent events that goes on after the one with this id. The answer ends when the server does.
    pub async fn stream(&self, target: &str, last_event_id: &str) -> Result<Reply, Failure> {
        let request = Request::builder()
            .uri(target)
            .header(header::ACCEPT, "text/event-stream")
            .header("last-event-id", last_event_id)
            .body(Body::empty())
            .map_err(malformed)?;
        let reply = self.transport.send(request).await?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        let status = reply.status.as_u16();
        Err(problem::failure(status, &read(reply).await?))
    }

    /// Closes what was opened.
    pub async fn close(self) {
        if let Transport::Local(local) = self.transport {
            local.close().await;
        }
    }
}

/// The process that has `data_dir` open, if it accepts connections.
async fn running(data_dir: &Path) -> Option<RunFile> {
    let running = RunFile::read(data_dir)?;
    let address = running.address()?.to_owned();
    let connected = tokio::time::timeout(CONNECT_PATIENCE, tokio::net::TcpStream::connect(address)).await;
    matches!(connected, Ok(Ok(_))).then_some(running)
}

fn request(method: Method, target: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(target).header(header::ACCEPT, "application/json")
}

fn malformed(error: axum::http::Error) -> Failure {
    Failure::new(Exit::Invalid, "http.invalid", format!("this cannot be asked for: {error}"))
}

async fn read(reply: Reply) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    let mut chunks = reply.chunks;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Failure::new(Exit::Error, "client.answer_too_large", "the answer is larger than 256 MiB")
                .hint("ask for fewer items: --limit"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// For tests of commands: the routes without any files.
#[cfg(test)]
pub fn on_routes(routes: axum::Router) -> Client {
    let transport = Transport::Local(Box::new(Local::on_routes(routes)));
    Client { transport, timeout: Duration::from_secs(10), actor: None }
}
