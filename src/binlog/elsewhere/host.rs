//! The database host's side: starts mysnap on the node, orders passes, answers what is asked of the server's files.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;

use super::fetch::Node;
use super::{Ask, BEAT, Begin, Done, Looked, Order, Reply, SILENCE, Wanted, Write};
use crate::binlog::logs::{Log, Logs};
use crate::binlog::passed::Passed;
use crate::binlog::source::Listed;
use crate::fault::{Fault, Kind, hints_of, kind_of};
use crate::node::{self, Conversation, Said};
use crate::run::events::{Observer, Silent};
use crate::server::BinlogPosition;
use crate::store::SshStore;
use crate::sys::cancel::Cancel;
use crate::sys::cmd::{self, CommandError, Finished};
use crate::sys::talk::{Heard, Talk};
use crate::sys::units::human_duration;

pub(super) const VERB: [&str; 2] = ["binlog", "receive"];
/// How long it may take until the node says its first word.
const CONNECTING: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(120);

/// Whether the node could write an archive, and has one.
pub(in crate::binlog) fn look(node: &Node) -> anyhow::Result<Looked> {
    let store = node.connection()?;
    let line = Begin::line(node.destination.path().to_owned(), Wanted::Look)?;
    let looked = Conversation::begin(&store, &VERB, &line, &Silent, LOOK)?.answer::<Looked>()?;
    Ok(looked.value)
}

/// An archive that is written on another node.
pub(in crate::binlog) struct Remote<'a> {
    node: &'a SshStore,
    talk: Option<Talk<'a>>,
    patience: Duration,
    serving: Serving,
    last: Done,
    said: Option<Said>,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
}

impl<'a> Remote<'a> {
    /// Has the node claim the archive.
    pub(in crate::binlog) fn begin(
        node: &'a SshStore,
        wanted: Write,
        logs: Box<dyn Logs>,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> anyhow::Result<(Self, Passed)> {
        let line = Begin::line(crate::store::Store::destination(node).path().to_owned(), Wanted::Write(wanted))?;
        let talk = node.talk_closely(node::START, &[&[cmd::PATH], &VERB[..]].concat(), &line, BEAT)?;
        let serving = Serving { logs, listed: Vec::new(), open: BTreeMap::new(), next: 0, failed: false };
        let (talk, patience, last, said) = (Some(talk), CONNECTING, Done::default(), None);
        let mut remote = Self { node, talk, patience, serving, last, said, observer, cancel };
        let passed = remote.until_done()?;
        Ok((remote, passed))
    }

    /// Where the archive ends.
    pub(in crate::binlog) fn end(&self) -> Option<BinlogPosition> {
        self.last.end.clone()
    }

    /// Whether the server writes no more to the file with which the archive ends.
    pub(in crate::binlog) fn has_ended(&self) -> bool {
        self.last.has_ended
    }

    /// Whether the server's file with which it ends is damaged.
    pub(in crate::binlog) fn is_damaged(&self) -> bool {
        self.last.is_damaged
    }

    /// Has everything copied that is whole and new, durably.
    pub(in crate::binlog) fn pass(&mut self) -> anyhow::Result<Passed> {
        self.order(&Order::Pass)
    }

    /// Has it said where the archive stands. Where no pass follows the node ends, and what it copied is durable.
    pub(in crate::binlog) fn tell(&mut self, streams: bool) -> anyhow::Result<()> {
        if streams {
            return self.order(&Order::Tell).map(drop);
        }
        let talk = self.talk.take().context("the node has ended already")?;
        let ended = self.node.answered(talk.part())?;
        self.judge(&ended).map_or(Ok(()), Err)
    }

    fn order(&mut self, order: &Order) -> anyhow::Result<Passed> {
        self.talk()?.say(&serde_json::to_string(order)?);
        self.until_done()
    }

    fn talk(&mut self) -> anyhow::Result<&mut Talk<'a>> {
        self.talk.as_mut().context("the node has ended already")
    }

    /// Answers until the node has done what was ordered.
    fn until_done(&mut self) -> anyhow::Result<Passed> {
        loop {
            let line = self.hear()?;
            match serde_json::from_slice(&line) {
                Ok(Ask::Done(done)) => {
                    self.last = Done { passed: Passed::default(), ..done };
                    return Ok(done.passed);
                }
                Ok(ask) => self.answer(ask)?,
                Err(_) => self.note(&line),
            }
        }
    }

    /// What is no part of the talk: events, and why the node is about to end.
    fn note(&mut self, line: &[u8]) {
        match node::Heard::of(line) {
            Some(node::Heard::Event(event)) => self.observer.event(node::named(event, self.node.host())),
            Some(node::Heard::Error(said)) => self.said = Some(said),
            Some(node::Heard::Result(_)) | None => {
                tracing::debug!(line = %String::from_utf8_lossy(line), "not understood");
            }
        }
    }

    fn hear(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            self.cancel.check()?;
            let (node, patience) = (self.node, self.patience);
            let talk = self.talk()?;
            match talk.hear_soon().map_err(|error| node.silent(error))? {
                Heard::Line(line) => {
                    self.patience = SILENCE;
                    return Ok(line);
                }
                Heard::End => return Err(self.ended()),
                Heard::Nothing if talk.silent_for() < patience => {}
                Heard::Nothing => return Err(self.give_up()),
            }
        }
    }

    fn answer(&mut self, ask: Ask) -> anyhow::Result<()> {
        let answered = self.serving.answer(ask, self.cancel);
        let talk = self.talk()?;
        match answered {
            Ok(Some(Answer::Bytes(bytes))) => talk.say_bytes(&bytes),
            Ok(Some(Answer::Line(reply))) => talk.say(&serde_json::to_string(&reply)?),
            Ok(None) => {}
            Err(error) => {
                let (kind, hint) = (kind_of(&error), hints_of(&error).join("; "));
                talk.say(&serde_json::to_string(&Reply::Failed { kind, error: format!("{error:#}"), hint })?);
            }
        }
        Ok(())
    }

    /// The network is cut, or the node hangs.
    fn give_up(&mut self) -> anyhow::Error {
        if let Some(talk) = self.talk.take() {
            talk.give_up();
        }
        let message = format!("{} has said nothing for {}", self.node.host(), human_duration(self.patience));
        Fault::new(Kind::Copy, message).hint("is the network cut, or does that host hang?").into()
    }

    fn ended(&mut self) -> anyhow::Error {
        let ended: Option<Result<Finished, CommandError>> = self.talk.take().map(Talk::finish);
        match ended.map(|ended| self.node.answered(ended)) {
            Some(Ok(ended)) => self.judge(&ended).unwrap_or_else(|| node::silence(self.node.host())),
            Some(Err(error)) => error,
            None => node::silence(self.node.host()),
        }
    }

    /// Why it did not end well.
    fn judge(&mut self, ended: &Finished) -> Option<anyhow::Error> {
        ended.stdout.split(|byte| *byte == b'\n').for_each(|line| self.note(line));
        // What it repeats of ours did not happen there.
        let ours = self.serving.failed;
        let said = self.said.take().map(|said| if ours { said.of_ours() } else { said });
        match node::judge(self.node.host(), ended, false, said) {
            Ok(left) => left,
            Err(error) => Some(error),
        }
    }
}

enum Answer {
    Line(Reply),
    Bytes(Vec<u8>),
}

/// The server's files, for whoever may ask for these and no others.
struct Serving {
    logs: Box<dyn Logs>,
    listed: Vec<Listed>,
    open: BTreeMap<u64, Rc<dyn Log>>,
    next: u64,
    /// Whether something could not be answered.
    failed: bool,
}

impl Serving {
    fn answer(&mut self, ask: Ask, cancel: &Cancel) -> anyhow::Result<Option<Answer>> {
        let answered = self.look(ask, cancel);
        self.failed |= answered.is_err();
        answered
    }

    fn look(&mut self, ask: Ask, cancel: &Cancel) -> anyhow::Result<Option<Answer>> {
        let reply = match ask {
            Ask::Files => {
                self.listed = self.logs.files(cancel)?;
                Reply::Files(self.listed.clone())
            }
            Ask::Open { name } => Reply::Opened(match self.logs.open(self.listed(&name)?)? {
                Some(file) => {
                    self.next += 1;
                    self.open.insert(self.next, file);
                    Some(self.next)
                }
                None => None,
            }),
            Ask::Length { log, name: None } => Reply::Length(Some(self.log(log)?.length()?)),
            Ask::Length { log, name: Some(name) } => Reply::Length(self.log(log)?.still(self.listed(&name)?)?),
            Ask::Read { log, at, length } => return Ok(Some(Answer::Bytes(self.read(log, at, length)?))),
            Ask::Digest { log, length, in_use } => Reply::Digest(self.log(log)?.digest(length, in_use)?),
            Ask::Close { log } => {
                self.open.remove(&log);
                return Ok(None);
            }
            Ask::Done(_) => return Ok(None),
        };
        Ok(Some(Answer::Line(reply)))
    }

    fn listed(&self, name: &str) -> anyhow::Result<&Listed> {
        self.listed.iter().find(|file| file.name == name).with_context(|| format!("{name} is not listed"))
    }

    fn log(&self, number: u64) -> anyhow::Result<&dyn Log> {
        self.open.get(&number).map(|log| &**log).with_context(|| format!("no file {number} is open"))
    }

    fn read(&self, log: u64, at: u64, length: u64) -> anyhow::Result<Vec<u8>> {
        const MOST: u64 = 8 << 20;
        let mut bytes = vec![0; usize::try_from(length.min(MOST))?];
        let count = self.log(log)?.read(&mut bytes, at).context("cannot read a log")?;
        bytes.truncate(count);
        Ok(bytes)
    }
}
