//! Trials: a saga, played through every accident that can befall it (feature `testing`).
//!
//! [`Trial::run`] plays a saga once to find its commits and its events, and then again with each accident in turn: the
//! process dies before and after each commit, each event is lost, late, or repeated; all of that on the good path, with
//! each step failing, and with each undo failing. Nothing but the definition is real: participants are models that keep
//! the promises of [`Participant`](super::Participant). A saga of a handful of steps goes through a few thousand runs
//! within a second or two.

mod model;
mod recording;

pub use recording::{Emitted, Recording, Turn};

use std::fmt;

use serde_json::Value;
use tidewire_core::saga::{Definition, Direction, Saga, Status};
use tidewire_core::{Envelope, EventType};

use model::Model;

/// How many requests of a step a participant refuses when it fails for good.
const FOR_GOOD: u32 = u32::MAX;

/// What goes wrong in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accidents {
    /// This step, or its undo, fails so often.
    pub fails: Vec<(&'static str, Direction, u32)>,
    /// What happens on the way.
    pub mishap: Option<Mishap>,
}

/// Something that happens on the way. Commits and events are numbered from 0, in the order of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The process dies before this commit.
    DiesBefore(usize),
    /// The process dies after this commit, before it has told anybody.
    DiesAfter(usize),
    /// This event is emitted twice, under two ids.
    Repeated(usize),
    /// This event is delivered once nothing else happens any more.
    Late(usize),
    /// This event is never delivered.
    Lost(usize),
}

/// How many runs ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs in all.
    pub runs: usize,
    /// Commits in all: the places where a process could have died.
    pub commits: usize,
    /// That completed.
    pub completed: usize,
    /// That were undone.
    pub undone: usize,
    /// That are stuck, with a reason.
    pub stuck: usize,
}

/// A run that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// What had gone wrong.
    pub accidents: Accidents,
    /// The promise.
    pub what: String,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {:?}", self.what, self.accidents)
    }
}

impl std::error::Error for Defect {}

/// A saga to be tried.
///
/// ```ignore
/// let definition = Definition::new(Ingestion::new(Policy::default()))?;
/// let tally = Trial::new(&definition, submitted, |reply| fixture(reply.name())).run()?;
/// assert!(tally.completed > 0 && tally.undone > 0);
/// ```
pub struct Trial<'a, G: Saga> {
    definition: &'a Definition<G>,
    start: Envelope,
    data: Box<dyn Fn(&EventType) -> Value + 'a>,
    /// Participants keep no records: for proof that the checks notice.
    forgets: bool,
}

impl<'a, G: Saga> Trial<'a, G> {
    /// A trial of the saga that `start` starts, with the data that replies and signals of each type have.
    pub fn new(definition: &'a Definition<G>, start: Envelope, data: impl Fn(&EventType) -> Value + 'a) -> Self {
        Self { definition, start, data: Box::new(data), forgets: false }
    }

    #[cfg(test)]
    pub(super) fn forgetting(self) -> Self {
        Self { forgets: true, ..self }
    }

    /// Plays every accident, on every path. The first defect ends it.
    pub fn run(&self) -> Result<Tally, Defect> {
        let mut tally = Tally::default();
        for fails in self.paths() {
            let accidents = Accidents { fails, mishap: None };
            let (commits, events) = self.play(&accidents, &mut tally)?;
            let deaths = (0..commits).flat_map(|n| [Mishap::DiesBefore(n), Mishap::DiesAfter(n)]);
            let deliveries = (0..events).flat_map(|n| [Mishap::Repeated(n), Mishap::Late(n), Mishap::Lost(n)]);
            for mishap in deaths.chain(deliveries) {
                let accidents = Accidents { mishap: Some(mishap), ..accidents.clone() };
                self.play(&accidents, &mut tally)?;
            }
        }
        Ok(tally)
    }

    /// Plays one run, and answers how many commits and events it had.
    pub fn play(&self, accidents: &Accidents, tally: &mut Tally) -> Result<(usize, usize), Defect> {
        let defect = |what: String| Defect { accidents: accidents.clone(), what };
        let mut model = Model::new(self.definition, &self.start, &self.data, accidents, self.forgets);
        let end = model.live().map_err(defect)?;
        tally.runs += 1;
        tally.commits += model.commits();
        match end {
            Status::Completed => tally.completed += 1,
            Status::Undone => tally.undone += 1,
            _ => tally.stuck += 1,
        }
        Ok((model.commits(), model.events()))
    }

    /// The good path; each step failing once and for good; and for each of those, each undo failing once and for good.
    fn paths(&self) -> Vec<Vec<(&'static str, Direction, u32)>> {
        let names: Vec<&'static str> = self.definition.step_names().collect();
        let mut paths = vec![Vec::new()];
        for step in &names {
            for times in [1, FOR_GOOD] {
                let failing = (*step, Direction::Do, times);
                paths.push(vec![failing]);
                let undos = names.iter().take_while(|undo| *undo != step);
                paths.extend(
                    undos.flat_map(|undo| [1, FOR_GOOD].map(|often| vec![failing, (*undo, Direction::Undo, often)])),
                );
            }
        }
        paths
    }
}
