//! In which of an archive's histories a backup stands: file names and MariaDB's numbers begin anew after a reset.

use jiff::Timestamp;

use super::gtid::{Gtid, GtidSet};
use super::home::Home;
use super::index::{Index, LogFile, Timeline};
use super::summary::Summary;
use crate::fault::{Fault, Kind};
use crate::server::BinlogPosition;

/// Where a server stood.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// In its binary log.
    pub position: &'a BinlogPosition,
    /// What it had executed, as it says itself.
    pub gtids: Option<&'a str>,
    /// When.
    pub at: Timestamp,
}

/// The one timeline in which a server can have stood there at that time: it has the place, an event ends at it, its
/// file had begun by then, and what is named before it had been executed.
///
/// # Errors
/// Where there is none, or more than one, or a file can't be read.
pub fn locate<'a>(home: &Home, index: &'a Index, standing: Standing<'_>) -> anyhow::Result<&'a Timeline> {
    let BinlogPosition { file, offset } = standing.position;
    let mut fitting = Vec::new();
    for timeline in &index.timelines {
        if let Some(file) = timeline.file(file)
            && stood_in(home, timeline, file, standing)?
        {
            fitting.push(timeline);
        }
    }
    match fitting.as_slice() {
        [only] => Ok(only),
        [] => {
            let message = format!("the archive does not have {file}:{offset} as the server was at {}", standing.at);
            Err(Fault::new(Kind::Gap, message).hint("`mysnap binlog list` shows what it has").into())
        }
        several => {
            let names: Vec<&str> = several.iter().map(|timeline| timeline.id.as_str()).collect();
            let message = format!("{file}:{offset} may be in any of the timelines {}", names.join(", "));
            Err(Fault::new(Kind::Gap, message).into())
        }
    }
}

fn stood_in(home: &Home, timeline: &Timeline, file: &LogFile, standing: Standing<'_>) -> anyhow::Result<bool> {
    let place = standing.position;
    if !file.has(place) || file.first_event.is_none_or(|begun| begun > standing.at) {
        return Ok(false);
    }
    let (mut executed, mut ends) = (GtidSet::default(), false);
    Summary::walk(home.read(&timeline.id, file)?, |event| {
        if event.end() > place.offset {
            return;
        }
        ends |= event.end() == place.offset;
        if let Some(before) = GtidSet::of(event.header.kind, &event.body) {
            executed = before;
        }
        if let Some(gtid) = Gtid::of(&event.header, &event.body) {
            executed.add(&gtid);
        }
    })?;
    let known = standing.gtids.and_then(|text| text.parse::<GtidSet>().ok());
    Ok(ends && known.is_none_or(|known| known.reaches(&executed)))
}
