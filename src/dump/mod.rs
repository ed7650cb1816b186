//! Dumps: databases as statements and rows, which any server that can take them gets back.
//!
//! A dump is made from a server whose data stands still for it: a second server on a snapshot, or the
//! live one through connections that all keep one view. So workers read side by side without a lock.
//! Each part of a table is a file of rows in the form of LOAD DATA (the fastest that servers take),
//! bytes as they are stored; each kind of object is a file of statements that the server's own client
//! takes as well; [`Index`] says which is where. See `docs/formats.md`.
//!
//! Rows are read by ourselves and not by the server's own tool: that one writes statements, which load
//! at half the speed, or has the server write files on its host.

mod definitions;
mod encode;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod index;
mod names;
mod pattern;
mod shelf;
mod survey;
mod unload;
mod view_order;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use index::{
    AccountText, Column, DatabaseIndex, INDEX, Index, ObjectKind, ObjectText, Part, ROOT, TableIndex, Text,
};
pub use pattern::{Pattern, Selection};

use crate::run::events::{Event, Observer};
use crate::server::{Reader, Table};
use crate::store::{Copied, Root, Staging, Totals};
use crate::sys::cancel::Cancel;
use crate::sys::units::{Bytes, human_duration};
use shelf::Shelf;

/// How the rows are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard: fast, and small.
    #[default]
    Zstd,
    /// For where there is no other tool.
    Gzip,
    /// As they are.
    None,
}

/// What a dump reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DumpSource {
    /// A second server on a snapshot.
    #[default]
    Snapshot,
    /// The live server, through connections that all keep one view.
    Live,
}

/// What to dump, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Which databases and tables.
    pub selection: Selection,
    /// How many connections read side by side.
    pub workers: u32,
    /// How the rows are packed.
    pub compression: Compression,
    /// How much is read and stored at once.
    #[serde(default)]
    pub sizes: Sizes,
}

/// How much is read and stored at once, in bytes of unpacked rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// A file of rows ends at about this length: what a load takes as one transaction, and what is in memory of a
    /// part. A larger row makes a larger part.
    pub part: u64,
    /// A table that is larger is read in ranges of its key.
    pub range: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { part: 32 << 20, range: 48 << 20 }
    }
}

/// The connections of a dump.
pub struct Readers {
    /// An account that is no part of the data: ours in a second server.
    pub own_account: Option<&'static str>,
    /// Each sees the same data. There is one at least.
    pub all: Vec<Reader>,
    /// Ends the others, where the run ends.
    pub guard: Reader,
    /// What is there, where it may be gone before it is looked at.
    pub listing: Option<Listing>,
}

/// The names of what a server has at a moment.
#[derive(Debug)]
pub struct Listing {
    /// Tables, views and sequences.
    pub tables: Vec<Table>,
    /// Whether it is of the very moment that the data is of, and not of one shortly before.
    pub exact: bool,
}

impl Readers {
    /// So many that `open` makes, and one that guards them.
    pub fn gather(
        workers: u32,
        own_account: Option<&'static str>,
        open: impl Fn() -> anyhow::Result<Reader>,
    ) -> anyhow::Result<Self> {
        let all = (0..workers).map(|_| open()).collect::<anyhow::Result<_>>()?;
        Ok(Self { own_account, all, guard: open()?, listing: None })
    }
}

/// What was dumped.
#[derive(Debug, Serialize, Deserialize)]
pub struct Dumped {
    /// The root that holds it.
    pub root: Root,
    /// Every file with its digest.
    pub copied: Copied,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// How many tables.
    pub tables: u64,
    /// How many rows.
    pub rows: u64,
}

impl Dumped {
    /// It in words.
    pub fn summary(&self) -> String {
        let took = human_duration(self.copied.took.max(Duration::from_millis(1)));
        let Totals { files, bytes, .. } = self.copied.totals;
        format!("{} rows of {} tables in {took}, {} in {files} files", self.rows, self.tables, Bytes(bytes))
    }
}

/// Dumps what `options` select into `staging`. `taken` is the moment that the data is of.
pub fn dump(
    mut readers: Readers,
    options: &Options,
    taken: Timestamp,
    staging: &Staging<'_>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Dumped> {
    let began = Instant::now();
    let contents = survey::look(&mut readers, options, cancel)?;
    let root = index::root()?;
    let shelf = Shelf::new(staging, root.name.clone());
    let total = Bytes(contents.bytes());
    let progress = |done: u64| observer.event(Event::Progress { done: Bytes(done.min(total.0)), total });
    let parts = unload::unload(readers, &contents, options, &shelf, &progress, cancel)?;
    let (index, sheets) = definitions::written(&contents, parts, options.compression, taken);
    for sheet in sheets {
        shelf.put(sheet.path, sheet.bytes)?;
    }
    let tables = index.databases.iter().map(|database| database.tables.len() as u64).sum();
    let rows = index.databases.iter().flat_map(|database| &database.tables).map(|table| table.rows).sum();
    shelf.put(INDEX.to_owned(), index.encode()?)?;
    let files = shelf.finish()?;
    Ok(Dumped {
        root,
        copied: Copied { totals: Totals::of(&files), files, skipped: Vec::new(), took: began.elapsed() },
        warnings: contents.warnings,
        tables,
        rows,
    })
}
