//! The data of a clone, where a server can write to it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Plan, Request, Source};
use crate::fault::{Fault, Kind};
use crate::instance::Part;
use crate::kept::KeptPart;
use crate::lvm::{self, Group, Volume};
use crate::recover;
use crate::restore;
use crate::run::Run;
use crate::run::events::{Event, Observer};
use crate::snapshot::{self, Limits, Snapshot, SnapshotKind, Spec, WritersHeld};
use crate::sys::cancel::Cancel;
use crate::sys::durable;
use crate::sys::mount::Mounted;
use crate::sys::units::Bytes;

/// How long LVM may take for the snapshots; nobody waits for them.
const DEADLINE: Duration = Duration::from_secs(60);

/// A kept snapshot that holds a part of the data.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) kind: SnapshotKind,
    pub(super) kept: Volume,
    /// Of which volume it is; none where that is gone.
    pub(super) origin: Option<Volume>,
    pub(super) group: Group,
    pub(super) fstype: String,
    pub(super) parts: Vec<KeptPart>,
}

/// The data, and what it stands on. Dropped, it is unmounted; what was made for it goes with the run.
#[must_use]
pub(super) struct Ground {
    pub(super) parts: Vec<Part>,
    /// What must be watched.
    pub(super) snapshots: Vec<Snapshot>,
    mounts: Vec<Mounted>,
}

/// A kept snapshot is not mounted, and nobody writes to it.
struct AtRest;

impl WritersHeld for AtRest {}

impl Layer {
    fn spec(&self, run: &Run) -> Spec {
        Spec::new(self.kept.clone(), self.group.clone(), run.id(), self.kept.size)
    }

    /// The kept snapshot itself, which is marked before anything is written to it.
    fn taken_over(&self) -> anyhow::Result<Snapshot> {
        let kept = &self.kept;
        let gone = || Fault::new(Kind::Refused, format!("the origin of snapshot {} is gone", kept.name));
        let (origin, run) = (self.origin.clone().ok_or_else(gone)?, kept.run().ok_or_else(gone)?);
        lvm::add_tag(&kept.name, lvm::CLONED_TAG)?;
        let spec = Spec { name: kept.name.clone(), ..Spec::new(origin, self.group.clone(), &run, kept.size) };
        Ok(Snapshot { spec, uuid: kept.uuid.clone() })
    }
}

impl Ground {
    /// Mounts snapshots for writing below `directory`, which is the run's own.
    pub(super) fn of_snapshots(plan: &Plan, run: &mut Run, directory: &Path) -> anyhow::Result<Self> {
        let snapshots = snapshots(&plan.layers, run)?;
        let mut ground = Self { parts: Vec::new(), mounts: Vec::new(), snapshots };
        for (number, (snapshot, layer)) in ground.snapshots.iter().zip(&plan.layers).enumerate() {
            let at = directory.join(number.to_string());
            durable::create_private_directory(&at)?;
            ground.mounts.push(snapshot::mount_writable(snapshot, &layer.fstype, &at)?);
            let part = |part: &KeptPart| Part { root: part.root.clone(), here: at.join(&part.path) };
            ground.parts.extend(layer.parts.iter().map(part));
        }
        Ok(ground)
    }

    /// Restores the backup into a directory of the run's own.
    pub(super) fn of_files(
        request: &Request,
        home: &Path,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> anyhow::Result<Self> {
        let Source::Backup { backup, store, transfer, .. } = &request.source else {
            anyhow::bail!("there is no backup to restore; this is a bug")
        };
        recover::make_scratch(home)?;
        let total = Bytes(backup.manifest.files.totals.bytes);
        let progress = |done| observer.event(Event::Progress { done: Bytes(done), total });
        let parts = restore::beside(&**store, backup, home, *transfer, &progress, cancel)?;
        Ok(Self { parts, mounts: Vec::new(), snapshots: Vec::new() })
    }

    /// Runs `work` while what the data stands on is watched.
    pub(super) fn watched<T>(
        &self,
        limits: Limits,
        cancel: &Cancel,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        snapshot::watched(&self.snapshots, limits, cancel, work)
    }

    /// Unmounts it.
    pub(super) fn release(self) -> anyhow::Result<()> {
        self.mounts.into_iter().try_for_each(Mounted::release)
    }

    pub(super) fn summary(&self) -> String {
        let names: Vec<String> = self.snapshots.iter().map(|s| s.spec.name.to_string()).collect();
        format!("{} for writing, seen by nobody else", names.join(", "))
    }
}

/// In the order of `layers`: a new one of each thin one, a thick one as it is.
fn snapshots(layers: &[Layer], run: &mut Run) -> anyhow::Result<Vec<Snapshot>> {
    layers
        .iter()
        .map(|layer| match layer.kind {
            SnapshotKind::Thin => taken(layer.spec(run), run),
            SnapshotKind::Thick => layer.taken_over(),
        })
        .collect()
}

fn taken(spec: Spec, run: &mut Run) -> anyhow::Result<Snapshot> {
    let name = spec.name.clone();
    let prepared = recover::prepare(spec, run)?;
    let pending = snapshot::freeze(vec![prepared], &AtRest, Instant::now() + DEADLINE)?;
    let made = snapshot::complete(pending)?.into_iter().next();
    Ok(made.ok_or_else(|| Fault::new(Kind::Snapshot, format!("snapshot {name} was not made")))?)
}
