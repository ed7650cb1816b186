//! The live server: what it is, where its data lies, how it is held still for a moment.
//!
//! One [`Session`] is one connection on which named operations exist and no general query does; all
//! SQL is in `sql.rs`. A read lock is only ever held inside [`Session::hold`], on a connection of its
//! own that is closed when the closure returns: FLUSH TABLES WITH READ LOCK that failed may still
//! hold the lock, and ending the connection is what releases it in every state.
//!
//! [`Access`] says how to reach the server, [`Facts`] what it is, [`layout`] which files are its
//! data, [`privileges`] what the account lacks, [`long_queries`] what would block the lock,
//! [`Position`] what a restored copy corresponds to, [`running`] whether a server uses a directory.

mod access;
mod accounts;
mod binary_logs;
mod credentials;
mod dump_sql;
pub mod statements {
    //! Statements that a dump writes into its files.
    pub use super::dump_sql::{
        LOAD, LOAD_BY_HAND, Taken, WITH_HISTORY, as_stored, default_collation, load, restart_sequence,
    };
}
mod facts;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod hold;
mod inspect;
pub mod keyring;
pub mod keys;
pub mod layout;
mod loader;
pub mod long_queries;
mod option_file;
mod position;
pub mod privileges;
mod reader;
mod replay;
mod replay_sql;
pub mod running;
mod session;
mod side_by_side;
mod sql;
mod tool_options;
mod version;
mod watchdog;
mod zone;

pub use access::{Access, Address, Endpoint, TlsMode};
pub use accounts::{Account, Accounts};
pub use binary_logs::{LogEngine, ServerLog};
pub use facts::{BinaryLog, Facts, FlushSettings};
pub use hold::{Held, HoldLimits, HoldOutcome, LockChoice, LockMode};
pub use inspect::{Checked, Inspector, Table};
pub use layout::{Place, PlaceKind};
pub use loader::{ANOTHER_ACCOUNT, Abilities, Into, Loader, MadeAccount, NotTaken, RESTORING, Refusal};
pub use long_queries::{LongQuery, LongQueryPolicy};
pub use position::{BinlogPosition, Exactness, Position, UpstreamPosition};
pub use privileges::MissingPrivilege;
pub use reader::{Column, Database, Definition, Named, Range, Reader, Relation, RelationKind, Settings, TableSize};
pub use replay::{Replayed, Replayer};
pub use session::Session;
pub use side_by_side::{Connected, side_by_side};
pub use sql::{own_account, quoted, replaced_accounts};
pub use version::{Flavour, Version};
pub use zone::ZONES;
