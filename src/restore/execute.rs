//! Doing what was planned.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::ground::{self, Ground};
use super::plan::{self, Relist, Target};
use super::prepare::prepare;
use super::{Plan, Restored};
use crate::fault::{Fault, Kind};
use crate::server::running;
use crate::store::{FileEntry, Store, Totals, Work, fetch};
use crate::sys::cancel::Cancel;
use crate::sys::durable;
use crate::sys::failpoint;

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
    stage(plan, store, progress, cancel)?;
    place(plan)
}

/// Brings everything to where it lies until it is complete: [`Plan::staged`].
pub fn stage(plan: &Plan, store: &dyn Store, progress: &(dyn Fn(u64) + Sync), cancel: &Cancel) -> anyhow::Result<()> {
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
    Ok(())
}

/// Puts in its place what is complete. Nothing is waited for.
pub fn place(plan: &Plan) -> anyhow::Result<Restored> {
    let mut kept_aside = Vec::new();
    plan.targets.iter().try_for_each(|target| refuse_used(&target.ground.path))?;
    for target in &plan.targets {
        if let (Some(list), false) = (&target.relist, target.ground.is_ready) {
            relist(&target.ground.staging, list)?;
        }
        kept_aside.extend(put_in_place(&target.ground)?);
    }
    let totals = Totals::of(&plan.files);
    Ok(Restored {
        to: plan.targets.last().map(|target| target.ground.path.clone()).unwrap_or_default(),
        next: plan::next_steps(plan, &kept_aside, false),
        kept_aside,
        started: false,
        files: totals.files,
        bytes: totals.bytes,
        position: plan.position.clone(),
    })
}

/// It was free when the restore began; that may be hours ago.
fn refuse_used(path: &Path) -> anyhow::Result<()> {
    let users = running::users_of(path)?;
    let Some(user) = users.first() else { return Ok(()) };
    let fault = Fault::new(Kind::Refused, format!("{} has come into use by {user} meanwhile", path.display()));
    Err(fault.hint("nothing was put in place; stop it, then restore again").into())
}

fn fill(plan: &Plan, target: &Target, store: &dyn Store, work: Work<'_>) -> anyhow::Result<()> {
    let staging = &target.ground.staging;
    durable::create_private_directory(staging)?;
    fetch(store, &plan.backup.slot, &target.ground.root.name, staging, work)
}

/// A server that is started on the files must find its own logs by the list, not those of the live one; one of ours
/// sees them in the live places until then. Every path was compared with the list of files: none leads through a
/// symlink.
fn relist(staging: &Path, relist: &Relist) -> anyhow::Result<()> {
    let path = staging.join(relist.index.as_path());
    let list = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(list) = relist.rewritten(&list) else { return Ok(()) };
    let owner = Owner::of(&path)?;
    durable::write(&path, &list)?;
    owner.give_to(&path)
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
        failpoint::pass(|| "set the directory's owner".to_owned())
            .and_then(|()| std::os::unix::fs::chown(path, Some(self.metadata.uid()), Some(self.metadata.gid())))
            .and_then(|()| std::fs::set_permissions(path, self.metadata.permissions()))
            .with_context(|| format!("cannot set the owner of {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::plan::tests::{backup, ground};

    /// A mount point with a former data directory on it, and a complete restored one.
    struct MountPoint {
        home: tempfile::TempDir,
    }

    impl MountPoint {
        fn new() -> Self {
            let this = Self { home: tempfile::tempdir().unwrap() };
            for directory in ["lost+found", "former", ".restoring-ID", ".restoring-ID/shop"] {
                std::fs::create_dir(this.at(directory)).unwrap();
            }
            for file in
                ["ibdata1", "former/x", ".restoring-ID/ibdata1", ".restoring-ID/mysql.ibd", ".restoring-ID/shop/x"]
            {
                durable::write(&this.at(file), file.as_bytes()).unwrap();
            }
            this
        }

        fn at(&self, name: &str) -> PathBuf {
            self.home.path().join(name)
        }

        fn ground(&self) -> Ground {
            let root = backup().manifest.roots[0].clone();
            Ground {
                is_mount_point: true,
                occupied: true,
                staging: self.at(".restoring-ID"),
                ready: self.at(".restored-ID"),
                is_ready: self.at(".restored-ID").exists(),
                aside: self.at(".before-ID"),
                ..ground(root, self.home.path())
            }
        }

        fn names(&self, directory: &str) -> Vec<String> {
            let entries = self.at(directory).read_dir().unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        fn is_restored(&self) {
            assert_eq!(self.names("."), [".before-ID", "ibdata1", "lost+found", "mysql.ibd", "shop"]);
            assert_eq!(self.names(".before-ID"), ["former", "ibdata1"]);
            assert_eq!(std::fs::read(self.at("ibdata1")).unwrap(), b".restoring-ID/ibdata1");
            assert_eq!(std::fs::read(self.at(".before-ID/ibdata1")).unwrap(), b"ibdata1");
        }
    }

    #[test]
    fn inside_a_mount_point_entries_move_up_and_the_former_ones_aside() {
        let place = MountPoint::new();
        assert_eq!(put_in_place(&place.ground()).unwrap(), Some(place.at(".before-ID")));
        place.is_restored();
    }

    #[test]
    fn cut_short_while_the_former_content_moves_aside() {
        let place = MountPoint::new();
        durable::create_private_directory(&place.at(".before-ID")).unwrap();
        durable::rename(&place.at("ibdata1"), &place.at(".before-ID/ibdata1")).unwrap();
        // A second run takes another name for the rest; nothing is lost and nothing is mixed.
        let ground = Ground { aside: place.at(".before-ID.2"), ..place.ground() };
        put_in_place(&ground).unwrap();
        assert_eq!(place.names(".before-ID"), ["ibdata1"]);
        assert_eq!(place.names(".before-ID.2"), ["former"]);
        assert_eq!(place.names("."), [".before-ID", ".before-ID.2", "ibdata1", "lost+found", "mysql.ibd", "shop"]);
    }

    #[test]
    fn cut_short_while_the_restored_content_moves_up() {
        let place = MountPoint::new();
        durable::create_private_directory(&place.at(".before-ID")).unwrap();
        for name in ["ibdata1", "former"] {
            durable::rename(&place.at(name), &place.at(".before-ID").join(name)).unwrap();
        }
        durable::rename(&place.at(".restoring-ID"), &place.at(".restored-ID")).unwrap();
        durable::rename(&place.at(".restored-ID/shop"), &place.at("shop")).unwrap();
        assert!(place.ground().is_ready);
        put_in_place(&place.ground()).unwrap();
        place.is_restored();
    }
}
