//! mysnap: LVM snapshot backups of MySQL and MariaDB.

pub mod backup;
pub mod binlog;
pub mod check;
pub mod cli;
pub mod clone;
pub mod config;
pub mod drill;
pub mod dump;
pub mod exit;
pub mod expire;
pub mod extract;
pub mod fault;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod id;
pub mod instance;
pub mod kept;
pub mod load;
pub mod lvm;
pub mod node;
pub mod pitr;
pub mod proof;
pub mod recover;
pub mod restore;
pub mod rollback;
pub mod run;
pub mod server;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod sys;
pub mod verify;
