//! What a run did, written into its manifest.

use std::collections::BTreeMap;
use std::time::Instant;

use super::freeze::Hold;
use super::ship::Shipped;
use crate::check::{Ground, Request};
use crate::run::Run;
use crate::run::events::Observer;
use crate::server::Exactness;
use crate::store::{FileList, HoldRecord, Manifest, PhaseRecord, SnapshotRecord};
use crate::sys::clock;
use crate::sys::cmd::Call;
use crate::sys::units::milliseconds;

/// The parts of a run, told while they happen and kept for the manifest.
pub(super) struct Phases<'a> {
    observer: &'a dyn Observer,
    records: Vec<PhaseRecord>,
}

impl<'a> Phases<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, records: Vec::new() }
    }

    pub(super) fn observer(&self) -> &'a dyn Observer {
        self.observer
    }

    pub(super) fn run<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<T>,
        describe: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<T> {
        let observer = self.observer;
        self.timed(name, || observer.phase(name, work, describe))
    }

    /// Keeps how long `work` took, which tells of itself.
    pub(super) fn timed<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let began = Instant::now();
        let value = work()?;
        self.records.push(PhaseRecord { name: name.to_owned(), ms: milliseconds(began.elapsed()) });
        Ok(value)
    }
}

/// What the run brought.
pub(super) struct Evidence<'a> {
    pub(super) hold: &'a Hold,
    pub(super) shipped: &'a Shipped,
    pub(super) snapshots: Vec<SnapshotRecord>,
    pub(super) phases: &'a Phases<'a>,
}

/// The manifest of the run.
pub(super) fn write(request: &Request, ground: &Ground, run: &Run, evidence: Evidence<'_>) -> anyhow::Result<Manifest> {
    let Evidence { hold, shipped, snapshots, phases } = evidence;
    Ok(Manifest {
        id: run.id().clone(),
        job: request.job.clone(),
        method: request.method,
        host: crate::sys::process::host_name()?,
        begin: run.record().begun,
        end: clock::now(),
        mysnap: env!("CARGO_PKG_VERSION").to_owned(),
        server: ground.facts.clone(),
        position: hold.position.clone(),
        crash_consistent: !request.prepared,
        roots: shipped.roots.clone(),
        files: FileList::of(&shipped.copied.files)?,
        hold: HoldRecord {
            lock: ground.lock,
            waited_ms: milliseconds(hold.waited),
            held_ms: milliseconds(hold.held),
            tries: hold.tries,
            at: Some(hold.at),
        },
        snapshots,
        phases: phases.records.clone(),
        tools: tools(ground),
        proof: shipped.proof.clone(),
        warnings: warnings(ground, hold, shipped),
    })
}

fn tools(ground: &Ground) -> BTreeMap<String, String> {
    let mut tools: BTreeMap<String, String> =
        ground.target.tools.iter().map(|(name, version)| (format!("destination {name}"), version.clone())).collect();
    for (name, argument) in [("rsync", "--version"), ("lvm", "version")] {
        // A tool that worked but does not say its version is no reason to fail a backup.
        let text = Call::new(name).arg(argument).stdout().unwrap_or_default();
        tools.insert(name.to_owned(), text.lines().next().unwrap_or_default().trim().to_owned());
    }
    tools
}

fn warnings(ground: &Ground, hold: &Hold, shipped: &Shipped) -> Vec<String> {
    let keyrings =
        ground.covered.keyrings.iter().map(|path| format!("the keyring {} is not part of the backup", path.display()));
    let skipped = shipped.copied.skipped.iter().map(|s| format!("{} {} is not stored", s.kind, s.path));
    let inexact = match &hold.position.exact {
        Exactness::Exact => None,
        Exactness::NotExact(why) => Some(format!("the position is not exact: {why}")),
    };
    inexact.into_iter().chain(keyrings).chain(skipped).collect()
}
