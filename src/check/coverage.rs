//! Which directories a backup must hold, and on which file systems they lie.
//!
//! Proved, not configured: the places come from the server, the mounts from the kernel. A place
//! inside another one is copied with it; what lies outside becomes a root of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::server::{Place, PlaceKind};
use crate::sys::mount::{MountPoint, mount_of};

/// A directory or file that is copied as one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRoot {
    /// `datadir`, `binlog`, `redo`, …: its name in the backup.
    pub name: String,
    /// Where it lies on the live host, symlinks followed.
    pub live: PathBuf,
    /// What it holds.
    pub kinds: Vec<PlaceKind>,
    /// Where its file system is mounted.
    pub mount: MountPoint,
}

impl SourceRoot {
    /// Where it lies on the file system that it is on, whatever that is mounted as (a bind mount
    /// shows a directory of the file system, not its root).
    pub fn path_on_file_system(&self) -> PathBuf {
        let below = self.live.strip_prefix(&self.mount.path).unwrap_or(Path::new(""));
        let root = self.mount.root.strip_prefix("/").unwrap_or(&self.mount.root);
        root.join(below)
    }
}

/// Why a place cannot be covered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Uncovered {
    /// Its directory also holds the directory that is copied as another root.
    #[error("the {kind} lies in {}, which also holds {}", .directory.display(), .inner.display())]
    Shared {
        /// What lies there.
        kind: PlaceKind,
        /// Where.
        directory: PathBuf,
        /// The other root.
        inner: PathBuf,
    },
    /// Another file system is mounted inside it.
    #[error("{} is mounted inside {}", .mounted.display(), .root.display())]
    MountInside {
        /// The inner mount point.
        mounted: PathBuf,
        /// The root.
        root: PathBuf,
    },
    /// Nothing is known to be mounted there.
    #[error("no file system is known for {}", .0.display())]
    NoFileSystem(PathBuf),
}

impl Uncovered {
    /// What to change so that it can be.
    pub fn hint(&self) -> String {
        match self {
            Self::Shared { kind, directory, inner } => shared_hint(*kind, directory, inner),
            Self::MountInside { .. } => {
                "give each part of the server's data a directory of its own, on one file system".to_owned()
            }
            Self::NoFileSystem(_) => "is its file system mounted, here and not in a container?".to_owned(),
        }
    }
}

fn shared_hint(kind: PlaceKind, directory: &Path, inner: &Path) -> String {
    let (directory, inner) = (directory.display(), inner.display());
    let index = match kind {
        PlaceKind::BinaryLog | PlaceKind::RelayLog => ", the paths in its index too",
        _ => "",
    };
    format!(
        "stop the server, move the {kind}'s own files from {directory} to a directory that holds nothing else, \
         beside {inner} or on another volume, and point {} there{index}",
        setting(kind)
    )
}

/// What tells the server where it is.
fn setting(kind: PlaceKind) -> &'static str {
    match kind {
        PlaceKind::BinaryLog | PlaceKind::BinaryLogIndex => "log_bin",
        PlaceKind::RelayLog => "relay_log",
        PlaceKind::RedoLog => "innodb_log_group_home_dir",
        PlaceKind::Undo => "innodb_undo_directory",
        PlaceKind::Doublewrite => "innodb_doublewrite_dir",
        PlaceKind::AriaLog => "aria_log_dir_path",
        PlaceKind::RocksDb => "rocksdb_datadir and rocksdb_wal_dir",
        PlaceKind::DataDirectory | PlaceKind::SystemTablespace | PlaceKind::Tablespace | PlaceKind::Keyring => {
            "the server"
        }
    }
}

/// The roots that hold every place that must be covered, the data directory's first.
pub fn roots(places: &[Place], mounts: &[MountPoint]) -> Result<Vec<SourceRoot>, Vec<Uncovered>> {
    let outermost = outermost(places);
    let mut wrong = shared(places, &outermost);
    let mut found = Vec::new();
    for (name, live, kinds) in named(places, outermost) {
        wrong.extend(
            mounts
                .iter()
                .filter(|m| m.path != live && m.path.starts_with(&live))
                .map(|m| Uncovered::MountInside { mounted: m.path.clone(), root: live.clone() }),
        );
        match mount_of(mounts, &live) {
            Some(mount) => found.push(SourceRoot { name, live, kinds, mount: mount.clone() }),
            None => wrong.push(Uncovered::NoFileSystem(live)),
        }
    }
    if wrong.is_empty() { Ok(found) } else { Err(wrong) }
}

/// The places that no other one contains, in the order in which the server named them.
fn outermost(places: &[Place]) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for place in places.iter().filter(|p| p.must_be_covered()) {
        let contained = places
            .iter()
            .any(|other| other.must_be_covered() && place.real != other.real && place.real.starts_with(&other.real));
        if !contained && !paths.contains(&place.real) {
            paths.push(place.real.clone());
        }
    }
    paths
}

/// A place that contains the data directory would copy it twice, under another name.
fn shared(places: &[Place], outermost: &[PathBuf]) -> Vec<Uncovered> {
    let Some(datadir) = places.iter().find(|p| p.kind == PlaceKind::DataDirectory) else { return Vec::new() };
    let above = |p: &&Place| outermost.contains(&p.real) && p.real != datadir.real && datadir.real.starts_with(&p.real);
    places
        .iter()
        .filter(above)
        .map(|p| Uncovered::Shared { kind: p.kind, directory: p.real.clone(), inner: datadir.real.clone() })
        .collect()
}

fn named(places: &[Place], outermost: Vec<PathBuf>) -> Vec<(String, PathBuf, Vec<PlaceKind>)> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut roots = Vec::new();
    for path in outermost {
        let mut kinds: Vec<PlaceKind> = places.iter().filter(|p| p.real.starts_with(&path)).map(|p| p.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let base = kinds.first().map_or("other", |kind| base_name(*kind));
        let count = counts.entry(base).or_default();
        *count += 1;
        let name = if *count == 1 { base.to_owned() } else { format!("{base}-{count}") };
        roots.push((name, path, kinds));
    }
    roots
}

fn base_name(kind: PlaceKind) -> &'static str {
    match kind {
        PlaceKind::DataDirectory => "datadir",
        PlaceKind::SystemTablespace => "system",
        PlaceKind::RedoLog => "redo",
        PlaceKind::Undo => "undo",
        PlaceKind::Tablespace => "tablespace",
        PlaceKind::Doublewrite => "doublewrite",
        PlaceKind::BinaryLog | PlaceKind::BinaryLogIndex => "binlog",
        PlaceKind::RelayLog => "relaylog",
        PlaceKind::AriaLog => "aria",
        PlaceKind::RocksDb => "rocksdb",
        PlaceKind::Keyring => "keyring",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(kind: PlaceKind, path: &str) -> Place {
        Place { kind, path: path.into(), real: path.into() }
    }

    fn mount(path: &str, device: (u32, u32)) -> MountPoint {
        let (path, root) = (path.into(), "/".into());
        MountPoint { path, root, device, fstype: "ext4".into(), source: "/dev/x".into(), options: "rw".into() }
    }

    #[test]
    fn what_lies_inside_the_data_directory_is_copied_with_it() {
        let places = [
            place(PlaceKind::DataDirectory, "/var/lib/mysql"),
            place(PlaceKind::RedoLog, "/var/lib/mysql"),
            place(PlaceKind::Undo, "/var/lib/mysql/undo"),
            place(PlaceKind::Keyring, "/etc/keys"),
        ];
        let roots = roots(&places, &[mount("/", (8, 1)), mount("/var/lib/mysql", (252, 0))]).unwrap();
        assert_eq!(roots.len(), 1);
        assert_eq!((roots[0].name.as_str(), roots[0].mount.device), ("datadir", (252, 0)));
        assert_eq!(roots[0].path_on_file_system(), Path::new(""));
    }

    #[test]
    fn what_lies_outside_is_a_root_of_its_own() {
        let places = [
            place(PlaceKind::DataDirectory, "/data/mysql"),
            place(PlaceKind::BinaryLog, "/logs/binlog"),
            place(PlaceKind::BinaryLogIndex, "/logs/binlog/bin.index"),
            place(PlaceKind::Tablespace, "/fast/a/t1.ibd"),
            place(PlaceKind::Tablespace, "/fast/a/t2.ibd"),
        ];
        let mounts = [mount("/", (8, 1)), mount("/data", (252, 0)), mount("/logs", (252, 1))];
        let roots = roots(&places, &mounts).unwrap();
        let names: Vec<&str> = roots.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["datadir", "binlog", "tablespace", "tablespace-2"]);
        assert_eq!(roots[0].path_on_file_system(), Path::new("mysql"));
        assert_eq!(roots[2].mount.device, (8, 1));
    }

    #[test]
    fn a_directory_around_the_data_directory_is_refused() {
        let places = [place(PlaceKind::DataDirectory, "/data/mysql"), place(PlaceKind::BinaryLog, "/data")];
        let wrong = roots(&places, &[mount("/data", (252, 0))]).unwrap_err();
        assert_eq!(wrong[0].to_string(), "the binary log lies in /data, which also holds /data/mysql");
        assert_eq!(
            wrong[0].hint(),
            "stop the server, move the binary log's own files from /data to a directory that holds nothing else, \
             beside /data/mysql or on another volume, and point log_bin there, the paths in its index too"
        );
    }

    #[test]
    fn a_mount_inside_a_root_is_refused() {
        let places = [place(PlaceKind::DataDirectory, "/data")];
        let wrong = roots(&places, &[mount("/data", (252, 0)), mount("/data/shop", (8, 3))]).unwrap_err();
        assert!(matches!(&wrong[0], Uncovered::MountInside { .. }), "{wrong:?}");
    }

    proptest! {
        #[test]
        fn every_place_lies_in_exactly_one_root(paths in prop::collection::vec("(/[ab%é-]{1,2}){2,4}", 1..8)) {
            let mut places = vec![place(PlaceKind::DataDirectory, "/srv/mysql")];
            places.extend(paths.iter().map(|p| place(PlaceKind::Tablespace, p)));
            let roots = roots(&places, &[mount("/", (8, 1))]).unwrap();
            for place in &places {
                prop_assert_eq!(roots.iter().filter(|r| place.real.starts_with(&r.live)).count(), 1);
            }
            let mut names: Vec<&str> = roots.iter().map(|r| r.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), roots.len());
        }
    }
}
