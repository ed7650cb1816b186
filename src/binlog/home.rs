//! The archive's directory: an index, a directory for each timeline, in it the files.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;

use super::elsewhere::{Node, fetch, look};
use super::event::{Format, IN_USE, IN_USE_AT};
use super::gtid::GtidSet;
use super::index::{Index, LogFile, State, is_plain};
use super::logs::{Log, Reading};
use super::pulse::Pulse;
use super::source::follows;
use super::summary::{Stop, Summary};
use super::walk::{Event, Step, Walker};
use crate::dump::Compression;
use crate::fault::{Fault, Kind};
use crate::store::{Destination, Hasher, Sha256, SshOptions};
use crate::sys::durable;
use crate::sys::lockfile::{Attempt, LockFile};

const INDEX: &str = "index.json";
const LOCK: &str = ".lock";
const PULSE: &str = "pulse.json";
/// How the name of a file ends that the server was writing to when last looked at.
pub(super) const OPEN: &str = ".open";

/// The directory of an archive.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
    /// The node on which that is; none on this host.
    node: Option<Node>,
}

impl Home {
    /// The one at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), node: None }
    }

    /// The one at `destination`.
    pub fn at(destination: &Destination, ssh: &SshOptions) -> Self {
        let node = destination.is_remote().then(|| Node::new(destination, ssh));
        Self { path: destination.path().to_owned(), node }
    }

    /// The node on which it is; none where it is on this host.
    pub(super) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// What is to be said where an archive that was there is not: below a mount point that lost its file system a new
    /// one would begin. Another node is asked.
    pub(super) fn missing(&self) -> anyhow::Result<Option<Fault>> {
        let is_there = match &self.node {
            Some(node) => look(node)?.archive,
            None => self.is_there(),
        };
        if is_there {
            return Ok(None);
        }
        let message = format!("there is no archive in {self} any more");
        let hint = "is its file system mounted? where it was removed on purpose --new-archive begins another one";
        Ok(Some(Fault::new(Kind::Refused, message).hint(hint)))
    }

    /// Whether there is an archive in this host's directory. A lost index is no lost archive.
    pub(super) fn is_there(&self) -> bool {
        let is_timeline = |id: &String| self.timeline(id).is_dir();
        !self.read_index().is_ok_and(|index| index.is_none())
            || names(&self.path).is_ok_and(|names| names.iter().any(is_timeline))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The claim to be the only one that writes here.
    pub fn lock(&self) -> anyhow::Result<LockFile> {
        match LockFile::try_lock(&self.path.join(LOCK))? {
            Attempt::Held(mut lock) => {
                lock.describe(&format!("process {}", std::process::id()))?;
                Ok(lock)
            }
            Attempt::Busy(holder) => {
                let message = format!("the archive {} is held by {}", self.path.display(), holder.trim());
                Err(Fault::new(Kind::Busy, message).hint("a `binlog stream` at work needs no `binlog ship`").into())
            }
        }
    }

    /// Removes what a writer left that was killed: files that have no name yet.
    pub(super) fn tidy(&self) -> anyhow::Result<()> {
        let timelines = names(&self.path)?.into_iter().map(|id| self.timeline(&id)).filter(|path| path.is_dir());
        for directory in timelines.chain([self.path.clone()]) {
            for entry in directory.read_dir().with_context(|| format!("cannot look into {}", directory.display()))? {
                let path = entry?.path();
                if path.file_name().is_some_and(|name| name.as_bytes().starts_with(durable::UNFINISHED.as_bytes())) {
                    durable::remove_file(&path)?;
                }
            }
        }
        Ok(())
    }

    /// The index, without what was removed; none where there is none.
    pub fn read_index(&self) -> anyhow::Result<Option<Index>> {
        let Some(bytes) = self.bytes(INDEX)? else { return Ok(None) };
        let mut index = Index::decode(&bytes).with_context(|| format!("{self}/{INDEX}"))?;
        self.expired().prune(&mut index);
        Ok(Some(index))
    }

    /// All of a file; none where there is none.
    pub(super) fn bytes(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let (path, mut bytes) = (self.path.join(name), Vec::new());
        let read = self.stored(&path).and_then(|mut file| Ok(file.read_to_end(&mut bytes)?));
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// A file as it is stored.
    fn stored(&self, path: &Path) -> anyhow::Result<Box<dyn Read + Send>> {
        match &self.node {
            Some(node) => Ok(Box::new(fetch(node, path)?)),
            None => Ok(Box::new(File::open(path)?)),
        }
    }

    /// The same as it was packed.
    fn unpacked(&self, path: &Path, compression: Compression) -> anyhow::Result<Box<dyn Read + Send>> {
        let stored = self.stored(path).with_context(|| format!("cannot open {}", path.display()))?;
        unpack(stored, compression).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Replaces the index, durably, without what was removed meanwhile.
    pub fn write_index(&self, index: &Index) -> anyhow::Result<()> {
        let mut index = index.clone();
        self.expired().prune(&mut index);
        durable::write(&self.path.join(INDEX), &index.encode()?)
    }

    /// What the last pass came to; none where nobody knows.
    pub fn read_pulse(&self) -> anyhow::Result<Option<Pulse>> {
        let Some(bytes) = self.bytes(PULSE)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{self}/{PULSE} is damaged"))
    }

    /// Replaces it.
    pub(super) fn write_pulse(&self, pulse: &Pulse) -> anyhow::Result<()> {
        durable::write(&self.path.join(PULSE), &serde_json::to_vec(pulse)?)
    }

    /// The directory of a timeline.
    pub fn timeline(&self, id: &str) -> PathBuf {
        self.path.join(id)
    }

    /// Where the file is while the server writes to it.
    pub fn open_path(&self, timeline: &str, name: &str) -> PathBuf {
        self.timeline(timeline).join(format!("{name}{OPEN}"))
    }

    /// Where the file is afterwards.
    pub fn closed_path(&self, timeline: &str, name: &str, compression: Compression) -> PathBuf {
        self.timeline(timeline).join(format!("{name}{}", compression.ending()))
    }

    /// The file's bytes as the server wrote them; of an open one also where it was closed since `file` was read.
    pub fn read(&self, timeline: &str, file: &LogFile) -> anyhow::Result<Box<dyn Read + Send>> {
        let closed = || self.unpacked(&self.closed_path(timeline, &file.name, file.compression), file.compression);
        if file.state != State::Open {
            return closed();
        }
        match self.unpacked(&self.open_path(timeline, &file.name), Compression::None) {
            Err(error) if is_missing(&error) => closed().map_err(|_| error),
            open => open,
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{}", node.destination),
            None => write!(f, "{}", self.path.display()),
        }
    }
}

/// The names in a directory that could be ours, in order.
pub(super) fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let entries = directory.read_dir().with_context(|| format!("cannot look into {}", directory.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().to_str().filter(|name| is_plain(name)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Whether what was to be read is not there.
pub(super) fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// What the destination did not take.
pub(super) fn cannot(what: &str, path: &Path, error: io::Error) -> anyhow::Error {
    let fault = Fault::new(Kind::Copy, format!("cannot {what} {}", path.display())).caused_by(error);
    fault.hint("look at the destination: its room, its disk, whether it is mounted").into()
}

/// The bytes of a stored file as they were packed.
pub(super) fn unpacked(path: &Path, compression: Compression) -> anyhow::Result<Box<dyn Read + Send>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    unpack(file, compression).with_context(|| format!("cannot read {}", path.display()))
}

fn unpack(packed: impl Read + Send + 'static, compression: Compression) -> io::Result<Box<dyn Read + Send>> {
    compression.unpack(BufReader::with_capacity(256 << 10, packed))
}

/// What a file holds, its digest, and whether it has the in-use flag. Anything but whole events is an error.
pub(super) fn examine(from: impl Read) -> anyhow::Result<(Summary, Sha256, bool)> {
    examine_each(from, |_| {})
}

/// The same, and `each` sees every event.
pub(super) fn examine_each(from: impl Read, each: impl FnMut(&Event)) -> anyhow::Result<(Summary, Sha256, bool)> {
    let mut digesting = Digesting { from, hasher: Hasher::default(), read: 0, in_use: false };
    let (summary, stop) = Summary::walk(BufReader::with_capacity(256 << 10, &mut digesting), each)?;
    match stop {
        Stop::End => Ok((summary, digesting.hasher.finish(), digesting.in_use)),
        Stop::Torn(at) => anyhow::bail!("it ends within the event at {at}"),
        Stop::Broken(at, why) => anyhow::bail!("at {at} {why}"),
    }
}

/// Takes the digest of what is read.
struct Digesting<R> {
    from: R,
    hasher: Hasher,
    read: u64,
    in_use: bool,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        let read = buffer.get(..count).unwrap_or_default();
        self.hasher.update(read);
        let flags = IN_USE_AT.checked_sub(self.read).and_then(|at| read.get(usize::try_from(at).ok()?));
        self.in_use |= flags.is_some_and(|flags| flags & IN_USE != 0);
        self.read += count as u64;
        Ok(count)
    }
}

/// The time and the fingerprint of a server's file, by its first event.
pub(super) fn beginning(log: &dyn Log) -> anyhow::Result<Option<(Timestamp, Sha256)>> {
    let mut walker = Walker::new(BufReader::new(Reading { log, at: 0 }));
    let Step::Event(event) = walker.step()? else { return Ok(None) };
    let time = Timestamp::from_second(event.header.timestamp.into())?;
    Ok(walker.fingerprint().map(|fingerprint| (time, fingerprint)))
}

/// Why a file to which nobody writes any more is not all that it was. After a crash MariaDB leaves the in-use flag
/// where it is; MySQL takes it away, so that its files don't tell.
pub(super) fn cut_short(summary: &Summary, in_use: bool) -> Option<String> {
    let is_mariadb = summary.format.as_ref().is_some_and(Format::is_mariadb);
    let cut = is_mariadb && !in_use && summary.ending.is_none();
    cut.then(|| format!("it ends at {} without the mark of its end", summary.end))
}

/// What is missing between a file and the one after it.
pub(super) fn between(last: &LogFile, next: &LogFile) -> Option<String> {
    if let Some(damage) = &last.damage {
        return Some(format!("{} is damaged: {damage}", last.name));
    }
    if !follows(&last.name, &next.name) {
        return Some(format!("what came between {} and {} is not here", last.name, next.name));
    }
    let before = next.before()?;
    let missing = last.after().is_some_and(|after| !after.has_all(&before));
    missing.then(|| format!("{} begins after transactions that {} does not have", next.name, last.name))
}

impl LogFile {
    /// One of which nothing is known yet.
    pub(super) fn opened(name: &str, compression: Compression) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Open,
            compression,
            size: 0,
            sha256: None,
            fingerprint: None,
            first_event: None,
            last_event: None,
            first_gtid: None,
            last_gtid: None,
            gtids_before: None,
            gtids_after: None,
            previous: None,
            gap: None,
            damage: None,
            notes: Vec::new(),
        }
    }

    /// Takes over what was found in it.
    pub(super) fn describe(&mut self, summary: &Summary) {
        self.size = summary.end;
        self.fingerprint = summary.fingerprint;
        (self.first_event, self.last_event) = summary.times.unzip();
        self.first_gtid = summary.named.as_ref().map(|(first, _)| first.to_string());
        self.last_gtid = summary.named.as_ref().map(|(_, last)| last.to_string());
        self.gtids_before = summary.before.as_ref().map(GtidSet::to_string);
        self.gtids_after = summary.before.as_ref().map(|_| summary.after.to_string());
    }
}

/// What the whole events of an open file say; none where nothing was copied yet.
pub(super) fn open_summary(home: &Home, timeline: &str, file: &LogFile) -> anyhow::Result<Summary> {
    match open_walk(home, timeline, file)? {
        (_, Stop::Broken(at, why)) => anyhow::bail!("at {at} {why}"),
        (summary, _) => Ok(summary),
    }
}

/// The same, and where it ends.
pub(super) fn open_walk(home: &Home, timeline: &str, file: &LogFile) -> anyhow::Result<(Summary, Stop)> {
    match home.read(timeline, file) {
        Err(_) if file.size == 0 => Ok((Summary::default(), Stop::End)),
        from => Ok(Summary::walk(from?, |_| {})?),
    }
}
