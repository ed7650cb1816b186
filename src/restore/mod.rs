//! Files back from a copy.
//!
//! What is restored lies beside its target under another name until every file matches its digest
//! and has its owner; then it is renamed into place, the data directory last, so that a server can't
//! start on half a restore. What was there is kept aside. Where the target is a mount point, which
//! can't be renamed, the same happens inside it: the restored entries move up, the system tablespace
//! last. A restore that was cut short can be run again.
//!
//! [`plan()`] looks and decides, [`execute()`] does and decides nothing.

mod execute;
mod ground;
mod installed;
mod owners;
mod plan;
mod prepare;
mod service;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::instance::Part;
use crate::server::Position;
use crate::store::{Backup, FileEntry, RootName, Store, Transfer};
use crate::sys::cancel::Cancel;
use crate::sys::units::Bytes;
pub use execute::{execute, place, stage};
use plan::Target;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where the data directory goes.
    pub to: PathBuf,
    /// Where other roots go; else to where they were.
    pub roots: BTreeMap<RootName, PathBuf>,
    /// Keep what is there aside, instead of refusing.
    pub replace: bool,
    /// The copy becomes another server: it gets an identity of its own.
    pub clone: bool,
    /// Restore although the installed server is of another family or release.
    pub any_version: bool,
    /// Start the service on it.
    pub start: bool,
    /// The name of a directory of a run beside each place, where the files lie until they are complete; else they
    /// are found again by a restore that goes on where one was cut short.
    pub workshop: Option<String>,
    /// How bytes are moved.
    pub transfer: Transfer,
}

/// What will be done; printed by `--dry-run`.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The steps, in words, in order.
    pub steps: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    backup: Backup,
    files: Vec<FileEntry>,
    /// The data directory last.
    targets: Vec<Target>,
    clone: bool,
    transfer: Transfer,
    /// Where a server on them stands.
    position: Position,
}

impl Plan {
    /// The parts where they lie until they are put in place.
    pub fn staged(&self) -> Vec<Part> {
        self.targets.iter().map(|target| Part::of(&target.ground.root, &target.ground.staging)).collect()
    }

    /// The directories in which they lie then, of a request that names a workshop.
    pub fn workshops(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> =
            self.targets.iter().filter_map(|target| Some(target.ground.staging.parent()?.to_owned())).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The steps that put them in place, in words.
    pub fn last_steps(&self) -> Vec<String> {
        self.targets.iter().flat_map(plan::place_steps).collect()
    }

    /// The room on the file system of the data directory.
    pub fn room(&self) -> Bytes {
        self.targets.last().map_or(Bytes(0), |target| target.ground.room)
    }

    /// The same for files that have been brought to another position.
    #[must_use]
    pub fn standing_at(self, position: Position) -> Self {
        Self { position, ..self }
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// Where the data directory is.
    pub to: PathBuf,
    /// Where the former one is.
    pub kept_aside: Vec<PathBuf>,
    /// How many files.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Whether the server was started on it.
    pub started: bool,
    /// Where the server stands once it is started.
    pub position: Position,
    /// What to do next, in order.
    pub next: Vec<String>,
}

/// Brings all roots back into directories of `home`, each by its name, for a second server.
pub fn beside(
    store: &dyn Store,
    backup: &Backup,
    home: &Path,
    transfer: Transfer,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> anyhow::Result<Vec<Part>> {
    let roots = backup.manifest.roots.iter();
    let parts: Vec<Part> = roots.map(|root| Part { root: root.clone(), here: home.join(root.name.as_str()) }).collect();
    let (data, others): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| part.root.is_datadir());
    let to = data.first().map(|part| part.here.clone()).unwrap_or_default();
    let roots = others.iter().map(|part| (part.root.name.clone(), part.here.clone())).collect();
    let request =
        Request { to, roots, replace: false, clone: false, any_version: false, start: false, workshop: None, transfer };
    execute(&plan(store, backup, &request)?, store, progress, cancel)?;
    Ok(parts)
}

/// Starts the service on what was restored and waits until it answers, and answers from there.
pub fn start(plan: &Plan, restored: &Restored, cancel: &Cancel) -> anyhow::Result<Restored> {
    service::start(&plan.backup.manifest.server, &restored.to, cancel)?;
    let next = plan::next_steps(plan, &restored.kept_aside, true);
    Ok(Restored { started: true, next, ..restored.clone() })
}

/// Looks at the backup and at the target, and decides; refuses what must not be done.
pub fn plan(store: &dyn Store, backup: &Backup, request: &Request) -> anyhow::Result<Plan> {
    let files = backup.files(store)?;
    plan::refuse_incomplete(store, backup, &files)?;
    let installed = crate::instance::installed::server();
    let grounds = plan::places(&backup.manifest, request)?
        .into_iter()
        .map(|(root, path)| ground::look(root, &path, &backup.manifest.id, request.workshop.as_deref()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut plan = plan::decide(backup, files, request, grounds, installed.as_ref())?;
    plan.warnings.extend(owners::unknown(&plan.files));
    let grounds = plan.targets.iter().map(|target| &target.ground);
    plan.warnings.extend(owners::shut_out(grounds, &plan.files));
    Ok(plan)
}

/// The same for a data directory that is made out of `backup`, a dump: where it is to lie in the workshop, and
/// where it goes.
pub fn plan_made(backup: &Backup, request: &Request) -> anyhow::Result<Plan> {
    let root = crate::instance::datadir(&request.to)?;
    let ground = ground::look(root, &request.to, &backup.manifest.id, request.workshop.as_deref())?;
    plan::decide(backup, Vec::new(), request, vec![ground], crate::instance::installed::server().as_ref())
}
