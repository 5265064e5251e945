//! Crashes: after every input the orchestrator may die before or after its commit, and the input comes again.

use super::trip::{self, Journey};
use super::{input_of, step, tables, wide};
use crate::saga::{Ignored, Input};

#[test]
fn every_prefix_takes_its_last_reply_again() {
    let plain = tables::ALL.iter().map(|row| (trip::definition(), row));
    let wide = wide::ALL.iter().map(|row| (trip::wide(), row));
    for (definition, (name, script)) in plain.chain(wide) {
        let lines: Vec<&str> = script.lines().map(str::trim).collect();
        for crash in 0..lines.len() {
            let mut journey = Journey::of(definition);
            for (n, line) in lines.iter().enumerate() {
                if n == crash {
                    // Died before the commit: what was decided is gone, and decided again just the same.
                    let mut lost = journey.clone();
                    step(&mut lost, line);
                    step(&mut journey, line);
                    assert_eq!((&lost.log, &lost.sent), (&journey.log, &journey.sent), "{name}, line {n}");
                    // Died after it: the input comes once more.
                    again(&mut journey, line, name);
                } else {
                    step(&mut journey, line);
                }
            }
        }
    }
}

fn again(journey: &mut Journey, line: &str, name: &str) {
    let input = line.split("=>").next().unwrap_or_default().trim();
    if input.starts_with('!') {
        // A person's order is guarded by the revision it was given for.
        return;
    }
    if input == "wait" {
        let woken = journey.advance(Input::Wake);
        assert!(matches!(woken.ignored, Some(Ignored::Early | Ignored::Over)), "{name}: `{line}` twice");
    } else {
        // To the request that was answered, not to one sent since: the reply is the same event.
        let nth = if input.contains('#') { input.to_owned() } else { answered(journey, input) };
        let repeated = input_of(journey, &nth);
        assert!(repeated.ignored.is_some() && repeated.drafts.is_empty(), "{name}: `{line}` twice");
    }
}

/// The input with the number of the request it answered.
fn answered(journey: &Journey, input: &str) -> String {
    if input.starts_with("signal") {
        return input.to_owned();
    }
    let Some((step, kind)) = input.split_once(' ') else { return input.to_owned() };
    let name = format!("{step}.{}", if kind.starts_with("undo") { "undo" } else { "requested" });
    let count = journey.sent.iter().filter(|draft| draft.ty.name() == name).count();
    format!("{input} #{count}")
}
