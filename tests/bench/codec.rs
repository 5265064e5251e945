//! The codec alone, on one core: an event of 1 KiB written in the JSON format, read again, and checked.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use tidewire::Envelope;
use tidewire::bytes::Bytes;
use tidewire::chrono::{DateTime, Utc};
use tidewire::codec::{Defaults, json};

use crate::harness::judge::{at_least, at_most};
use crate::harness::row::{Row, Section, Subject};
use crate::harness::stats::{Estimate, Random};
use crate::options::Options;

/// Round trips of one slice: some milliseconds, well above what a clock costs.
const TRIPS: u32 = 4_000;
/// At most so many times a typed round trip of serde.
const OF_SERDE: f64 = 1.5;
/// At least so many times as fast as the SDK.
const OF_SDK: f64 = 2.0;

/// The same event as a program would have it that knows its one type, and checks nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Typed {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    ty: String,
    datacontenttype: String,
    correlationid: String,
    traceparent: String,
    time: DateTime<Utc>,
    partitionkey: String,
    sequence: String,
    recordedtime: DateTime<Utc>,
    data: Activity,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Activity {
    user: String,
    action: String,
    text: String,
    tags: Vec<String>,
    counts: Vec<u32>,
    score: f64,
}

fn event() -> Typed {
    let at = DateTime::from_timestamp_millis(1_769_860_800_123).unwrap_or_default();
    let word = "a sentence somebody might have written about something; ";
    Typed {
        specversion: "1.0".into(),
        id: "01990000-0000-7000-8000-000000000000".into(),
        source: "/analytics".into(),
        ty: "activity.tracked.v1".into(),
        datacontenttype: "application/json".into(),
        correlationid: "01990000-0000-7000-8000-000000000001".into(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        time: at,
        partitionkey: "user/01990000".into(),
        sequence: "42".into(),
        recordedtime: at,
        data: Activity {
            user: "01990000".into(),
            action: "document.viewed".into(),
            text: word.repeat(6),
            tags: ["one", "two", "three", "four"].map(str::to_owned).into(),
            counts: (0..16).collect(),
            score: 0.25,
        },
    }
}

/// What one side does with what it has: one round trip.
type Trip = Box<dyn Fn() -> anyhow::Result<()>>;

fn sides() -> anyhow::Result<[Trip; 3]> {
    let typed = event();
    let text = Bytes::from(serde_json::to_vec(&typed)?);
    ensure!((900..1_200).contains(&text.len()), "{} bytes are not 1 KiB", text.len());
    let envelope = json::read(&text)?.into_envelope(&Defaults::default())?;
    let theirs: cloudevents::Event = serde_json::from_slice(&text)?;
    let ours = Box::new(move || {
        let written = Bytes::from(json::write_unchecked(&envelope));
        let parsed = json::read(&written)?;
        parsed.accept_only(|_| false)?;
        let read: Envelope = parsed.into_envelope(&Defaults::default())?;
        ensure!(black_box(&read).sequence == Some(42), "another event");
        Ok(())
    });
    let serde = Box::new(move || {
        let written = serde_json::to_vec(black_box(&typed))?;
        let read: Typed = serde_json::from_slice(&written)?;
        ensure!(black_box(&read).sequence == "42", "another event");
        Ok(())
    });
    let sdk = Box::new(move || {
        use cloudevents::AttributesReader as _;
        let written = serde_json::to_vec(black_box(&theirs))?;
        let read: cloudevents::Event = serde_json::from_slice(&written)?;
        ensure!(black_box(&read).id().len() == 36, "another event");
        Ok(())
    });
    Ok([ours, serde, sdk])
}

/// Seconds of one round trip.
fn slice(trip: &Trip) -> anyhow::Result<f64> {
    let started = Instant::now();
    for _ in 0..TRIPS {
        trip()?;
    }
    Ok(started.elapsed().as_secs_f64() / f64::from(TRIPS))
}

/// The ratio to serde, and to the SDK, of slices that ran next to each other in changing order.
pub fn measure(options: &Options) -> Vec<Row> {
    let what = "write, check and read an event of 1 KiB in JSON, one core";
    let aims = [
        Subject::new(Section::OneMachine, "B21", format!("{what}; limit: serde, one type, nothing checked")),
        Subject::new(Section::OneMachine, "B21-sdk", format!("{what}; how much faster than the CloudEvents SDK")),
    ];
    eprintln!("B21: {what} …");
    match measured(options) {
        Ok([of_serde, of_sdk, ours, serde, sdk]) => {
            let micros = |found: &Estimate| format!("{:.2} us", found.median * 1e6);
            let times = |found: &Estimate| format!("{:.2} times", found.median);
            let [first, second] = aims;
            let (target, verdict) = (format!("<= {OF_SERDE}"), at_most(of_serde, OF_SERDE));
            let mut row = Row::absolute(&first, micros(&ours), of_serde, &target, &verdict);
            row.limit = micros(&serde);
            row.ratio = format!("{:.2}", of_serde.median);
            row.notes.push("data stays bytes with us, and becomes a struct with serde".into());
            let (target, verdict) = (format!(">= {OF_SDK}"), at_least(of_sdk, OF_SDK));
            let mut other = Row::absolute(&second, times(&of_sdk), of_sdk, &target, &verdict);
            other.limit = micros(&sdk);
            other.ratio = format!("{:.2}", of_sdk.median);
            vec![row, other]
        }
        Err(error) => aims.iter().map(|subject| Row::failed(subject, &error)).collect(),
    }
}

fn measured(options: &Options) -> anyhow::Result<[Estimate; 5]> {
    let sides = sides()?;
    let mut rng = Random::new(options.seed);
    let mut seconds: [Vec<f64>; 3] = Default::default();
    for trip in &sides {
        slice(trip)?;
    }
    for _ in 0..options.rounds() {
        let first = rng.below(sides.len());
        for index in (0..sides.len()).map(|n| (first + n) % sides.len()) {
            seconds[index].push(slice(&sides[index])?);
        }
    }
    let [ours, serde, sdk] = &seconds;
    let of = |upper: &[f64], lower: &[f64]| upper.iter().zip(lower).map(|(a, b)| a / b).collect::<Vec<f64>>();
    let estimate = |samples: &[f64]| Estimate::of(samples, options.seed).context("too few rounds");
    Ok([estimate(&of(ours, serde))?, estimate(&of(sdk, ours))?, estimate(ours)?, estimate(serde)?, estimate(sdk)?])
}
