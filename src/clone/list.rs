//! The clones that there are, and their end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

use crate::fault::{Fault, Kind};
use crate::id::{CloneName, RunId};
use crate::lvm::{self, Volume};
use crate::recover;
use crate::run::events::Observer;
use crate::run::{CloneGround, CloneRecord, Intent, Record, record};
use crate::sys::cancel::Cancel;
use crate::sys::process;
use crate::sys::units::Bytes;

/// How long the end of a clone may take: a thick one's server writes everything out.
const PATIENCE: Duration = Duration::from_secs(900);
const PAUSE: Duration = Duration::from_millis(100);
/// What a clone's process is called.
const PROGRAM: &str = "mysnap";

/// How a clone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its data is being made, or its server recovers.
    Starting,
    /// It can be used.
    Running,
    /// Its process was killed; `recover` removes what is left.
    Dead,
}

impl State {
    /// `starting`, `running`, `dead`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Dead => "dead",
        }
    }
}

/// A clone as others see it.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: State,
    /// The run that it is.
    pub run: RunId,
    /// Its process.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
    /// What it is, from its record.
    #[serde(flatten)]
    pub what: CloneRecord,
    /// Where restored files lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch: Option<PathBuf>,
    /// How full its pool or store is, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_percent: Option<f64>,
    /// What is free where its files lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free: Option<Bytes>,
}

impl Listed {
    fn of(record: Record, volumes: &[Volume]) -> anyhow::Result<Option<Self>> {
        let (Some(what), Some(name)) = (record.clone_record().cloned(), record.job.clone()) else { return Ok(None) };
        let state = match record.try_adopt()? {
            Some(_) => State::Dead,
            // Whoever cleans up after it holds the record too.
            None if !process::runs(record.pid, PROGRAM) => State::Dead,
            None if record.ready.is_some() => State::Running,
            None => State::Starting,
        };
        let scratch = (what.ground == CloneGround::Files).then(|| last_scratch(&record)).flatten();
        let free = scratch.as_ref().and_then(|path| nix::sys::statvfs::statvfs(path).ok());
        Ok(Some(Self {
            used_percent: used(&what, volumes),
            free: free.map(|found| Bytes(found.blocks_available().saturating_mul(found.fragment_size()))),
            scratch,
            name,
            state,
            run: record.id,
            pid: record.pid,
            since: record.begun,
            what,
        }))
    }

    /// What is left of the room that it stands on, in words.
    pub fn room(&self) -> String {
        let used = |what: &str| self.used_percent.map(|used| format!("{what} {used:.1}% used"));
        let room = match self.what.ground {
            CloneGround::Thin => used("pool"),
            CloneGround::Thick => used("store"),
            CloneGround::Files => self.free.map(|free| format!("{free} free")),
        };
        room.unwrap_or_else(|| "-".to_owned())
    }
}

/// The place of its socket is on record before that of its files.
fn last_scratch(record: &Record) -> Option<PathBuf> {
    record.intents.iter().rev().find_map(|intent| match intent {
        Intent::Scratch { path } => Some(path.clone()),
        _ => None,
    })
}

/// How full the pool or the store below the first of its volumes is.
fn used(what: &CloneRecord, volumes: &[Volume]) -> Option<f64> {
    let kept = volumes.iter().find(|volume| what.uses.first() == Some(&volume.uuid))?;
    let Some(name) = kept.pool_name() else { return kept.data_percent };
    let pool = volumes.iter().find(|volume| volume.name == name)?;
    Some(pool.data_percent?.max(pool.metadata_percent?))
}

/// Every clone on record, oldest first.
pub fn list() -> anyhow::Result<Vec<Listed>> {
    let (records, unreadable) = record::all()?;
    for error in unreadable {
        tracing::warn!("{error:#}");
    }
    let clones: Vec<Record> = records.into_iter().filter(|record| record.clone_record().is_some()).collect();
    let on_lvm = |record: &Record| record.clone_record().is_some_and(|clone| clone.ground != CloneGround::Files);
    let volumes = if clones.iter().any(on_lvm) { lvm::volumes()? } else { Vec::new() };
    clones.into_iter().filter_map(|record| Listed::of(record, &volumes).transpose()).collect()
}

/// The clone of that name.
pub fn find(name: &CloneName) -> anyhow::Result<Listed> {
    let found = list()?.into_iter().find(|clone| clone.name == name.as_str());
    let missing = || Fault::new(Kind::NotFound, format!("there is no clone {name}"));
    Ok(found.ok_or_else(|| missing().hint("`mysnap clone list` shows what there is"))?)
}

/// An error while a clone of that name lives; what a dead one left is no obstacle.
pub(super) fn refuse_taken(name: &CloneName) -> anyhow::Result<()> {
    let lives = |clone: &Listed| clone.name == name.as_str() && clone.state != State::Dead;
    let Some(clone) = list()?.into_iter().find(lives) else { return Ok(()) };
    let since = clone.since.strftime("%Y-%m-%dT%H:%M:%SZ");
    let message = format!("there is a clone {name} already: process {}, since {since}", clone.pid);
    let hint = format!("choose another --name, or end it: `mysnap clone stop {name}`");
    Err(Fault::new(Kind::Busy, message).hint(hint).into())
}

/// Ends `clone` and waits until nothing of it is left.
pub fn stop(clone: &Listed, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<()> {
    if clone.state != State::Dead {
        ask_to_end(clone);
        wait_for_its_end(clone, cancel)?;
    }
    // Of one that was killed.
    recover::recover(observer).map(drop)
}

fn ask_to_end(clone: &Listed) {
    // While it holds the run's lock the number is its own.
    if !record::lives(&clone.run).unwrap_or(false) || !process::runs(clone.pid, PROGRAM) {
        return;
    }
    let sent = i32::try_from(clone.pid).map(|pid| kill(Pid::from_raw(pid), Signal::SIGTERM));
    if let Ok(Err(error)) = sent {
        tracing::debug!(%error, "it has ended meanwhile");
    }
}

fn wait_for_its_end(clone: &Listed, cancel: &Cancel) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while record::lives(&clone.run)? {
        if Instant::now() >= end {
            let message = format!("clone {} had not ended after {PATIENCE:?}", clone.name);
            let hint = format!("look at process {}; `mysnap recover` cleans up when it is gone", clone.pid);
            return Err(Fault::new(Kind::CleanupPending, message).hint(hint).into());
        }
        cancel.sleep(PAUSE)?;
    }
    Ok(())
}
