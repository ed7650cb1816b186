//! A server's files as an archive gets them: from this host, or from the one that has the archive written here.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::rc::Rc;

use super::closing;
use super::event::{IN_USE, IN_USE_AT};
use super::source::{Listed, Source};
use crate::store::Sha256;
use crate::sys::cancel::Cancel;

/// The files of a server.
pub(super) trait Logs: fmt::Debug {
    /// Those that there are, oldest first; their numbers have no hole.
    fn files(&self, cancel: &Cancel) -> anyhow::Result<Vec<Listed>>;

    /// Opens one; none where it was purged.
    fn open(&self, listed: &Listed) -> anyhow::Result<Option<Rc<dyn Log>>>;
}

/// One that is open: it stays readable when it is purged.
pub(super) trait Log: fmt::Debug {
    /// Reads into `buffer` from an offset on; less than that only where there is no more.
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Its length where the server still calls it by the name of `listed`.
    fn still(&self, listed: &Listed) -> anyhow::Result<Option<u64>>;

    /// Its length.
    fn length(&self) -> anyhow::Result<u64>;

    /// The digest of its first `length` bytes with the in-use flag as told: a server may take it away in this moment.
    fn digest(&self, length: u64, in_use: bool) -> anyhow::Result<Sha256>;

    /// What was read before may be another by now.
    fn renew(&self) {}
}

impl Logs for Source {
    fn files(&self, cancel: &Cancel) -> anyhow::Result<Vec<Listed>> {
        Self::files(self, cancel)
    }

    fn open(&self, listed: &Listed) -> anyhow::Result<Option<Rc<dyn Log>>> {
        Ok(listed.open()?.map(|file| Rc::new(file) as Rc<dyn Log>))
    }
}

impl Log for File {
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, at + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn still(&self, listed: &Listed) -> anyhow::Result<Option<u64>> {
        let (own, there) = (self.metadata()?, listed.path.metadata());
        let same = there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino()));
        Ok(same.then_some(own.len()))
    }

    fn length(&self) -> anyhow::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn digest(&self, length: u64, in_use: bool) -> anyhow::Result<Sha256> {
        Ok(closing::digest_of(closing::Flagged { from: self, at: 0, in_use }.take(length))?)
    }
}

/// Reads all of `buffer`.
pub(super) fn read_exact_at(log: &dyn Log, buffer: &mut [u8], at: u64) -> io::Result<()> {
    if log.read(buffer, at)? < buffer.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Whether it has the in-use flag now.
pub(super) fn is_in_use(log: &dyn Log) -> io::Result<bool> {
    let mut flags = [0];
    log.renew();
    read_exact_at(log, &mut flags, IN_USE_AT)?;
    Ok(flags.iter().any(|flags| flags & IN_USE != 0))
}

/// Reads it from an offset on.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) log: &'a dyn Log,
    pub(super) at: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.log.read(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
