//! `ship` and `stream`: once, and again and again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::archiver::Archiver;
use super::elsewhere::{Node, Remote, Write};
use super::home::Home;
use super::known;
use super::origin::Origin;
use super::passed::Passed;
use super::spool_place::SpoolPlace;
use super::writer::Writer;
use crate::dump::Compression;
use crate::fault::{Fault, Kind, kind_of};
use crate::run::events::{Event, Observer};
use crate::server::{Access, BinlogPosition, LogEngine, Session};
use crate::sys::cancel::Cancel;
use crate::sys::units::Bytes;

/// How often it is told how far the archive is: what is written for that is small, but written anew each time.
const TELLS: Duration = Duration::from_secs(10);
/// When so long nothing new came, or the file has ended, the server may log elsewhere by now.
const SILENCE: Duration = Duration::from_secs(60);
const AFTER_AN_END: Duration = Duration::from_secs(3);
/// The longest pause before what failed is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to archive, and where.
#[derive(Debug, Clone)]
pub struct Request {
    /// How to reach the server.
    pub server: Access,
    /// How its binary logs are read.
    pub engine: LogEngine,
    /// Where what the tool reads lies until the archive has it; else in the archive, or in `/var/tmp` where that is on
    /// another node.
    pub spool: Option<PathBuf>,
    /// The archive's directory.
    pub home: Home,
    /// How closed files are packed.
    pub compression: Compression,
    /// How often a stream makes durable what is new: what a lost host may cost.
    pub sync_interval: Duration,
}

/// How writing begins.
#[derive(Debug, Clone, Copy, Default)]
struct How {
    /// The server begins a new file first.
    rotate: bool,
    /// It goes on until it is ended.
    follow: bool,
    /// It was at work before.
    again: bool,
    /// How often somebody else was the same replica to the server.
    met: u32,
}

impl Request {
    /// Asks the server who it is, claims the archive, and lets `work` write it.
    fn writing<T>(
        &self,
        how: How,
        observer: &dyn Observer,
        cancel: &Cancel,
        work: impl FnOnce(Writer<'_>, &Origin) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut session: Session = self.server.connect(cancel)?;
        let origin = Origin::of(&session, self, cancel)?.evading(how.met);
        if let Some(text) = origin.told().filter(|_| !how.again) {
            observer.event(Event::Note { text });
        }
        // The engine may have been another one.
        SpoolPlace::of(self).tidy();
        let connection = self.home.node().map(Node::connection).transpose()?;
        let (writer, passed) = match &connection {
            None => self.here(how, &origin, cancel)?,
            Some(node) => {
                let (identity, compression) = (origin.identity.clone(), self.compression);
                let (again, known) = (how.again, self.was_there(how));
                let wanted = Write { identity, compression, again, known };
                let logs = origin.logs(self, how.follow, cancel);
                let (remote, passed) = Remote::begin(node, wanted, logs, observer, cancel)?;
                (Writer::There(Box::new(remote)), passed)
            }
        };
        tell(observer, &passed);
        if how.rotate {
            session.rotate_binary_log()?;
        }
        drop(session);
        work(writer, &origin)
    }

    fn was_there(&self, how: How) -> bool {
        how.again || known::is_known(&self.home)
    }

    fn here<'a>(&self, how: How, origin: &Origin, cancel: &'a Cancel) -> anyhow::Result<(Writer<'a>, Passed)> {
        refuse_the_servers_own(origin, &self.home)?;
        if self.was_there(how)
            && let Some(missing) = self.home.missing()?
        {
            return Err(missing.into());
        }
        let logs = (origin.identity.clone(), origin.logs(self, how.follow, cancel));
        let (archiver, passed) = Archiver::open(&self.home, logs, self.compression, cancel)?;
        Ok((Writer::Here(Box::new(archiver)), passed))
    }
}

impl Request {
    /// An error where the server's log is off, or is another one by now. One that does not answer is asked again.
    fn still_from(&self, origin: &Origin, cancel: &Cancel) -> anyhow::Result<()> {
        let Ok(session) = self.server.connect(cancel) else { return Ok(()) };
        if !origin.is_still(&Origin::of(&session, self, cancel)?) {
            let message = format!("the server keeps another log than {} now", origin.place().display());
            return Err(Fault::new(Kind::Gap, message).into());
        }
        Ok(())
    }
}

/// The archive must outlive what it is a copy of.
pub(super) fn refuse_the_servers_own(origin: &Origin, home: &Home) -> anyhow::Result<()> {
    let Some(directory) = origin.directory() else { return Ok(()) };
    let inside = |path: &std::path::Path| {
        home.path().ancestors().find_map(|above| above.canonicalize().ok()).is_some_and(|real| real.starts_with(path))
    };
    let logs = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    if !inside(&logs) {
        return Ok(());
    }
    let message = format!("the archive {home} would lie among the server's own logs");
    Err(Fault::new(Kind::Refused, message).hint("give it a directory on another disk").into())
}

/// What one pass brought, and where the archive ends.
#[derive(Debug)]
pub struct Shipped {
    /// What it brought.
    pub passed: Passed,
    /// Where the archive ends.
    pub end: Option<BinlogPosition>,
}

/// Copies what is new. What is missing or damaged is archived around, and then an error.
pub fn ship(request: &Request, rotate: bool, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Shipped> {
    let how = How { rotate, ..How::default() };
    let shipped = request.writing(how, observer, cancel, |writer, _| ship_by(writer, observer))?;
    known::remember(&request.home);
    Ok(shipped)
}

fn ship_by(mut writer: Writer<'_>, observer: &dyn Observer) -> anyhow::Result<Shipped> {
    let passed = observer.phase(
        "ship",
        || {
            let passed = writer.pass()?;
            writer.tell(false).map_err(|error| passed.with_alarms(error))?;
            Ok(passed)
        },
        |passed| format!("{} new, {} files closed", Bytes(passed.copied), passed.closed.len()),
    )?;
    passed.notes.iter().for_each(|note| observer.warn(note));
    if passed.alarms.is_empty() {
        return Ok(Shipped { passed, end: writer.end() });
    }
    let fault = Fault::new(Kind::Gap, passed.alarms.join("; "));
    // A backup's position would lie behind the damage, where the archive does not come before the next file.
    let hint = if writer.is_damaged() {
        "all else is archived; `mysnap binlog ship --rotate` first, then take a full backup: no restore can cross this"
    } else {
        "all else is archived; take a full backup now: no restore can cross this"
    };
    Err(fault.hint(hint).into())
}

/// Follows the server until it is asked to end, which is success. What goes wrong after it once went right is told
/// and tried again: a server that restarts, a destination that is full or away.
pub fn stream(request: &Request, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<()> {
    let (mut trouble, mut how) = (Trouble::default(), How { follow: true, ..How::default() });
    loop {
        let outcome = request.writing(how, observer, cancel, |writer, origin| {
            how.again = true;
            follow(writer, (request, origin), &mut trouble, observer, cancel)
        });
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) if !how.again => return Err(error),
            // What a person has to put right, and not what passes.
            Err(error) if !trouble.was_well && kind_of(&error) == Some(Kind::Config) => return Err(error),
            Err(error) if kind_of(&error) == Some(Kind::Cancelled) => return Ok(()),
            Err(error) if cancel.signal().is_some() => return Err(error),
            Err(error) => {
                // Else each would end the other for ever, and have the server read its newest file again each time.
                how.met += u32::from(kind_of(&error) == Some(Kind::Busy));
                trouble.met(&error, observer);
            }
        }
        if cancel.sleep(trouble.pause).is_err() {
            return Ok(());
        }
    }
}

/// What goes wrong, told once.
#[derive(Debug, Default)]
struct Trouble {
    text: Option<String>,
    pause: Duration,
    /// Whether a pass has ever gone through.
    was_well: bool,
}

impl Trouble {
    fn met(&mut self, error: &anyhow::Error, observer: &dyn Observer) {
        let text = format!("{error:#}");
        self.pause = (self.pause * 2).clamp(Duration::from_secs(1), PATIENCE);
        if self.text.as_ref() != Some(&text) {
            observer.warn(format!("{text}; it is tried again"));
            self.text = Some(text);
        }
    }

    fn over(&mut self, observer: &dyn Observer) {
        self.was_well = true;
        if self.text.take().is_some() {
            observer.event(Event::Note { text: "the archive goes on".to_owned() });
        }
        self.pause = Duration::ZERO;
    }
}

/// Passes until one fails or `cancel` is set. A stop that the server can't get over is told once, not each time.
fn follow(
    mut writer: Writer<'_>,
    (request, origin): (&Request, &Origin),
    trouble: &mut Trouble,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let (mut told, mut asked, mut alarms) = (None::<Instant>, Instant::now(), Vec::new());
    loop {
        let begun = Instant::now();
        let passed = match writer.pass() {
            Err(_) if cancel.signal().is_some() => return writer.tell(false),
            passed => passed?,
        };
        trouble.over(observer);
        if let Some(end) = writer.end().filter(|_| passed.copied > 0) {
            tracing::debug!("durable up to {}:{}", end.file, end.offset);
        }
        if passed.alarms != alarms || !passed.closed.is_empty() || !passed.notes.is_empty() {
            tell(observer, &passed);
        }
        alarms.clone_from(&passed.alarms);
        if told.is_none_or(|told| told.elapsed() >= TELLS) {
            writer.tell(true)?;
            known::remember(&request.home);
            told = Some(Instant::now());
        }
        if passed.copied > 0 {
            asked = Instant::now();
        } else if asked.elapsed() >= if writer.has_ended() { AFTER_AN_END } else { SILENCE } {
            request.still_from(origin, cancel)?;
            asked = Instant::now();
        }
        if cancel.sleep(request.sync_interval.saturating_sub(begun.elapsed())).is_err() {
            return writer.tell(false);
        }
    }
}

fn tell(observer: &dyn Observer, passed: &Passed) {
    passed.alarms.iter().for_each(|alarm| observer.warn(format!("{alarm}; no restore can cross this")));
    passed.notes.iter().for_each(|note| observer.warn(note));
    for name in &passed.closed {
        observer.event(Event::Note { text: format!("{name} is complete") });
    }
}
