//! Loading: databases and tables of a dump back into a running server.
//!
//! Everything is loaded into databases of its own first, under names that nobody uses, and moved to
//! its place when every row is there; foreign keys, views and programs follow. A load that is cut short
//! before the move leaves nothing but what the next load removes. From the move on a note says what is not
//! finished (see `unfinished`): the next load names it, and begins anew.
//!
//! [`plan()`] looks and decides, [`execute()`] does and decides nothing.

mod dialect;
mod execute;
mod fits;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod line;
mod objects;
mod place;
mod plan;
mod rehearse;
mod rewrite;
mod rows;
mod source;
mod unfinished;

use crate::dump::{AccountText, ObjectText, TableIndex};
use crate::server::{Abilities, Address, Facts, Session};
use crate::store::{Backup, Store};
use crate::sys::cancel::Cancel;
use dialect::Crossing;
pub use execute::execute;
pub use plan::{gives_way, plan};
pub use source::Dump;

/// How many connections load all of a dump: as many as a restore has by itself.
const WORKERS: u32 = 2;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// These databases; all of them where none is named.
    pub databases: Vec<String>,
    /// These tables of the one database that is named.
    pub tables: Vec<String>,
    /// Another name for the one database, or for the one table where one is named.
    pub new_name: Option<String>,
    /// Another collation for one that the dump has: `(its, ours)`.
    pub collations: Vec<(String, String)>,
    /// Take the place of what is there, instead of refusing.
    pub replace: bool,
    /// How many connections load side by side.
    pub workers: u32,
    /// Whether the server's replicas get it too.
    pub binary_log: bool,
}

/// What will be done; printed by `--dry-run`.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The steps, in words, in order.
    pub steps: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// Whether something that is there is lost.
    pub destroys: bool,
    /// How long the rows are, unpacked.
    pub bytes: u64,
    /// What loads left that were cut short before they changed anything.
    abandoned: Vec<String>,
    /// What loads left whose work this one does anew: gone when it is done.
    superseded: Vec<String>,
    databases: Vec<Target>,
    accounts: Vec<AccountText>,
    /// Whether the server has to be told to take rows from a client.
    opens_local_infile: bool,
    workers: u32,
    binary_log: bool,
    facts: Facts,
    crossing: Crossing,
    abilities: Abilities,
}

/// A database to be loaded.
#[derive(Debug, Clone)]
struct Target {
    /// Its name in the dump.
    from: String,
    /// Where it goes.
    to: String,
    /// Where it is until it is complete.
    staging: String,
    charset: String,
    collation: String,
    exists: bool,
    /// Whether it is all of the database, not tables of it.
    is_whole: bool,
    /// Whether the whole database that is there gives way.
    replaces_all: bool,
    /// Whether that has to go before anything is loaded.
    goes_first: bool,
    /// Tables that are there and give way.
    replaced: Vec<String>,
    tables: Vec<TargetTable>,
    objects: Vec<ObjectText>,
}

/// A table to be loaded.
#[derive(Debug, Clone)]
struct TargetTable {
    table: TableIndex,
    to: String,
    /// Whether another table may have the names of its constraints.
    renamed: bool,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Loaded {
    /// The databases that hold it.
    pub databases: Vec<String>,
    /// How many tables.
    pub tables: u64,
    /// How many rows.
    pub rows: u64,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Loads all of `backup` into the empty server at `address`; `progress` gets the bytes that are done, and all of them.
pub fn everything(
    store: &dyn Store,
    backup: &Backup,
    address: &Address,
    progress: &(dyn Fn(u64, u64) + Sync),
    cancel: &Cancel,
) -> anyhow::Result<Loaded> {
    let dump = Dump::open(store, backup)?;
    let session = Session::open(address, cancel)?;
    let all = Request { workers: WORKERS, ..Request::default() };
    let plan = plan(&dump, &all, &mut session.loader(all.binary_log)?, session.facts())?;
    execute(&plan, &dump, address, &|done| progress(done, plan.bytes), cancel)
}
