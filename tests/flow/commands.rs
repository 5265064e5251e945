//! The command loop: every command decided on what is true.

use serde::{Deserialize, Serialize};
use tidewire::{Aggregate, CommandError, Commands, DocumentWrite, ExpectDocument, Key, StoreError};

use crate::flow::on_every_ground;
use crate::support::event::{Counted, Counting};
use crate::support::world::World;

on_every_ground! {
    racing_commands_never_decide_on_the_same_state_twice,
    what_goes_alongside_is_committed_with_the_events_or_not_at_all,
}

/// Counts to a limit.
#[derive(Default, Serialize, Deserialize)]
struct Counter {
    n: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the counter is full")]
struct Full;

const LIMIT: u64 = 250;

impl Aggregate for Counter {
    const NAME: &'static str = "counter";
    type Command = String;
    type Event = Counting;
    type Error = Full;

    fn decide(&self, key: &String) -> Result<Vec<Counting>, Full> {
        if self.n >= LIMIT {
            return Err(Full);
        }
        Ok(vec![Counted { key: key.clone(), n: self.n + 1 }.into()])
    }

    fn apply(&mut self, event: Counting) {
        let Counting::Counted(counted) = event;
        self.n = counted.n;
    }
}

async fn racing_commands_never_decide_on_the_same_state_twice(world: World) {
    // Two sets of commands, as two processes would have: they know nothing of each other's turns.
    let sides = [Commands::<Counter>::new(&world.ports, "/tests"), Commands::<Counter>::new(&world.ports, "/tests")];
    let key = Key::of("counter", "a");
    let outcomes = futures::future::join_all((0..300).map(|n| {
        let (side, key) = (&sides[n % 2], &key);
        async move { side.execute(key, &"a".to_owned(), |_| Vec::new()).await }
    }))
    .await;
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(CommandError::Refused(_)))).count();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64, LIMIT);
    assert_eq!(refused, 50);
    let stream = world.ports.store.stream(&key, 0, 1_000).await.unwrap();
    let numbers: Vec<u64> = stream
        .iter()
        .map(|r| serde_json::from_slice::<Counted>(r.envelope.data.as_ref().unwrap()).unwrap().n)
        .collect();
    assert_eq!(numbers, (1..=LIMIT).collect::<Vec<u64>>(), "each decision saw the one before it");
    // A fresh process starts from a snapshot and the tail.
    let (counter, version) = Commands::<Counter>::new(&world.ports, "/tests").load(&key).await.unwrap();
    assert_eq!((counter.n, version), (LIMIT, LIMIT));
    assert!(world.ports.store.snapshot("counter#1", &key).await.unwrap().is_some());
}

async fn what_goes_alongside_is_committed_with_the_events_or_not_at_all(world: World) {
    let commands = Commands::<Counter>::new(&world.ports, "/tests");
    let key = Key::of("counter", "a");
    let alongside = |events: &[Counting]| {
        vec![DocumentWrite {
            collection: "alongside".into(),
            id: "once".into(),
            expect: ExpectDocument::Absent,
            value: Some(format!("{}", events.len()).into()),
        }]
    };
    commands.execute(&key, &"a".to_owned(), alongside).await.unwrap();
    let again = commands.execute(&key, &"a".to_owned(), alongside).await;
    assert!(matches!(again, Err(CommandError::Store(StoreError::Conflict(_)))), "{again:?}");
    assert_eq!(world.ports.store.stream(&key, 0, 10).await.unwrap().len(), 1);
}
