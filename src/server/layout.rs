//! Every place that holds data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::session::Session;

/// What a place holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceKind {
    /// The data directory.
    DataDirectory,
    /// A file of the system tablespace.
    SystemTablespace,
    /// The directory of the redo log.
    RedoLog,
    /// The directory of the undo logs.
    Undo,
    /// A table or general tablespace outside the data directory.
    Tablespace,
    /// The directory of the doublewrite files.
    Doublewrite,
    /// The directory of the binary logs.
    BinaryLog,
    /// The list of the binary logs.
    BinaryLogIndex,
    /// The directory of the relay logs.
    RelayLog,
    /// The directory of Aria's log.
    AriaLog,
    /// The directory of RocksDB.
    RocksDb,
    /// Encryption keys: needed to read the data, never copied beside it unasked.
    Keyring,
}

/// A file or directory that holds data of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What it holds.
    pub kind: PlaceKind,
    /// The path as the server, or a link in the data directory, names it.
    pub path: PathBuf,
    /// The same with symlinks followed.
    pub real: PathBuf,
}

impl Place {
    /// Whether a snapshot without this place is no backup. A keyring is needed too, but it is
    /// named to the operator instead: keys don't belong beside the data that they protect.
    pub fn must_be_covered(&self) -> bool {
        self.kind != PlaceKind::Keyring
    }
}

impl Session {
    /// Every place that holds data, the data directory first. Asked of the server, then looked
    /// for in the data directory itself: links there are places too.
    pub fn layout(&mut self) -> anyhow::Result<Vec<Place>> {
        anyhow::bail!("not built yet")
    }

    /// An error unless the server runs on this host, on the data directory that it names.
    pub fn prove_local(&mut self) -> anyhow::Result<()> {
        anyhow::bail!("not built yet")
    }
}
