//! `clone`: a server for people beside the live one, on data of another time, that can be written to.
//!
//! Its data is a thin snapshot of a kept thin one, so that nothing is copied and the kept one stays what it
//! was; or a kept thick one itself, which is used up by that, since LVM makes no snapshot of a snapshot
//! there; or the files of a backup, restored aside. One process owns all of it for as long as the clone
//! lives: it has the mounts in a namespace of its own, watches the pool or store like a backup does, and
//! leaves nothing. Its record says what the clone is, its lock that it lives, so that [`list()`] asks no
//! server. Where systemd runs that process is a transient unit ([`mod@unit`]), and survives the login.
//!
//! [`plan()`] looks and decides, [`serve()`] does and decides nothing.

mod ground;
mod list;
mod plan;
mod serve;
pub mod unit;

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::id::{CloneName, RunId};
use crate::kept::Kept;
use crate::lvm::Volume;
use crate::run::{CloneGround, clone_directory};
use crate::server::{Facts, Flavour};
use crate::snapshot::{Limits, PoolRoom};
use crate::store::{Backup, Store, Transfer};
use crate::sys::units::Bytes;

pub use list::{Listed, State, find, list, stop};
pub use plan::plan;
pub use serve::serve;

/// What was asked for.
pub struct Request {
    /// What it is called.
    pub name: CloneName,
    /// Where it listens besides its socket.
    pub listen: Option<SocketAddr>,
    /// The size of its buffer pool.
    pub buffer_pool: Bytes,
    /// Whether the accounts of the data are locked, and one is made that may do everything.
    pub replace_accounts: bool,
    /// Where its data comes from.
    pub source: Source,
}

/// Where the data of a clone comes from.
pub enum Source {
    /// Snapshots that a run kept.
    Kept {
        /// What is known of them.
        kept: Box<Kept>,
        /// The volumes.
        volumes: Vec<Volume>,
        /// When they are grown or given up.
        limits: Limits,
        /// From when on no snapshot is taken of a pool.
        pool_room: PoolRoom,
    },
    /// A stored backup.
    Backup {
        /// The backup, of files.
        backup: Box<Backup>,
        /// Where it is.
        store: Box<dyn Store>,
        /// Where there is room for all of it, on another volume than the live server's.
        scratch: PathBuf,
        /// How bytes are moved.
        transfer: Transfer,
    },
}

impl Source {
    fn facts(&self) -> &Facts {
        match self {
            Self::Kept { kept, .. } => &kept.server,
            Self::Backup { backup, .. } => &backup.manifest.server,
        }
    }

    /// The family of the server whose data it is.
    pub fn flavour(&self) -> Flavour {
        self.facts().flavour
    }

    /// The run that kept the snapshots, or the backup.
    pub fn id(&self) -> &RunId {
        match self {
            Self::Kept { kept, .. } => &kept.run,
            Self::Backup { backup, .. } => &backup.manifest.id,
        }
    }

    /// The moment that the data is of.
    pub fn taken(&self) -> Timestamp {
        match self {
            Self::Kept { kept, .. } => kept.taken,
            Self::Backup { backup, .. } => backup.manifest.taken(),
        }
    }
}

/// What will be done; printed by `--dry-run`.
#[derive(Debug)]
pub struct Plan {
    /// The steps, in words, in order.
    pub steps: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// Whether a kept snapshot is used up: no rollback to it is possible afterwards.
    pub uses_up: bool,
    ground: CloneGround,
    /// The snapshots; none where files are restored.
    layers: Vec<ground::Layer>,
}

/// Where people find the clone of that name on this host.
pub fn socket(name: &CloneName) -> PathBuf {
    clone_directory(name.as_str()).join("mysqld.sock")
}

/// Where its account is written down, where its accounts are replaced: for `--defaults-file`.
pub fn option_file(name: &CloneName) -> PathBuf {
    clone_directory(name.as_str()).join("client.cnf")
}
