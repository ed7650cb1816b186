//! From the server's files to the logical volumes that they lie on.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::coverage::{self, SourceRoot, Uncovered};
use super::ground::{Covered, Origin};
use super::{Findings, fstab};
use crate::fault::{Fault, Kind};
use crate::lvm::{self, LvRef, Volume};
use crate::server::{Place, PlaceKind};
use crate::snapshot;
use crate::sys::mount::{MountPoint, mount_of, mount_points};

/// A disk slower than this, three times, makes a snapshot an outage (P9).
const SLOW: Duration = Duration::from_millis(200);

/// The roots of the server's data, each on a logical volume; a place that is not is refused with
/// its name.
pub(super) fn cover(places: &[Place]) -> anyhow::Result<Covered> {
    let roots = coverage::roots(places, &mount_points()?).map_err(|wrong| refusal(&wrong))?;
    let volumes = lvm::volumes()?;
    let mut origins: Vec<Origin> = Vec::new();
    let mut wrong = Vec::new();
    for root in &roots {
        if origins.iter().any(|o| o.mount.device == root.mount.device) {
            continue;
        }
        match volumes.iter().find(|v| v.device == Some(root.mount.device)) {
            Some(volume) => origins.push(origin(volume, &volumes, &root.mount)?),
            None => wrong.push(not_on_lvm(root)),
        }
    }
    if wrong.is_empty() {
        let keys = places.iter().filter(|place| !place.must_be_covered());
        let outside = keys.filter(|key| !roots.iter().any(|root| key.real.starts_with(&root.live)));
        let keyrings = outside.map(|key| key.path.clone()).collect();
        return Ok(Covered { roots, origins, keyrings });
    }
    Err(Fault::new(Kind::Refused, wrong.join("; "))
        .hint("move it to a logical volume: what no snapshot covers would be missing in the backup")
        .into())
}

/// Nothing on a suspended volume can be looked at: whoever reads what is not in memory waits as long as whoever writes.
pub(super) fn refuse_suspended(datadir: &Path) -> anyhow::Result<()> {
    let mounts = mount_points()?;
    let Some(mount) = mount_of(&mounts, datadir).filter(|mount| lvm::is_suspended(mount.device)) else {
        return Ok(());
    };
    let volume = lvm::volumes()?.into_iter().find(|volume| volume.device == Some(mount.device));
    volume.as_ref().map_or(Ok(()), snapshot::refuse_suspended)
}

fn refusal(wrong: &[Uncovered]) -> Fault {
    let text: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    let mut hints: Vec<String> = wrong.iter().map(Uncovered::hint).collect();
    hints.dedup();
    Fault::new(Kind::Refused, text.join("; ")).hint(hints.join("; "))
}

fn not_on_lvm(root: &SourceRoot) -> String {
    let (what, mount) = (describe(&root.kinds), &root.mount);
    let live = root.live.display();
    format!("{what} in {live} lies on {} ({}), which is not a logical volume", mount.source, mount.fstype)
}

fn describe(kinds: &[PlaceKind]) -> String {
    let names: Vec<String> = kinds.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn origin(volume: &Volume, volumes: &[Volume], mount: &MountPoint) -> anyhow::Result<Origin> {
    let pool = volume.pool_name().and_then(|name| volumes.iter().find(|v| v.name == name).cloned());
    let group = lvm::group(&volume.name.vg)?;
    Ok(Origin { volume: volume.clone(), group, pool, mount: mount.clone() })
}

/// Whether a snapshot can be taken of `origin` now, and mounted.
pub(super) fn look_at(origin: &Origin, findings: &mut Findings) {
    let (volume, mount) = (&origin.volume, &origin.mount);
    let name = &volume.name;
    let before = findings.refusals();
    if !["ext4", "xfs"].contains(&mount.fstype.as_str()) {
        findings.attempt::<()>("volume", Err(snapshot::unsupported(&mount.fstype).into()));
    }
    refuse_our_own(origin, findings);
    for trouble in troubles(origin) {
        findings.refuse("volume", format!("{name} {trouble}"), "repair it first: a backup of it could not be trusted");
    }
    findings.attempt("volume", snapshot::SnapshotKind::of(volume).load_target());
    findings.attempt("volume", lvm::probe_group_lock(&name.vg));
    findings.attempt("volume", probe_speed(mount));
    let table = std::fs::read_to_string("/etc/fstab").unwrap_or_default();
    if let Some(device) = fstab::ambiguous_device(&table, &mount.path) {
        findings.warn(
            "fstab",
            format!("/etc/fstab mounts {} by {device}, which a leftover snapshot shares", mount.path.display()),
            format!(
                "name it {} there: after a crash a reboot could mount the snapshot instead",
                name.device().display()
            ),
        );
    }
    if let Some(pool) = &origin.pool {
        warn_of_an_unforgiving_check(&pool.name, findings);
    }
    if findings.refusals() == before {
        let kind = snapshot::SnapshotKind::of(volume).name();
        let at = mount.path.display();
        findings.good("volume", format!("{name}, {kind}, {}, {} at {at}", volume.size, mount.fstype));
    }
}

fn warn_of_an_unforgiving_check(pool: &LvRef, findings: &mut Findings) {
    match lvm::unforgiving_thin_check() {
        Ok(None) => {}
        Ok(Some(version)) => findings.warn(
            "pool",
            format!("LVM may not activate {pool} after a power cut: thin_check {version} takes what was being given out for damage"),
            "in /etc/lvm/lvm.conf `thin_check_options = [ \"-q\", \"--clear-needs-check-flag\" ]` lets it put that right",
        ),
        Err(error) => tracing::debug!("what LVM asks thin_check is not known: {error:#}"),
    }
}

/// After a crash an entry of fstab by UUID may lead to a snapshot of ours, and the server writes to that.
fn refuse_our_own(origin: &Origin, findings: &mut Findings) {
    let Some(run) = origin.volume.run() else { return };
    let (name, at) = (&origin.volume.name, origin.mount.path.display());
    findings.refuse(
        "volume",
        format!("{at} is {name}, the snapshot of run {run}, and not its origin: what the server writes is on it alone"),
        "copy the data from there, or dump it, before anything else; docs/operations.md, \"fstab by UUID\", has the way \
         back",
    );
}

/// What makes a snapshot of `origin` worthless or dangerous (P10).
fn troubles(origin: &Origin) -> Vec<String> {
    let volume = &origin.volume;
    let mut found = Vec::new();
    if !volume.is_writable() || origin.mount.options.split(',').any(|option| option == "ro") {
        found.push("is read-only".to_owned());
    }
    if volume.has_merging_snapshot() || volume.merging {
        found.push("is being merged with a snapshot".to_owned());
    }
    let health = [Some(volume), origin.pool.as_ref()].into_iter().flatten().map(|v| v.health.as_str());
    found.extend(health.filter(|text| !text.is_empty()).map(|text| format!("is not healthy: {text}")));
    if origin.group.partial {
        found.push(format!("lies in volume group {}, which misses a physical volume", origin.group.name));
    }
    found
}

/// Refuses a disk on which a small synchronous write takes long, three times in a row: with 2 s of
/// write delay lvcreate took 59 s. The file has no name, so nothing can be left of it.
fn probe_speed(mount: &MountPoint) -> anyhow::Result<()> {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let mut file =
            tempfile::tempfile_in(&mount.path).with_context(|| format!("cannot write to {}", mount.path.display()))?;
        let began = Instant::now();
        file.write_all(&[0; 4096]).and_then(|()| file.sync_all()).context("cannot write a probe")?;
        best = best.min(began.elapsed());
        if best <= SLOW {
            return Ok(());
        }
    }
    Err(Fault::new(Kind::Refused, format!("a small write to {} took {best:?}, three times", mount.path.display()))
        .hint("on a disk this slow a snapshot would stop writers for long; look at the disk, try later")
        .into())
}
