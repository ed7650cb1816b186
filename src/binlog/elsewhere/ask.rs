//! The node's view of the server's files: it asks the database host.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

use super::{Ask, Reply};
use crate::binlog::index::is_plain;
use crate::binlog::logs::{Log, Logs};
use crate::binlog::source::{Listed, number};
use crate::fault::Fault;
use crate::store::Sha256;
use crate::sys::cancel::Cancel;
use crate::sys::talk::Starter;

/// So much is asked for at once where much is read.
const AHEAD: u64 = 4 << 20;
/// Reads of no more than this are single ones.
const SINGLE: usize = 64 << 10;
/// So much is kept: events are first walked over, then written.
const KEPT: usize = 16 << 20;

/// The way to the database host.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) starter: Starter,
}

impl Line {
    pub(super) fn say(&self, ask: &Ask) -> anyhow::Result<()> {
        self.starter.say(&serde_json::to_string(ask)?)
    }

    /// What is said next.
    pub(super) fn hear<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        let line = self.starter.hear()?;
        serde_json::from_str(&line).with_context(|| format!("not understood: {line}"))
    }

    fn ask(&self, ask: &Ask) -> anyhow::Result<Reply> {
        self.say(ask)?;
        self.hear::<Reply>()?.or_failed()
    }

    fn bytes(&self, ask: &Ask) -> anyhow::Result<Vec<u8>> {
        self.say(ask)?;
        match self.starter.hear_bytes()? {
            Ok(bytes) => Ok(bytes),
            Err(line) => Err(unexpected(&serde_json::from_str::<Reply>(&line)?.or_failed()?)),
        }
    }
}

impl Reply {
    /// An error where that is what was said.
    pub(super) fn or_failed(self) -> anyhow::Result<Self> {
        match self {
            Self::Failed { kind: Some(kind), error, hint } if hint.is_empty() => Err(Fault::new(kind, error).into()),
            Self::Failed { kind: Some(kind), error, hint } => Err(Fault::new(kind, error).hint(hint).into()),
            Self::Failed { kind: None, error, .. } => Err(anyhow::anyhow!(error)),
            other => Ok(other),
        }
    }
}

fn unexpected(reply: &Reply) -> anyhow::Error {
    anyhow::anyhow!("an unexpected answer: {reply:?}")
}

/// The files of the server on the database host.
#[derive(Debug)]
pub(super) struct Asked(pub(super) Rc<Line>);

impl Logs for Asked {
    fn files(&self, _: &Cancel) -> anyhow::Result<Vec<Listed>> {
        let files = match self.0.ask(&Ask::Files)? {
            Reply::Files(files) => files,
            other => return Err(unexpected(&other)),
        };
        // Names become paths.
        match files.iter().find(|file| !is_plain(&file.name) || number(&file.name).is_none()) {
            Some(strange) => anyhow::bail!("{:?} is no name of a binary log", strange.name),
            None => Ok(files),
        }
    }

    fn open(&self, listed: &Listed) -> anyhow::Result<Option<Rc<dyn Log>>> {
        let number = match self.0.ask(&Ask::Open { name: listed.name.clone() })? {
            Reply::Opened(number) => number,
            other => return Err(unexpected(&other)),
        };
        let log = |number| AskedLog { line: Rc::clone(&self.0), number, kept: RefCell::default() };
        Ok(number.map(|number| Rc::new(log(number)) as Rc<dyn Log>))
    }
}

/// A file there that is open.
#[derive(Debug)]
struct AskedLog {
    line: Rc<Line>,
    number: u64,
    kept: RefCell<VecDeque<(u64, Vec<u8>)>>,
}

impl AskedLog {
    fn fetch(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        self.line.bytes(&Ask::Read { log: self.number, at, length }).map_err(io::Error::other)
    }

    fn length_as(&self, name: Option<String>) -> anyhow::Result<Option<u64>> {
        match self.line.ask(&Ask::Length { log: self.number, name })? {
            Reply::Length(length) => Ok(length),
            other => Err(unexpected(&other)),
        }
    }

    /// Copies what is kept from `at` on; how much.
    fn copy_kept(&self, buffer: &mut [u8], at: u64) -> usize {
        let kept = self.kept.borrow();
        let part = kept.iter().find_map(|(begin, bytes)| {
            let from = usize::try_from(at.checked_sub(*begin)?).ok()?;
            bytes.get(from..).filter(|part| !part.is_empty())
        });
        let part = part.unwrap_or_default();
        let count = part.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), part.get(..count)) {
            to.copy_from_slice(from);
        }
        count
    }

    fn keep(&self, at: u64, bytes: Vec<u8>) {
        let mut kept = self.kept.borrow_mut();
        kept.push_back((at, bytes));
        while kept.len() > 1 && kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > KEPT {
            kept.pop_front();
        }
    }
}

impl Log for AskedLog {
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if buffer.len() <= SINGLE && self.kept.borrow().is_empty() {
            let bytes = self.fetch(at, buffer.len() as u64)?;
            let count = bytes.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..count), bytes.get(..count)) {
                to.copy_from_slice(from);
            }
            return Ok(count);
        }
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = at + filled as u64;
            let count = self.copy_kept(rest, at);
            if count == 0 {
                let bytes = self.fetch(at, AHEAD)?;
                if bytes.is_empty() {
                    break;
                }
                self.keep(at, bytes);
            }
            filled += count;
        }
        Ok(filled)
    }

    fn still(&self, listed: &Listed) -> anyhow::Result<Option<u64>> {
        self.length_as(Some(listed.name.clone()))
    }

    fn length(&self) -> anyhow::Result<u64> {
        self.length_as(None)?.context("it has no length")
    }

    fn digest(&self, length: u64, in_use: bool) -> anyhow::Result<Sha256> {
        match self.line.ask(&Ask::Digest { log: self.number, length, in_use })? {
            Reply::Digest(digest) => Ok(digest),
            other => Err(unexpected(&other)),
        }
    }

    fn renew(&self) {
        self.kept.borrow_mut().clear();
    }
}

impl Drop for AskedLog {
    fn drop(&mut self) {
        if let Err(error) = self.line.say(&Ask::Close { log: self.number }) {
            tracing::debug!(%error, "nobody to tell that a file is closed");
        }
    }
}
