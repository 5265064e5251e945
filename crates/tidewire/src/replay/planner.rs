//! Making a plan: reading what it is about, and trying its handler on the first of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use tidewire_core::handler::Consumer;
use tidewire_core::store::ParkedQuery;
use tidewire_core::{Envelope, Key, Mark, Position, Recorded, Store, StoreError, Unit};

use super::desk::{Replays, reads, replayable};
use super::driver::{handle, hands_of};
use super::elsewhere::Elsewhere;
use super::error::ReplayError;
use super::job::Seat;
use super::plan::{Plan, Report, Request, Target, Terms, Trial, span};
use super::record::Record;
use super::source::{Pages, Source, bytes_of};

/// Events read at once while counting.
const PAGE: usize = 5_000;
/// Events looked up in the inbox at once.
const LOOK_UP: usize = 1_000;
/// Events the handler is tried on: enough to see every kind of effect of an ordinary mix.
const TRIAL: usize = 256;
/// Parked events looked at, to know their keys: as many as a consumer may park by default.
const MAX_PARKED: usize = 100_000;
/// How many events per second run through a handler with live documents, unless somebody says otherwise: a fraction of
/// what a store takes, so that live traffic hardly notices.
pub(super) const GENTLE: u32 = 5_000;
/// What a name of a new consumer or a domain may be.
const MAX_NAME: usize = 64;

impl Replays {
    /// A plan for `request`; nothing is kept.
    pub(super) async fn draw(&self, request: &Request) -> Result<Plan, ReplayError> {
        let target = &request.target;
        if let Target::Projection { name, rollback, .. } = target
            && let Some(one) = self.elsewhere(name)
        {
            return self.draw_elsewhere(request, one.as_ref(), *rollback).await;
        }
        let consumer = target.handler().map(|name| self.consumer(name)).transpose()?;
        self.check(request, consumer.as_ref())?;
        let names = consumer.as_ref().map(Consumer::names).unwrap_or_default();
        let mut source = request.events.resolve(&self.ports, &names).await?;
        if let Some(consumer) = consumer.as_ref().filter(|_| matches!(target, Target::Projection { .. })) {
            source.after = self.beginning(consumer, target).await?;
            self.whole(source.after).await?;
        }
        let (seat, _) = Seat::load(self.ports.store.as_ref(), &target.seat()).await?;
        let gentle = matches!(target, Target::Consumer { .. }).then_some(GENTLE);
        let terms = Terms {
            log_id: self.ports.store.info().await?.log_id,
            source,
            target: target.clone(),
            generation: seat.done + 1,
            reads: consumer.as_ref().map(reads).unwrap_or_default(),
            with_effects: request.with_effects,
            rate: request.rate.filter(|rate| *rate > 0).or(gentle),
        };
        let report = self.report(&terms, consumer.as_ref()).await?;
        Ok(Plan { hash: terms.hash(), terms, made: self.ports.clock.now(), report })
    }

    /// The rebuild of a projection that keeps its rows elsewhere: how, only it knows.
    async fn draw_elsewhere(
        &self,
        request: &Request,
        one: &dyn Elsewhere,
        rollback: bool,
    ) -> Result<Plan, ReplayError> {
        self.check(request, None)?;
        if rollback {
            let reason = format!("`{}` keeps no generation that could be gone back to", one.name());
            return Err(ReplayError::refused("replay.no_previous", reason));
        }
        let rows = one.rows().await.map_err(|error| ReplayError::Invalid(error.to_string()))?;
        let store = self.ports.store.as_ref();
        let (seat, _) = Seat::load(store, &request.target.seat()).await?;
        let terms = Terms {
            log_id: store.info().await?.log_id,
            source: Source { until: store.head().await?, ..Source::default() },
            target: request.target.clone(),
            generation: seat.done + 1,
            reads: Vec::new(),
            with_effects: false,
            rate: None,
        };
        let report = Report { events: rows, handlers: vec![one.name().to_owned()], ..Report::default() };
        Ok(Plan { hash: terms.hash(), terms, made: self.ports.clock.now(), report })
    }

    fn check(&self, request: &Request, consumer: Option<&Consumer>) -> Result<(), ReplayError> {
        let target = &request.target;
        if let Some(consumer) = consumer {
            replayable(consumer, target)?;
        }
        let invalid = |text: &str| Err(ReplayError::Invalid(text.into()));
        match target {
            Target::Projection { .. } if request.events != Default::default() => {
                invalid("a projection is rebuilt from everything it reads: no range, and no filter")
            }
            Target::Projection { .. } | Target::File | Target::Domain { .. } if request.with_effects => {
                invalid("only consumers have effects")
            }
            Target::Domain { .. } if self.domains.is_none() => {
                let reason = "this process has no broker to open under another domain";
                Err(ReplayError::refused("replay.no_domains", reason))
            }
            Target::New { name, .. } | Target::Domain { name } if !is_name(name) => {
                invalid("a name has 1 to 64 small letters, digits, `-` and `_`, and begins with a letter")
            }
            _ => Ok(()),
        }
    }

    /// Where a generation begins: with the first event, or where the one to go back to stands.
    async fn beginning(&self, consumer: &Consumer, target: &Target) -> Result<Position, ReplayError> {
        if !matches!(target, Target::Projection { rollback: true, .. }) {
            return Ok(consumer.since);
        }
        let (record, _) = Record::load(self.ports.store.as_ref(), &consumer.name, &consumer.keeps).await?;
        record.previous.map(|kept| kept.position).ok_or_else(|| {
            let reason = format!("no generation of `{}` is kept that could be gone back to", consumer.name);
            ReplayError::refused("replay.no_previous", reason)
        })
    }

    /// Refuses to rebuild from a log whose beginning is gone.
    async fn whole(&self, after: Position) -> Result<(), ReplayError> {
        let first = self.ports.store.info().await?.first;
        if after.0 + 1 < first.0 {
            let reason = format!("events before position {first} are retired: what only they tell would be missing");
            return Err(ReplayError::refused("replay.retired", reason));
        }
        Ok(())
    }

    async fn report(&self, terms: &Terms, consumer: Option<&Consumer>) -> Result<Report, ReplayError> {
        let store = self.ports.store.as_ref();
        let live = match &terms.target {
            Target::Consumer { name, again } => Some((name.as_str(), *again)),
            _ => None,
        };
        let parked = match consumer.filter(|_| !matches!(terms.target, Target::New { .. })) {
            Some(consumer) => parked_keys(store, &consumer.name).await?,
            None => HashSet::new(),
        };
        let begun = Instant::now();
        let mut report = Report { handlers: consumer.iter().map(|c| c.name.clone()).collect(), ..Report::default() };
        let (mut tried, mut parked_here) = (Vec::new(), HashSet::new());
        let mut pages = Pages::new(&terms.source, terms.source.after, PAGE)?;
        loop {
            let page = pages.next(store).await?;
            for recorded in &page.events {
                report.count(&recorded.envelope, consumer);
                if parked.contains(&recorded.envelope.key) {
                    report.parked_events += 1;
                    parked_here.insert(recorded.envelope.key.clone());
                }
            }
            if let Some((name, false)) = live {
                *report.handled.get_or_insert(0) += handled(store, name, &page.events).await?;
            }
            let room = TRIAL - tried.len();
            tried.extend(page.events.into_iter().take(room));
            if page.last {
                break;
            }
        }
        report.parked_keys = parked_here.len() as u64;
        let looked_at = span(&terms.source).max(1) as f64;
        let per_event = begun.elapsed().as_secs_f64() / looked_at;
        let (trial, per_trial) = self.try_out(terms, consumer, &tried).await?;
        report.trial = trial;
        let paced = terms.rate.map_or(0.0, |rate| report.events as f64 / f64::from(rate));
        report.seconds = (report.events as f64 * per_trial + looked_at * per_event).max(paced);
        Ok(report)
    }

    /// Runs the handler for a few events and drops what it asked for. Answers the seconds per event, too.
    async fn try_out(
        &self,
        terms: &Terms,
        consumer: Option<&Consumer>,
        events: &[Recorded],
    ) -> Result<(Option<Trial>, f64), ReplayError> {
        let Some(consumer) = consumer.filter(|_| !events.is_empty()) else { return Ok((None, 0.0)) };
        let runner = self.runner(&consumer.name)?;
        let view = Arc::new(hands_of(&self.ports, consumer, &terms.target, u32::MAX));
        let mut unit = Unit::new(view, self.ports.clock.clone(), &consumer.name, &runner.source).muted();
        let begun = Instant::now();
        let mut trial = Trial { events: events.len() as u64, ..Trial::default() };
        let envelopes: Vec<&Envelope> = events.iter().map(|recorded| &recorded.envelope).collect();
        let mut cx = unit.context(None, 1);
        // What cannot be read ahead is read event by event.
        let _ = runner.guard(runner.handler.prepare(&envelopes, &mut cx)).await;
        for envelope in envelopes {
            if let Err(failure) = handle(&runner, &mut unit, envelope).await {
                trial.failed += 1;
                trial.error.get_or_insert_with(|| format!("{}: {}", envelope.id, failure.error));
            }
        }
        let muted = unit.take_muted();
        for effect in muted.effects {
            *trial.effects.entry(effect.call.kind().to_owned()).or_default() += 1;
        }
        for event in muted.events {
            *trial.emitted.entry(event.ty.to_string()).or_default() += 1;
        }
        trial.timers = muted.timers.len() as u64;
        trial.documents = unit.into_commit().documents.len() as u64;
        let per_event = begun.elapsed().as_secs_f64() / events.len() as f64;
        Ok((Some(trial), per_event))
    }
}

impl Report {
    fn count(&mut self, envelope: &Envelope, consumer: Option<&Consumer>) {
        self.events += 1;
        self.bytes += bytes_of(envelope);
        let ty = envelope.ty.to_string();
        if let Some(known) = consumer.and_then(|c| c.types.iter().find(|known| known.name() == envelope.ty.name())) {
            match envelope.ty.version().cmp(&known.version()) {
                std::cmp::Ordering::Less => {
                    *self.upcasts.entry(format!("{ty} to v{}", known.version())).or_default() += 1;
                }
                std::cmp::Ordering::Greater => *self.newer.entry(ty.clone()).or_default() += 1,
                std::cmp::Ordering::Equal => {}
            }
        }
        *self.types.entry(ty).or_default() += 1;
        self.first = self.first.or(envelope.recordedtime);
        self.last = envelope.recordedtime.or(self.last);
    }
}

/// How many of these a consumer has handled or parked.
async fn handled(store: &dyn Store, consumer: &str, events: &[Recorded]) -> Result<u64, StoreError> {
    let mut handled = 0;
    for events in events.chunks(LOOK_UP) {
        let marks: Vec<Mark> = events.iter().map(|recorded| Mark::of(&recorded.envelope)).collect();
        handled += store.seen(consumer, &marks).await?.into_iter().filter(|seen| *seen).count() as u64;
    }
    Ok(handled)
}

async fn parked_keys(store: &dyn Store, consumer: &str) -> Result<HashSet<Key>, StoreError> {
    let mut keys = HashSet::new();
    let mut query = ParkedQuery { consumer: Some(consumer.to_owned()), key: None, after: 0, limit: LOOK_UP };
    let mut looked_at = 0;
    while looked_at < MAX_PARKED {
        let page = store.parked(&query).await?;
        let Some(last) = page.last() else { break };
        query.after = last.ordinal;
        looked_at += page.len();
        keys.extend(page.into_iter().map(|parked| parked.envelope.key));
    }
    Ok(keys)
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(allowed)
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
}
