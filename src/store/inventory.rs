//! What is in the sources of a backup, with the digest of every file.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use nix::unistd::{Gid, Group, Uid, User};

use super::files::{EntryKind, FileEntry, Mode};
use super::staging::Source;
use super::tree::{Node, NodeKind, Reading, Skipped, Tree};
use super::{EncodedBytes, Readable, StoredPath};

/// Everything in one source; what is no data is skipped and named. An unreadable file is an error:
/// a backup without it would be none.
pub(super) fn take(source: &Source, reading: &Reading<'_>) -> anyhow::Result<(Vec<FileEntry>, Vec<Skipped>)> {
    let (tree, nodes) = open(source, reading)?;
    let files: Vec<Readable> = nodes
        .iter()
        .filter(|node| node.kind == NodeKind::File)
        .map(|node| Readable { path: node.path.clone(), size: node.size() })
        .collect();
    let mut digests = tree.digests(&files, reading)?.into_iter();
    let mut names = Names::default();
    let (mut entries, mut skipped) = (Vec::with_capacity(nodes.len()), Vec::new());
    for node in nodes {
        let kind = match &node.kind {
            NodeKind::File => {
                let sha256 = digests.next().context("a file has no digest")??;
                EntryKind::File { size: node.size(), sha256 }
            }
            NodeKind::Directory => EntryKind::Directory,
            NodeKind::Symlink(target) => EntryKind::Symlink { target: EncodedBytes(target.clone()) },
            NodeKind::Other(kind) => {
                skipped.push(Skipped { path: format!("{}/{}", source.root.name, node.path), kind: (*kind).to_owned() });
                continue;
            }
        };
        entries.push(names.entry(source, &node, kind));
    }
    Ok((entries, skipped))
}

fn open(source: &Source, reading: &Reading<'_>) -> anyhow::Result<(Tree, Vec<Node>)> {
    let path = &source.path;
    let real = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    // A symlink on the way could lead out of the snapshot, to the live files.
    anyhow::ensure!(real == *path, "{} leads to {}", path.display(), real.display());
    if !source.root.is_file {
        let tree = Tree::open(path)?;
        let nodes = tree.walk(reading.cancel)?;
        return Ok((tree, nodes));
    }
    let name = path.file_name().context("a file needs a name")?;
    let tree = Tree::open(path.parent().unwrap_or(Path::new("/")))?;
    let node = tree.node(&StoredPath::new(name.as_bytes()).map_err(anyhow::Error::msg)?)?;
    anyhow::ensure!(node.kind == NodeKind::File, "{} is not a regular file", path.display());
    Ok((tree, vec![node]))
}

/// The names of owners, each looked up once.
#[derive(Default)]
struct Names {
    users: HashMap<u32, Option<String>>,
    groups: HashMap<u32, Option<String>>,
}

impl Names {
    fn entry(&mut self, source: &Source, node: &Node, kind: EntryKind) -> FileEntry {
        let stat = &node.stat;
        let user = |uid: &u32| Some(User::from_uid(Uid::from_raw(*uid)).ok()??.name);
        let group = |gid: &u32| Some(Group::from_gid(Gid::from_raw(*gid)).ok()??.name);
        FileEntry {
            root: source.root.name.clone(),
            path: node.path.clone(),
            kind,
            mode: Mode::new(stat.st_mode),
            uid: stat.st_uid,
            gid: stat.st_gid,
            user: self.users.entry(stat.st_uid).or_insert_with_key(user).clone(),
            group: self.groups.entry(stat.st_gid).or_insert_with_key(group).clone(),
            mtime: written(stat.st_mtime, stat.st_mtime_nsec),
        }
    }
}

/// A time that no calendar has becomes the nearest that one has.
fn written(seconds: i64, nanoseconds: i64) -> Timestamp {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or_default();
    let limit = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::new(seconds, nanoseconds).unwrap_or(limit)
}
