//! What is done around the stop: so that a person sees that it is the right one.

use crate::binlog::find::Hit;
use crate::binlog::{Found, Home, Matched, Reading, Stop, Summary, Timeline};
use crate::server::BinlogPosition;

/// So much is shown of either side.
const SHOWN: usize = 3;

/// The last before `stop`, and the first behind it.
pub(super) fn look(home: &Home, timeline: &Timeline, stop: &BinlogPosition) -> anyhow::Result<(Vec<Hit>, Vec<Hit>)> {
    let at = timeline.files.iter().position(|file| file.name == stop.file).unwrap_or(0);
    let read = |n: usize| found(home, timeline, n);
    let (mut before, mut after): (Vec<Hit>, Vec<Hit>) =
        read(at)?.into_iter().partition(|hit| hit.found.end <= stop.offset);
    if before.is_empty() && at > 0 {
        before = read(at - 1)?;
    }
    let next = timeline.files.get(at + 1).filter(|file| after.is_empty() && file.gap.is_none());
    if next.is_some() {
        after = read(at + 1)?;
    }
    let last = before.split_off(before.len().saturating_sub(SHOWN));
    after.truncate(SHOWN);
    Ok((last, after))
}

fn found(home: &Home, timeline: &Timeline, n: usize) -> anyhow::Result<Vec<Hit>> {
    let Some(file) = timeline.files.get(n) else { return Ok(Vec::new()) };
    let mut reading = Reading::default();
    let (_, _): (Summary, Stop) = Summary::walk(home.read(&timeline.id, file)?, |event| reading.add(event))?;
    let hit = |Matched(found, _): Matched| -> Hit {
        let found: Found = found;
        Hit { timeline: timeline.id.clone(), file: file.name.clone(), found }
    };
    Ok(reading.finish().into_iter().map(hit).collect())
}
