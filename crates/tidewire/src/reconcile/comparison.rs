//! Comparing, one bounded step at a time, so that whoever does it under a lease can renew it in between.
//!
//! A window of the log is read, the broker is looked through until it has shown all of it, and what is left at the
//! broker's end is absent. Where the broker holds events about in the order of the log, each side is read once,
//! however long the log; only a window that really misses something costs another pass.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tidewire_core::handler::Consumer;
use tidewire_core::store::{Recorded, Selection};
use tidewire_core::{Envelope, Mark, Position, StoreError};

use super::since::{ago, recorded_before};
use super::window::{Pass, Window};
use super::{CompareError, MAX_NAMED, Reconciled, unhandled};
use crate::ports::Ports;

/// Events read from the log at once, with their data.
const LOG_PAGE: usize = 512;
/// Events asked of the broker at once.
const SCAN_PAGE: usize = 1_000;

/// What is compared.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Only events after this position.
    pub after: Position,
    /// Only events up to this one.
    pub until: Position,
    /// Only events of these buckets (first, last), both included.
    pub buckets: Option<(u8, u8)>,
    /// Whether the oldest event there says how far back the broker's record reaches. Not after a wipe: then the
    /// oldest one is only the first that came since.
    pub trusts_oldest: bool,
}

impl Scope {
    /// The events up to `until` that are within the broker's retention.
    pub(crate) async fn retained(ports: &Ports, retention: Duration, until: Position) -> Result<Self, StoreError> {
        let first = ports.store.info().await?.first;
        let after = recorded_before(ports.store.as_ref(), ago(ports.clock.now(), retention)).await?;
        let after = after.max(Position(first.0.saturating_sub(1)));
        Ok(Self { after: after.min(until), until, buckets: None, trusts_oldest: true })
    }

    /// Back to the first event that `reader` has yet to handle.
    ///
    /// On a long log that may take longer than a store lets a query run. Then it goes back to the beginning, which is
    /// read page by page: longer work, and the same outcome.
    pub(crate) async fn reach_back(&mut self, ports: &Ports, reader: &Consumer) -> Result<(), StoreError> {
        let before = |position: Position| Position(position.0.saturating_sub(1));
        let back = match unhandled(ports.store.as_ref(), reader, self.until, 1).await {
            Ok(first) => first.first().map(|first| before(first.position)),
            Err(error) if error.is_transient() => {
                tracing::warn!(reader = reader.name, code = error.code(), %error, "comparing from the log's beginning");
                Some(before(ports.store.info().await?.first))
            }
            Err(error) => return Err(error),
        };
        self.after = back.map_or(self.after, |back| self.after.min(back));
        Ok(())
    }
}

/// Why an event that is not on the broker matters, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// A consumer has yet to handle it.
    WaitedFor,
    /// Handled by all who read it, but the broker ought to hold it still.
    Expected,
    /// Outside the broker's retention, and waited for by nobody.
    Outside,
}

/// What one step came to.
pub(crate) enum Step {
    /// Go on.
    Working,
    /// Events that the broker does not hold, in the order of the log.
    Absent(Vec<(Recorded, Absence)>),
    /// Everything is compared.
    Done,
}

enum Phase {
    Reading,
    Scanning,
    Judging(VecDeque<Position>),
}

/// A comparison of the log with the broker.
pub(crate) struct Comparison<'a> {
    ports: &'a Ports,
    readers: &'a [Consumer],
    scope: Scope,
    /// What was recorded before this is not expected on the broker.
    kept_since: DateTime<Utc>,
    /// Where the broker's oldest event is in the log.
    oldest: Option<Position>,
    phase: Phase,
    window: Window,
    pass: Pass,
    /// Events on the broker, once it was looked through.
    held: Option<u64>,
    at: Position,
    report: Reconciled,
    holes: u64,
}

impl<'a> Comparison<'a> {
    /// A comparison within `scope`, with a broker that keeps events for `retention`.
    pub(crate) fn new(ports: &'a Ports, readers: &'a [Consumer], retention: Duration, scope: Scope) -> Self {
        let report = Reconciled { after: scope.after, until: scope.until, ..Reconciled::default() };
        Self {
            kept_since: ago(ports.clock.now(), retention),
            ports,
            readers,
            at: scope.after,
            scope,
            oldest: None,
            phase: Phase::Reading,
            window: Window::default(),
            pass: Pass::from_start(),
            held: None,
            report,
            holes: 0,
        }
    }

    /// What was found so far.
    pub(crate) fn report(&self) -> &Reconciled {
        &self.report
    }

    /// Positions between the first and the last that the log does not hold. Meaningful without buckets only.
    pub(crate) fn holes(&self) -> u64 {
        self.holes + (self.scope.until.0.saturating_sub(self.at.0))
    }

    /// One page further. After an error the same step may be tried again.
    pub(crate) async fn step(&mut self) -> Result<Step, CompareError> {
        match &mut self.phase {
            Phase::Reading => self.read().await,
            Phase::Scanning => self.scan().await,
            Phase::Judging(_) => self.judge().await,
        }
    }

    async fn read(&mut self) -> Result<Step, CompareError> {
        let page = self.ports.store.read(&self.selection(self.at)).await?;
        for recorded in &page {
            self.holes += recorded.position.0.saturating_sub(self.at.0 + 1);
            self.at = recorded.position;
            self.report.compared += 1;
            self.window.expect(recorded);
        }
        match (page.is_empty(), self.window.is_empty()) {
            (true, true) => return Ok(Step::Done),
            (true, false) => self.phase = Phase::Scanning,
            (false, _) if self.window.is_full() => self.phase = Phase::Scanning,
            (false, _) => {}
        }
        Ok(Step::Working)
    }

    async fn scan(&mut self) -> Result<Step, CompareError> {
        if self.window.is_empty() {
            self.pass = self.pass.resumed();
            self.phase = Phase::Reading;
            return Ok(Step::Working);
        }
        // What is published meanwhile is not looked through again and again.
        let seen_all = self.pass.whole && self.held.is_some_and(|held| self.pass.seen >= held);
        let (page, next) = match seen_all {
            true => (Vec::new(), None),
            false => self.ports.broker.scan(self.pass.cursor.clone(), SCAN_PAGE).await?,
        };
        if page.is_empty() {
            if self.pass.whole {
                self.held.get_or_insert(self.pass.seen);
                self.phase = Phase::Judging(self.window.take());
            } else {
                self.pass = Pass::from_start();
            }
            return Ok(Step::Working);
        }
        if self.pass.whole && self.pass.seen == 0 && self.oldest.is_none() && self.scope.trusts_oldest {
            self.oldest = self.place_of(&page).await?;
        }
        self.report.present += page.iter().filter(|envelope| self.window.found(envelope)).count() as u64;
        self.pass.step(next, page.len());
        Ok(Step::Working)
    }

    /// The place of the first of these events that is in the log.
    async fn place_of(&self, page: &[Envelope]) -> Result<Option<Position>, StoreError> {
        for envelope in page {
            let selection = Selection { id: Some(envelope.id.clone()), limit: 10, ..Selection::default() };
            let found = self.ports.store.read(&selection).await?;
            if let Some(found) = found.iter().find(|found| found.envelope.source == envelope.source) {
                return Ok(Some(found.position));
            }
        }
        Ok(None)
    }

    async fn judge(&mut self) -> Result<Step, CompareError> {
        let Phase::Judging(left) = &self.phase else { return Ok(Step::Working) };
        let Some(first) = left.front().copied() else {
            self.pass = self.pass.resumed();
            self.phase = Phase::Reading;
            return Ok(Step::Working);
        };
        // Those that lie so close together that one read has them all.
        let wanted: HashSet<Position> =
            left.iter().take_while(|position| position.0 < first.0 + LOG_PAGE as u64).copied().collect();
        let before = Position(first.0.saturating_sub(1));
        let mut page = self.ports.store.read(&self.selection(before)).await?;
        page.retain(|recorded| wanted.contains(&recorded.position));
        let judged = self.judged(page).await?;
        if let Phase::Judging(left) = &mut self.phase {
            left.drain(..wanted.len());
        }
        for (recorded, absence) in &judged {
            self.note(recorded, *absence);
        }
        Ok(Step::Absent(judged))
    }

    async fn judged(&self, page: Vec<Recorded>) -> Result<Vec<(Recorded, Absence)>, StoreError> {
        let mut waited_for = HashSet::new();
        for reader in self.readers {
            let reads = |envelope: &Envelope| reader.types.iter().any(|ty| ty.name() == envelope.ty.name());
            let read: Vec<&Recorded> = page.iter().filter(|recorded| reads(&recorded.envelope)).collect();
            if read.is_empty() {
                continue;
            }
            let marks: Vec<Mark> = read.iter().map(|recorded| Mark::of(&recorded.envelope)).collect();
            let seen = self.ports.store.seen(&reader.name, &marks).await?;
            let is_its = |recorded: &&&Recorded| recorded.position > reader.since;
            let open = read.iter().zip(seen).filter(|(_, seen)| !seen).map(|(recorded, _)| recorded);
            waited_for.extend(open.filter(is_its).map(|recorded| recorded.position));
        }
        let absence = |recorded: &Recorded| {
            let recorded_at = recorded.envelope.recordedtime.unwrap_or(recorded.envelope.time);
            if waited_for.contains(&recorded.position) {
                Absence::WaitedFor
            } else if recorded_at < self.kept_since || self.oldest.is_some_and(|oldest| recorded.position < oldest) {
                Absence::Outside
            } else {
                Absence::Expected
            }
        };
        Ok(page.into_iter().map(|recorded| (absence(&recorded), recorded)).map(|(why, event)| (event, why)).collect())
    }

    fn note(&mut self, recorded: &Recorded, absence: Absence) {
        match absence {
            Absence::Outside => self.report.outside_retention += 1,
            Absence::WaitedFor | Absence::Expected => {
                self.report.missing += 1;
                self.report.waited_for += u64::from(absence == Absence::WaitedFor);
                if self.report.first.len() < MAX_NAMED {
                    self.report.first.push(recorded.envelope.id.clone());
                }
            }
        }
    }

    fn selection(&self, after: Position) -> Selection {
        Selection {
            after,
            until: Some(self.scope.until),
            buckets: self.scope.buckets,
            limit: LOG_PAGE,
            ..Selection::default()
        }
    }
}
