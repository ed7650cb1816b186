//! What is where in a dump.

use serde::{Deserialize, Serialize};

use super::Compression;
use crate::server::{Settings, statements};
use crate::store::Root;

/// The root of a dump's files, and its directory in a backup.
pub const ROOT: &str = "dump";
/// The name of the index below it.
pub const INDEX: &str = "index.json";
/// The format that we write and read.
const FORMAT: u32 = 1;

/// What is where in a dump. Fields may be added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The format.
    pub format: u32,
    /// How parts are packed.
    pub compression: Compression,
    /// Every database.
    pub databases: Vec<DatabaseIndex>,
    /// Accounts and roles, in the order in which they can be made again.
    pub accounts: Vec<AccountText>,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseIndex {
    /// Its name.
    pub name: String,
    /// Its default character set.
    pub charset: String,
    /// Its default collation.
    pub collation: String,
    /// Its tables.
    pub tables: Vec<TableIndex>,
    /// Everything else in it.
    pub objects: Vec<ObjectText>,
}

/// A statement: bytes of a file, because not every one is text in one encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The file, below the dump's root.
    pub file: String,
    /// Where it begins.
    pub at: u64,
    /// How long it is.
    pub length: u64,
}

impl Text {
    /// Its bytes out of those of its file; none where that is too short.
    pub fn of<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        let (at, length) = (usize::try_from(self.at).ok()?, usize::try_from(self.length).ok()?);
        file.get(at..at.checked_add(length)?)
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableIndex {
    /// Its name.
    pub name: String,
    /// Its engine.
    pub engine: String,
    /// What makes it.
    pub definition: Text,
    /// The columns of its rows, in their order; what the server computes is not among them.
    pub columns: Vec<Column>,
    /// Whether former rows are among them.
    #[serde(default)]
    pub history: bool,
    /// How many rows.
    pub rows: u64,
    /// Its rows.
    pub parts: Vec<Part>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether its value is made of text in UTF-8, which the server must be told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub text: bool,
    /// Whether it is an ENUM.
    #[serde(default, rename = "enum", skip_serializing_if = "std::ops::Not::not")]
    pub enumeration: bool,
    /// Whether it says until when a row of a table with history was one of now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub row_end: bool,
}

impl Column {
    /// The column as a load takes it.
    pub fn taken(&self) -> statements::Taken<'_> {
        statements::Taken { name: &self.name, is_text: self.text, is_enum: self.enumeration, is_row_end: self.row_end }
    }
}

/// A file of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The file, below the dump's root.
    pub file: String,
    /// How many rows.
    pub rows: u64,
    /// How long they are, unpacked.
    pub bytes: u64,
}

/// Something that is made after the rows are there, or before the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectText {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// What makes it.
    pub text: Text,
    /// The table of a trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// What a session is set to that makes it.
    #[serde(flatten)]
    pub settings: Settings,
    /// Where a sequence goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// A view that did not work when it was dumped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub broken: bool,
}

impl ObjectText {
    /// The time zone that it names: neither the server's own nor a distance from UTC.
    pub fn named_zone(&self) -> Option<&str> {
        let zone = self.settings.time_zone.as_deref()?;
        let is_name = !zone.eq_ignore_ascii_case("SYSTEM") && !zone.starts_with(['+', '-']);
        is_name.then_some(zone)
    }
}

/// Kinds of objects, in the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A sequence: before the tables, whose defaults may name it.
    Sequence,
    /// A procedure, function or package.
    Routine,
    /// A view.
    View,
    /// A trigger.
    Trigger,
    /// An event.
    Event,
}

impl ObjectKind {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::Routine => "routine",
            Self::View => "view",
            Self::Trigger => "trigger",
            Self::Event => "event",
        }
    }
}

/// An account or a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountText {
    /// Its name, quoted as a statement names it.
    pub name: String,
    /// What makes it, then what it is given.
    pub statements: Vec<Text>,
}

impl Index {
    pub(super) fn new(compression: Compression) -> Self {
        Self { format: FORMAT, compression, databases: Vec::new(), accounts: Vec::new() }
    }

    /// The bytes to store.
    pub fn encode(&self) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    /// Reads stored bytes, whose digest was compared.
    pub fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        let index: Self = serde_json::from_slice(bytes)?;
        anyhow::ensure!(
            index.format == FORMAT,
            "the index of the dump has format {}; this mysnap reads format {FORMAT}: a newer one is needed",
            index.format
        );
        Ok(index)
    }
}

/// The root of a dump's files.
pub(super) fn root() -> anyhow::Result<Root> {
    Ok(Root {
        name: ROOT.parse().map_err(anyhow::Error::msg)?,
        live_path: "/".into(),
        kinds: Vec::new(),
        is_file: false,
        volume: String::new(),
    })
}
