//! One file of the server on its way into the archive: whole events only, from where the archive ends.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context as _;

use super::event::{IN_USE, IN_USE_AT};
use super::home::cannot;
use super::logs::{Log, Logs, Reading, read_exact_at};
use super::source::Listed;
use super::summary::{Stop, Summary};
use super::walk::{Step, Walker};
use crate::sys::cancel::Cancel;
use crate::sys::durable;
use crate::sys::failpoint::pass;
use crate::sys::units::Bytes;

/// So much is walked over before it is written.
const BATCH: u64 = 8 << 20;
const PIECE: usize = 1 << 20;
/// So much before the archive's end is compared with the server's file before the archive goes on.
const COMPARED: u64 = 64 << 10;

/// A file that is open at both ends.
#[derive(Debug)]
pub(super) struct Copying {
    /// The server's name for it.
    pub(super) name: String,
    /// What is in the archive.
    pub(super) summary: Summary,
    /// The server's file.
    pub(super) from: Rc<dyn Log>,
    path: PathBuf,
    to: File,
    written: bool,
}

/// What came of taking up a file again.
#[derive(Debug)]
pub(super) enum Taken {
    /// It goes on.
    Up(Box<Copying>, Option<String>),
    /// The server has another file of that name.
    Another,
    /// The server has none.
    Gone,
}

impl Copying {
    /// Takes up `listed` where the stored file at `path` ends; that one is made where it is missing.
    ///
    /// A server that crashed may have lost events that are archived already: those are put aside.
    pub(super) fn take_up(logs: &dyn Logs, listed: &Listed, path: &Path) -> anyhow::Result<Taken> {
        let Some(from) = logs.open(listed)? else { return Ok(Taken::Gone) };
        let to = open_stored(path)?;
        let mut summary = stored(&to, u64::MAX)?;
        let mut note = None;
        let there = from.length()?;
        if !have_same_end(&*from, &to, summary.end.min(there))? {
            return Ok(Taken::Another);
        }
        if there < summary.end {
            let kept = put_aside(&to, path, there, summary.end)?;
            let lost = Bytes(summary.end - there);
            note = Some(format!(
                "{}: the server lost {lost} behind offset {there} that were archived; they are kept in {}",
                listed.name,
                kept.display()
            ));
            summary = stored(&to, there)?;
        }
        to.set_len(summary.end)?;
        let name = listed.name.clone();
        let copying = Self { name, summary, from, path: path.to_owned(), to, written: true };
        Ok(Taken::Up(Box::new(copying), note))
    }

    /// Whether the server still calls this file by the name of `listed`, and has not cut it.
    pub(super) fn is_still(&self, listed: &Listed) -> anyhow::Result<bool> {
        if listed.name != self.name {
            return Ok(false);
        }
        Ok(self.from.still(listed)?.is_some_and(|length| length >= self.summary.end))
    }

    /// Copies the whole events that are there and not here; how much, and why there are no more.
    pub(super) fn copy(&mut self, cancel: &Cancel) -> anyhow::Result<(u64, Stop)> {
        let begun = self.summary.end;
        let from = Rc::clone(&self.from);
        from.renew();
        let mut walker = self.walker(&*from);
        loop {
            cancel.check()?;
            let mut next = self.summary.clone();
            let stop = batch(&mut walker, &mut next).with_context(|| format!("cannot read {}", self.name))?;
            self.write(&next)?;
            self.summary = next;
            if let Some(stop) = stop {
                return Ok((self.summary.end - begun, stop));
            }
        }
    }

    fn walker<'a>(&self, from: &'a dyn Log) -> Walker<BufReader<Reading<'a>>> {
        let from = BufReader::with_capacity(PIECE / 4, Reading { log: from, at: self.summary.end });
        match (&self.summary.format, self.summary.fingerprint) {
            (Some(format), Some(fingerprint)) => Walker::resumed(from, self.summary.end, format.clone(), fingerprint),
            _ => Walker::new(from),
        }
    }

    /// Writes what lies between what is here and `next`.
    fn write(&mut self, next: &Summary) -> anyhow::Result<()> {
        let (mut at, mut piece) = (self.summary.end, Vec::new());
        while at < next.end {
            piece.resize(usize::try_from(next.end - at).unwrap_or(PIECE).min(PIECE), 0);
            read_exact_at(&*self.from, &mut piece, at).with_context(|| format!("cannot read {}", self.name))?;
            pass(|| "write archive".to_owned())
                .and_then(|()| self.to.write_all_at(&piece, at))
                .map_err(|error| cannot("write", &self.path, error))?;
            self.written = true;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Makes durable what was copied.
    pub(super) fn sync(&mut self) -> anyhow::Result<()> {
        if self.written {
            pass(|| "sync archive".to_owned())
                .and_then(|()| self.to.sync_data())
                .map_err(|error| cannot("sync", &self.path, error))?;
            self.written = false;
        }
        Ok(())
    }

    /// Gives the stored file the in-use flag that the server's file has, or will have in a moment.
    pub(super) fn settle_in_use(&mut self, in_use: bool) -> anyhow::Result<()> {
        let mut flags = [0];
        self.to.read_exact_at(&mut flags, IN_USE_AT)?;
        let flags = flags.map(|flags| if in_use { flags | IN_USE } else { flags & !IN_USE });
        self.to.write_all_at(&flags, IN_USE_AT)?;
        self.written = true;
        self.sync()
    }
}

/// Takes in the events of about a batch; why it ended before.
fn batch<R: Read>(walker: &mut Walker<R>, summary: &mut Summary) -> io::Result<Option<Stop>> {
    let begun = summary.end;
    while summary.end - begun < BATCH {
        match walker.step()? {
            Step::Event(event) => summary.add(&event, walker),
            Step::End => return Ok(Some(Stop::End)),
            Step::Torn(at) => return Ok(Some(Stop::Torn(at))),
            Step::Broken(at, why) => return Ok(Some(Stop::Broken(at, why))),
        }
    }
    Ok(None)
}

/// What the whole events of a stored file say; what follows them is cut off, and a missing file is empty.
pub(super) fn settle(path: &Path) -> anyhow::Result<Summary> {
    let file = open_stored(path)?;
    let summary = stored(&file, u64::MAX)?;
    file.set_len(summary.end)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot cut {}", path.display()))?;
    Ok(summary)
}

fn open_stored(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    pass(|| "open archive file".to_owned())
        .and_then(|()| options.open(path))
        .map_err(|error| cannot("open", path, error))
}

/// What the whole events of the first `length` bytes of a stored file say.
fn stored(file: &File, length: u64) -> anyhow::Result<Summary> {
    let mut file = file;
    file.rewind()?;
    let (summary, _) = Summary::walk(BufReader::with_capacity(PIECE / 4, file.take(length)), |_| {})?;
    Ok(summary)
}

/// Whether both files have the same bytes before `end`, as far as they are compared, but for the in-use flag.
fn have_same_end(one: &dyn Log, other: &File, end: u64) -> anyhow::Result<bool> {
    let begin = end.saturating_sub(COMPARED);
    Ok(piece(one, begin, end)? == piece(other, begin, end)?)
}

/// Whether a file begins with what `stored` does, as far as that is compared, but for the in-use flag.
pub(super) fn begins_like(file: &dyn Log, stored: impl Read, length: u64) -> anyhow::Result<bool> {
    let mut begin = Vec::new();
    stored.take(length.min(COMPARED)).read_to_end(&mut begin)?;
    clear_in_use(&mut begin, 0);
    Ok(piece(file, 0, begin.len() as u64)? == begin)
}

fn piece(file: &dyn Log, begin: u64, end: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(end - begin)?];
    read_exact_at(file, &mut bytes, begin)?;
    clear_in_use(&mut bytes, begin);
    Ok(bytes)
}

/// In `bytes` of a file from the offset `begin` on.
fn clear_in_use(bytes: &mut [u8], begin: u64) {
    let flags = IN_USE_AT.checked_sub(begin).and_then(|at| bytes.get_mut(usize::try_from(at).ok()?));
    if let Some(flags) = flags {
        *flags &= !IN_USE;
    }
}

/// Keeps the bytes between `begin` and `end` under a name of their own.
fn put_aside(file: &File, path: &Path, begin: u64, end: u64) -> anyhow::Result<PathBuf> {
    let mut name = path.with_extension("").into_os_string();
    name.push(format!(".cut-{begin}-{}", crate::sys::clock::compact(crate::sys::clock::now())));
    let kept = PathBuf::from(name);
    let mut bytes = vec![0; usize::try_from(end - begin)?];
    file.read_exact_at(&mut bytes, begin)?;
    durable::write(&kept, &bytes)?;
    Ok(kept)
}
