//! The layers around every route, outermost first: [`edge`] (request id, log line, metrics, security headers,
//! problems), [`origin`] (no requests from other sites), [`patience`] (the time limit), a net for panics,
//! idempotency, [`reads`] (read-your-writes).

mod edge;
mod live;
mod origin;
mod panic;
mod patience;
mod reads;

pub use edge::{Edge, RequestId, edge};
pub use live::ends_at_shutdown;
pub use origin::origin;
pub use panic::caught;
pub use patience::{AUDIT, RECONCILE, RETIRE, patience};
pub use reads::{Readers, reads};
