//! Directory trees on this host: walked and read without following symlinks, names taken as bytes.
//!
//! Nothing in a data directory or a destination is trusted: a file may be exchanged for a symlink
//! between the look and the read, a FIFO would block, a name may be anything. So everything is opened
//! from the tree's own descriptor with `openat2`, which refuses symlinks, ways up and other file
//! systems in the kernel, and checked after it was opened.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use anyhow::Context as _;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, PosixFadviseAdvice, ResolveFlag, openat2, posix_fadvise, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat};
use serde::{Deserialize, Serialize};

use super::nice::Niceness;
use super::{Hasher, Readable, Sha256, StoredPath, Totals};
use crate::sys::cancel::Cancel;
use crate::sys::failpoint;

/// More than any data directory has; bounds the walk's open directories.
const DEEPEST: usize = 100;
const READERS: usize = 2;
const BUFFER: usize = 1 << 20;

/// Something that is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name, as a manifest writes it.
    pub path: String,
    /// `socket`, `fifo` or `device`.
    pub kind: String,
}

/// What the tree at `path` adds up to, without reading files.
pub fn measure(path: &Path, cancel: &Cancel) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    for node in Tree::open(path)?.walk(cancel)? {
        match node.kind {
            NodeKind::File => {
                totals.files += 1;
                totals.bytes += node.size();
            }
            NodeKind::Directory => totals.directories += 1,
            NodeKind::Symlink(_) => totals.symlinks += 1,
            NodeKind::Other(_) => {}
        }
    }
    Ok(totals)
}

/// A directory below which everything is looked at.
#[derive(Debug)]
pub(crate) struct Tree {
    path: PathBuf,
    fd: OwnedFd,
}

/// Something in a tree.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) path: StoredPath,
    pub(crate) kind: NodeKind,
    pub(crate) stat: FileStat,
}

/// What something in a tree is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    File,
    Directory,
    Symlink(Vec<u8>),
    Other(&'static str),
}

impl Node {
    /// Its length.
    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or_default()
    }
}

impl Tree {
    /// The tree at `path`, which must be a directory and not a symlink to one.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty())
            .with_context(|| format!("cannot open directory {}", path.display()))?;
        Ok(Self { path: path.to_owned(), fd })
    }

    /// Everything in the tree in the order of names, the tree itself first. What lies on another
    /// file system is an error.
    pub(crate) fn walk(&self, cancel: &Cancel) -> anyhow::Result<Vec<Node>> {
        let stat = failpoint::pass(|| "list tree".to_owned())
            .and_then(|()| Ok(fstat(&self.fd)?))
            .with_context(|| format!("cannot look at {}", self.path.display()))?;
        let device = stat.st_dev;
        let mut nodes = vec![Node { path: StoredPath::root(), kind: NodeKind::Directory, stat }];
        let mut next = 0;
        while let Some(node) = nodes.get(next) {
            cancel.check()?;
            if node.kind == NodeKind::Directory {
                let path = node.path.clone();
                let depth = path.as_path().components().count();
                anyhow::ensure!(depth < DEEPEST, "{} is too deep", self.path.join(path.as_path()).display());
                self.list(&path, device, &mut nodes)?;
            }
            next += 1;
        }
        nodes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(nodes)
    }

    fn list(&self, path: &StoredPath, device: u64, nodes: &mut Vec<Node>) -> anyhow::Result<()> {
        let shown = self.path.join(path.as_path());
        let fd = match self.open_beneath(path, OFlag::O_DIRECTORY) {
            Err(error) if is_missing(&error) && !path.is_root() => return Ok(()),
            other => other?,
        };
        let mut directory = Dir::from_fd(fd).with_context(|| format!("cannot list {}", shown.display()))?;
        let names = directory
            .iter()
            .map(|entry| entry.map(|e| OsStr::from_bytes(e.file_name().to_bytes()).to_owned()))
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("cannot list {}", shown.display()))?;
        for name in names.iter().filter(|name| *name != "." && *name != "..") {
            // In a live data directory files come and go; in a snapshot nothing does.
            let node = match look(&directory, name, path.join(name)) {
                Err(Errno::ENOENT) => continue,
                other => other.with_context(|| format!("cannot look at {}", shown.join(name).display()))?,
            };
            anyhow::ensure!(
                node.stat.st_dev == device,
                "{} is on another file system than {}",
                shown.join(name).display(),
                self.path.display()
            );
            nodes.push(node);
        }
        Ok(())
    }

    /// One thing in the tree.
    pub(crate) fn node(&self, path: &StoredPath) -> anyhow::Result<Node> {
        let name = path.name().map(OsStr::from_bytes).context("a file needs a name")?;
        let parent = self.open_beneath(&path.parent().unwrap_or_default(), OFlag::O_DIRECTORY)?;
        look(&parent, name, path.clone())
            .with_context(|| format!("cannot look at {}", self.path.join(path.as_path()).display()))
    }

    /// Opens something for reading, or a directory, without leaving the tree.
    pub(crate) fn open_beneath(&self, path: &StoredPath, flags: OFlag) -> anyhow::Result<OwnedFd> {
        let relative = if path.is_root() { Path::new(".") } else { path.as_path() };
        // Not blocking, because opening a FIFO waits for a writer.
        let how = OpenHow::new()
            .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV);
        openat2(&self.fd, relative, how)
            .with_context(|| format!("cannot open {}", self.path.join(path.as_path()).display()))
    }

    /// The whole of a small file; none where there is none.
    pub(crate) fn read_small(&self, path: &StoredPath, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let file = match self.open_beneath(path, OFlag::empty()) {
            Ok(file) => File::from(file),
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        let shown = self.path.join(path.as_path());
        file.take(limit).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", shown.display()))?;
        Ok(Some(bytes))
    }

    /// Gives something its owner and, but for a symlink, its permission bits.
    pub(crate) fn set_owner(&self, node: &Node, uid: u32, gid: u32, mode: u32) -> anyhow::Result<()> {
        let shown = || format!("cannot set the owner of {}", self.path.join(node.path.as_path()).display());
        let (uid, gid) = (nix::unistd::Uid::from_raw(uid), nix::unistd::Gid::from_raw(gid));
        let chowned = (node.stat.st_uid, node.stat.st_gid) != (uid.as_raw(), gid.as_raw());
        if let NodeKind::Symlink(_) = node.kind {
            let parent = self.open_beneath(&node.path.parent().unwrap_or_default(), OFlag::O_DIRECTORY)?;
            let name = node.path.name().map(OsStr::from_bytes).context("a symlink needs a name")?;
            return fchownat(&parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW).with_context(shown);
        }
        if !chowned && node.stat.st_mode & 0o7777 == mode {
            return Ok(());
        }
        let fd = self.open_beneath(&node.path, OFlag::empty())?;
        if chowned {
            fchown(&fd, Some(uid), Some(gid)).with_context(shown)?;
        }
        // After the owner: a change of owner takes the set-group-id bit away.
        fchmod(&fd, Mode::from_bits_truncate(mode)).with_context(shown)
    }

    /// Removes a file, a symlink or an empty directory.
    pub(crate) fn remove(&self, path: &StoredPath, kind: UnlinkatFlags) -> anyhow::Result<()> {
        let parent = self.open_beneath(&path.parent().unwrap_or_default(), OFlag::O_DIRECTORY)?;
        let name = path.name().map(OsStr::from_bytes).context("what is removed needs a name")?;
        failpoint::pass(|| "remove from tree".to_owned())
            .and_then(|()| Ok(unlinkat(&parent, name, kind)?))
            .with_context(|| format!("cannot remove {}", self.path.join(path.as_path()).display()))
    }

    /// Makes a symlink point to another place.
    pub(crate) fn relink(&self, path: &StoredPath, target: &OsStr) -> anyhow::Result<()> {
        self.remove(path, UnlinkatFlags::NoRemoveDir)?;
        let parent = self.open_beneath(&path.parent().unwrap_or_default(), OFlag::O_DIRECTORY)?;
        let name = path.name().map(OsStr::from_bytes).context("a symlink needs a name")?;
        symlinkat(target, &parent, name)
            .with_context(|| format!("cannot make symlink {}", self.path.join(path.as_path()).display()))
    }

    /// The digest of every file in `files`, in their order, by two threads; a file that could not be
    /// read has its error. Fails as a whole only when it is cancelled or told to `stop`.
    pub(crate) fn digests(&self, files: &[Readable], job: &Reading<'_>) -> anyhow::Result<Vec<anyhow::Result<Sha256>>> {
        failpoint::pass(|| "read files".to_owned())?;
        let next = AtomicUsize::new(0);
        let done = AtomicU64::new(0);
        let results = Mutex::new(Vec::with_capacity(files.len()));
        let work = || {
            job.niceness.into_iter().for_each(Niceness::apply_to_thread);
            let mut buffer = vec![0; BUFFER];
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(file) = files.get(n) else { break };
                if job.ended().is_err() {
                    break;
                }
                let result = self.digest(file, job, &done, &mut buffer);
                results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((n, result));
            }
        };
        std::thread::scope(|scope| (0..READERS.min(files.len())).for_each(|_| drop(scope.spawn(work))));
        job.ended()?;
        let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        results.sort_by_key(|(n, _)| *n);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    fn digest(
        &self,
        file: &Readable,
        job: &Reading<'_>,
        done: &AtomicU64,
        buffer: &mut [u8],
    ) -> anyhow::Result<Sha256> {
        let shown = self.path.join(file.path.as_path());
        let fd = self.open_beneath(&file.path, OFlag::empty())?;
        let stat = fstat(&fd).with_context(|| format!("cannot look at {}", shown.display()))?;
        anyhow::ensure!(type_of(&stat) == SFlag::S_IFREG, "{} is not a regular file", shown.display());
        if job.from_disk {
            // Only what is written out can be dropped, so that this costs no data.
            posix_fadvise(fd.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
                .with_context(|| format!("cannot drop {} from memory", shown.display()))?;
        }
        let mut file_read = File::from(fd);
        let (mut hasher, mut size) = (Hasher::default(), 0_u64);
        loop {
            job.ended()?;
            let count = file_read.read(buffer).with_context(|| format!("cannot read {}", shown.display()))?;
            let Some(bytes @ [_, ..]) = buffer.get(..count) else { break };
            hasher.update(bytes);
            size += bytes.len() as u64;
            (job.progress)(done.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64);
        }
        anyhow::ensure!(size == file.size, "{} has {size} bytes instead of {}", shown.display(), file.size);
        Ok(hasher.finish())
    }
}

/// How files are read.
pub(crate) struct Reading<'a> {
    /// What the reading threads may take of the machine.
    pub(crate) niceness: Option<Niceness>,
    /// From the disk, not from memory.
    pub(crate) from_disk: bool,
    /// Gets the bytes read so far.
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
    /// Ends it.
    pub(crate) cancel: &'a Cancel,
    /// Ends it too: what it is read for has failed.
    pub(crate) stop: &'a AtomicBool,
}

impl Reading<'_> {
    fn ended(&self) -> anyhow::Result<()> {
        self.cancel.check()?;
        anyhow::ensure!(!self.stop.load(Ordering::Relaxed), "reading was stopped");
        Ok(())
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref() == Some(&Errno::ENOENT)
}

fn type_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn look(directory: impl std::os::fd::AsFd, name: &OsStr, path: StoredPath) -> nix::Result<Node> {
    let stat = fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = match type_of(&stat) {
        SFlag::S_IFREG => NodeKind::File,
        SFlag::S_IFDIR => NodeKind::Directory,
        SFlag::S_IFLNK => NodeKind::Symlink(readlinkat(&directory, name)?.as_bytes().to_vec()),
        SFlag::S_IFSOCK => NodeKind::Other("socket"),
        SFlag::S_IFIFO => NodeKind::Other("fifo"),
        _ => NodeKind::Other("device"),
    };
    Ok(Node { path, kind, stat })
}
