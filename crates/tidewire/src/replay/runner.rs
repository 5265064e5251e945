//! The loop that carries out what operators applied: in the background, one process per replay.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tidewire_core::StoreError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::desk::Replays;
use super::driver::Driver;
use super::job::{self, OPEN};
use super::plan::Target;

/// How often it is looked for something to do.
const POLL: Duration = Duration::from_millis(500);
/// Open replays looked at in one round.
const MAX_OPEN: usize = 100;

/// Carries out replays whose handlers are in this process.
struct Runner {
    desk: Replays,
    owner: String,
}

impl Runner {
    /// One for the handlers of `desk`.
    fn new(desk: Replays) -> Self {
        let owner = desk.ports.clock.id().to_string();
        Self { desk, owner }
    }

    /// Runs until `stop`. Replays to different targets run side by side.
    async fn run(self, stop: CancellationToken) {
        let mut running: HashMap<String, JoinHandle<()>> = HashMap::new();
        while !stop.is_cancelled() {
            running.retain(|_, run| !run.is_finished());
            match self.open().await {
                Ok(open) => {
                    for id in open {
                        let run = || {
                            tokio::spawn(drive(self.desk.clone(), id.clone(), self.owner.clone(), stop.clone(), None))
                        };
                        running.entry(id.clone()).or_insert_with(run);
                    }
                }
                Err(error) => tracing::debug!(code = error.code(), %error, "cannot look for replays"),
            }
            let _ = tokio::time::timeout(POLL, stop.cancelled()).await;
        }
        futures::future::join_all(running.into_values()).await;
    }

    /// What is open and can be carried out here.
    async fn open(&self) -> Result<Vec<String>, StoreError> {
        let open = job::page::<Target>(self.desk.ports.store.as_ref(), OPEN, None, MAX_OPEN).await?;
        Ok(open.into_iter().filter(|(_, target)| self.can(target)).map(|(id, _)| id).collect())
    }

    fn can(&self, target: &Target) -> bool {
        match target {
            Target::File => false,
            Target::Domain { .. } => self.desk.domains.is_some(),
            target => target
                .handler()
                .is_some_and(|name| self.desk.consumer(name).is_ok() || self.desk.elsewhere(name).is_some()),
        }
    }
}

/// Carries one replay out, as far as it goes before `stop` and `until`. Does nothing while another process does.
async fn drive(desk: Replays, id: String, owner: String, stop: CancellationToken, until: Option<Instant>) {
    let mut driver = match Driver::take(&desk, &id, &owner, &stop).await {
        Ok(Some(driver)) => driver,
        Ok(None) => return,
        Err(error) => {
            tracing::debug!(code = error.code(), %error, replay = id, "cannot be taken in hand");
            return;
        }
    };
    while !stop.is_cancelled() && until.is_none_or(|until| Instant::now() < until) {
        let goes_on = match driver.step().await {
            Ok(goes_on) => goes_on,
            Err(halt) => driver.recover(halt).await,
        };
        if !goes_on {
            break;
        }
    }
    driver.leave().await;
}

impl Replays {
    /// The same desk for replays to other domains alone, without any handler.
    pub fn without_handlers(mut self) -> Self {
        self.handlers = Default::default();
        self.elsewhere = Default::default();
        self
    }

    /// Carries out in the background what operators apply, as far as the handlers are here, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        Runner::new(self).run(stop).await;
    }

    /// Carries out what is open here and now, for at most `patience`: for processes in which nothing runs in the
    /// background. Elsewhere it only helps.
    pub async fn work(&self, patience: Duration) -> Result<(), StoreError> {
        let (runner, until) = (Runner::new(self.clone()), Instant::now() + patience);
        for id in runner.open().await? {
            drive(self.clone(), id, runner.owner.clone(), CancellationToken::new(), Some(until)).await;
        }
        Ok(())
    }
}
