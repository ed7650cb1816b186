//! What the account lacks, by name.

use super::hold::LockMode;
use super::session::Session;

/// A privilege that a hold needs and the account lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPrivilege {
    /// Its name, as GRANT writes it.
    pub privilege: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    /// The statement that gives it to the account.
    pub grant: String,
}

impl Session {
    /// The privileges that a hold of `mode` needs and the account lacks.
    pub fn missing_privileges(&mut self, mode: LockMode) -> anyhow::Result<Vec<MissingPrivilege>> {
        let _ = mode;
        anyhow::bail!("not built yet")
    }
}
