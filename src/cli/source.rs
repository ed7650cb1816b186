//! Which destination is meant, when somebody asks for what is there.

use std::cell::OnceCell;
use std::time::Duration;

use jiff::Timestamp;

use super::args::Source;
use super::{Context, catalog};
use crate::config::{Config, Job};
use crate::drill;
use crate::fault::{Fault, Kind};
use crate::id::JobName;
use crate::run;
use crate::run::events::Observer;
use crate::server::Access;
use crate::store::{self, Backup, Catalog, Increment, SshOptions, Store, Transfer};
use crate::sys::lockfile::LockFile;

/// What stands for the newest full backup.
const LATEST: &str = "latest";

/// A destination, and what of it is meant.
pub(super) struct Opened {
    pub(super) store: Box<dyn Store>,
    pub(super) job: Option<JobName>,
    pub(super) transfer: Transfer,
    /// What a server on a backup of the job must answer with "true".
    pub(super) queries: Vec<String>,
    /// How long such a server may take to recover and to answer.
    pub(super) start_timeout: Duration,
    /// How to reach the job's server.
    pub(super) server: Access,
    /// Keeps the backup that was found from being removed.
    reading: OnceCell<Option<LockFile>>,
}

impl Opened {
    /// The destination of `job`.
    pub(super) fn of(context: &Context<'_>, job: &Job) -> anyhow::Result<Self> {
        let store = store::open(&job.to, &job.ssh, context.cancel)?;
        Ok(Self {
            store,
            job: Some(job.name.clone()),
            transfer: job.transfer,
            queries: job.queries.clone(),
            start_timeout: job.start_timeout,
            server: job.server.clone(),
            reading: OnceCell::new(),
        })
    }

    pub(super) fn catalog(&self) -> anyhow::Result<Catalog> {
        Catalog::read(&*self.store, self.job.as_ref())
    }

    /// The backup that `text` names; it is not removed from this host for as long as this lives.
    pub(super) fn backup(&self, text: &str) -> anyhow::Result<Backup> {
        let backup = self.catalog()?.find(text).cloned()?;
        self.hold(&backup);
        Ok(backup)
    }

    /// It is not removed from this host for as long as this lives.
    pub(super) fn hold(&self, backup: &Backup) {
        self.reading.get_or_init(|| run::read_stored(&backup.slot.id));
    }

    /// The increment that `text` names; none where it names another backup. What is read of it is its base and an archive.
    pub(super) fn increment(&self, text: &str) -> anyhow::Result<Option<Backup>> {
        let catalog = self.catalog()?;
        let backup = catalog.find(text)?;
        Ok(backup.manifest.increment.is_some().then(|| backup.clone()))
    }

    /// The full backups of `catalog`, newest first; behind all others those
    /// that did not come back in a drill: for somebody who has nothing else.
    pub(super) fn to_bring_back<'a>(&self, catalog: &'a Catalog) -> Vec<&'a Backup> {
        let (behind, mut first): (Vec<_>, Vec<_>) = catalog.good().partition(|b| self.failed_drill(b).is_some());
        first.extend(behind);
        first
    }

    /// The full backup that `text` names, to be brought back: the latest is one that no drill has anything against, where
    /// there is one.
    pub(super) fn full_to_bring_back(&self, context: &Context<'_>, text: &str) -> anyhow::Result<Backup> {
        let catalog = self.catalog()?;
        let first = self.to_bring_back(&catalog).first().copied().filter(|_| text == LATEST);
        let backup = first.map_or_else(|| catalog.find(text), Ok)?;
        refuse_increment(backup)?;
        self.hold(backup);
        self.warn_of_drills(context, backup, &newer(&catalog, first));
        Ok(backup.clone())
    }

    /// Whoever restores must know before that this backup did not come back when that was tried; and where nobody named
    /// it, that a newer one is not taken because of that.
    pub(super) fn warn_of_drills(&self, context: &Context<'_>, taken: &Backup, passed_over: &[&Backup]) {
        let output: &dyn Observer = context.output;
        let failed = |backup: &Backup| {
            self.failed_drill(backup)
                .map(|(at, why)| (backup.manifest.id.clone(), format!("did not come back in a drill at {at}: {why}")))
        };
        if let Some((id, why)) = failed(taken) {
            output.warn(format!("backup {id} {why}; `mysnap list` shows the others"));
        }
        for (id, why) in passed_over.iter().filter_map(|backup| failed(backup)) {
            output.warn(format!("backup {id} is newer, but {why}"));
        }
    }

    /// When its last drill failed, and why.
    fn failed_drill(&self, backup: &Backup) -> Option<(Timestamp, String)> {
        let report = catalog::last_drill(&backup.manifest, self.store.destination())?;
        Some((report.at, report.failure?))
    }

    /// The backup that `text` names, which must be whole in itself.
    pub(super) fn full(&self, text: &str) -> anyhow::Result<Backup> {
        let backup = self.backup(text)?;
        refuse_increment(&backup)?;
        Ok(backup)
    }
}

/// The full backups that are newer than `chosen`, where mysnap chose it.
pub(super) fn newer<'a>(catalog: &'a Catalog, chosen: Option<&Backup>) -> Vec<&'a Backup> {
    let Some(chosen) = chosen else { return Vec::new() };
    catalog.good().take_while(|backup| backup.slot != chosen.slot).collect()
}

/// An increment has no files: it is brought back by a replay onto its base.
pub(super) fn refuse_increment(backup: &Backup) -> anyhow::Result<()> {
    let manifest = &backup.manifest;
    let Some(Increment { base, .. }) = &manifest.increment else { return Ok(()) };
    let message = format!("backup {} is an increment of {base}: it has no files of its own", manifest.id);
    let hint = format!("with what it adds: mysnap restore {} --to DIR; without: name {base}", manifest.id);
    Err(Fault::new(Kind::Config, message).hint(hint).into())
}

/// The destination that was named, or that of the job that was named, or that of the only job.
pub(super) fn open(context: &Context<'_>, source: &Source) -> anyhow::Result<Opened> {
    if let Some(from) = &source.from {
        let destination = from.parse().map_err(|why| Fault::new(Kind::Config, format!("--from: {why}")))?;
        let store = store::open(&destination, &SshOptions::default(), context.cancel)?;
        return Ok(Opened {
            store,
            job: None,
            transfer: Transfer::default(),
            queries: Vec::new(),
            start_timeout: drill::START,
            server: Access::default(),
            reading: OnceCell::new(),
        });
    }
    let config = context.config()?;
    let job = chosen(&config, source.job.as_deref())?;
    Opened::of(context, job)
}

fn chosen<'a>(config: &'a Config, named: Option<&str>) -> anyhow::Result<&'a Job> {
    match (named, config.jobs()) {
        (Some(name), _) => config.job(name),
        (None, [only]) => Ok(only),
        (None, jobs) => {
            let names: Vec<&str> = jobs.iter().map(|j| j.name.as_str()).collect();
            let fault = Fault::new(Kind::Config, format!("which job is meant? there are {}", names.join(", ")));
            Err(fault.hint("name it with --job, or a destination with --from").into())
        }
    }
}
