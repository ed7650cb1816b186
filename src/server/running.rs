//! Whether a server uses a data directory.

use std::path::Path;

/// A process that uses a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its process id.
    pub pid: i32,
    /// Its program's name.
    pub program: String,
}

/// The processes that hold files under `directory` open, work in it, or lock its system
/// tablespace; empty when it is free.
pub fn users_of(directory: &Path) -> anyhow::Result<Vec<User>> {
    let _ = directory;
    anyhow::bail!("not built yet")
}
