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
pub struct Plan<S, P = Reversible> {
    steps: Vec<StepSpec<S>>,
    place: PhantomData<P>,
}

impl<S, P> Plan<S, P> {
    fn with<Q, K>(mut self, kind: StepKind, step: Step<S, K>) -> Plan<S, Q> {
        self.steps.push(StepSpec { kind, ..step.spec });
        Plan { steps: self.steps, place: PhantomData }
    }

    /// The plan is complete.
    pub fn end(self) -> Steps<S> {
        Steps(self.steps)
    }
}

impl<S> Plan<S, Reversible> {
    pub(super) fn new() -> Self {
        Self { steps: Vec::new(), place: PhantomData }
    }

    /// Then a step that can be undone.
    pub fn then(self, step: Step<S, Undoable>) -> Self {
        self.with(StepKind::Compensatable, step)
    }

    /// Then the point of no return.
    pub fn pivot(self, step: Step<S, Final>) -> Plan<S, Committed> {
        self.with(StepKind::Pivot, step)
    }

    /// Then a step that is tried until it happens; it is sent only when all before it happened, and from
    /// there on nothing is undone.
    pub fn retriable(self, step: Step<S, Final>) -> Plan<S, Committed> {
        self.with(StepKind::Retriable, step)
    }
}

impl<S> Plan<S, Committed> {
    /// Then another step that is tried until it happens.
    pub fn retriable(self, step: Step<S, Final>) -> Self {
        self.with(StepKind::Retriable, step)
    }
}

/// A complete plan.
pub struct Steps<S>(pub(super) Vec<StepSpec<S>>);
