//! Snapshots of logical volumes, thick and thin.
//!
//! A snapshot is made in steps so that as little as possible happens while writers wait:
//! [`Spec::prepare`] before the database lock, [`begin`] and [`Freezing::finish`] under
//! it, [`complete`] after it. The freeze is finished as soon as the origin's device is suspended:
//! from then on nothing can reach the snapshot, so the lock may end while LVM does its housekeeping.
//! The pending snapshot is judged in [`complete`]; until then it is not one.
//!
//! What is removed must be ours by tag, identifier, origin and kind, never by name alone.

mod elsewhere;
mod loss;
mod merge;
mod monitor;
mod mounts;
mod plan;
mod remove;
mod thick;
mod thin;
mod watch;

use std::time::{Duration, Instant};

pub use elsewhere::{Elsewhere, elsewhere, mark_elsewhere, refuse_elsewhere, refuse_mounted};
pub use loss::{Loss, lost};
pub use merge::{MergeProgress, finish_merge, start_merge};
pub use monitor::{Action, Limits, Sample, decide, sample};
pub use mounts::{mount, mount_writable, unsupported};
pub use plan::{Plan, Planned, PoolRoom, StoreSize, WriteRate, cannot_overflow, plan};
pub use remove::{abandon, release, remove, remove_all_of};
pub use thick::Thick;
pub use thin::Thin;
pub use watch::{look, watched};

use crate::fault::{Failure, Fault, Kind};
use crate::id::RunId;
use crate::lvm::{self, Group, LvRef, Ready, TAG, Volume, run_tag};
use crate::sys::cmd::{CommandError, Running};
use crate::sys::units::Bytes;

/// How often the origin is looked at while its snapshot is being made.
const SUSPEND_POLL: Duration = Duration::from_millis(1);
/// How long a started LVM command may go on after the lock has ended.
const COMPLETION_DEADLINE: Duration = Duration::from_secs(60);

/// The witness that nothing can be committed: whoever holds the database lock implements it.
pub trait WritersHeld {}

/// How LVM keeps a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// A copy-on-write store of its own.
    Thick,
    /// Blocks shared in a pool.
    Thin,
}

impl SnapshotKind {
    /// The kind that snapshots of `origin` are.
    pub fn of(origin: &Volume) -> Self {
        if origin.segtype == "thin" { Self::Thin } else { Self::Thick }
    }

    /// The provider of this kind.
    pub fn provider(self) -> &'static dyn SnapshotProvider {
        match self {
            Self::Thick => &Thick,
            Self::Thin => &Thin,
        }
    }

    /// The kernel's target for it; loaded where it is not yet, as LVM's own commands would.
    pub fn load_target(self) -> anyhow::Result<()> {
        lvm::load_target(match self {
            Self::Thick => "snapshot",
            Self::Thin => "thin",
        })
    }

    /// `thick` or `thin`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Thick => "thick",
            Self::Thin => "thin",
        }
    }
}

/// A snapshot to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Of which volume.
    pub origin: Volume,
    /// Its kind.
    pub kind: SnapshotKind,
    /// The group, with room and devices.
    pub group: Group,
    /// The snapshot's name.
    pub name: LvRef,
    /// Whose it is.
    pub run: RunId,
    /// The size of its store; of a thin one the size of the volume.
    pub size: Bytes,
}

impl Spec {
    /// A snapshot of `origin` for `run`.
    pub fn new(origin: Volume, group: Group, run: &RunId, size: Bytes) -> Self {
        let name = LvRef::snapshot_of(&origin.name, run);
        Self { kind: SnapshotKind::of(&origin), origin, group, name, run: run.clone(), size }
    }

    /// Makes all that can be made before anybody waits.
    pub fn prepare(self) -> anyhow::Result<Prepared> {
        self.kind.provider().prepare(&self)?;
        let ready = Ready::start(&self.name, &self.group);
        Ok(Prepared { spec: self, ready })
    }

    fn origin_is_suspended(&self) -> bool {
        self.origin.is_suspended()
    }

    fn tags(&self) -> Vec<String> {
        vec![TAG.to_owned(), run_tag(&self.run)]
    }
}

/// A snapshot that can be taken at once.
#[derive(Debug)]
#[must_use]
pub struct Prepared {
    spec: Spec,
    /// Where LVM could be started beforehand; it is started under the lock otherwise.
    ready: Option<Ready>,
}

/// What differs between thick and thin.
pub trait SnapshotProvider: Sync {
    /// All that can be made before anybody waits.
    fn prepare(&self, spec: &Spec) -> anyhow::Result<()>;

    /// Starts the LVM command that suspends the origin and makes the snapshot.
    fn start(&self, spec: &Spec, ready: Option<Ready>) -> Result<Running<'static>, CommandError>;

    /// After the command: makes the snapshot's device appear.
    fn activate(&self, spec: &Spec) -> anyhow::Result<()>;

    /// Whether `volume` is what was asked for.
    fn matches(&self, volume: &Volume) -> bool;
}

/// A snapshot whose LVM command was started.
#[derive(Debug)]
#[must_use]
pub struct Pending {
    spec: Spec,
    command: Running<'static>,
    /// Whether the origin was seen suspended; otherwise the command had ended.
    pub seen_suspended: bool,
    /// Whether it froze before everything that must be in it was written out.
    froze_early: bool,
}

/// A snapshot that is there, active and valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// What was asked for.
    pub spec: Spec,
    /// LVM's identifier.
    pub uuid: String,
}

/// How a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Health {
    /// Valid; how much of its store, or of its pool's fuller part, is used.
    Good {
        /// In percent.
        used: f64,
    },
    /// It lost what it held: its store overflowed.
    Overflowed,
    /// Its pool takes no writes any more: its metadata is full or damaged, or its disk has failed.
    PoolFailed,
    /// It is not there any more.
    Gone,
}

/// Snapshots being taken while nothing can be committed; LVM is at work on the first.
#[derive(Debug)]
#[must_use]
pub struct Freezing {
    begun: Vec<Pending>,
    others: std::vec::IntoIter<Prepared>,
}

/// Takes the snapshots while nothing can be committed; returns when the last origin is suspended.
pub fn freeze(prepared: Vec<Prepared>, held: &dyn WritersHeld, deadline: Instant) -> anyhow::Result<Vec<Pending>> {
    begin(prepared, held)?.finish(deadline)
}

/// Starts the first of the snapshots. LVM needs a while until its origin is suspended: what else must be
/// done under the lock can be done meanwhile.
pub fn begin(prepared: Vec<Prepared>, _: &dyn WritersHeld) -> anyhow::Result<Freezing> {
    let mut others = prepared.into_iter();
    let begun = others.next().map(Pending::start).transpose()?.into_iter().collect();
    Ok(Freezing { begun, others })
}

impl Freezing {
    /// Everything that must be in the snapshots is written out now. One whose origin froze before that will
    /// be refused when it is complete.
    pub fn written_out(&mut self) {
        for one in &mut self.begun {
            one.froze_early = one.spec.origin_is_suspended() || one.command.has_ended();
        }
    }

    /// Returns when the last origin is suspended.
    ///
    /// LVM makes one snapshot at a time in a group, so that all but the last are waited for to their
    /// end. At `deadline` it gives up; what was started is left to the caller to clean up by its
    /// tag, the LVM command itself is left alone.
    pub fn finish(self, deadline: Instant) -> anyhow::Result<Vec<Pending>> {
        let Self { mut begun, mut others } = self;
        loop {
            let next = others.next();
            if let Some(newest) = begun.last_mut() {
                newest.wait_until_frozen(deadline, next.is_none())?;
            }
            let Some(prepared) = next else { return Ok(begun) };
            begun.push(Pending::start(prepared)?);
        }
    }
}

/// Suspended by something else, an origin would be taken for frozen before its snapshot is made; and whoever writes to
/// it waits.
pub fn refuse_suspended(origin: &Volume) -> anyhow::Result<()> {
    if !origin.is_suspended() {
        return Ok(());
    }
    let name = &origin.name;
    Err(Fault::new(Kind::Refused, format!("volume {name} is suspended: whoever writes to it waits"))
        .hint(lvm::how_to_resume(&name.device()))
        .into())
}

impl Pending {
    fn start(prepared: Prepared) -> anyhow::Result<Self> {
        let Prepared { spec, ready } = prepared;
        refuse_suspended(&spec.origin)?;
        let command = spec.kind.provider().start(&spec, ready)?;
        Ok(Self { spec, command, seen_suspended: false, froze_early: false })
    }

    fn wait_until_frozen(&mut self, deadline: Instant, stop_at_suspend: bool) -> anyhow::Result<()> {
        loop {
            if self.spec.origin_is_suspended() {
                self.seen_suspended = true;
                if stop_at_suspend {
                    return Ok(());
                }
            }
            if self.command.has_ended() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Fault::new(
                    Kind::Snapshot,
                    format!("`{}` was not done within the time that writers may wait", self.command.argv()),
                )
                .hint("the disk or LVM is slow or hangs; the command is left to end by itself, then `mysnap recover`")
                .into());
            }
            std::thread::sleep(SUSPEND_POLL);
        }
    }

    /// Waits for the command's end and judges what it made. Called after the lock has ended.
    fn complete(self) -> anyhow::Result<Snapshot> {
        let argv = self.command.argv().to_owned();
        let spec = self.spec;
        let finished = self.command.wait_at_most(COMPLETION_DEADLINE).map_err(|e| failed(&spec, e.into()))?;
        if let Err(error) = finished.succeeded(&argv) {
            let error = failed(&spec, lvm::explained(error, &spec.origin.name.vg));
            return Err(Failure::join(error, resume(&spec).err().into_iter().collect()));
        }
        if self.froze_early {
            return Err(froze_early(&spec));
        }
        spec.kind.provider().activate(&spec)?;
        judge(spec)
    }
}

/// A volume froze before everything that must be in its snapshot was written out.
#[derive(Debug, thiserror::Error)]
#[error("{0} froze before everything was written out")]
pub struct FrozeEarly(LvRef);

fn froze_early(spec: &Spec) -> anyhow::Error {
    let fault = Fault::new(Kind::Lock, format!("the snapshot of {} lacks what was committed last", spec.origin.name));
    fault.hint("the disk is slow just now; try again").caused_by(FrozeEarly(spec.origin.name.clone())).into()
}

/// Whether `error` is that a volume froze too early.
pub fn is_early(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn std::error::Error + 'static>::is::<FrozeEarly>)
}

/// Waits for the commands of all `pending` snapshots and judges what they made.
pub fn complete(pending: Vec<Pending>) -> anyhow::Result<Vec<Snapshot>> {
    // Every command is waited for before the first failure counts: each holds an origin.
    let judged: Vec<_> = pending.into_iter().map(Pending::complete).collect();
    let snapshots = judged.into_iter().collect::<anyhow::Result<Vec<Snapshot>>>()?;
    for snapshot in &snapshots {
        lvm::write_out(&snapshot.spec.group)?;
        // A backup of the metadata that can't be written is a warning of LVM's, not our failure.
        if let Err(error) = lvm::backup_metadata(&snapshot.spec.origin.name.vg) {
            tracing::warn!("{error}");
        }
    }
    Ok(snapshots)
}

/// A command that was killed between LVM's suspend and resume leaves the origin suspended.
pub(super) fn resume(spec: &Spec) -> anyhow::Result<()> {
    if spec.origin_is_suspended() { lvm::resume(&spec.origin) } else { Ok(()) }
}

fn failed(spec: &Spec, error: anyhow::Error) -> anyhow::Error {
    let message = format!("cannot make a snapshot of {}", spec.origin.name);
    Fault::new(crate::fault::kind_of(&error).unwrap_or(Kind::Snapshot), message).caused_by(error).into()
}

/// A snapshot is one only if LVM reports it as one: of exactly this origin, ours, active, valid.
fn judge(spec: Spec) -> anyhow::Result<Snapshot> {
    let wrong = |why: &str| Fault::new(Kind::Snapshot, format!("snapshot {} {why}", spec.name));
    let volume = lvm::volume(&spec.name)?.ok_or_else(|| wrong("is not there although LVM reported success"))?;
    if volume.origin_uuid.as_deref() != Some(&spec.origin.uuid) || !spec.kind.provider().matches(&volume) {
        return Err(wrong("is not a snapshot of its origin").into());
    }
    if volume.run().as_ref() != Some(&spec.run) {
        return Err(wrong("does not carry this run's tags").into());
    }
    if !volume.is_active() || volume.invalid {
        return Err(wrong("is not active and valid").into());
    }
    Ok(Snapshot { spec, uuid: volume.uuid })
}

impl Snapshot {
    /// How it is now.
    pub fn health(&self) -> anyhow::Result<Health> {
        Ok(sample(self)?.health)
    }

    /// The kernel's numbers of its device, where it is active.
    pub fn device(&self) -> anyhow::Result<Option<(u32, u32)>> {
        Ok(lvm::volume(&self.spec.name)?.filter(|v| v.uuid == self.uuid).and_then(|v| v.device))
    }
}
