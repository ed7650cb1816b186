//! What is done around the stop: so that a person sees that it is the right one.

use std::collections::VecDeque;

use crate::binlog::find::Hit;
use crate::binlog::{Event, Home, Matched, Reading, Summary, Timeline};
use crate::server::BinlogPosition;

/// So much is shown of either side.
const SHOWN: usize = 3;

/// The last before `stop`, and the first behind it. That is for the eyes alone: what can't be read is not shown.
pub(super) fn look(home: &Home, timeline: &Timeline, stop: &BinlogPosition) -> (Vec<Hit>, Vec<Hit>) {
    let at = timeline.files.iter().position(|file| file.name == stop.file).unwrap_or(0);
    let Around { mut last, mut next } = around(home, timeline, at, stop.offset);
    if last.is_empty() && at > 0 {
        last = around(home, timeline, at - 1, u64::MAX).last;
    }
    if next.is_empty() && timeline.files.get(at + 1).is_some_and(|file| file.gap.is_none()) {
        next = around(home, timeline, at + 1, 0).next;
    }
    (last.into(), next)
}

/// What is kept of a file: there may be millions.
#[derive(Default)]
struct Around {
    last: VecDeque<Hit>,
    next: Vec<Hit>,
}

impl Around {
    fn take(&mut self, hit: Hit, offset: u64) {
        if hit.found.end > offset {
            if self.next.len() < SHOWN {
                self.next.push(hit);
            }
            return;
        }
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(hit);
    }
}

/// What is done around `offset` of the file with the number `n`.
fn around(home: &Home, timeline: &Timeline, n: usize, offset: u64) -> Around {
    let (mut around, mut reading) = (Around::default(), Reading::default());
    let Some(file) = timeline.files.get(n) else { return around };
    let hit = |Matched(found, _)| Hit { timeline: timeline.id.clone(), file: file.name.clone(), found };
    let walked = home.read(&timeline.id, file).and_then(|from| {
        let each = |event: &Event| {
            reading.add(event);
            reading.drain().into_iter().for_each(|found| around.take(hit(found), offset));
        };
        Ok(Summary::walk(from, each)?)
    });
    if let Err(error) = walked {
        tracing::warn!("what {} has around the stop is not shown: {error:#}", file.name);
    }
    reading.finish().into_iter().for_each(|found| around.take(hit(found), offset));
    around
}
