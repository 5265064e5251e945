//! Effects: asked for with the commit, carried out with a stable idempotency key.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidewire::effects::{CallError, Caller};
use tidewire::handler::Consumer;
use tidewire::{Call, Context, Effect, Envelope, Event, Handler, HandlerError, Service, Timer};

use crate::flow::on_every_ground;
use crate::support::event::{Counted, counted};
use crate::support::eventually;
use crate::support::handlers::Count;
use crate::support::world::{World, quick};

on_every_ground! {
    an_effect_keeps_its_key_through_every_retry,
}

/// Asks for a mail per event, and a timer that asks for another.
struct Mailing;

#[async_trait]
impl Handler for Mailing {
    fn consumer(&self) -> Consumer {
        Consumer::new("mailing", vec![Counted::TYPE])
    }

    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        cx.effect(Call::Mail { to: "a@example.org".into(), subject: event.id.clone(), text: String::new() });
        let due = cx.now() + chrono::TimeDelta::milliseconds(50);
        cx.set_timer(&event.id, &event.key, due, event.id.clone());
        if cx.attempt() == 1 {
            // The first run is undone, its effect with it.
            return Err(HandlerError::transient("once more"));
        }
        Ok(())
    }

    async fn wake(&self, timer: &Timer, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let subject = format!("woken {}", timer.id);
        cx.effect(Call::Mail { to: "a@example.org".into(), subject, text: String::new() });
        Ok(())
    }
}

/// Fails the first time for every effect, after having done it: the honest worst case.
#[derive(Default)]
struct Outside {
    calls: Mutex<Vec<(String, String)>>,
    failures: Count,
}

#[async_trait]
impl Caller for Outside {
    fn kind(&self) -> &'static str {
        "mail"
    }

    async fn call(&self, effect: &Effect) -> Result<(), CallError> {
        let Call::Mail { subject, .. } = &effect.call else { return Err(CallError::Permanent("no mail".into())) };
        let mut calls = self.calls.lock().expect("calls");
        let first = !calls.iter().any(|(id, _)| *id == effect.id);
        calls.push((effect.id.clone(), subject.clone()));
        if first {
            self.failures.up();
            return Err(CallError::Transient("the answer was lost".into()));
        }
        Ok(())
    }
}

async fn an_effect_keeps_its_key_through_every_retry(world: World) {
    let outside = Arc::new(Outside::default());
    let life = world.run_with(vec![Service::new("tests").handler(Mailing)], quick(), vec![outside.clone()]);
    world.append((1..=5).map(|n| counted(&world.ports, &n.to_string(), n)).collect()).await;
    eventually("five mails, five timers, each tried twice", || async {
        (outside.calls.lock().expect("calls").len() == 20).then_some(())
    })
    .await;
    life.settled().await;
    let calls = outside.calls.lock().expect("calls").clone();
    let mut subjects: Vec<&String> = calls.iter().map(|(_, subject)| subject).collect();
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), 10, "one intent per event and per timer");
    for subject in subjects {
        let ids: Vec<&String> = calls.iter().filter(|(_, s)| s == subject).map(|(id, _)| id).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(ids[0], ids[1], "the same intent has the same key");
    }
    assert_eq!(outside.failures.get(), 10);
    life.end().await;
}
