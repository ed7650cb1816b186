//! The measuring half of the benchmark `tests/bench/stall`: runs as root inside a lab guest and
//! prints one JSON object for each figure. What the figures mean is told where they are printed, in
//! `tests/bench/stall`.
//!
//! Three ways to a snapshot take turns on one server under one write load: the bare sequence by
//! hand, mysnap, and mylvmbackup where it is installed. Then nothing is written any more, and one
//! snapshot is copied by mysnap, by `cp -a` and by `rsync -a`.

mod copying;
mod ground;
mod ways;
mod writers;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use ground::Ground;
use ways::{Taken, Way};
use writers::Writers;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |name: &str| -> anyhow::Result<u32> {
        let given = arguments.next().with_context(|| format!("{name} is missing; tests/bench/stall starts this"))?;
        given.parse().with_context(|| format!("{name}: {given:?} is no number"))
    };
    let (rounds, copies) = (number("ROUNDS")?, number("COPIES")?);
    let ground = Ground::survey()?;
    ground::tell(&ground.described());
    // The first run of anything reads programs from the disk: it is not counted.
    for round in 0..=rounds {
        for way in Way::in_turn(&ground, round) {
            let figures = match measured(&ground, way) {
                // What another program can't do on this ground is a result.
                Err(error) if way == Way::Mylvmbackup => failed(way, &error),
                figures => figures.with_context(|| format!("round {round}, {}", way.name()))?,
            };
            if round > 0 {
                ground::tell(&figures);
            }
        }
    }
    for _ in 0..copies {
        copying::measure(&ground)?.iter().for_each(ground::tell);
    }
    Ok(())
}

/// One way, once, while everybody writes.
fn measured(ground: &Ground, way: Way) -> anyhow::Result<serde_json::Value> {
    ground::tidy()?;
    let writers = Writers::start()?;
    let began = Instant::now();
    let taken = way.take(ground, &writers);
    let commits = writers.stop()?;
    let Taken { locked, waited, ready, parts, note } = taken?;
    Ok(json!({
        "way": way.name(),
        "gap_ms": milliseconds(commits.longest_gap(began, ready)),
        "lock_ms": milliseconds(locked),
        "wait_ms": milliseconds(waited),
        "parts": parts,
        "note": note,
    }))
}

fn failed(way: Way, error: &anyhow::Error) -> serde_json::Value {
    json!({ "way": way.name(), "note": format!("failed: {error:#}") })
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
