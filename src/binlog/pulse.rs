//! What the last pass came to, for monitoring: an archive of a server that writes nothing stays as it is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::server::BinlogPosition;

/// A pass that went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// When it began: what the server had logged by then is in the archive.
    pub at: Timestamp,
    /// Whether another one was to follow at once.
    pub streams: bool,
    /// Where the archive ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<BinlogPosition>,
}
