//! From where the archive ends to where the server is: what is new is copied, what is missing is named.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use super::closing;
use super::copying::{self, Copying, Taken};
use super::home::{self, Home};
use super::index::{Identity, Index, LogFile, State, Timeline};
use super::logs::{Logs, is_in_use};
use super::passed::Passed;
use super::place::{Next, next};
use super::pulse::Pulse;
use super::source::Listed;
use super::summary::Stop;
use crate::dump::Compression;
use crate::server::BinlogPosition;
use crate::sys::cancel::Cancel;
use crate::sys::lockfile::LockFile;
use crate::sys::{clock, durable};

/// For so long the server may take to write an event.
const SETTLES: Duration = Duration::from_millis(200);

/// Writes an archive; the only one that does.
#[derive(Debug)]
pub struct Archiver<'a> {
    home: Home,
    logs: Box<dyn Logs>,
    identity: Identity,
    compression: Compression,
    index: Index,
    current: Option<Box<Copying>>,
    /// Whether the server was asked who it is since the last look at its files.
    fresh: bool,
    /// Whether more was copied than the index tells.
    untold: bool,
    /// When the last pass began that went through.
    passed_at: Option<Timestamp>,
    cancel: &'a Cancel,
    _lock: LockFile,
}

/// What came of a file of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// What is new of it was copied, or can be.
    Copied,
    /// It is not there.
    Gone,
    /// It is not the one of which the archive has the beginning.
    Another,
}

impl<'a> Archiver<'a> {
    /// Claims the archive in `home`, which is made where it is missing.
    pub(super) fn open(
        home: &Home,
        (identity, logs): (Identity, Box<dyn Logs>),
        compression: Compression,
        cancel: &'a Cancel,
    ) -> anyhow::Result<(Self, Passed)> {
        durable::create_private_directory(home.path())?;
        let lock = home.lock()?;
        home.tidy()?;
        let mut passed = Passed::default();
        let index = match home.read_index() {
            Ok(Some(index)) => index,
            Ok(None) => home.rebuild()?,
            // A newer format is nobody's damage, and what can't be read now may be whole.
            Err(error) if crate::fault::kind_of(&error).is_some() || error.is::<std::io::Error>() => return Err(error),
            Err(error) => {
                passed.notes.push(format!("{error:#}; it is rebuilt from the files"));
                home.rebuild()?
            }
        };
        let home = home.clone();
        Ok((
            Self {
                home,
                logs,
                identity,
                compression,
                index,
                current: None,
                fresh: true,
                untold: false,
                passed_at: None,
                cancel,
                _lock: lock,
            },
            passed,
        ))
    }

    /// What the archive holds.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Where the archive ends.
    pub fn end(&self) -> Option<BinlogPosition> {
        let file = self.index.timelines.last()?.files.last()?;
        Some(BinlogPosition { file: file.name.clone(), offset: file.size })
    }

    /// Whether the server writes no more to the file with which the archive ends.
    pub(super) fn has_ended(&self) -> bool {
        self.current.as_ref().is_none_or(|current| current.summary.has_ended())
    }

    /// Whether the server's file with which the archive ends is damaged.
    pub(super) fn is_damaged(&self) -> bool {
        self.index.timelines.last().and_then(|timeline| timeline.files.last()).is_some_and(|file| file.damage.is_some())
    }

    /// Copies everything that is whole and new, durably.
    pub fn pass(&mut self) -> anyhow::Result<Passed> {
        let mut passed = Passed::default();
        match self.bring_up(&mut passed) {
            Ok(()) => Ok(passed),
            Err(error) => Err(passed.with_alarms(error)),
        }
    }

    fn bring_up(&mut self, passed: &mut Passed) -> anyhow::Result<()> {
        let begun = clock::now();
        // What was purged while it was about to be copied is named by the second look at the list.
        if !self.look(false, passed)? {
            self.look(true, passed)?;
        }
        if let Some(current) = &mut self.current {
            current.sync()?;
        }
        self.fresh = false;
        self.untold |= passed.copied > 0;
        self.passed_at = Some(begun);
        Ok(())
    }

    /// Says where the archive stands after a pass, and whether another one follows at once.
    pub fn tell(&mut self, streams: bool) -> anyhow::Result<()> {
        if self.untold || !streams {
            self.save()?;
        }
        let Some(at) = self.passed_at else { return Ok(()) };
        self.home.write_pulse(&Pulse { at, streams, end: self.end() })
    }

    /// Makes the index as new as the files, which are durable before it tells of them.
    pub fn save(&mut self) -> anyhow::Result<()> {
        if let Some(current) = &mut self.current {
            current.sync()?;
        }
        self.home.write_index(&self.index)?;
        self.untold = false;
        Ok(())
    }

    /// Copies what the server lists; false where a file was gone when its turn came, unless that is passed over.
    fn look(&mut self, pass_over: bool, passed: &mut Passed) -> anyhow::Result<bool> {
        let listed = self.logs.files(self.cancel)?;
        self.drain(&listed, passed)?;
        let begin = self.place(&listed, passed)?;
        for (n, file) in listed.iter().enumerate().skip(begin) {
            self.cancel.check()?;
            match self.take(file, n + 1 == listed.len(), passed)? {
                Outcome::Copied => {}
                Outcome::Another => {
                    let why = format!("the server has another {} than the archived one", file.name);
                    self.restart(&listed, &why, passed)?;
                    return Ok(false);
                }
                Outcome::Gone if !pass_over => return Ok(false),
                Outcome::Gone => {
                    passed.alarms.push(format!("{} is in the server's list, and is not there", file.path.display()));
                    self.give_up()?;
                }
            }
        }
        Ok(true)
    }

    /// Takes the rest of a file that the server has no more: an open one can be read until it is closed.
    fn drain(&mut self, listed: &[Listed], passed: &mut Passed) -> anyhow::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        for file in listed {
            if current.is_still(file)? {
                return Ok(());
            }
        }
        let (copied, _) = current.copy(self.cancel)?;
        passed.copied += copied;
        let summary = current.summary.clone();
        let name = current.name.clone();
        self.last_file()?.describe(&summary);
        if let Some(lost) = summary.lost() {
            self.judge(Path::new(&name), Some(lost), passed)?;
        }
        if summary.has_ended() { self.close(passed) } else { Ok(()) }
    }

    /// Where to go on; begins a timeline where the archive can't go on.
    fn place(&mut self, listed: &[Listed], passed: &mut Passed) -> anyhow::Result<usize> {
        let Some(timeline) = self.index.timelines.last() else {
            self.begin_timeline(listed, None)?;
            return Ok(0);
        };
        let last = timeline.files.last().map(|file| file.name.clone()).unwrap_or_default();
        let next = if timeline.server.key == self.identity.key {
            next(&self.home, &*self.logs, timeline, listed)?
        } else {
            let (then, now) = (&timeline.server.key, &self.identity.key);
            Next::Restarted(format!("the server is another one: {now}, not {then}"))
        };
        let (at, why) = match next {
            Next::Go(at) => {
                // Rotated away, and purged since: nothing of it is missing.
                if listed.iter().all(|listed| listed.name != last) {
                    self.seal()?;
                }
                return Ok(at);
            }
            Next::Gap(at, why) => (at, why),
            Next::Restarted(why) => return self.restart(listed, &why, passed),
        };
        self.seal()?;
        self.add_file(listed.get(at), Some(why.clone()))?;
        passed.alarms.push(why);
        Ok(at)
    }

    /// Begins a timeline because of `why`.
    fn restart(&mut self, listed: &[Listed], why: &str, passed: &mut Passed) -> anyhow::Result<usize> {
        anyhow::ensure!(self.fresh, "{why}; the server is asked who it is");
        self.seal()?;
        self.begin_timeline(listed, Some(why.to_owned()))?;
        passed.alarms.push(format!("{why}; a new timeline begins, the old one is kept"));
        Ok(0)
    }

    fn begin_timeline(&mut self, listed: &[Listed], because: Option<String>) -> anyhow::Result<()> {
        let first = listed.first().context("the server lists no binary log")?;
        let begun = self.logs.open(first)?.map(|log| home::beginning(&*log)).transpose()?.flatten();
        let begun = begun.map_or_else(clock::now, |(time, _)| time);
        let plain = format!("{}-{}", clock::compact(begun), self.identity.key);
        // A server can be reset twice within a second; and what was removed is not to be removed again.
        let expired = self.home.read_expired()?;
        let mut names = (1..).map(|n| if n == 1 { plain.clone() } else { format!("{plain}.{n}") });
        let id = names.find(|id| !expired.knows(id) && !self.home.timeline(id).exists()).unwrap_or(plain.clone());
        durable::create_private_directory(&self.home.timeline(&id))?;
        durable::sync_directory(self.home.path())?;
        let server = self.identity.clone();
        self.index.timelines.push(Timeline { id, server, because, files: Vec::new() });
        self.save()
    }

    /// Adds a file to the last timeline, before anything of it is copied.
    fn add_file(&mut self, listed: Option<&Listed>, gap: Option<String>) -> anyhow::Result<()> {
        let listed = listed.context("the server lists no binary log")?;
        let mut file = LogFile::opened(&listed.name, self.compression);
        let timeline = self.timeline()?;
        if let Some(last) = timeline.files.last() {
            file.gap = gap.or_else(|| home::between(last, &file));
            file.previous = file.gap.is_none().then(|| last.name.clone());
        }
        timeline.files.push(file);
        self.save()
    }

    fn timeline(&mut self) -> anyhow::Result<&mut Timeline> {
        self.index.timelines.last_mut().context("the archive has no timeline")
    }

    fn last_file(&mut self) -> anyhow::Result<&mut LogFile> {
        self.timeline()?.files.last_mut().context("the timeline has no file")
    }

    /// Copies what is new of a file; closes it where the server writes to it no more.
    fn take(&mut self, listed: &Listed, is_last: bool, passed: &mut Passed) -> anyhow::Result<Outcome> {
        if self.timeline()?.files.last().is_none_or(|file| file.name != listed.name) {
            self.add_file(Some(listed), None)?;
        }
        match self.take_up(listed, passed)? {
            Outcome::Copied => {}
            none => return Ok(none),
        }
        let stop = self.copy(is_last, passed)?;
        let summary = self.current()?.summary.clone();
        self.last_file()?.describe(&summary);
        self.check_beginning(passed)?;
        let damage = match stop {
            Stop::End | Stop::Torn(_) if is_last => None,
            Stop::End => home::cut_short(&summary, self.is_in_use()?),
            Stop::Torn(at) => self.torn(at)?,
            Stop::Broken(at, why) => Some(format!("at {at} {why}")),
        };
        self.judge(&listed.path, damage.or_else(|| summary.lost()), passed)?;
        if !is_last {
            self.close(passed)?;
        }
        Ok(Outcome::Copied)
    }

    fn current(&mut self) -> anyhow::Result<&mut Copying> {
        self.current.as_deref_mut().context("no file is open")
    }

    fn copy(&mut self, is_last: bool, passed: &mut Passed) -> anyhow::Result<Stop> {
        let cancel = self.cancel;
        let (mut copied, mut stop) = self.current()?.copy(cancel)?;
        // What the server writes in this moment may be half there.
        if is_last && matches!(stop, Stop::Broken(..)) {
            cancel.sleep(SETTLES)?;
            let (more, again) = self.current()?.copy(cancel)?;
            (copied, stop) = (copied + more, again);
        }
        passed.copied += copied;
        Ok(stop)
    }

    /// Makes `listed` the current file, where that can be.
    fn take_up(&mut self, listed: &Listed, passed: &mut Passed) -> anyhow::Result<Outcome> {
        if let Some(current) = &self.current {
            if current.is_still(listed)? {
                return Ok(Outcome::Copied);
            }
            self.current = None;
        }
        let id = self.timeline()?.id.clone();
        let path = self.home.open_path(&id, &listed.name);
        match Copying::take_up(&*self.logs, listed, &path)? {
            Taken::Up(current, note) => {
                durable::sync_directory(path.parent().unwrap_or(self.home.path()))?;
                self.current = Some(current);
                self.last_file()?.notes.extend(note.clone());
                passed.notes.extend(note);
                Ok(Outcome::Copied)
            }
            Taken::Gone => Ok(Outcome::Gone),
            Taken::Another => Ok(Outcome::Another),
        }
    }

    /// Names what is missing between the current file and the one before it, as soon as its beginning is here.
    fn check_beginning(&mut self, passed: &mut Passed) -> anyhow::Result<()> {
        let [.., last, file] = self.timeline()?.files.as_mut_slice() else { return Ok(()) };
        if file.gap.is_some() || file.previous.is_none() {
            return Ok(());
        }
        let Some(why) = home::between(last, file) else { return Ok(()) };
        (file.gap, file.previous) = (Some(why.clone()), None);
        passed.alarms.push(why);
        self.save()
    }

    fn is_in_use(&mut self) -> anyhow::Result<bool> {
        let current = self.current()?;
        Ok(current.summary.end > 0 && is_in_use(&*current.from)?)
    }

    /// A crash tears the last event, of which then nothing was committed. The in-use flag tells a crash.
    fn torn(&mut self, at: u64) -> anyhow::Result<Option<String>> {
        if !self.is_in_use()? {
            return Ok(Some(format!("it ends within the event at {at}")));
        }
        let note = format!("a crash of the server tore the event at {at}, which is no part of it");
        let notes = &mut self.last_file()?.notes;
        if !notes.contains(&note) {
            notes.push(note);
        }
        Ok(None)
    }

    /// Notes a damage, and names it once.
    fn judge(&mut self, path: &Path, damage: Option<String>, passed: &mut Passed) -> anyhow::Result<()> {
        let file = self.last_file()?;
        if file.damage == damage {
            return Ok(());
        }
        let alarm = damage.as_ref().map(|damage| format!("{} is damaged: {damage}", path.display()));
        passed.alarms.extend(alarm);
        file.damage = damage;
        self.save()
    }

    /// Packs the current file. What follows a damaged one has a gap before it.
    fn close(&mut self, passed: &mut Passed) -> anyhow::Result<()> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        // Not even its beginning is a log's: there is nothing to keep.
        if current.summary.end == 0 {
            return self.seal();
        }
        let rotated = current.summary.is_rotated();
        current.settle_in_use(!rotated && is_in_use(&*current.from)?)?;
        self.pack(Some(&current))?;
        passed.closed.push(current.name.clone());
        Ok(())
    }

    /// Seals a file that is not there: unless all of it was archived, the window ends with it.
    fn give_up(&mut self) -> anyhow::Result<()> {
        let (id, file) = (self.timeline()?.id.clone(), self.last_file()?.name.clone());
        if !copying::settle(&self.home.open_path(&id, &file))?.has_ended() {
            self.last_file()?.damage = Some("its rest is gone".to_owned());
        }
        self.seal()
    }

    /// Packs the last file without the server's, of which there is no more.
    fn seal(&mut self) -> anyhow::Result<()> {
        self.current = None;
        let timeline = self.index.timelines.last_mut().context("the archive has no timeline")?;
        let Some(file) = timeline.files.last_mut().filter(|file| file.state == State::Open) else { return Ok(()) };
        let path = self.home.open_path(&timeline.id, &file.name);
        file.describe(&copying::settle(&path)?);
        if file.size > 0 {
            return self.pack(None);
        }
        timeline.files.pop();
        durable::remove_file(&path)
    }

    fn pack(&mut self, current: Option<&Copying>) -> anyhow::Result<()> {
        let (id, file) = (self.timeline()?.id.clone(), self.last_file()?.clone());
        let open = self.home.open_path(&id, &file.name);
        let closed = self.home.closed_path(&id, &file.name, file.compression);
        let digest = closing::close(&open, &closed, file.compression, current.map(|current| &*current.from))?;
        let file = self.last_file()?;
        file.sha256 = Some(digest);
        file.state = if file.damage.is_some() { State::Damaged } else { State::Closed };
        self.save()?;
        durable::remove_file(&open)
    }
}
