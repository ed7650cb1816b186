//! A run: one process doing one verb.
//!
//! A run that may leave something behind writes what it is about to do *before* it does it
//! ([`record`]), so that [`crate::recover`] can clean up after a death that ran no destructor.
//! Alive means: the flock on the run's lock file is held; the kernel drops it with the process.
//! One run at a time may work on a server ([`Run::begin`]).

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::fault::{Failure, Fault, Kind};
use crate::id::RunId;
use crate::sys::lockfile::{Attempt, LockFile};
use crate::sys::{clock, durable, retry};

pub mod events;
pub mod record;
mod stored;

pub use crate::sys::RUNTIME_DIRECTORY;
pub use record::{CloneGround, CloneRecord, Intent, Record};
pub use stored::{Reading, Removal, await_backups, claim_backups, read_stored, try_remove_stored};

/// Where records outlive a reboot.
pub const STATE_DIRECTORY: &str = "/var/lib/mysnap/runs";

/// Where the socket of the clone of that name lies.
pub fn clone_directory(name: &str) -> PathBuf {
    Path::new(RUNTIME_DIRECTORY).join(format!("clone-{name}"))
}

/// How long a glance at a lock by another process may take.
const GLANCE: Duration = Duration::from_secs(1);

/// A live run: its identity, its claim on the server, its record.
#[derive(Debug)]
#[must_use]
pub struct Run {
    record: Record,
    _server: LockFile,
    _alive: LockFile,
}

impl Run {
    /// Claims the server whose data lies in `datadir` and leaves a durable record.
    /// `Busy` names the run that has it and since when.
    pub fn begin(verb: &str, job: Option<&str>, datadir: &Path) -> anyhow::Result<Self> {
        durable::create_private_directory(Path::new(STATE_DIRECTORY))?;
        durable::create_private_directory(Path::new(RUNTIME_DIRECTORY))?;
        let begun = clock::now();
        let mut server = claim(&server_lock(datadir), datadir)?;
        let (record, alive) = named(|| Record::new(RunId::new(begun), verb, job, begun), Record::lock_path)?;
        server.describe(&record.holder()).context("cannot say who holds the server")?;
        if let Err(error) = record.save() {
            return Err(Failure::join(error, record.remove().err().into_iter().collect()));
        }
        Ok(Self { record, _server: server, _alive: alive })
    }

    /// The identifier, which a backup inherits.
    pub fn id(&self) -> &RunId {
        &self.record.id
    }

    /// What is on disk.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Makes durable what the run is about to do, before it does it.
    pub fn intend(&mut self, intent: Intent) -> anyhow::Result<()> {
        self.record.intents.push(intent);
        self.record.save()
    }

    /// The same for what one live run alone may use: of two that ask at the same time the second is refused. `used` is
    /// what it is called, and LVM's identifier.
    pub fn intend_alone(&mut self, intent: Intent, used: &[(String, String)]) -> anyhow::Result<()> {
        let _asking = retry::until(GLANCE, one_at_a_time)?;
        used.iter().try_for_each(|(name, uuid)| refuse_live_on(name, uuid))?;
        self.intend(intent)
    }

    /// An error while another live run has the volume in use, see [`refuse_live_on`].
    pub fn refuse_others_on(&self, name: &dyn Display, uuid: &str) -> anyhow::Result<()> {
        refuse_live_but(Some(self.id()), name, uuid)
    }

    /// Tells others that what the run offers can be used now.
    pub fn ready(&mut self) -> anyhow::Result<()> {
        self.record.ready = Some(clock::now());
        self.record.save()
    }

    /// The run leaves nothing behind that needs a record. `CleanupPending` where the record itself can't go.
    pub fn forget(self) -> anyhow::Result<()> {
        let removed = self.record.remove_directory().and_then(|_| self.record.remove());
        removed.map_err(|error| {
            let fault = Fault::new(Kind::CleanupPending, format!("the record of run {} is left", self.id()));
            fault.hint("`mysnap recover` removes it").caused_by(error).into()
        })
    }

    /// A directory of the run's own below the runtime directory, mode 0700.
    pub fn runtime_directory(&self) -> anyhow::Result<PathBuf> {
        let path = self.record.directory();
        durable::create_private_directory(&path)?;
        Ok(path)
    }
}

/// An error while the run `id` is alive: what it has is not for others to remove.
pub fn refuse_live(id: &RunId) -> anyhow::Result<()> {
    let (records, _) = record::all()?;
    let Some(record) = records.into_iter().find(|record| record.id == *id) else { return Ok(()) };
    if record.try_adopt()?.is_some() {
        return Ok(());
    }
    let message = format!("run {id} is at work: {}", record.holder());
    Err(Fault::new(Kind::Busy, message).hint(record.way_out()).into())
}

/// An error while a live run takes or reads snapshots of the volume `name` with `uuid`, merges it, or is a clone on it.
pub fn refuse_live_on(name: &dyn Display, uuid: &str) -> anyhow::Result<()> {
    refuse_live_but(None, name, uuid)
}

/// The same of every other run than `own`.
fn refuse_live_but(own: Option<&RunId>, name: &dyn Display, uuid: &str) -> anyhow::Result<()> {
    let (records, _) = record::all()?;
    for record in records.iter().filter(|record| record.needs(uuid) && own != Some(&record.id)) {
        if record.try_adopt()?.is_none() {
            let message = format!("{name}, or a snapshot of it, is in use by {}", record.holder());
            let hint = format!("{}; nothing was touched", record.way_out());
            return Err(Fault::new(Kind::Busy, message).hint(hint).into());
        }
    }
    Ok(())
}

/// Nobody else looks what is in use, and writes down that it uses it, meanwhile.
fn one_at_a_time() -> anyhow::Result<LockFile> {
    match LockFile::try_lock(&Path::new(RUNTIME_DIRECTORY).join("claims.lock"))? {
        Attempt::Held(lock) => Ok(lock),
        Attempt::Busy(_) => Err(Fault::new(Kind::Busy, "another run is looking what is in use").into()),
    }
}

/// A run of a name that nobody else has, and the lock that says that it is alive. A `recover` may find that lock before
/// it is ours, take it for a dead run's, and hold it for as long as it cleans up: then another name does.
fn named(new: impl Fn() -> Record, lock_path: impl Fn(&Record) -> PathBuf) -> anyhow::Result<(Record, LockFile)> {
    retry::until(GLANCE, || {
        let record = new();
        match LockFile::try_lock(&lock_path(&record))? {
            Attempt::Held(lock) => Ok((record, lock)),
            Attempt::Busy(_) => anyhow::bail!("run id {} is taken", record.id),
        }
    })
}

fn claim(path: &Path, datadir: &Path) -> anyhow::Result<LockFile> {
    match LockFile::try_lock(path)? {
        Attempt::Held(lock) => Ok(lock),
        Attempt::Busy(holder) => {
            let who = if holder.is_empty() { "another run" } else { holder.trim() };
            Err(Fault::new(Kind::Busy, format!("the server in {} is held by {who}", datadir.display()))
                .hint("wait for it to end, or look at it with `ps`; nothing was touched")
                .into())
        }
    }
}

/// One lock file for each data directory; its name needs no escaping.
fn server_lock(datadir: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let digest = Sha256::digest(datadir.as_os_str().as_bytes());
    let short = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Path::new(RUNTIME_DIRECTORY).join(format!("server-{short:016x}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_name_is_held_by_whoever_cleans_up_takes_another() {
        let directory = tempfile::tempdir().unwrap();
        let lock_path = |record: &Record| directory.path().join(record.id.as_str());
        let names = ["20261121T092233Z-0001", "20261121T092233Z-0002"];
        let tried = std::cell::Cell::new(0);
        let new = || {
            let id: RunId = names[tried.replace(tried.get() + 1).min(1)].parse().unwrap();
            Record::new(id, "restore", None, clock::now())
        };
        let Attempt::Held(_other) = LockFile::try_lock(&directory.path().join(names[0])).unwrap() else { panic!() };
        let (record, _alive) = named(new, lock_path).unwrap();
        assert_eq!(record.id.as_str(), names[1]);
    }
}
