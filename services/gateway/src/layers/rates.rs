//! How often each caller may ask.
//!
//! A bucket per caller, kept as one instant: the time at which it would be full. That is all there is to know, so
//! a caller costs some eighty bytes, and a full bucket needs none.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidewire::http::Problem;
use tidewire::identity::Caller;
use tokio::time::Instant;

use super::is_probe;

/// Buckets that are not full. Beyond them new callers share one, which protects the others: a flood from more places
/// than this is nothing a gateway can tell apart.
const MAX_CALLERS: usize = 20_000;
/// Full buckets are looked for at most so often.
const SWEEP_AFTER: Duration = Duration::from_secs(1);
/// The bucket of those beyond.
const OTHERS: &str = "others";

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The share of every caller.
#[derive(Clone, Debug)]
pub struct Rates(Option<Arc<Shares>>);

#[derive(Debug)]
struct Shares {
    /// The time one request takes to come back.
    each: Duration,
    /// Requests at once.
    burst: u32,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    /// When each would be full, by caller.
    full_at: HashMap<Box<str>, Instant>,
    swept: Instant,
}

/// What is left of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    /// Requests that may follow at once.
    requests: u32,
    /// Until the share is whole again.
    whole_in: Duration,
    /// Until the next request is taken; zero: this one is.
    wait: Duration,
}

impl Rates {
    /// `rate` requests per second for each caller, `burst` of them at once; a rate of 0 is no limit.
    pub fn new(rate: u32, burst: u32) -> Self {
        let shares = (rate > 0).then(|| {
            Arc::new(Shares {
                each: Duration::from_secs(1) / rate,
                burst: burst.max(1),
                buckets: Mutex::new(Buckets { full_at: HashMap::new(), swept: Instant::now() }),
            })
        });
        Self(shares)
    }

    /// Takes one request off the share of whoever sent this one. `Err`: there was none left.
    pub(crate) fn take(&self, extensions: &Extensions) -> Result<Option<Taken>, Box<Response>> {
        let Some(shares) = &self.0 else { return Ok(None) };
        let Some(who) = who(extensions) else { return Ok(None) };
        let left = shares.take(&who, Instant::now());
        let taken = Taken { left, burst: shares.burst, window: shares.each * shares.burst };
        if left.wait.is_zero() {
            return Ok(Some(taken));
        }
        let detail = format!(
            "{} requests at once and {:.0} per second are taken from each caller",
            shares.burst,
            1.0 / shares.each.as_secs_f64()
        );
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "http.rate_limited", detail);
        Err(Box::new(taken.told(problem.retry_after(up(left.wait)).into_response())))
    }
}

impl Shares {
    fn take(&self, who: &str, now: Instant) -> Left {
        // Every state of it is a valid one.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let who = if buckets.has_room_for(who, now) { who } else { OTHERS };
        let before = buckets.full_at.get(who).map_or(now, |at| (*at).max(now));
        let after = before + self.each;
        let most = self.each * self.burst;
        let missing = after - now;
        if missing > most {
            return Left { requests: 0, whole_in: before - now, wait: missing - most };
        }
        buckets.full_at.insert(who.into(), after);
        let requests = (most - missing).as_nanos() / self.each.as_nanos().max(1);
        Left { requests: u32::try_from(requests).unwrap_or(u32::MAX), whole_in: missing, wait: Duration::ZERO }
    }
}

impl Buckets {
    fn has_room_for(&mut self, who: &str, now: Instant) -> bool {
        if self.full_at.len() < MAX_CALLERS || self.full_at.contains_key(who) {
            return true;
        }
        if now.duration_since(self.swept) >= SWEEP_AFTER {
            self.swept = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < MAX_CALLERS
    }
}

/// One request, taken off a share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    left: Left,
    burst: u32,
    window: Duration,
}

impl Taken {
    /// With what is left in its headers, as in draft-ietf-httpapi-ratelimit-headers.
    pub(crate) fn told(self, mut response: Response) -> Response {
        let texts = [
            (POLICY, format!("\"caller\";q={};w={}", self.burst, up(self.window).as_secs())),
            (LIMIT, format!("\"caller\";r={};t={}", self.left.requests, up(self.left.whole_in).as_secs())),
        ];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::from_str(&text) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// In whole seconds, rounded up.
fn up(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

/// Whose share it is: that of the key or the token, else of the address. `None`: the machine's own, which is not
/// limited where nobody is asked who he is.
fn who(extensions: &Extensions) -> Option<String> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_canonical());
    match extensions.get::<Caller>() {
        Some(caller) if *caller != Caller::local() => Some(caller.name.clone()),
        Some(_) if peer.is_none_or(|peer| peer.is_loopback()) => None,
        // Whoever was not recognised: also from this machine, from where keys could be guessed as well.
        _ => peer.map(address),
    }
}

/// One address, or the network that a subscriber has of IPv6.
fn address(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(peer) => peer.to_string(),
        IpAddr::V6(peer) => {
            let [a, b, c, d, ..] = peer.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// Answers 429 `http.rate_limited` to whoever has used his share up, and tells everybody else what is left of his.
/// Probes are not counted.
pub async fn rates(State(rates): State<Rates>, request: Request, next: Next) -> Response {
    if is_probe(request.uri().path()) {
        return next.run(request).await;
    }
    match rates.take(request.extensions()) {
        Ok(None) => next.run(request).await,
        Ok(Some(taken)) => taken.told(next.run(request).await),
        Err(refusal) => *refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(rate: u32, burst: u32) -> Arc<Shares> {
        Rates::new(rate, burst).0.unwrap()
    }

    #[test]
    fn a_share_is_used_up_and_comes_back() {
        let (shares, begun) = (shares(10, 3), Instant::now());
        let take = |who: &str, ms: u64| {
            let left = shares.take(who, begun + Duration::from_millis(ms));
            (left.wait.as_millis(), left.requests)
        };
        assert_eq!([take("a", 0), take("a", 0), take("a", 0), take("a", 0)], [(0, 2), (0, 1), (0, 0), (100, 0)]);
        assert_eq!(take("b", 0), (0, 2), "everybody has his own");
        assert_eq!([take("a", 100), take("a", 100)], [(0, 0), (100, 0)], "refused requests cost nothing");
        assert_eq!(take("a", 60_000), (0, 2), "no more than a burst is saved up");
    }

    #[test]
    fn many_callers_cost_no_more_than_some() {
        let (shares, begun) = (shares(1, 1), Instant::now());
        for n in 0..MAX_CALLERS + 1_000 {
            shares.take(&format!("caller {n}"), begun);
        }
        let held = || shares.buckets.lock().unwrap().full_at.len();
        assert_eq!(held(), MAX_CALLERS + 1, "and the one of the others");
        assert!(!shares.take("one more", begun).wait.is_zero(), "the others share one");
        assert!(!shares.take("caller 7", begun).wait.is_zero(), "the first keep theirs");
        assert!(shares.take("one more", begun + Duration::from_secs(5)).wait.is_zero());
        assert_eq!(held(), 1, "full buckets need no place");
    }

    #[test]
    fn a_caller_is_known_by_his_key_or_else_by_his_address() {
        let of = |caller: Option<&str>, peer: Option<&str>| {
            let mut extensions = Extensions::new();
            if let Some(peer) = peer {
                extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
            }
            if let Some(name) = caller {
                extensions.insert(Caller { name: name.to_owned(), ..Caller::local() });
            }
            who(&extensions)
        };
        assert_eq!(of(Some("key:7"), Some("127.0.0.1")).as_deref(), Some("key:7"));
        assert_eq!(of(Some("local"), Some("127.0.0.1")), None);
        assert_eq!(of(Some("local"), None), None);
        assert_eq!(of(Some("local"), Some("192.0.2.7")).as_deref(), Some("192.0.2.7"));
        assert_eq!(of(None, Some("127.0.0.1")).as_deref(), Some("127.0.0.1"));
        assert_eq!(of(None, Some("::ffff:192.0.2.7")).as_deref(), Some("192.0.2.7"));
        assert_eq!(of(None, Some("2001:db8:1:2:3::4")).as_deref(), Some("2001:db8:1:2::/64"));
    }
}
