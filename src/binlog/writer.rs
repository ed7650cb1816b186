//! What writes an archive, on this host or on the node that keeps it.

use super::archiver::Archiver;
use super::elsewhere::Remote;
use super::passed::Passed;
use crate::server::BinlogPosition;

/// What writes an archive: the only one that does.
pub(super) enum Writer<'a> {
    /// On this host.
    Here(Box<Archiver<'a>>),
    /// On another one.
    There(Box<Remote<'a>>),
}

impl Writer<'_> {
    /// Copies everything that is whole and new, durably.
    pub(super) fn pass(&mut self) -> anyhow::Result<Passed> {
        match self {
            Self::Here(archiver) => archiver.pass(),
            Self::There(remote) => remote.pass(),
        }
    }

    /// Says where the archive stands, and whether another pass follows at once; otherwise this is the end.
    pub(super) fn tell(&mut self, streams: bool) -> anyhow::Result<()> {
        match self {
            Self::Here(archiver) => archiver.tell(streams),
            Self::There(remote) => remote.tell(streams),
        }
    }

    /// Where the archive ends.
    pub(super) fn end(&self) -> Option<BinlogPosition> {
        match self {
            Self::Here(archiver) => archiver.end(),
            Self::There(remote) => remote.end(),
        }
    }

    /// Whether the server writes no more to the file with which the archive ends.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Here(archiver) => archiver.has_ended(),
            Self::There(remote) => remote.has_ended(),
        }
    }

    /// Whether the server's file with which it ends is damaged.
    pub(super) fn is_damaged(&self) -> bool {
        match self {
            Self::Here(archiver) => archiver.is_damaged(),
            Self::There(remote) => remote.is_damaged(),
        }
    }
}
