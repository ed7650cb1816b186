//! A server as it was at a point in time: a backup, and the archived binary logs from where it stands to there.
//!
//! [`plan()`] finds the first backup from which the archive leads to the target, reads every event on the way and
//! tells where the replay stops: always between two transactions. What is missing, lies beyond the archive or within a
//! transaction is refused before anything is touched. [`restore`] brings the backup back into a workshop beside the
//! target directory, has an isolated server replay the logs as a replica does, compares what it has executed with
//! what was read, shuts it down in order and puts the files in place; [`extract`] takes databases out of that server
//! instead. Until the rename nothing has the name of a result, and `recover` removes what a killed run left: another
//! try begins with a clean copy.

mod around;
mod base;
mod replay;
mod route;
mod scan;
mod stopped;
mod stored;
mod target;
mod work;

use crate::binlog::Index;
use crate::binlog::find::Hit;
use crate::server::{Exactness, Position};
use crate::store::{Backup, Method};
use crate::sys::cancel::Cancel;
use crate::sys::units::Bytes;

pub use replay::Outcome;
pub use route::{Route, refuse_ambiguous};
pub use scan::{Part, Way};
pub use target::{Point, Target};
pub use work::{Sources, Wanted, extract, refuse_unfit, restore};

/// What will be replayed; printed by `--dry-run`.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// To which point.
    pub target: Target,
    /// From which backup, through which files.
    pub route: Route<'a>,
    /// What is replayed, and where it stops.
    pub way: Way,
    /// The last that is done.
    pub last: Vec<Hit>,
    /// The first that is not.
    pub next: Vec<Hit>,
}

/// Finds the way to `target` from the first of `backups` that leads there.
pub fn plan<'a>(
    sources: Sources<'_>,
    index: &'a Index,
    backups: &[&'a Backup],
    target: &Target,
    cancel: &Cancel,
) -> anyhow::Result<Plan<'a>> {
    let is_whole = |backup: &Backup| base::is_whole(backup, sources.store);
    let route = route::choose(backups, index, target, &is_whole)?;
    let way = scan::scan(sources.archive, &route, target, cancel)?;
    let (last, next) = around::look(sources.archive, route.timeline, &way.stop);
    Ok(Plan { target: target.clone(), route, way, last, next })
}

impl Plan<'_> {
    /// What it is about, in words.
    pub fn describe(&self) -> Vec<String> {
        let manifest = &self.route.backup.manifest;
        let Way { stop, transactions, events, parts, .. } = &self.way;
        let method = match manifest.method {
            Method::Copy => "files",
            Method::Dump => "a dump",
            Method::Increment => "an increment",
        };
        let mut lines = vec![
            format!("to:       {}", self.target),
            format!("base:     backup {}, {method} of {}, at {}", manifest.id, manifest.taken(), self.route.told()),
            format!(
                "replay:   up to {}:{}: {transactions} transactions, {events} events, {} in {} files of {}",
                stop.file,
                stop.offset,
                Bytes(self.way.bytes()),
                parts.len(),
                self.route.timeline.id
            ),
        ];
        lines.extend(self.way.times.map(|(first, last)| format!("of:       {first} to {last}")));
        lines.extend(self.left_out());
        lines.extend(self.way.note.iter().map(|note| format!("note:     {note}; it is left out as a whole")));
        lines.extend(self.limits());
        lines.extend(self.way.damage.iter().map(|damage| format!("damaged:  {damage}")));
        lines
    }

    /// What a replay can't bring back just as it was.
    fn limits(&self) -> Option<String> {
        let count = self.way.statements;
        (count > 0).then(|| {
            format!(
                "limits:   {count} changes are logged as statements: what UUID(), SYSDATE(), LOAD_FILE() and the like \
                 gave is something else when they are executed once more"
            )
        })
    }

    /// What the archive has behind the stop.
    fn left_out(&self) -> Option<String> {
        let files = &self.route.timeline.files;
        let at = files.iter().position(|file| file.name == self.way.stop.file)?;
        let rest = files.get(at..)?;
        let bytes = rest.iter().map(|file| file.size).sum::<u64>().saturating_sub(self.way.stop.offset);
        let last = rest.last()?;
        let until = last.last_event.map(|time| format!(", the last of {time}")).unwrap_or_default();
        Some(format!("left out: {} up to {}:{}{until}", Bytes(bytes), last.name, last.size))
    }

    /// Where a server stands to which that was done, as the servers tell it.
    fn position(&self) -> Position {
        let recorded = self.route.backup.manifest.position.gtid_set.as_deref();
        Position {
            binlog: Some(self.way.stop.clone()),
            gtid_set: recorded.and_then(|set| self.way.executed_after(set)),
            upstream: Vec::new(),
            exact: Exactness::Exact,
        }
    }
}
