use super::super::differential::Recording;
use super::*;

/// The teller as it will be.
struct Wordier;

#[async_trait]
impl Handler for Wordier {
    fn consumer(&self) -> Consumer {
        Teller.consumer()
    }
    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        Teller.handle(event, cx).await?;
        if Added::decode(event)?.sum == "a" {
            cx.effect(Call::Mail { to: "b@example.org".into(), subject: "more".into(), text: "more".into() });
            cx.put("told", "a", &100u64)?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn two_versions_of_a_handler_are_told_apart_by_what_they_do() {
    let rig = Rig::new().await;
    rig.add("a", 1).await;
    rig.add("b", 1).await;
    let events: Vec<Envelope> = rig
        .desk
        .events(&rig.desk.plan(&file()).await.unwrap().hash, Position(0), 10)
        .await
        .unwrap()
        .0
        .into_iter()
        .map(|recorded| recorded.envelope)
        .collect();
    let before = rig.ports.store.info().await.unwrap();
    let old = Recording::of(&rig.ports, Arc::new(Teller), &events).await;
    let same = Recording::of(&rig.ports, Arc::new(Teller), &events).await;
    assert!(old.differences(&same).is_empty(), "{:?}", old.differences(&same));
    // As a build keeps it for the next one.
    let kept: Recording = serde_json::from_str(&serde_json::to_string(&old).unwrap()).unwrap();
    let new = Recording::of(&rig.ports, Arc::new(Wordier), &events).await;
    let found = kept.differences(&new);
    assert_eq!(found.counts, [("effects", 1), ("row", 1)].into(), "{found:?}");
    assert_eq!((found.first[0].at.as_str(), found.events), (events[0].id.as_str(), 2));
    assert_eq!((found.first[1].old.clone(), found.first[1].new.clone()), (json!(1), json!(100)));
    assert_eq!(rig.ports.store.info().await.unwrap().head, before.head);
    assert_eq!(rig.row("told", "a").await, None, "nothing was written");
    let less = Recording::of(&rig.ports, Arc::new(Teller), &events[..1]).await;
    assert_eq!(old.differences(&less).counts["window"], 1);
}

fn file() -> Request {
    Request { events: Wanted::default(), target: Target::File, with_effects: false, rate: None }
}
