//! `rollback`: merges a kept snapshot back into its origin, and the server with it.
//!
//! Everything written since the snapshot is lost, the binary logs on the volume included. LVM
//! accepts a merge while the origin is in use and then does nothing until its next activation, so
//! the server is stopped and the volume unmounted first. Works on the host's own mounts.

mod service;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use service::Service;

use crate::fault::{Failure, Fault, Kind, kind_of};
use crate::id::RunId;
use crate::kept::{self, Kept};
use crate::lvm::{self, LvRef, Volume};
use crate::run::events::{Event, Observer};
use crate::run::{self, Intent, Run};
use crate::server::Access;
use crate::server::running::{self, User};
use crate::snapshot;
use crate::sys::cancel::Cancel;
use crate::sys::cmd::{self, Call};
use crate::sys::mount::{MountPoint, mount_points};

/// How long the server may take to answer after the rollback: it recovers first.
const START: Duration = Duration::from_secs(600);
/// How long an unmount or a mount may take: the one writes out all that is dirty, the other recovers the log. Killed, it
/// would leave the server down.
const MOUNTING: Duration = service::DEADLINE;
/// The names that a server's process has.
const SERVERS: [&str; 2] = ["mariadbd", "mysqld"];

/// What will be done.
#[derive(Debug)]
pub struct Plan {
    snapshots: Vec<Merge>,
    service: Option<Service>,
}

/// One snapshot, its origin, and where that is mounted.
#[derive(Debug)]
struct Merge {
    snapshot: Volume,
    origin: LvRef,
    mount_point: PathBuf,
}

/// Looks at the snapshots of `run` that are there and at what uses their origins, and decides.
pub fn plan(run: &RunId, snapshots: &[Volume]) -> anyhow::Result<Plan> {
    snapshots.iter().try_for_each(refuse_unkept)?;
    refuse_incomplete(&Kept::of(run)?, snapshots)?;
    let merges = snapshots.iter().map(merge_of).collect::<anyhow::Result<Vec<Merge>>>()?;
    let mut service = None;
    for merge in &merges {
        for user in running::users_of(&merge.mount_point)? {
            let found = service_of(&user, merge)?;
            if service.as_ref().is_some_and(|known| *known != found) {
                let message = format!("more than one server uses {}", merge.mount_point.display());
                return Err(Fault::new(Kind::Busy, message).hint("stop all of them first").into());
            }
            service = Some(found);
        }
    }
    Ok(Plan { snapshots: merges, service })
}

/// The service of a *server*. Whatever else uses the volume is not ours to stop: a shell in the
/// directory belongs to a service too, that of the remote login.
fn service_of(user: &User, merge: &Merge) -> anyhow::Result<Service> {
    let server = SERVERS.contains(&user.program.as_str());
    let service = user.pid.filter(|_| server).map(Service::of_process).transpose()?.flatten();
    service.ok_or_else(|| {
        let what = if server { "a server that is no service" } else { "no server" };
        let message = format!("{user} uses {} and is {what}", merge.mount_point.display());
        Fault::new(Kind::Busy, message).hint("stop it first; nothing was touched").into()
    })
}

fn merge_of(snapshot: &Volume) -> anyhow::Result<Merge> {
    let wrong = |why: &str| Fault::new(Kind::Refused, format!("snapshot {} {why}", snapshot.name));
    let origin = snapshot.origin.clone().ok_or_else(|| wrong("has no origin"))?;
    let origin = LvRef { vg: snapshot.name.vg.clone(), lv: origin };
    if snapshot.invalid {
        return Err(wrong("overflowed: it holds nothing any more").into());
    }
    refuse_written_to(snapshot)?;
    snapshot::refuse_elsewhere(snapshot)?;
    let found = lvm::volume(&origin)?;
    if let Some(volume) = &found {
        run::refuse_live_on(&volume.name, &volume.uuid)?;
    }
    let device = found.and_then(|v| v.device);
    let mounts = mount_points()?;
    let at = mounts.iter().find(|m| Some(m.device) == device && m.root == Path::new("/"));
    let mount_point = at.map(|m| m.path.clone()).ok_or_else(|| {
        wrong("cannot be merged: its origin is not mounted").hint("mount it where the server has it, then try again")
    })?;
    Ok(Merge { snapshot: snapshot.clone(), origin, mount_point })
}

/// A leftover of a dead run may have been written to, by a second server that proved it.
fn refuse_unkept(snapshot: &Volume) -> anyhow::Result<()> {
    if snapshot.has_tag(lvm::KEEP_TAG) {
        return Ok(());
    }
    let fault = Fault::new(Kind::Refused, format!("snapshot {} was not kept: a run left it", snapshot.name));
    Err(fault.hint("`mysnap recover` removes it, or tells who does; restore a backup instead").into())
}

/// What was frozen together goes back together: a part of it would be data of then beside logs of now.
fn refuse_incomplete(kept: &Kept, there: &[Volume]) -> anyhow::Result<()> {
    let there: Vec<&str> = there.iter().map(|volume| volume.uuid.as_str()).collect();
    let missing = kept.missing(&there);
    if missing.is_empty() {
        return Ok(());
    }
    let message =
        format!("of the snapshots that run {} kept one is not there any more: {}", kept.run, missing.join(", "));
    let hint = "restore the backup of that run instead; `mysnap release` removes what is left";
    Err(Fault::new(Kind::Refused, message).hint(hint).into())
}

fn refuse_written_to(snapshot: &Volume) -> anyhow::Result<()> {
    if !snapshot.has_tag(lvm::CLONED_TAG) {
        return Ok(());
    }
    let why = format!("snapshot {} is not what was frozen any more: a clone has written to it", snapshot.name);
    let fault = Fault::new(Kind::Refused, why);
    Err(fault.hint("restore the backup of that run instead; `mysnap release` removes the snapshot").into())
}

/// While somebody thought about it, and the server was stopped, a clone may have been started on the snapshot.
fn is_as_planned(merge: &Merge, run: &Run) -> anyhow::Result<()> {
    let found = lvm::volume(&merge.snapshot.name)?.filter(|volume| volume.uuid == merge.snapshot.uuid);
    let snapshot = found.with_context(|| format!("snapshot {} is gone", merge.snapshot.name))?;
    refuse_written_to(&snapshot)?;
    let origin = lvm::volume(&merge.origin)?.with_context(|| format!("volume {} is gone", merge.origin))?;
    run.refuse_others_on(&origin.name, &origin.uuid)
}

impl Plan {
    /// The steps in words.
    pub fn describe(&self) -> Vec<String> {
        let service = self.service.as_ref().map(|s| s.unit.as_str());
        let mut steps = Vec::new();
        steps.extend(service.map(|unit| format!("stop {unit}")));
        for merge in &self.snapshots {
            let (at, name, origin) = (merge.mount_point.display(), &merge.snapshot.name, &merge.origin);
            steps.push(format!("unmount {at}"));
            steps.push(format!("merge {name} into {origin}; it cannot be taken back once it has begun"));
            steps.push(format!("mount {at}"));
        }
        steps.extend(service.map(|unit| format!("start {unit} and wait until it answers")));
        steps
    }

    /// What will be gone.
    pub fn loss(&self) -> String {
        let since = self.snapshots.iter().map(|m| m.snapshot.created.as_str()).min().unwrap_or("its snapshot");
        format!(
            "  lost for good: everything written since {since}, and the binary logs of that time where they lie on \
             the volume; the snapshot is used up"
        )
    }
}

/// Does it. Where the volumes can't be freed nothing is merged, and the server is started again.
pub fn execute(plan: &Plan, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<()> {
    let first = plan.snapshots.first().context("there is no snapshot to roll back to")?;
    cancel.check()?;
    let mut run = Run::begin("rollback", None, &first.mount_point)?;
    let mut intents = plan.snapshots.iter().map(|merge| intent(merge, plan.service.as_ref()));
    if let Err(error) = intents.try_for_each(|intent| run.intend(intent)) {
        return Err(Failure::join(error, run.forget().err().into_iter().collect()));
    }
    if let Err(error) = free(plan, &run, observer) {
        let back = bring_back(plan).and_then(|()| run.forget());
        return Err(Failure::join(error, back.err().into_iter().collect()));
    }
    if let Err(error) = merge_all(plan, observer) {
        return Err(unfinished(plan, run, error));
    }
    let started = plan.service.as_ref().map_or(Ok(()), |service| start(service, observer, cancel));
    let forgotten = run.forget();
    match started {
        Ok(()) => forgotten,
        Err(error) => Err(Failure::join(error, forgotten.err().into_iter().collect())),
    }
}

fn merge_all(plan: &Plan, observer: &dyn Observer) -> anyhow::Result<()> {
    for merge in &plan.snapshots {
        observer.phase("merge", || roll_back(merge, observer), |()| format!("{} is as it was", merge.origin))?;
    }
    plan.snapshots.iter().filter_map(|merge| merge.snapshot.run()).try_for_each(|run| kept::forget(&run))
}

/// Stops the server and unmounts the volumes; what will be merged is what was planned.
fn free(plan: &Plan, run: &Run, observer: &dyn Observer) -> anyhow::Result<()> {
    if let Some(service) = &plan.service {
        observer.phase("stop", || service.stop(), |()| format!("{} is stopped", service.unit))?;
    }
    plan.snapshots.iter().try_for_each(unmount)?;
    plan.snapshots.iter().try_for_each(|merge| is_as_planned(merge, run))
}

/// As long as LVM has accepted no merge at all, everything is as it was and the server comes back. Else
/// the record stays: the volumes may be of different times, and a server is not started on that unasked.
fn unfinished(plan: &Plan, run: Run, error: anyhow::Error) -> anyhow::Error {
    // One that was let go of may yet have its merge accepted, and what was written until that begins would be lost.
    let settled = cmd::settle(lvm::LATE).is_ok();
    let is_as_it_was =
        |merge: &Merge| lvm::volume(&merge.snapshot.name).is_ok_and(|found| is_untouched(found.as_ref()));
    if settled && plan.snapshots.iter().all(is_as_it_was) {
        let back = bring_back(plan).and_then(|()| run.forget());
        return Failure::join(error, back.err().into_iter().collect());
    }
    let kind = kind_of(&error).unwrap_or(Kind::Snapshot);
    let (message, hint) = if settled {
        ("the rollback is not finished", "`mysnap recover` tells how to go on")
    } else {
        (
            "the rollback is not finished, and an LVM command of it still runs: nothing is mounted and no server started",
            "the disk hangs, or another LVM command holds the group; when that has ended, `mysnap recover` tells how to \
             go on",
        )
    };
    Fault::new(kind, message).hint(hint).caused_by(error).into()
}

/// One that is gone may have been merged: a thin one is gone at once.
fn is_untouched(snapshot: Option<&Volume>) -> bool {
    snapshot.is_some_and(|volume| !volume.merging)
}

/// The same backwards, with nothing merged.
fn bring_back(plan: &Plan) -> anyhow::Result<()> {
    let mounts = mount_points()?;
    for merge in plan.snapshots.iter().filter(|merge| mounts.iter().all(|m| m.path != merge.mount_point)) {
        mount(merge)?;
    }
    plan.service.as_ref().map_or(Ok(()), Service::start)
}

fn intent(merge: &Merge, service: Option<&Service>) -> Intent {
    Intent::Merge {
        group: merge.origin.vg.to_string(),
        name: merge.snapshot.name.lv.to_string(),
        origin: merge.origin.lv.to_string(),
        mount_point: merge.mount_point.clone(),
        unit: service.map(|s| s.unit.clone()),
        uses: merge.snapshot.origin_uuid.iter().chain([&merge.snapshot.uuid]).cloned().collect(),
    }
}

fn unmount(merge: &Merge) -> anyhow::Result<()> {
    Ok(Call::new("umount").arg(&merge.mount_point).deadline(MOUNTING).run().map_err(|error| {
        let at = merge.mount_point.display();
        Fault::new(Kind::Busy, format!("cannot unmount {at}"))
            .hint(format!("`fuser -vm {at}` names what uses it"))
            .caused_by(error)
    })?)
}

/// From here on nothing is cancelled: a volume that is not mounted again helps nobody.
/// Nor is one mounted whose merge LVM has accepted and not begun: what is written until it begins is lost.
fn roll_back(merge: &Merge, observer: &dyn Observer) -> anyhow::Result<()> {
    snapshot::start_merge(&merge.origin, &merge.snapshot)?;
    // Where that fails, and the rollback is cut off before its last volume, the next one is refused, and no more.
    if let Some(Err(error)) = merge.snapshot.run().map(|run| kept::merged(&run, &merge.snapshot.uuid)) {
        observer.warn(format!("{error:#}"));
    }
    let merged = snapshot::finish_merge(&merge.origin, &merge.snapshot, |progress| {
        let text = format!("{:.1}% of the snapshot is still to be copied back", progress.left);
        observer.event(Event::Note { text });
    });
    let mounted = mount(merge);
    merged.and(mounted)
}

/// As `/etc/fstab` says, else by device. An entry with a UUID or a label may lead to the snapshot, which has the same:
/// what a server would write there is lost.
fn mount(merge: &Merge) -> anyhow::Result<()> {
    let by_table = Call::new("mount").arg(&merge.mount_point).deadline(MOUNTING).run();
    if by_table.is_ok() {
        let origin = lvm::volume(&merge.origin)?.and_then(|volume| volume.device);
        if is_mounted(&mount_points()?, &merge.mount_point, origin) {
            return Ok(());
        }
        unmount(merge)?;
    }
    Ok(Call::new("mount").arg(merge.origin.device()).arg(&merge.mount_point).deadline(MOUNTING).run()?)
}

/// Whether it is `device` that is to be seen at `place`: of several mounts the last one.
fn is_mounted(mounts: &[MountPoint], place: &Path, device: Option<(u32, u32)>) -> bool {
    mounts.iter().rfind(|mount| mount.path == place).is_some_and(|mount| Some(mount.device) == device)
}

/// Where it fails, what is left to do is the server's own affair: the volumes are merged and mounted.
fn start(service: &Service, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<()> {
    let unit = &service.unit;
    let answering = || service.start().and_then(|()| Access::default().wait_until_answering(START, cancel));
    observer.phase("start", answering, |()| format!("{unit} answers")).map_err(|error| {
        let kind = kind_of(&error).unwrap_or(Kind::Verify);
        let fault = Fault::new(kind, format!("the volumes are rolled back and mounted, but {unit} does not answer"));
        fault.hint(format!("`journalctl -u {unit}` says why; then `systemctl start {unit}`")).caused_by(error).into()
    })
}

/// The reader of a process's control groups, for [`crate::fuzz`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(cgroup: &str) {
    service::unit_of(cgroup);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(uuid: &str) -> Volume {
        let mut volume =
            lvm::parse_volumes(include_str!("../../tests/data/lvm/trixie/thick.lvs.json")).unwrap().remove(0);
        volume.uuid = uuid.to_owned();
        volume.merging = false;
        volume
    }

    #[test]
    fn a_snapshot_that_is_merged_or_gone_is_not_untouched() {
        assert!(is_untouched(Some(&volume("a"))));
        assert!(!is_untouched(Some(&Volume { merging: true, ..volume("a") })));
        assert!(!is_untouched(None));
    }

    #[test]
    fn what_is_mounted_last_at_a_place_is_what_is_seen_there() {
        let mount = |path: &str, device| MountPoint {
            path: path.into(),
            root: "/".into(),
            device,
            fstype: "xfs".to_owned(),
            source: "/dev/mapper/vg0-data".to_owned(),
            options: "rw".to_owned(),
        };
        let (origin, snapshot) = ((252, 3), (252, 5));
        let is_origin = |mounts: &[MountPoint]| is_mounted(mounts, Path::new("/data"), Some(origin));
        assert!(is_origin(&[mount("/data", origin), mount("/data/top", snapshot)]));
        assert!(!is_origin(&[mount("/data", snapshot), mount("/mnt", origin)]));
        assert!(!is_origin(&[mount("/data", origin), mount("/data", snapshot)]));
        assert!(!is_mounted(&[mount("/mnt", origin)], Path::new("/data"), None));
    }

    #[test]
    fn what_was_kept_goes_back_together_or_not_at_all() {
        let mut kept: Kept = serde_json::from_str(include_str!("../../tests/data/kept-1.json")).unwrap();
        let first = volume(&kept.volumes[0].uuid);
        assert!(refuse_incomplete(&kept, std::slice::from_ref(&first)).is_ok());
        kept.volumes.push(kept::KeptVolume { uuid: "second".to_owned(), ..kept.volumes[0].clone() });
        let error = refuse_incomplete(&kept, std::slice::from_ref(&first)).unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Refused));
        assert!(error.to_string().contains("second"), "{error}");
        assert!(refuse_incomplete(&kept, &[first, volume("second")]).is_ok());
    }
}
