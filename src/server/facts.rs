//! What the server says about itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::version::{Flavour, Version};

/// What the server says about itself: read once for each session, kept in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The family.
    pub flavour: Flavour,
    /// The release.
    pub version: Version,
    /// The version as the server writes it, with its comment.
    pub version_text: String,
    /// `server_uuid`; MariaDB has none.
    pub uuid: Option<String>,
    /// `server_id`.
    pub server_id: u32,
    /// The host's name as the server knows it.
    pub hostname: String,
    /// The TCP port, 0 without networking.
    pub port: u16,
    /// The server's own socket.
    pub socket: PathBuf,
    /// The file with its process id.
    pub pid_file: PathBuf,
    /// The data directory, symlinks followed.
    pub datadir: PathBuf,
    /// The binary log, where it is on.
    pub binary_log: Option<BinaryLog>,
    /// `gtid_mode`; MariaDB's GTIDs are always on and have no mode.
    pub gtid_mode: Option<String>,
    /// How durable a commit is.
    pub flush: FlushSettings,
    /// `read_only` or `super_read_only`.
    pub read_only: bool,
    /// Whether it replicates from another server.
    pub replica: bool,
    /// The seconds since its start, when the facts were read.
    pub uptime: u64,
    /// Settings that a second server on the same files must be given too.
    pub must_match: BTreeMap<String, String>,
}

/// Where the binary log lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinaryLog {
    /// The files' common name without their number.
    pub basename: PathBuf,
    /// The list of the files.
    pub index: PathBuf,
}

/// How durable a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushSettings {
    /// `innodb_flush_log_at_trx_commit`.
    pub redo_at_commit: u8,
    /// `sync_binlog`.
    pub sync_binlog: u64,
}
