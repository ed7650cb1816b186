//! Reading what is stored on another node, with the tools that are there.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::store::{Destination, SshOptions, SshStore};
use crate::sys::cancel::Cancel;

/// So much comes with one command, and is in memory.
const PIECE: u64 = 8 << 20;

/// Another node, and how to get there.
#[derive(Debug, Clone)]
pub(in crate::binlog) struct Node {
    /// The archive there.
    pub(in crate::binlog) destination: Destination,
    ssh: SshOptions,
    reading: Arc<OnceLock<SshStore>>,
}

impl Node {
    /// Nothing is asked of it yet.
    pub(in crate::binlog) fn new(destination: &Destination, ssh: &SshOptions) -> Self {
        Self { destination: destination.clone(), ssh: ssh.clone(), reading: Arc::default() }
    }

    /// A connection of its own, which ends with it: one that hangs holds up no other.
    pub(in crate::binlog) fn connection(&self) -> anyhow::Result<SshStore> {
        SshStore::new(&self.destination, &self.ssh, &Cancel::new())
    }

    /// The one by which all is read.
    fn reading(&self) -> anyhow::Result<&SshStore> {
        if let Some(store) = self.reading.get() {
            return Ok(store);
        }
        let made = self.connection()?;
        Ok(self.reading.get_or_init(|| made))
    }
}

/// The file at `path` there; an [`io::ErrorKind::NotFound`] where there is none.
pub(in crate::binlog) fn fetch(node: &Node, path: &Path) -> anyhow::Result<Fetched> {
    let (node, path) = (node.clone(), path.to_owned());
    let mut fetched = Fetched { node, path, at: 0, piece: io::Cursor::default(), ended: false };
    fetched.next()?;
    Ok(fetched)
}

/// A file on another node, piece by piece.
#[derive(Debug)]
pub(in crate::binlog) struct Fetched {
    node: Node,
    path: PathBuf,
    at: u64,
    piece: io::Cursor<Vec<u8>>,
    ended: bool,
}

impl Fetched {
    fn next(&mut self) -> anyhow::Result<()> {
        let piece = self.node.reading()?.piece_of(&self.path, self.at, PIECE)?;
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", self.path.display()));
        let piece = piece.ok_or_else(missing)?;
        self.at += piece.len() as u64;
        self.ended = (piece.len() as u64) < PIECE;
        self.piece = io::Cursor::new(piece);
        Ok(())
    }
}

impl Read for Fetched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.piece.read(buffer)?;
        if count > 0 || self.ended || buffer.is_empty() {
            return Ok(count);
        }
        self.next().map_err(io::Error::other)?;
        self.piece.read(buffer)
    }
}
