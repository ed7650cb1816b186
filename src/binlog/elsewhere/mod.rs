//! An archive on another node.
//!
//! By ssh the database host starts the hidden verb `mysnap binlog receive` there, as it starts `mysnap node` for a
//! backup. The archiver itself runs on that node, on its own disk: all that is promised of an archive is kept by the
//! same code. What it wants of the server's files it asks the database host for ([`Ask`]), which orders one pass after
//! the other ([`Order`]) and tells what came of it. Bytes go over once, packed files are compared by their digests.
//!
//! Both sides say something each [`BEAT`]; whoever hears nothing for [`SILENCE`] takes the other for gone. The node's
//! side then makes durable what it has, and ends; so it does when it is left in order. The database host begins again.

mod ask;
mod expire;
mod fetch;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod host;
mod receive;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::expire::Plan;
use super::index::Identity;
use super::passed::Passed;
use super::source::Listed;
use crate::dump::Compression;
use crate::fault::Kind;
use crate::node;
use crate::server::BinlogPosition;
use crate::store::Sha256;

pub(super) use expire::expire;
pub(super) use fetch::Node;
pub(super) use fetch::fetch;
pub(super) use host::{Remote, look};
pub use receive::receive;

/// Both sides must have the same; it changes with what is said.
const PROTOCOL: u32 = 3;
/// How often each side says that it is there.
const BEAT: Duration = Duration::from_secs(5);
/// After so long without a word nobody is there any more.
pub const SILENCE: Duration = Duration::from_secs(10);

/// The first line that the node gets.
#[derive(Debug, Serialize, Deserialize)]
struct Begin {
    protocol: u32,
    mysnap: String,
    home: PathBuf,
    wanted: Wanted,
}

/// What the node is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    /// To say that it could.
    Look,
    /// To write an archive.
    Write(Write),
    /// To remove from one.
    Expire(Plan),
}

/// What a node says that could write an archive.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Looked {
    /// The release that is there.
    pub(super) mysnap: String,
    /// Whether there is an archive in the directory.
    pub(super) archive: bool,
}

/// What is to be written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Write {
    /// The server.
    pub(super) identity: Identity,
    /// How closed files are packed.
    pub(super) compression: Compression,
    /// Whether this stream wrote it before: its own former writer may not have noticed yet that it is alone.
    pub(super) again: bool,
    /// Whether the archive was there before.
    pub(super) known: bool,
}

/// What the database host says next.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// To bring the archive up to the server.
    Pass,
    /// To say where it stands.
    Tell,
}

/// What the node says. Logs that are open have numbers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
enum Ask {
    /// Which files there are.
    Files,
    /// To open the file of that name.
    Open { name: String },
    /// The length of a log where the server still calls it by that name; any length without a name.
    Length { log: u64, name: Option<String> },
    /// Bytes, less than `length` where there are no more.
    Read { log: u64, at: u64, length: u64 },
    /// The digest of a log's first bytes, with the in-use flag as told.
    Digest { log: u64, length: u64, in_use: bool },
    /// Nothing more of a log; there is no answer.
    Close { log: u64 },
    /// Nothing: what was ordered is done.
    Done(Done),
}

/// What is answered; bytes are answered as such.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Files(Vec<Listed>),
    Opened(Option<u64>),
    Length(Option<u64>),
    Digest(Sha256),
    Failed { kind: Option<Kind>, error: String, hint: String },
}

/// What a pass brought, and where the archive is now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Done {
    passed: Passed,
    end: Option<BinlogPosition>,
    has_ended: bool,
    is_damaged: bool,
}

impl Begin {
    fn line(home: PathBuf, wanted: Wanted) -> anyhow::Result<String> {
        let begin = Self { protocol: PROTOCOL, mysnap: node::RELEASE.to_owned(), home, wanted };
        serde_json::to_string(&begin).context("cannot write a request as JSON")
    }

    /// What `line` asks for; refuses what another release might mean otherwise.
    fn read(line: &str) -> anyhow::Result<Self> {
        node::refuse_another(line, PROTOCOL)?;
        serde_json::from_str(line).context("the request lacks something")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;
    use crate::server::Flavour;

    #[test]
    fn what_is_said_is_understood_by_the_same_protocol_alone() {
        let identity = Identity { key: "db1".into(), flavour: Flavour::MariaDb, server_id: 1 };
        let write = Write { identity, compression: Compression::Gzip, again: false, known: true };
        let line = Begin::line("/srv/binlog/shop".into(), Wanted::Write(write)).unwrap();
        assert!(!line.contains('\n'));
        let Wanted::Write(read) = Begin::read(&line).unwrap().wanted else { panic!("{line}") };
        assert!(read.identity.key == "db1" && !read.again && read.known);
        let other = r#"{"protocol": 99, "mysnap": "7.0", "home": "/", "wanted": "look"}"#;
        assert_eq!(kind_of(&Begin::read(other).unwrap_err()), Some(Kind::Refused));
        for ask in [Ask::Files, Ask::Length { log: 3, name: None }, Ask::Done(Done::default())] {
            let line = serde_json::to_string(&ask).unwrap();
            assert_eq!(format!("{:?}", serde_json::from_str::<Ask>(&line).unwrap()), format!("{ask:?}"));
        }
    }
}
