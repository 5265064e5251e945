//! Plans: the order of a saga's steps, checked by the compiler.

use std::marker::PhantomData;

use super::step::{Final, Step, StepKind, StepSpec, Undoable};

/// Marks a plan that can still turn back.
pub enum Reversible {}
/// Marks a plan past its point of no return.
pub enum Committed {}

/// A saga's steps in order: first those that can be undone, then at most one pivot, then those that are tried
/// until they happen. A step that can be undone does not fit behind the point of no return:
///
/// ```compile_fail
/// # use tidewire_core::saga::{Plan, Step};
/// # use tidewire_core::saga::plan::{Committed};
/// # use tidewire_core::saga::step::{Final, Undoable};
/// fn nonsense(plan: Plan<u32>, charge: Step<u32, Final>, reserve: Step<u32, Undoable>) -> Plan<u32, Committed> {
///     plan.pivot(charge).then(reserve)
/// }
/// ```
///
/// while this does:
///
/// ```
/// # use tidewire_core::saga::{Plan, Step};
/// # use tidewire_core::saga::plan::{Committed};
/// # use tidewire_core::saga::step::{Final, Undoable};
/// fn sense(plan: Plan<u32>, charge: Step<u32, Final>, reserve: Step<u32, Undoable>) -> Plan<u32, Committed> {
///     plan.then(reserve).pivot(charge)
/// }
/// ```
///
/// Nor does a group with such a step in it:
///
/// ```compile_fail
/// # use tidewire_core::saga::{Plan, Step, Together};
/// # use tidewire_core::saga::plan::{Committed};
/// # use tidewire_core::saga::step::{Final, Undoable};
/// fn nonsense(plan: Plan<u32>, charge: Step<u32, Final>, reserve: Step<u32, Undoable>) -> Plan<u32, Committed> {
///     plan.pivot(charge).together(Together::of(reserve))
/// }
/// ```
pub struct Plan<S, P = Reversible> {
    steps: Vec<StepSpec<S>>,
    stages: usize,
    place: PhantomData<P>,
}

/// Steps that are asked for together; the plan goes on when all of them happened. When one fails, the others are
/// undone with it, also those that were not answered yet. All of one sort: `K` is [`Undoable`] before the point of no
/// return, [`Final`] after it.
pub struct Together<S, K> {
    steps: Vec<StepSpec<S>>,
    kind: PhantomData<K>,
}

impl<S, K> Together<S, K> {
    /// A group of one.
    pub fn of(step: Step<S, K>) -> Self {
        Self { steps: vec![step.spec], kind: PhantomData }
    }

    /// With another step.
    pub fn and(mut self, step: Step<S, K>) -> Self {
        self.steps.push(step.spec);
        self
    }
}

impl<S, P> Plan<S, P> {
    fn with<Q>(mut self, kind: StepKind, steps: impl IntoIterator<Item = StepSpec<S>>) -> Plan<S, Q> {
        let stage = self.stages;
        self.steps.extend(steps.into_iter().map(|step| StepSpec { kind, stage, ..step }));
        Plan { steps: self.steps, stages: stage + 1, place: PhantomData }
    }

    /// The plan is complete.
    pub fn end(self) -> Steps<S> {
        Steps(self.steps)
    }
}

impl<S> Plan<S, Reversible> {
    pub(super) fn new() -> Self {
        Self { steps: Vec::new(), stages: 0, place: PhantomData }
    }

    /// Then a step that can be undone.
    pub fn then(self, step: Step<S, Undoable>) -> Self {
        self.with(StepKind::Compensatable, [step.spec])
    }

    /// Then several steps that can be undone, all at once.
    pub fn together(self, steps: Together<S, Undoable>) -> Self {
        self.with(StepKind::Compensatable, steps.steps)
    }

    /// Then the point of no return.
    pub fn pivot(self, step: Step<S, Final>) -> Plan<S, Committed> {
        self.with(StepKind::Pivot, [step.spec])
    }

    /// Then a step that is tried until it happens; it is sent only when all before it happened, and from
    /// there on nothing is undone.
    pub fn retriable(self, step: Step<S, Final>) -> Plan<S, Committed> {
        self.with(StepKind::Retriable, [step.spec])
    }
}

impl<S> Plan<S, Committed> {
    /// Then another step that is tried until it happens.
    pub fn retriable(self, step: Step<S, Final>) -> Self {
        self.with(StepKind::Retriable, [step.spec])
    }

    /// Then several of those, all at once.
    pub fn together(self, steps: Together<S, Final>) -> Self {
        self.with(StepKind::Retriable, steps.steps)
    }
}

/// A complete plan.
pub struct Steps<S>(pub(super) Vec<StepSpec<S>>);
