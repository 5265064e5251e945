//! Projections that keep their rows elsewhere than in documents.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidewire_core::commit::ExpectDocument;
use tidewire_core::{Commit, HandlerError};
use tokio_util::sync::CancellationToken;

use super::desk::Replays;
use super::driver::{Driver, Halt};
use super::job::{Compared, Job, State, Trouble};
use super::plan::Target;

/// How often a rebuild elsewhere is looked after: its lease, and whether somebody stopped it.
const LOOK: Duration = Duration::from_secs(1);

/// A read model whose rows are not documents (a search index, a file, another database), in the process that has them. It
/// builds them anew beside the live ones by itself; who asked, how far, and what came of it is a replay like any other.
#[async_trait]
pub trait Elsewhere: Send + Sync {
    /// Its name among projections. No consumer has it.
    fn name(&self) -> &str;

    /// How many rows it holds.
    async fn rows(&self) -> Result<u64, HandlerError>;

    /// Builds a new generation beside the live one, compares both, and puts it in the live one's place, unless they
    /// differ and `only_if_equal`. Readers see the one or the other. It begins anew when it is called again after a crash, or
    /// after `stop`, with which it has to end soon.
    async fn rebuild(&self, only_if_equal: bool, stop: &CancellationToken) -> Result<Compared, HandlerError>;
}

impl Replays {
    /// With projections that keep their rows elsewhere, in this process.
    pub fn with_elsewhere(mut self, elsewhere: Vec<Arc<dyn Elsewhere>>) -> Self {
        self.elsewhere = Arc::new(elsewhere);
        self
    }

    /// The one of this name.
    pub(super) fn elsewhere(&self, name: &str) -> Option<Arc<dyn Elsewhere>> {
        self.elsewhere.iter().find(|one| one.name() == name).cloned()
    }
}

impl Driver {
    /// Lets a projection rebuild itself, to its end.
    pub(super) async fn rebuild_elsewhere(
        &mut self,
        one: Arc<dyn Elsewhere>,
        job: Job,
        expect: ExpectDocument,
    ) -> Result<bool, Halt> {
        let begun = Instant::now();
        let only_if_equal = matches!(job.terms.target, Target::Projection { only_if_equal: true, .. });
        if job.state == State::Running && job.counts.batches == 0 {
            // Known to be under way, before it takes its time.
            let mut job = job;
            job.counts.batches = 1;
            self.commit(Commit::default(), job, expect, begun).await?;
            return Ok(true);
        }
        let stop = self.stop.child_token();
        let rebuilding = one.rebuild(only_if_equal, &stop);
        tokio::pin!(rebuilding);
        let rebuilt = loop {
            tokio::select! {
                rebuilt = &mut rebuilding => break rebuilt,
                () = tokio::time::sleep(LOOK) => {
                    self.renew().await?;
                    let found = Job::load(self.store().as_ref(), &self.id).await?;
                    if found.is_none_or(|(job, _)| job.state != State::Running) {
                        stop.cancel();
                    }
                }
            }
        };
        let Some((mut job, expect)) = Job::load(self.store().as_ref(), &self.id).await? else { return Ok(false) };
        if stop.is_cancelled() {
            return Ok(!self.stop.is_cancelled());
        }
        let compared = match rebuilt {
            Ok(compared) => compared,
            Err(error) if error.is_transient() => {
                tracing::warn!(replay = self.id, %error, "a rebuild begins anew");
                self.pause(LOOK).await;
                return Err(Halt::Again);
            }
            Err(error) => {
                let (code, reason) = (error.code().to_owned(), error.to_string());
                return Err(Halt::Trouble(Trouble { code, reason, event: None }));
            }
        };
        let kept_apart = only_if_equal && compared.differing > 0;
        job.state = if kept_apart { State::Different } else { State::Done };
        (job.counts.read, job.counts.handled) = (compared.rows, compared.rows);
        job.position = job.terms.source.until;
        job.compared = Some(compared);
        self.commit(Commit::default(), job, expect, begun).await?;
        Ok(false)
    }
}
