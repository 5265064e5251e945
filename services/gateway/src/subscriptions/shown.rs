//! A subscription as it is shown: what was asked for, and how it goes. Never a secret.

use std::collections::HashMap;

use serde_json::{Value, json};
use tidewire::StoreError;
use tidewire::broker::Lag;
use tidewire::push::{DeliveryStatus, Register, State, Subscription};

/// What is looked up once for all that are shown.
pub(super) struct Shown {
    lags: HashMap<String, Lag>,
    parked: HashMap<String, u64>,
}

impl Shown {
    /// Looks how far behind everybody is. A broker that is away leaves that out.
    pub(super) async fn looking(register: &Register) -> Result<Self, StoreError> {
        let ports = register.ports();
        let lags = ports.broker.lag().await.unwrap_or_default();
        Ok(Self {
            lags: lags.into_iter().map(|lag| (lag.group.clone(), lag)).collect(),
            parked: ports.store.parked_counts().await?.into_iter().collect(),
        })
    }

    pub(super) fn show(&self, subscription: &Subscription, status: &DeliveryStatus) -> Value {
        let consumer = subscription.consumer_name();
        let lag = self.lags.get(&consumer);
        let wanted = &subscription.wanted;
        let (state, disabled) = match &subscription.state {
            State::Active => ("active", None),
            State::Paused => ("paused", None),
            State::Disabled { code, reason, at } => {
                ("disabled", Some(json!({ "code": code, "reason": reason, "at": at })))
            }
        };
        let secrets: Vec<Value> =
            subscription.secrets.iter().map(|secret| json!({ "since": secret.since, "until": secret.until })).collect();
        json!({
            "id": subscription.id,
            "description": wanted.description,
            "sink": wanted.sink,
            "protocol": "HTTP",
            "source": wanted.source,
            "types": wanted.types,
            "filters": wanted.filters,
            "config": wanted.config,
            "consumer": consumer,
            "reply_source": wanted.config.reply.as_ref().map(|_| subscription.reply_source()),
            "owner": subscription.owner,
            "created": subscription.created,
            "changed": subscription.changed,
            "state": state,
            "disabled": disabled,
            "rate": subscription.rate,
            "secrets": secrets,
            "delivery": {
                "circuit": status.circuit,
                "delivered": status.delivered,
                "failed": status.failed,
                "consecutive_failures": status.consecutive_failures,
                "last_success": status.last_success,
                "last_failure": status.last_failure,
                "lag": lag.map_or(0, |lag| lag.pending),
                "in_flight": lag.map_or(0, |lag| lag.in_flight),
                "retrying": lag.map_or(0, |lag| lag.retrying),
                "parked": self.parked.get(&consumer).copied().unwrap_or_default(),
            },
        })
    }
}
