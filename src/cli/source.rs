//! Which destination is meant, when somebody asks for what is there.

use std::cell::OnceCell;

use super::Context;
use super::args::Source;
use crate::config::{Config, Job};
use crate::fault::{Fault, Kind};
use crate::id::JobName;
use crate::run;
use crate::server::Access;
use crate::store::{self, Backup, Catalog, Increment, SshOptions, Store, Transfer};
use crate::sys::lockfile::LockFile;

/// A destination, and what of it is meant.
pub(super) struct Opened {
    pub(super) store: Box<dyn Store>,
    pub(super) job: Option<JobName>,
    pub(super) transfer: Transfer,
    /// What a server on a backup of the job must answer with "true".
    pub(super) queries: Vec<String>,
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

    /// The backup that `text` names, which must be whole in itself.
    pub(super) fn full(&self, text: &str) -> anyhow::Result<Backup> {
        let backup = self.backup(text)?;
        refuse_increment(&backup)?;
        Ok(backup)
    }
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
