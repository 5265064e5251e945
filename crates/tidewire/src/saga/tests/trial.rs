//! The trial of trials.

use serde_json::json;
use tidewire_core::{Draft, ManualClock};

use super::trip::{Planned, Trip};
use crate::saga::trial::Trial;
use crate::saga::*;

fn definition() -> Definition<Trip<1>> {
    Definition::new(Trip::<1>).unwrap()
}

fn trial(definition: &Definition<Trip<1>>) -> Trial<'_, Trip<1>> {
    let clock = ManualClock::new(Default::default(), 1);
    let start = Draft::of(&Planned::new("1")).unwrap().seal(&clock, "/test", None);
    Trial::new(definition, start, |_| json!({"trip": "1", "reason": "as it happens"}))
}

#[test]
fn every_accident_ends_sound() {
    let definition = definition();
    let tally = trial(&definition).run().unwrap_or_else(|defect| panic!("{defect}"));
    assert_eq!(tally.runs, tally.completed + tally.undone + tally.stuck);
    assert!(tally.runs > 500 && tally.completed > 100 && tally.undone > 100, "{tally:?}");
    assert!(tally.stuck > 0 && tally.stuck < tally.runs / 2, "{tally:?}");
}

#[test]
fn it_notices_participants_that_forget() {
    let definition = definition();
    let defect = trial(&definition).forgetting().run().unwrap_err();
    assert!(defect.what.contains("applied twice"), "{defect}");
}
