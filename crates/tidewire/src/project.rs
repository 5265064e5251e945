//! The project loop's half that is not the consume loop: a projection as a handler.

use std::marker::PhantomData;

use async_trait::async_trait;
use tidewire_core::handler::{Kind, Run};
use tidewire_core::{Consumer, Context, Envelope, EventSet, Handler, HandlerError, Projection};

/// A [`Projection`] as a [`Handler`]: whole batches in one commit, rows read with one look-up.
pub struct Projected<P>(PhantomData<fn() -> P>);

impl<P: Projection> Projected<P> {
    /// The handler that keeps `projection`.
    pub fn new(projection: P) -> Self {
        let _ = projection;
        Self(PhantomData)
    }
}

#[async_trait]
impl<P: Projection> Handler for Projected<P> {
    fn consumer(&self) -> Consumer {
        let mut consumer = Consumer::new(P::NAME, P::Event::types()).keeping([P::COLLECTION]);
        consumer.kind = Kind::Projection;
        consumer.run = Run::Batch;
        consumer
    }

    async fn prepare(&self, events: &[&Envelope], cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let mut ids: Vec<String> = Vec::new();
        for envelope in events {
            // An event that cannot be read is reported when its turn comes.
            if let Ok(Some(event)) = P::Event::decode(envelope) {
                ids.extend(P::rows(&event, envelope));
            }
        }
        ids.sort_unstable();
        ids.dedup();
        cx.prefetch(P::COLLECTION, &ids).await
    }

    async fn handle(&self, envelope: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let Some(event) = P::Event::decode(envelope)? else { return Ok(()) };
        for id in P::rows(&event, envelope) {
            let before: Option<P::Row> = cx.get(P::COLLECTION, &id).await?;
            let existed = before.is_some();
            let mut row = before;
            P::apply(&mut row, &id, &event, envelope);
            match row {
                Some(row) => cx.put(P::COLLECTION, &id, &row)?,
                None if existed => cx.remove(P::COLLECTION, &id),
                None => {}
            }
        }
        Ok(())
    }
}
