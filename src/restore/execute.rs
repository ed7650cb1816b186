//! Doing what was planned.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::ground::{self, Ground};
use super::plan::{self, Target};
use super::prepare::prepare;
use super::{Plan, Restored};
use crate::store::{FileEntry, Store, Totals, Work, fetch};
use crate::sys::cancel::Cancel;
use crate::sys::durable;

/// Without these no server starts, or it starts anew: they come last, and go first.
const KEYSTONES: [&str; 2] = ["mysql.ibd", "ibdata1"];

/// Does what was planned. A restore that was cut short can be run again. Half of the progress is the
/// copying, the other half the reading back.
pub fn execute(
    plan: &Plan,
    store: &dyn Store,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> anyhow::Result<Restored> {
    let mut before = 0;
    for target in plan.targets.iter().filter(|target| !target.ground.is_ready) {
        let files: Vec<FileEntry> =
            plan.files.iter().filter(|entry| entry.root == target.ground.root.name).cloned().collect();
        let bytes = Totals::of(&files).bytes;
        let half = |done: u64, offset: u64| progress((before + offset + done.min(bytes)) / 2);
        let (sent, read) = (|done| half(done, 0), |done| half(done, bytes));
        fill(plan, target, store, Work { transfer: &plan.transfer, progress: &sent, cancel })?;
        prepare(target, &files, Work { transfer: &plan.transfer, progress: &read, cancel })?;
        durable::sync_file_system(&target.ground.staging)?;
        before += 2 * bytes;
    }
    // From here on nothing is waited for: what is in place is complete.
    let mut kept_aside = Vec::new();
    for target in &plan.targets {
        kept_aside.extend(put_in_place(&target.ground)?);
    }
    let totals = Totals::of(&plan.files);
    Ok(Restored {
        to: plan.targets.last().map(|target| target.ground.path.clone()).unwrap_or_default(),
        next: plan::next_steps(plan, &kept_aside),
        kept_aside,
        files: totals.files,
        bytes: totals.bytes,
        position: plan.backup.manifest.position.clone(),
    })
}

fn fill(plan: &Plan, target: &Target, store: &dyn Store, work: Work<'_>) -> anyhow::Result<()> {
    let staging = &target.ground.staging;
    durable::create_private_directory(staging)?;
    fetch(store, &plan.backup.slot, &target.ground.root.name, staging, work)
}

/// Puts aside what is there and the restored in its place; where the former is now.
fn put_in_place(ground: &Ground) -> anyhow::Result<Option<PathBuf>> {
    if ground.is_mount_point {
        return move_up(ground);
    }
    if ground.occupied {
        durable::rename(&ground.path, &ground.aside)?;
    }
    if ground.root.is_file {
        let name = ground.root.live_path.file_name().context("a file needs a name")?;
        durable::rename(&ground.staging.join(name), &ground.path)?;
        std::fs::remove_dir(&ground.staging).with_context(|| format!("cannot remove {}", ground.staging.display()))?;
    } else {
        durable::rename(&ground.staging, &ground.path)?;
    }
    Ok(ground.occupied.then(|| ground.aside.clone()))
}

/// Inside a mount point. The name of the directory says how far it came: as long as it is called
/// "restoring", whatever else is there is the former content; once it is called "restored", none of
/// it is.
fn move_up(ground: &Ground) -> anyhow::Result<Option<PathBuf>> {
    let mut kept = None;
    if !ground.is_ready {
        let mut former = ground::entries(&ground.path, true)?;
        former.sort_by_key(|name| !is_keystone(name));
        if !former.is_empty() {
            // Root's alone: a server that finds tablespaces twice does not start.
            durable::create_private_directory(&ground.aside)?;
            move_all(&former, &ground.path, &ground.aside)?;
            kept = Some(ground.aside.clone());
        }
        durable::rename(&ground.staging, &ground.ready)?;
    }
    let owner = Owner::of(&ground.ready)?;
    let mut restored = ground::entries(&ground.ready, false)?;
    restored.sort_by_key(is_keystone);
    move_all(&restored, &ground.ready, &ground.path)?;
    owner.give_to(&ground.path)?;
    std::fs::remove_dir(&ground.ready).with_context(|| format!("cannot remove {}", ground.ready.display()))?;
    durable::sync_directory(&ground.path)?;
    Ok(kept)
}

fn is_keystone(name: &OsString) -> bool {
    KEYSTONES.iter().any(|keystone| name == keystone)
}

fn move_all(names: &[OsString], from: &Path, to: &Path) -> anyhow::Result<()> {
    names.iter().try_for_each(|name| durable::rename(&from.join(name), &to.join(name)))
}

/// The owner and the mode of a directory.
struct Owner {
    metadata: std::fs::Metadata,
}

impl Owner {
    fn of(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { metadata: path.metadata().with_context(|| format!("cannot look at {}", path.display()))? })
    }

    fn give_to(&self, path: &Path) -> anyhow::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        std::os::unix::fs::chown(path, Some(self.metadata.uid()), Some(self.metadata.gid()))
            .and_then(|()| std::fs::set_permissions(path, self.metadata.permissions()))
            .with_context(|| format!("cannot set the owner of {}", path.display()))
    }
}
