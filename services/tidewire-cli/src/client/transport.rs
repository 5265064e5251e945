//! The two ways a request travels. Both take and give the same.

use axum::body::{Body as AxumBody, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tower::ServiceExt;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::local::Local;

/// A request's body.
pub type Body = AxumBody;

/// An answer whose body has yet to be read.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub chunks: BoxStream<'static, Result<Bytes, Failure>>,
}

pub(super) enum Transport {
    Http(Http),
    Local(Box<Local>),
}

impl Transport {
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Reply, Failure> {
        match self {
            Self::Http(http) => http.send(request).await,
            Self::Local(local) => in_process(local, request).await,
        }
    }
}

async fn in_process(local: &Local, request: Request<Body>) -> Result<Reply, Failure> {
    // The router's error type has no values.
    let answer = local.routes().oneshot(request).await.unwrap_or_else(|never| match never {});
    let (head, body) = answer.into_parts();
    let broken =
        |error: axum::Error| Failure::new(Exit::Error, "http.internal", format!("the answer broke off: {error}"));
    Ok(Reply { status: head.status, chunks: body.into_data_stream().map_err(broken).boxed() })
}

/// Over the network.
pub(super) struct Http {
    base: String,
    client: reqwest::Client,
}

impl Http {
    /// `token` is sent with every request, and never shown.
    pub(super) fn new(url: &str, token: Option<&str>) -> Result<Self, Failure> {
        let base = url.trim_end_matches('/').to_owned();
        let is_plain =
            base.strip_prefix("http://").or_else(|| base.strip_prefix("https://")).is_some_and(|rest| !rest.is_empty());
        if !is_plain || reqwest::Url::parse(&base).is_err() {
            let message = format!("`{base}` is not the address of an instance");
            return Err(Failure::new(Exit::Usage, "command.usage", message).hint("write it as http://127.0.0.1:4500"));
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                Failure::new(Exit::Usage, "command.usage", "TIDEWIRE_TOKEN holds what cannot be sent in a header")
            })?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(super::CONNECT_PATIENCE)
            .user_agent(concat!("tidewire/", env!("CARGO_PKG_VERSION")))
            // A redirect would send what we carry somewhere nobody named.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::new(Exit::Error, "command.failed", format!("no HTTP client: {error}")))?;
        Ok(Self { base, client })
    }

    async fn send(&self, request: Request<Body>) -> Result<Reply, Failure> {
        let (head, body) = request.into_parts();
        let mut builder = self.client.request(head.method, format!("{}{}", self.base, head.uri)).headers(head.headers);
        if !body.is_end_stream() {
            builder = builder.body(reqwest::Body::wrap_stream(body.into_data_stream()));
        }
        let answer = builder.send().await.map_err(|error| self.unreachable(&error))?;
        let broken = |error: reqwest::Error| {
            Failure::new(Exit::Unavailable, "client.unreachable", format!("the answer broke off: {}", root(&error)))
        };
        Ok(Reply { status: answer.status(), chunks: answer.bytes_stream().map_err(broken).boxed() })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let message = format!("no instance answers at {}: {}", self.base, root(error));
        Failure::new(Exit::Unavailable, "client.unreachable", message)
            .hint("start one with `tidewire up`, or name another with --url")
    }
}

/// The innermost cause: the outer ones say only that sending failed.
fn root(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
