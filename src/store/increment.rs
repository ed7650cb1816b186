//! What an increment says about itself: a part of an archive of binary logs, and the backup that it goes on from.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{JobName, RunId};
use crate::server::BinlogPosition;

/// Everything that a server logged between two places. The bytes are in the archive, and in nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Increment {
    /// The backup of files or rows with which its chain begins, of the same job: a restore begins with it.
    pub base: RunId,
    /// The backup at whose position this one begins: the base, or an earlier increment of it.
    pub previous: RunId,
    /// The archive, a `[binlog.NAME]` of the configuration.
    pub archive: JobName,
    /// The timeline in it.
    pub timeline: String,
    /// Where it begins: the position of `previous`.
    pub from: BinlogPosition,
    /// Where it ends: behind the last event of a file that the server has closed.
    pub to: BinlogPosition,
    /// What was executed where it begins; none without GTIDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtids_from: Option<String>,
    /// What was executed where it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtids_to: Option<String>,
    /// The time of its earliest event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_event: Option<Timestamp>,
    /// The time of its latest event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<Timestamp>,
    /// How many events there are, those included that only begin and end files.
    pub events: u64,
    /// Their bytes, unpacked.
    pub bytes: u64,
}
