//! Who may have which subscription: nobody gets events sent that he may not read, and no endpoint answers with events
//! that whoever registered it may not emit.

use axum::http::StatusCode;
use tidewire::http::Problem;
use tidewire::identity::{Caller, Operation};
use tidewire::push::{Register, Wanted};

use crate::auth::forbidden;

/// Whether a caller may have, change or stop such a subscription.
pub(super) fn may(caller: &Caller, wanted: &Wanted, register: &Register) -> Result<(), Problem> {
    let known = register.admission().types();
    for ty in wanted.reads(&known) {
        if !caller.scopes.allow(Operation::Events, Some(ty.name())) {
            return Err(forbidden(&format!("events:{}", ty.name())));
        }
    }
    for ty in wanted.emits(&known) {
        if !caller.scopes.allow(Operation::Emit, Some(ty.name())) {
            return Err(forbidden(&format!("emit:{}", ty.name())));
        }
    }
    let (Some(reply), Some(own)) = (&wanted.config.reply, &caller.source) else { return Ok(()) };
    if reply.source.as_ref() != Some(own) {
        let detail = format!("these credentials emit as `{own}`: that must be `config.reply.source`");
        return Err(Problem::new(StatusCode::FORBIDDEN, "auth.source", detail));
    }
    Ok(())
}
