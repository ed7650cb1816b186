//! From stored files to files that a server can start on.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use nix::unistd::UnlinkatFlags;

use super::owners::Owners;
use super::plan::Target;
use crate::fault::{Fault, Kind};
use crate::store::tree::{NodeKind, Reading, Tree};
use crate::store::{FileEntry, Work, check_directory};
use crate::sys::failpoint;

/// Compares what was copied with the digests, drops what a started server must not find, points
/// symlinks to where their targets now are, and sets owners and modes.
pub(super) fn prepare(target: &Target, files: &[FileEntry], work: Work<'_>) -> anyhow::Result<()> {
    refuse_damaged(target, files, work)?;
    let tree = Tree::open(&target.ground.staging)?;
    for path in &target.drop {
        let directory = tree.node(path)?.kind == NodeKind::Directory;
        tree.remove(path, if directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir })?;
    }
    for (path, to) in &target.relink {
        tree.relink(path, to.as_os_str())?;
    }
    set_owners(&tree, files, work)
}

fn refuse_damaged(target: &Target, files: &[FileEntry], work: Work<'_>) -> anyhow::Result<()> {
    let stop = AtomicBool::new(false);
    let reading = Reading {
        niceness: Some(work.transfer.niceness),
        from_disk: false,
        progress: work.progress,
        cancel: work.cancel,
        stop: &stop,
    };
    let findings = check_directory(&target.ground.staging, files, &reading)?;
    if findings.is_good() {
        return Ok(());
    }
    let message = format!("what was copied is not what was backed up: {}", findings.summary());
    Err(Fault::new(Kind::Verify, message).hint("nothing was put in place; `mysnap verify` reads the backup").into())
}

fn set_owners(tree: &Tree, files: &[FileEntry], work: Work<'_>) -> anyhow::Result<()> {
    let entries: HashMap<_, _> = files.iter().map(|entry| (&entry.path, entry)).collect();
    let mut owners = Owners::default();
    let nodes = tree.walk(work.cancel)?;
    failpoint::pass(|| "set owners".to_owned())?;
    // Directories last and deepest first: what lies in one may no longer be reached afterwards.
    let (directories, others): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node.kind == NodeKind::Directory);
    for node in others.into_iter().chain(directories.into_iter().rev()) {
        work.cancel.check()?;
        let Some(entry) = entries.get(&node.path) else { continue };
        let (uid, gid) = owners.of(entry);
        tree.set_owner(node, uid, gid, entry.mode.bits())?;
    }
    Ok(())
}
