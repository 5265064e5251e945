//! The layers around every route, outermost first: [`edge`] (request id, log line, metrics, security headers,
//! problems), [`origin`] (no requests from other sites), [`uri`] (the length of an address), [`versions`] (what ends,
//! what is not there), [`load`] (how much at once), [`pace`] (how slowly a body may come), [`patience`] (the time
//! limit), a net for panics, who asks, [`rates`] (how often), idempotency, [`reads`] (read-your-writes).

mod edge;
mod live;
mod load;
mod origin;
mod pace;
mod panic;
mod patience;
mod rates;
mod reads;
mod uri;
mod versions;

pub use edge::{AsItIs, Edge, RequestId, edge};
pub use live::ends_at_shutdown;
pub use load::{Load, load};
pub use origin::origin;
pub use pace::pace;
pub use panic::caught;
pub use patience::{AUDIT, RECONCILE, REPLAY_PLAN, REPLAY_RECORDING, RETIRE, patience};
pub use rates::{Rates, rates};
pub use reads::{Readers, reads};
pub use uri::uri;
pub use versions::{ENDINGS, Ending, VERSIONS, ending, versions};

/// Whether a path is one that supervisors and scrapers ask: they are answered whatever else goes on.
fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/healthz" | "/startupz" | "/metrics")
}
