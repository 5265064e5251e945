//! Groups that end for good.

use std::sync::Arc;

use tidewire_core::broker::Lag;
use tidewire_core::{Broker, BrokerError};

use super::{Bench, consume, event, group, join, publish, until_lag, within};

async fn lag_of(broker: &dyn Broker, name: &str) -> Option<Lag> {
    broker.lag().await.expect("the lag").into_iter().find(|lag| lag.group == name)
}

pub(super) async fn a_group_that_is_forgotten_begins_anew(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    publish(&*broker, vec![event("k", "1"), event("k", "2")]).await;
    let mut seat = join(&*broker, group("leaving")).await;
    let mut other = join(&*broker, group("staying")).await;
    assert_eq!(consume(&mut *seat, 2).await, ["1", "2"]);
    assert_eq!(consume(&mut *other, 2).await, ["1", "2"]);
    until_lag(&*broker, "leaving", |lag| lag.pending == 0).await;
    let busy = broker.forget("leaving").await;
    assert!(matches!(busy, Err(BrokerError::Unavailable(_))), "somebody is subscribed: {busy:?}");
    drop(seat);
    let gone = async {
        while broker.forget("leaving").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("nobody is subscribed any more", gone).await;
    broker.forget("leaving").await.expect("again");
    broker.forget("never there").await.expect("there is nothing to forget");
    assert_eq!(lag_of(&*broker, "leaving").await.map_or(0, |lag| lag.pending), 0);
    assert!(lag_of(&*broker, "staying").await.is_some());
    let mut seat = join(&*broker, group("leaving")).await;
    assert_eq!(consume(&mut *seat, 2).await, ["1", "2"], "from the beginning");
    publish(&*broker, vec![event("k", "3")]).await;
    assert_eq!(consume(&mut *other, 1).await, ["3"], "other groups keep their place");
}
