//! The archive's directory: an index, a directory for each timeline, in it the files.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;

use super::event::{Format, IN_USE, IN_USE_AT};
use super::gtid::GtidSet;
use super::index::{Identity, Index, LogFile, State, Timeline, is_plain};
use super::pulse::Pulse;
use super::source::{follows, number};
use super::summary::{Stop, Summary};
use super::walk::{Step, Walker};
use crate::dump::Compression;
use crate::fault::{Fault, Kind};
use crate::server::Flavour;
use crate::store::{Hasher, Sha256};
use crate::sys::durable;
use crate::sys::lockfile::{Attempt, LockFile};

const INDEX: &str = "index.json";
const LOCK: &str = ".lock";
const PULSE: &str = "pulse.json";
/// How the name of a file ends that the server was writing to when last looked at.
const OPEN: &str = ".open";

/// The directory of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// The one at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
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

    /// The index; none where there is none.
    pub fn read_index(&self) -> anyhow::Result<Option<Index>> {
        let path = self.path.join(INDEX);
        match std::fs::read(&path) {
            Ok(bytes) => Index::decode(&bytes).map(Some).with_context(|| format!("{}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Replaces the index, durably.
    pub fn write_index(&self, index: &Index) -> anyhow::Result<()> {
        durable::write(&self.path.join(INDEX), &index.encode()?)
    }

    /// What the last pass came to; none where nobody knows.
    pub fn read_pulse(&self) -> anyhow::Result<Option<Pulse>> {
        let path = self.path.join(PULSE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
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
        let closed = || unpacked(&self.closed_path(timeline, &file.name, file.compression), file.compression);
        if file.state != State::Open {
            return closed();
        }
        match unpacked(&self.open_path(timeline, &file.name), Compression::None) {
            Err(error) if is_missing(&error) => closed().map_err(|_| error),
            open => open,
        }
    }

    /// What the files themselves say, where the index is lost. Their digests are then those of what is there now.
    pub fn rebuild(&self) -> anyhow::Result<Index> {
        let mut index = Index::empty();
        for id in names(&self.path)?.into_iter().filter(|id| self.timeline(id).is_dir()) {
            let Some((_, key)) = id.split_once('-') else { continue };
            // What follows a point is the number of a second one in a second.
            let key = key.split('.').next().unwrap_or(key);
            let mut timeline = Timeline {
                id: id.clone(),
                server: Identity { key: key.to_owned(), flavour: Flavour::MySql, server_id: 0 },
                because: (!index.timelines.is_empty()).then(|| "the index was rebuilt from the files".to_owned()),
                files: Vec::new(),
            };
            self.rebuild_timeline(&mut timeline)?;
            if !timeline.files.is_empty() {
                index.timelines.push(timeline);
            }
        }
        Ok(index)
    }

    fn rebuild_timeline(&self, timeline: &mut Timeline) -> anyhow::Result<()> {
        let stored = names(&self.timeline(&timeline.id))?;
        let mut found: Vec<(String, Option<Compression>)> =
            stored.iter().filter_map(|name| kind_of_file(name)).collect();
        // Packed before open, where a closing was cut short; then by number.
        found.sort_by_key(|(name, packed)| (number(name).map(|(_, number)| number), packed.is_none()));
        found.dedup_by(|next, first| next.0 == first.0);
        // A gap behind it is in the lost index alone.
        let mut may_lack = false;
        for (name, packed) in found {
            let mut file = LogFile::opened(&name, packed.unwrap_or_default());
            file.state = if packed.is_some() { State::Closed } else { State::Open };
            let summary = self.rebuild_file(&timeline.id, &mut file)?;
            if let Some(format) = &summary.format {
                timeline.server.flavour = if format.is_mariadb() { Flavour::MariaDb } else { Flavour::MySql };
                timeline.server.server_id = summary.server_id;
            }
            if let Some(last) = timeline.files.last() {
                let unsure = || may_lack.then(|| format!("{} has no mark of its end", last.name));
                file.gap = between(last, &file).or_else(unsure);
                file.previous = file.gap.is_none().then(|| last.name.clone());
            }
            may_lack = lacks_all_marks(&summary);
            timeline.files.push(file);
        }
        Ok(())
    }
}

impl Home {
    /// Describes `file` by what is in it.
    fn rebuild_file(&self, timeline: &str, file: &mut LogFile) -> anyhow::Result<Summary> {
        if file.state == State::Open {
            let summary = open_summary(self, timeline, file)?;
            file.describe(&summary);
            return Ok(summary);
        }
        match self.read(timeline, file).and_then(examine) {
            Ok((summary, digest, in_use)) => {
                file.describe(&summary);
                file.sha256 = Some(digest);
                file.damage = cut_short(&summary, in_use).or_else(|| summary.lost());
                Ok(summary)
            }
            Err(error) => {
                (file.state, file.damage) = (State::Damaged, Some(format!("as it is stored, {error:#}")));
                Ok(Summary::default())
            }
        }
    }
}

/// The names in a directory that could be ours, in order.
fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let entries = directory.read_dir().with_context(|| format!("cannot look into {}", directory.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().to_str().filter(|name| is_plain(name)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The server's name for a stored file, and how it is packed where it is closed.
fn kind_of_file(stored: &str) -> Option<(String, Option<Compression>)> {
    let all = [Compression::Zstd, Compression::Gzip, Compression::None];
    let packed = all.into_iter().filter_map(|c| Some((stored.strip_suffix(c.ending())?, Some(c))));
    let open = stored.strip_suffix(OPEN).map(|name| (name, None));
    let (name, packed) = open.into_iter().chain(packed).find(|(name, _)| number(name).is_some())?;
    Some((name.to_owned(), packed))
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
    compression
        .unpack(BufReader::with_capacity(256 << 10, file))
        .with_context(|| format!("cannot read {}", path.display()))
}

/// What a file holds, its digest, and whether it has the in-use flag. Anything but whole events is an error.
pub(super) fn examine(from: impl Read) -> anyhow::Result<(Summary, Sha256, bool)> {
    let mut digesting = Digesting { from, hasher: Hasher::default(), read: 0, in_use: false };
    let (summary, stop) = Summary::walk(BufReader::with_capacity(256 << 10, &mut digesting), |_| {})?;
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
pub(super) fn beginning(file: &File) -> anyhow::Result<Option<(Timestamp, Sha256)>> {
    let mut file = file;
    file.rewind()?;
    let mut walker = Walker::new(BufReader::new(file));
    let Step::Event(event) = walker.step()? else { return Ok(None) };
    let time = Timestamp::from_second(event.header.timestamp.into())?;
    Ok(walker.fingerprint().map(|fingerprint| (time, fingerprint)))
}

/// Whether a file has the in-use flag.
pub(super) fn is_in_use(file: &File) -> io::Result<bool> {
    let mut flags = [0];
    file.read_exact_at(&mut flags, IN_USE_AT)?;
    Ok(flags.iter().any(|flags| flags & IN_USE != 0))
}

/// Why a file to which nobody writes any more is not all that it was. After a crash MariaDB leaves the in-use flag
/// where it is; MySQL takes it away, so that its files don't tell.
pub(super) fn cut_short(summary: &Summary, in_use: bool) -> Option<String> {
    let is_mariadb = summary.format.as_ref().is_some_and(Format::is_mariadb);
    let cut = is_mariadb && !in_use && summary.ending.is_none();
    cut.then(|| format!("it ends at {} without the mark of its end", summary.end))
}

/// Whether neither an end nor GTIDs tell that the next file goes on where this one ends. After a crash MariaDB's
/// in-use flag does ([`cut_short`]).
fn lacks_all_marks(summary: &Summary) -> bool {
    let is_mariadb = summary.format.as_ref().is_some_and(Format::is_mariadb);
    !is_mariadb && !summary.has_ended() && summary.named.is_none()
}

/// What is missing between a file and the one after it.
pub(super) fn between(last: &LogFile, next: &LogFile) -> Option<String> {
    if let Some(damage) = &last.damage {
        return Some(format!("{} is damaged: {damage}", last.name));
    }
    if !follows(&last.name, &next.name) {
        return Some(format!("what came between {} and {} is not here", last.name, next.name));
    }
    let before = next.gtids_before.as_deref().and_then(|text| text.parse().ok())?;
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
    let from = match home.read(timeline, file) {
        Err(_) if file.size == 0 => return Ok(Summary::default()),
        from => from?,
    };
    match Summary::walk(from, |_| {})? {
        (_, Stop::Broken(at, why)) => anyhow::bail!("at {at} {why}"),
        (summary, _) => Ok(summary),
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Kind as Event;
    use super::super::summary::tests::{beginning, event};
    use super::*;

    #[test]
    fn a_rebuilt_index_has_a_gap_where_nothing_tells_that_there_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        std::fs::create_dir(home.timeline("1-a")).unwrap();
        let rebuilt = |ending: &[u8]| {
            for (name, end) in [("b.000001", ending), ("b.000002", b"")] {
                let path = home.closed_path("1-a", name, Compression::None);
                durable::write(&path, &[&beginning()[..], end].concat()).unwrap();
            }
            home.rebuild().unwrap().timelines.remove(0).files.remove(1)
        };
        assert!(rebuilt(b"").gap.unwrap().contains("b.000001 has no mark of its end"));
        assert_eq!(rebuilt(&event(Event::STOP, 1000, b"")).gap, None);
        let lost = rebuilt(&[event(Event::INCIDENT, 1000, &[1, 0, 0]), event(Event::STOP, 1000, b"")].concat());
        assert!(lost.gap.unwrap().contains("lost events"));
    }
}
