//! What is where a root is to go.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::fault::{Fault, Kind};
use crate::id::RunId;
use crate::server::running;
use crate::store::Root;
use crate::store::tree;
use crate::sys::cancel::Cancel;
use crate::sys::mount;
use crate::sys::units::Bytes;

/// The directory that every ext file system has.
pub(super) const LOST_AND_FOUND: &str = "lost+found";

/// How the directories of runs begin.
const WORKSHOP: &str = "mysnap-drill-";

/// What is where a root is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ground {
    /// The root.
    pub(super) root: Root,
    /// The place, symlinks followed.
    pub(super) path: PathBuf,
    /// Whether it is a mount point, which can't be renamed.
    pub(super) is_mount_point: bool,
    /// Whether something is there that is not ours.
    pub(super) occupied: bool,
    /// Who uses what is there.
    pub(super) users: Vec<String>,
    /// Where the restored files lie until they are complete.
    pub(super) staging: PathBuf,
    /// What a restore that was cut short left there.
    pub(super) staged: Bytes,
    /// Where files that are complete, but not all in place, lie inside a mount point.
    pub(super) ready: PathBuf,
    /// Whether a restore was cut short while they were being put in place.
    pub(super) is_ready: bool,
    /// Where to keep what is there.
    pub(super) aside: PathBuf,
    /// The file system.
    pub(super) device: u64,
    /// The room on it.
    pub(super) room: Bytes,
}

/// Looks at `path`. With a `workshop` the files lie in that directory beside it, and nothing goes on with them.
pub(super) fn look(root: Root, path: &Path, id: &RunId, workshop: Option<&str>) -> anyhow::Result<Ground> {
    let path = resolve(path)?;
    let points = mount::mount_points()?;
    let is_mount_point = points.iter().any(|point| point.path == path);
    let id = workshop.unwrap_or(id.as_str());
    let named = |what: &str| named(&path, is_mount_point, &format!("{what}-{id}"));
    let parent = if is_mount_point { &path } else { path.parent().unwrap_or(Path::new("/")) };
    let beside = workshop.map(|name| parent.join(name).join(root.name.as_str()));
    let (staging, ready) = (beside.unwrap_or_else(|| named("restoring")), named("restored"));
    let stat = nix::sys::statvfs::statvfs(parent).with_context(|| format!("cannot look at {}", parent.display()))?;
    let staged = if staging.is_dir() { Bytes(tree::measure(&staging, &Cancel::new())?.bytes) } else { Bytes(0) };
    Ok(Ground {
        occupied: is_occupied(&path, is_mount_point)?,
        users: running::users_of(&path)?.iter().map(ToString::to_string).collect(),
        aside: free_name(&named("before")),
        is_ready: ready.is_dir(),
        staged,
        device: parent.metadata().with_context(|| format!("cannot look at {}", parent.display()))?.dev(),
        room: Bytes(stat.blocks_available().saturating_mul(stat.fragment_size())),
        root,
        path,
        is_mount_point,
        staging,
        ready,
    })
}

/// The place with symlinks followed; it need not exist, but the directory above it must.
fn resolve(path: &Path) -> anyhow::Result<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    let broken = path.symlink_metadata().is_ok();
    let parent = path.parent().filter(|_| !broken).and_then(|parent| parent.canonicalize().ok());
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) if path.is_absolute() => Ok(parent.join(name)),
        _ => {
            let fault = Fault::new(Kind::Refused, format!("{} has no directory above it", path.display()));
            Err(fault.hint("make that directory, or choose another place").into())
        }
    }
}

/// `DIR.restoring-ID` beside the place; inside a mount point `DIR/.restoring-ID`.
fn named(path: &Path, inside: bool, what: &str) -> PathBuf {
    if inside {
        return path.join(format!(".{what}"));
    }
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(format!(".{what}"));
    path.with_file_name(name)
}

/// The name, or the first of `name.2`, `name.3` … that is free.
fn free_name(path: &Path) -> PathBuf {
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    std::iter::once(path.to_owned())
        .chain((2..1000).map(numbered))
        .find(|path| path.symlink_metadata().is_err())
        .unwrap_or_else(|| path.to_owned())
}

fn is_occupied(path: &Path, is_mount_point: bool) -> anyhow::Result<bool> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(false) };
    if !metadata.is_dir() {
        return Ok(true);
    }
    Ok(!entries(path, is_mount_point)?.is_empty())
}

/// The names in a directory that a restore would have to put aside: not those of restores, and not
/// what a file system has of its own.
pub(super) fn entries(path: &Path, is_mount_point: bool) -> anyhow::Result<Vec<OsString>> {
    let ours = [".restoring-", ".restored-", ".before-", WORKSHOP];
    let list = || path.read_dir()?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>();
    let names = list().with_context(|| format!("cannot list {}", path.display()))?;
    let counts = |name: &OsString| {
        let text = name.to_string_lossy();
        !is_mount_point || (text != LOST_AND_FOUND && !ours.iter().any(|prefix| text.starts_with(prefix)))
    };
    Ok(names.into_iter().filter(counts).collect())
}
