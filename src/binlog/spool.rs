//! A server's files as its family's tool copies them, in a private directory from which the archive takes them.
//!
//! A file is handed on only as far as it is certain: one that the server has closed when the tool has come to its end and
//! it is as long as the server's, the one that is being written when it has caught up with what the server listed. A
//! tool that begins a file anew is so never taken for a server that lost what was archived.
//!
//! What is behind is fetched file by file; the newest is followed. What the archive has is removed, and where the tool
//! gets too far ahead it is ended until the archive has come closer. That a silent tool is one that has nothing to say
//! is asked of the server. Whatever goes wrong ends the spool: the next one begins where the archive ends.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::glimpse::Glimpse;
use super::logs::{Log, Logs};
use super::origin;
use super::source::{Listed, number};
use super::spool_place::{SpoolDirectory, SpoolPlace};
use super::spooled::{Ahead, Progress, Spooled, give_back_in_use, tear, withhold};
use super::stream::Request;
use super::tool::{Refusal, Tool};
use crate::fault::{Fault, Kind};
use crate::server::{Access, ServerLog, Session};
use crate::sys::cancel::{Cancel, POLL};
use crate::sys::cmd::{Call, CommandError, Running};
use crate::sys::durable;

/// How long a tool that follows may be silent before the server is asked whether there is nothing to say.
const QUIET: Duration = Duration::from_secs(10);
/// How often the server is asked whether it has begun another file, where it can't read the newest one.
const AFTER_A_DAMAGE: Duration = Duration::from_secs(3);
/// How long the tool may take to end.
const PARTING: Duration = Duration::from_secs(5);
/// So many files the tool may be ahead of the archive.
const AHEAD: usize = 4;

/// The files that the tool has copied and the archive has not.
#[derive(Debug)]
pub(super) struct Spool(Rc<RefCell<Tailed>>);

#[derive(Debug)]
struct Tailed {
    tool: Tool,
    access: Access,
    place: SpoolPlace,
    follow: bool,
    cancel: Cancel,
    session: Option<Session>,
    directory: Option<SpoolDirectory>,
    listed: Vec<ServerLog>,
    asked: Instant,
    /// Files of which everything is here.
    whole: BTreeSet<String>,
    following: Option<Following>,
}

/// The tool at work on the newest file.
#[derive(Debug)]
struct Following {
    running: Running<'static>,
    glimpse: Glimpse,
}

/// What came of fetching a file.
#[derive(Debug, PartialEq, Eq)]
enum Fetched {
    All,
    UpTo(Refusal),
}

impl Spool {
    /// One for the archive of `request`; nothing is started before something is asked for.
    pub(super) fn new(tool: Tool, request: &Request, follow: bool, cancel: &Cancel) -> Self {
        Self(Rc::new(RefCell::new(Tailed {
            tool,
            access: request.server.clone(),
            place: SpoolPlace::of(request),
            follow,
            cancel: cancel.clone(),
            session: None,
            directory: None,
            listed: Vec::new(),
            asked: Instant::now(),
            whole: BTreeSet::new(),
            following: None,
        })))
    }

    /// Has the tool read from the end of the log on, where there is nothing.
    pub(super) fn trial(&self) -> anyhow::Result<()> {
        let mut tailed = self.0.borrow_mut();
        tailed.place = tailed.place.clone().for_trial();
        tailed.ask()?;
        tailed.refuse_unfit()?;
        let end = tailed.session()?.binary_log_end()?.context("the server has no binary log")?;
        let call = tailed.call(&end.file, false)?.arg(format!("--start-position={}", end.offset));
        let ran = call.cancel(&tailed.cancel.clone()).run();
        ran.map_err(|error| tailed.explained(&end.file, error))
    }
}

impl Logs for Spool {
    fn files(&self, _: &Cancel) -> anyhow::Result<Vec<Listed>> {
        self.0.borrow_mut().files()
    }

    fn open(&self, listed: &Listed) -> anyhow::Result<Option<Rc<dyn Log>>> {
        let file = self.0.borrow_mut().open(listed)?;
        let ahead: Rc<dyn Ahead> = Rc::clone(&self.0) as _;
        Ok(file.map(|file| Rc::new(Spooled::new(file, &ahead)) as Rc<dyn Log>))
    }
}

impl Ahead for RefCell<Tailed> {
    fn hold_back(&self) -> anyhow::Result<()> {
        self.try_borrow_mut().map_or(Ok(()), |mut tailed| tailed.hold_back())
    }
}

impl Tailed {
    fn files(&mut self) -> anyhow::Result<Vec<Listed>> {
        let reached = self.reached()?;
        self.look(reached.as_ref())?;
        if let Some(reached) = &reached {
            self.complete_before(&reached.name)?;
        }
        self.hold_back()?;
        let directory = self.directory()?.to_owned();
        let mut files = origin::listed(&self.listed, &directory)?;
        // All before the file that the tool writes to are complete; those after it are not begun.
        if self.following.is_some()
            && let Some(at) = reached.and_then(|reached| files.iter().position(|file| file.name == reached.name))
        {
            files.truncate(at + 1);
        }
        Ok(files)
    }

    /// Sees that what is known of the server's files is new enough, and that the tool that follows still does.
    fn look(&mut self, reached: Option<&ServerLog>) -> anyhow::Result<()> {
        if self.following.as_mut().is_some_and(|following| following.running.has_ended()) {
            return Err(self.ended());
        }
        match reached {
            None if self.following.is_some() => Ok(()),
            // What the server can't read nobody follows: only that it has begun another file is of interest.
            None if self.follow && self.is_at_an_end() && self.asked.elapsed() < AFTER_A_DAMAGE => Ok(()),
            Some(reached) if self.listed.iter().any(|log| log.name == reached.name) => {
                if self.asked.elapsed() < QUIET {
                    Ok(())
                } else {
                    self.compare(reached)
                }
            }
            _ => self.ask(),
        }
    }

    fn open(&mut self, listed: &Listed) -> anyhow::Result<Option<File>> {
        self.forget_before(&listed.name)?;
        self.hold_back()?;
        if !self.whole.contains(&listed.name) && !self.get(listed)? {
            return Ok(None);
        }
        listed.open()
    }

    /// Has the tool write a file that is not here yet; false where the server has it no more.
    fn get(&mut self, listed: &Listed) -> anyhow::Result<bool> {
        let follows = self.following.is_some() && listed.path.exists();
        if !follows && self.follow && self.is_last(&listed.name) {
            // The server may have closed it since.
            self.ask()?;
        }
        let Some(size) = self.size(&listed.name) else { return Ok(false) };
        let is_last = self.is_last(&listed.name);
        if !follows {
            if !is_last || !self.follow {
                return self.fetch(listed, size, is_last);
            }
            self.start_following(listed)?;
        }
        self.wait_for(listed, size)?;
        Ok(true)
    }

    /// The length of a file of the server.
    fn size(&self, name: &str) -> Option<u64> {
        self.listed.iter().find(|log| log.name == name).map(|log| log.size)
    }

    fn is_at_an_end(&self) -> bool {
        self.listed.last().is_some_and(|last| self.whole.contains(&last.name))
    }

    fn is_last(&self, name: &str) -> bool {
        self.listed.last().is_some_and(|last| last.name == name)
    }

    /// Asks the server which files it has.
    fn ask(&mut self) -> anyhow::Result<()> {
        self.listed = self.session()?.binary_logs()?;
        self.asked = Instant::now();
        Ok(())
    }

    fn session(&mut self) -> anyhow::Result<&mut Session> {
        if self.session.is_none() {
            self.session = Some(self.access.connect(&self.cancel)?);
        }
        self.session.as_mut().context("there is no session")
    }

    /// An error where the tool is silent although there is something to say, or the log is another one by now: a server
    /// that was reset says nothing of that to its replicas. `reached` was looked at before the server is asked.
    fn compare(&mut self, reached: &ServerLog) -> anyhow::Result<()> {
        let end = self.session()?.binary_log_end()?.context("the server's binary log is off")?;
        self.asked = Instant::now();
        match &mut self.following {
            None => Ok(()),
            Some(following) => following.glimpse.compare(self.tool.name, reached, &end),
        }
    }

    /// The newest file of the tool that follows, and how far it is.
    fn reached(&mut self) -> anyhow::Result<Option<ServerLog>> {
        if self.following.is_none() {
            return Ok(None);
        }
        let directory = self.directory()?.to_owned();
        let newest = self.kept()?.into_iter().max_by_key(|name| number(name).map(|(_, number)| number));
        let Some(name) = newest else { return Ok(None) };
        let size = directory.join(&name).metadata()?.len();
        Ok(Some(ServerLog { name, size }))
    }

    /// The names of the files that are here.
    fn kept(&mut self) -> anyhow::Result<Vec<String>> {
        Ok(super::home::names(self.directory()?)?.into_iter().filter(|name| number(name).is_some()).collect())
    }

    /// Removes what the archive has: all before the file that it takes up.
    fn forget_before(&mut self, name: &str) -> anyhow::Result<()> {
        let directory = self.directory()?.to_owned();
        let at = number(name).map(|(_, number)| number);
        for old in self.kept()?.into_iter().filter(|old| number(old).map(|(_, number)| number) < at) {
            durable::remove_file(&directory.join(&old))?;
            self.whole.remove(&old);
        }
        Ok(())
    }

    /// Ends a tool that is too far ahead. What it has completed is kept.
    fn hold_back(&mut self) -> anyhow::Result<()> {
        let kept = self.kept()?;
        if self.following.is_none() || kept.len() <= AHEAD {
            return Ok(());
        }
        let newest = self.reached()?.map(|reached| reached.name).unwrap_or_default();
        self.end();
        self.ask()?;
        self.complete_before(&newest)?;
        durable::remove_file(&self.directory()?.join(&newest))
    }

    /// Sees that the files before `name`, from which the tool that followed has gone on, are as the server has closed
    /// them; which files it has was asked since.
    fn complete_before(&mut self, name: &str) -> anyhow::Result<()> {
        let directory = self.directory()?.to_owned();
        let at = number(name).map(|(_, number)| number);
        for old in self.kept()?.into_iter().filter(|old| number(old).map(|(_, number)| number) < at) {
            if !self.whole.contains(&old) {
                let (path, size) = (directory.join(&old), self.size(&old));
                let length = path.metadata()?.len();
                if let Some(size) = size.filter(|size| *size != length) {
                    return Err(gave(&self.tool, &old, length, size));
                }
                give_back_in_use(&path)?;
                self.whole.insert(old);
            }
        }
        Ok(())
    }

    /// Makes the directory, the first time.
    fn directory(&mut self) -> anyhow::Result<&Path> {
        if self.directory.is_none() {
            self.directory = Some(self.place.make()?);
        }
        self.directory.as_ref().map(SpoolDirectory::path).context("there is no directory")
    }

    /// Has the tool write `file`, and with `follow` all that comes after it; it gets to the server as we do.
    fn call(&mut self, file: &str, follow: bool) -> anyhow::Result<Call<'static>> {
        let options = self.access.resolve()?.tool_options(self.session()?.facts().flavour)?;
        let directory = self.directory()?.to_owned();
        Ok(self.tool.call(&options, &directory, file, follow))
    }

    fn refuse_unfit(&mut self) -> anyhow::Result<()> {
        let (place, cancel, listed) = (self.place.clone(), self.cancel.clone(), self.listed.clone());
        place.refuse_unfit(self.session()?, &listed, &cancel)
    }

    fn start(&mut self, file: &str, follow: bool) -> anyhow::Result<Running<'static>> {
        self.refuse_unfit()?;
        Ok(self.call(file, follow)?.deadline(Duration::MAX).start()?)
    }

    fn start_following(&mut self, listed: &Listed) -> anyhow::Result<()> {
        self.end();
        let running = self.start(&listed.name, true)?;
        self.following = Some(Following { running, glimpse: Glimpse::of(&listed.name) });
        Ok(())
    }

    /// Waits until the tool that follows has come to what the server has listed.
    fn wait_for(&mut self, listed: &Listed, size: u64) -> anyhow::Result<()> {
        let mut progress = Progress::of(&listed.path);
        while progress.length() < size {
            let following = self.following.as_mut().context("the tool does not run")?;
            if following.running.has_ended() {
                let error = self.ended();
                return if progress.length() < size && is_damage(&error) { self.withhold(listed) } else { Err(error) };
            }
            progress.look(&self.tool, &listed.name)?;
            self.cancel.sleep(POLL)?;
        }
        Ok(())
    }

    /// Copies one file; false where the server has it no more.
    fn fetch(&mut self, listed: &Listed, size: u64, is_last: bool) -> anyhow::Result<bool> {
        let fetched = self.run(listed)?;
        match fetched {
            Fetched::UpTo(Refusal::Purged) => return Ok(false),
            Fetched::UpTo(Refusal::Damaged) => return self.withhold(listed).map(|()| true),
            Fetched::UpTo(_) => tear(&listed.path)?,
            Fetched::All => {
                let length = listed.path.metadata().map_or(0, |file| file.len());
                if length < size || length > size && !is_last {
                    return Err(gave(&self.tool, &listed.name, length, size));
                }
            }
        }
        if !is_last {
            give_back_in_use(&listed.path)?;
        }
        self.whole.insert(listed.name.clone());
        Ok(true)
    }

    /// There is no more of a file than what the server sends of it.
    fn withhold(&mut self, listed: &Listed) -> anyhow::Result<()> {
        withhold(&listed.path)?;
        self.whole.insert(listed.name.clone());
        Ok(())
    }

    fn run(&mut self, listed: &Listed) -> anyhow::Result<Fetched> {
        let mut running = self.start(&listed.name, false)?;
        let mut progress = Progress::of(&listed.path);
        while !running.has_ended() {
            if let Err(error) = progress.look(&self.tool, &listed.name).and_then(|()| self.cancel.sleep(POLL)) {
                end(running);
                return Err(error);
            }
        }
        let argv = running.argv().to_owned();
        match running.wait_at_most(PARTING)?.succeeded(&argv) {
            Ok(_) => Ok(Fetched::All),
            Err(error) => match Refusal::of(error.stderr().unwrap_or_default()) {
                Refusal::Other => Err(self.explained(&listed.name, error)),
                refusal => Ok(Fetched::UpTo(refusal)),
            },
        }
    }

    /// Why the tool that followed has ended, which it never does in order.
    fn ended(&mut self) -> anyhow::Error {
        let Some(Following { running, glimpse }) = self.following.take() else {
            return anyhow::anyhow!("the tool has ended");
        };
        let argv = running.argv().to_owned();
        match running.wait_at_most(PARTING).and_then(|finished| finished.succeeded(&argv)) {
            Ok(_) => Fault::new(Kind::Refused, format!("{} has ended by itself", self.tool.name)).into(),
            Err(error) => self.explained(glimpse.name(), error),
        }
    }

    fn explained(&mut self, file: &str, error: CommandError) -> anyhow::Error {
        let session = self.session.as_mut();
        let grant = || session.map_or_else(String::new, |session| session.grant("REPLICATION SLAVE"));
        self.tool.explained(file, error, grant)
    }

    fn end(&mut self) {
        if let Some(following) = self.following.take() {
            end(following.running);
        }
    }
}

impl Drop for Tailed {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_damage(error: &anyhow::Error) -> bool {
    let said = error.chain().find_map(|cause| cause.downcast_ref::<CommandError>()?.stderr());
    said.is_some_and(|said| Refusal::of(said) == Refusal::Damaged)
}

fn gave(tool: &Tool, name: &str, length: u64, size: u64) -> anyhow::Error {
    let message = format!("{} gave {length} bytes of {name}, of which the server has {size}", tool.name);
    Fault::new(Kind::Refused, message).into()
}

/// It has nothing to put in order: what it wrote is thrown away, or complete.
fn end(running: Running<'static>) {
    running.killer()();
    if let Err(error) = running.wait_at_most(PARTING) {
        tracing::warn!(%error, "the tool that read binary logs was left behind");
    }
}
