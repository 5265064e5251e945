//! Who asks, and whether he may: one layer in front of every route.
//!
//! Credentials that come with a request are always checked, also where none are needed: a key that expired should be
//! told, not ignored. Without credentials a request is either the machine's own ([`Caller::local`]) or refused,
//! depending on [`Options::authenticate`](crate::Options::authenticate).

mod docs;
mod issuer;
mod keys;
mod owners;
mod rules;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidewire::http::{Principal, Problem};
use tidewire::identity::{ApiKey, Caller, IdentityError, Operation};
use tidewire::{Ports, StoreError};

use crate::layers::Rates;
use crate::options::Options;
pub(crate) use docs::docs;
use issuer::Issuer;
pub(crate) use keys::routes;
pub(crate) use owners::Owned;
use owners::Owners;
pub(crate) use rules::{Need, need};

pub use keys::any_key;

/// The collection that holds the keys.
const KEYS: &str = "api_key";
/// How long a key is taken as it was read: within this time a revoked one is refused everywhere.
const REREAD_AFTER: Duration = Duration::from_secs(5);
/// Keys remembered for that time; beyond them all are read again.
const MAX_REMEMBERED: usize = 1_024;

/// The guard of the edge.
#[derive(Clone)]
pub(crate) struct Guard {
    ports: Ports,
    is_closed: bool,
    issuer: Option<Arc<Issuer>>,
    rates: Rates,
    owners: Arc<Owners>,
    read: Arc<Mutex<HashMap<String, (Instant, ApiKey)>>>,
}

impl Guard {
    pub(crate) fn new(ports: &Ports, options: &Options, rates: Rates) -> Self {
        Self {
            ports: ports.clone(),
            is_closed: options.authenticate,
            issuer: options.tokens.clone().map(|tokens| Arc::new(Issuer::new(tokens))),
            rates,
            owners: Arc::new(Owners::new(ports)),
            read: Arc::default(),
        }
    }

    /// Who sent these headers. `Err` inside: nobody we know; outside: it cannot be found out now.
    async fn recognise(&self, headers: &HeaderMap) -> Result<Result<Caller, IdentityError>, StoreError> {
        let Some(sent) = credentials(headers) else {
            return Ok(if self.is_closed { Err(IdentityError::Missing) } else { Ok(Caller::local()) });
        };
        let Ok(sent) = sent else { return Ok(Err(IdentityError::Invalid("expected `Authorization: Bearer …`"))) };
        if let Some(id) = ApiKey::id_of(sent) {
            let now = self.ports.clock.now();
            return Ok(match self.key(id).await? {
                Some(key) => key.caller(sent, now),
                None => Err(IdentityError::Invalid("no such key")),
            });
        }
        match &self.issuer {
            Some(issuer) => issuer.caller(sent, self.ports.clock.now()).await,
            None => Ok(Err(IdentityError::Invalid("not an API key, and tokens are not taken here"))),
        }
    }

    async fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        if let Some((at, key)) = self.remembered().get(id)
            && at.elapsed() < REREAD_AFTER
        {
            return Ok(Some(key.clone()));
        }
        let found = keys::find(&self.ports, id).await?.map(|(key, _)| key);
        let mut remembered = self.remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        match &found {
            Some(key) => remembered.insert(id.to_owned(), (Instant::now(), key.clone())),
            None => remembered.remove(id),
        };
        Ok(found)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, ApiKey)>> {
        // Every state of it is a valid one.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The credentials of a request, if it has any; `Err` when they are in no form we know.
fn credentials(headers: &HeaderMap) -> Option<Result<&str, ()>> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let first = all.next()?;
    if all.next().is_some() {
        return Some(Err(()));
    }
    let text = first.to_str().ok().and_then(|text| text.split_once(' '));
    Some(match text {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => Ok(token.trim()),
        _ => Err(()),
    })
}

/// Lets a request in, with its [`Caller`] among its extensions, or answers 401 or 403.
pub(crate) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let need = need(request.method(), request.uri().path());
    if need == Need::Nothing {
        return next.run(request).await;
    }
    let caller = match guard.recognise(request.headers()).await {
        Ok(Ok(caller)) => caller,
        // Guessing is counted as well, by address.
        Ok(Err(error)) => {
            return match guard.rates.take(request.extensions()) {
                Ok(_) => refused(&error),
                Err(too_often) => *too_often,
            };
        }
        Err(error) => return Problem::from(error).into_response(),
    };
    if let Need::Scope(operation) = need
        && !caller.scopes.allow_some(operation)
    {
        return forbidden(operation.name()).into_response();
    }
    if need == Need::Scope(Operation::Emit) && caller.source.is_none() && caller != Caller::local() {
        match guard.owners.owned().await {
            Ok(owned) => drop(request.extensions_mut().insert(owned)),
            Err(error) => return Problem::from(error).into_response(),
        }
    }
    // Idempotency keys of one are nothing to another.
    request.extensions_mut().insert(Principal(caller.name.as_str().into()));
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn refused(error: &IdentityError) -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, error.code(), error);
    let mut response = problem.into_response();
    let challenge = HeaderValue::from_static("Bearer realm=\"tidewire\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// 403: recognised, but not allowed to.
pub(crate) fn forbidden(scope: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "auth.forbidden", format!("this needs the scope `{scope}`"))
        .with("scope", scope)
}

/// Who sent a request; routes that are tested without the guard are the machine's own.
pub(crate) fn caller(extensions: &Extensions) -> Caller {
    extensions.get::<Caller>().cloned().unwrap_or_else(Caller::local)
}
