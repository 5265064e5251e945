//! `kill -9` at every failpoint, under load; then a restart, and an audit.

use tempfile::TempDir;
use tidewire_core::failpoint::ALL;

use crate::support::auditor::{audit, consumers};
use crate::support::eventually;
use crate::support::process::Instance;
use crate::support::smtp::SmtpSink;
use crate::support::workload::{Address, SMALL, Workload, check};

/// Kills at the `hit`-th time `point` is reached, restarts, and checks that everything accepted before, during
/// and after had its effects exactly once. Panics if the point was never reached: a kill that does not happen
/// proves nothing.
async fn killed_at(point: &str, hit: u32) {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let mail = SmtpSink::start().await;
    let failpoints = format!("{point}=kill9@{hit}");
    let env = [("TIDEWIRE_SMTP_URL", mail.url.as_str()), ("TIDEWIRE_SMTP__FROM", "tidewire@example.org")];
    let deadly = [env[0], env[1], ("TIDEWIRE_FAILPOINTS", failpoints.as_str())];

    let address = Address::default();
    let workload = Workload::new(&point.replace('.', "-"), SMALL, address.clone());
    let survived = match Instance::up(&data, &deadly).await {
        Ok(mut first) => {
            address.set(&first.url);
            // The workload goes on through the crash and the restart; the process dies somewhere in it.
            let died = eventually_dead(&mut first);
            let running = workload.run();
            tokio::pin!(running);
            tokio::select! {
                () = died => None,
                accepted = &mut running => {
                    // All was accepted before the point was reached: it is reached behind the requests.
                    eventually(&format!("`{point}` is reached {hit} times\n{}", first.log()), || {
                        let ended = first.has_ended();
                        async move { ended.then_some(()) }
                    }).await;
                    Some(accepted)
                }
            }
        }
        // It died before it was ready: on its way up it had something to write already.
        Err(_) => None,
    };
    let mut second = Instance::up(&data, &env).await.unwrap_or_else(|log| panic!("no restart after `{point}`: {log}"));
    address.set(&second.url);
    // Everything once more, with the same idempotency keys: what was accepted is not done twice.
    drop(survived);
    let accepted = workload.run().await;
    check(&second, &accepted).await;
    check_mail(&mail, accepted.follows.len()).await;
    let consumers = consumers(&second).await;
    assert!(second.terminate().await.success(), "{}", second.log());
    let events = audit(&data, &consumers).await;
    assert!(events >= 60, "only {events} events");
}

async fn eventually_dead(instance: &mut Instance) {
    loop {
        if instance.has_ended() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// One intent per follow. A mail may go out twice if the process dies between sending and remembering, and then
/// carries the same id.
async fn check_mail(mail: &SmtpSink, follows: usize) {
    eventually("every follow was mailed", || async {
        let mut ids = mail.taken();
        ids.sort();
        ids.dedup();
        (ids.len() >= follows).then_some(())
    })
    .await;
    let mut ids = mail.taken();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), follows, "one intent per follow");
    assert!(all <= follows + 8, "{all} mails for {follows} intents: at most one batch is repeated");
}

/// Points by the floor they are on, so that the tests run side by side.
async fn killed_at_all(prefix: &str) {
    let points: Vec<&str> = ALL.iter().copied().filter(|point| point.starts_with(prefix)).collect();
    assert!(!points.is_empty());
    for (n, point) in points.iter().enumerate() {
        println!("kill -9 at {point}, hit 1");
        killed_at(point, 1).await;
        if let Some(hit) = later_hit(point, n) {
            println!("kill -9 at {point}, hit {hit}");
            killed_at(point, hit).await;
        }
    }
}

/// A later hit that differs from point to point, where this workload surely gets so far.
fn later_hit(point: &str, n: usize) -> Option<u32> {
    match point {
        // How many effects share a round is up to the machine.
        "effect.after_call" => None,
        // Saved every now and then, not per batch.
        "relay.after_cursor" => Some(2),
        "consume.after_park" => u32::try_from(SMALL.bad_documents).ok(),
        _ => u32::try_from(n + 2).ok(),
    }
}

macro_rules! killed {
    ($($name:ident => $prefix:literal),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            killed_at_all($prefix).await;
        })+

        /// No failpoint is left out of the matrix.
        #[test]
        fn every_failpoint_is_in_the_matrix() {
            // Replays are killed in a test of their own: no workload asks for one.
            let prefixes = [$($prefix,)+ "replay."];
            for point in ALL {
                assert!(prefixes.iter().any(|prefix| point.starts_with(prefix)), "`{point}` is never killed at");
            }
        }
    };
}

killed! {
    killed_in_the_gateway => "gateway.",
    killed_in_the_store => "store.",
    killed_in_the_relay => "relay.",
    killed_in_the_broker => "broker.",
    killed_in_the_consume_loop => "consume.",
    killed_in_a_saga => "saga.",
    killed_in_a_participant => "participant.",
    killed_in_a_projection => "project.",
    killed_around_an_effect => "effect.",
}
