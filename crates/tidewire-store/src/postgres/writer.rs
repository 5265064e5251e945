//! The one task that takes commits. Group commit without a timer: one transaction is in flight, and whoever arrives
//! meanwhile joins the next.

use sqlx::{Row, raw_sql};
use tidewire_core::StoreError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::committer::{Committer, Pending};
use super::error::classify;
use super::lanes::hand_over;

/// How often the writer lets other tasks run before it takes a group: those it just answered come back with their next
/// commit, and would otherwise miss this group by a moment.
const GATHERING_ROUNDS: usize = 4;

/// What reaches the writer.
pub(super) enum Request {
    /// Something to commit.
    Write(Pending),
    /// Whether writing works.
    Ping(oneshot::Sender<Result<(), StoreError>>),
    /// The last request: write what came before, and end.
    Close(oneshot::Sender<()>),
}

/// The writer's belongings.
pub(super) struct Writer {
    pub committer: Committer,
    /// Keeps the lanes open: they end when this is gone and they are empty.
    pub lanes: mpsc::Sender<super::lanes::Blocked>,
    pub group_commits: usize,
    pub group_bytes: usize,
}

impl Writer {
    /// Serves requests until the store is closed or dropped.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut closed = None;
        let mut next = None;
        while closed.is_none() {
            let Some(first) = (match next.take() {
                Some(request) => Some(request),
                None => requests.recv().await,
            }) else {
                break;
            };
            gather(&requests, self.group_commits).await;
            let (group, stopped_by) = self.group(first, &mut requests);
            if !group.is_empty() {
                let blocked = self.committer.process(group).await;
                hand_over(&self.committer.shared.lanes, blocked, Instant::now());
            }
            match stopped_by {
                Some(Request::Ping(reply)) => {
                    let answer = self.ping().await;
                    let _ = reply.send(answer);
                }
                Some(Request::Close(reply)) => closed = Some(reply),
                other => next = other,
            }
        }
        requests.close();
        self.committer.link.close().await;
        drop(self.lanes);
        if let Some(reply) = closed {
            let _ = reply.send(());
        }
    }

    /// What waits, up to the limits, and the request at which it ends.
    fn group(&self, first: Request, requests: &mut mpsc::Receiver<Request>) -> (Vec<Pending>, Option<Request>) {
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut request = Some(first);
        while let Some(taken) = request.take() {
            let Request::Write(pending) = taken else { return (group, Some(taken)) };
            let size = pending.prepared.bytes;
            if !group.is_empty() && (group.len() >= self.group_commits || bytes + size > self.group_bytes) {
                return (group, Some(Request::Write(pending)));
            }
            bytes += size;
            group.push(pending);
            request = requests.try_recv().ok();
        }
        (group, None)
    }

    async fn ping(&mut self) -> Result<(), StoreError> {
        let mut last = Ok(());
        // A connection that was lost while nobody used it is no reason to be unavailable.
        for _ in 0..2 {
            last = self.try_ping().await;
            match &last {
                Err(StoreError::Unavailable(_)) => self.committer.link.drop_connection(),
                _ => return last,
            }
        }
        last
    }

    async fn try_ping(&mut self) -> Result<(), StoreError> {
        let connection = self.committer.link.get().await.map_err(classify)?;
        let text = "select (current_setting('transaction_read_only') = 'on')::text from tidewire.head";
        let row = raw_sql(text).fetch_one(connection).await.map_err(classify)?;
        match row.try_get::<String, _>(0).map_err(classify)?.as_str() {
            "false" => Ok(()),
            _ => Err(StoreError::ReadOnly("the server takes no writes".into())),
        }
    }
}

/// Lets those who are about to ask get in line.
async fn gather(requests: &mpsc::Receiver<Request>, enough: usize) {
    let mut waiting = requests.len();
    for _ in 0..GATHERING_ROUNDS {
        if waiting >= enough {
            return;
        }
        tokio::task::yield_now().await;
        let now = requests.len();
        if now == waiting {
            return;
        }
        waiting = now;
    }
}
