//! mysnap: LVM snapshot backups of MySQL and MariaDB.

pub mod fault;
pub mod id;
pub mod server;
pub mod sys;
