//! What the account lacks, by name.
//!
//! Each privilege is proved by a harmless statement that needs just it, not by reading grants: roles,
//! SUPER and ALL PRIVILEGES are the server's business then. Tried with every single privilege on
//! MySQL 9.7 and MariaDB 10.5, 10.11 and 11.8. FLUSH ENGINE LOGS needs RELOAD everywhere, and RELOAD
//! is what both locks need (on MySQL 8 FLUSH_TABLES would do for the lock, but not for that flush).

use super::session::{Session, is_missing_privilege};
use super::sql;

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
    /// The privileges that a backup needs and the account lacks.
    pub fn missing_privileges(&mut self) -> anyhow::Result<Vec<MissingPrivilege>> {
        let dialect = self.dialect();
        let needed = [
            ("RELOAD", "the read lock", sql::FLUSH_ENGINE_LOGS),
            (dialect.binlog_status_privilege, "the position", dialect.binlog_status),
            (dialect.replica_status_privilege, "the position of a replica", dialect.replica_status),
            ("PROCESS", "long queries and tablespaces", sql::ENGINE_STATUS),
        ];
        let account = self.connection.value(sql::ACCOUNT)?.unwrap_or_default();
        let mut missing: Vec<MissingPrivilege> = Vec::new();
        for (privilege, purpose, statement) in needed {
            let lacks = match self.connection.run(statement) {
                Ok(()) => false,
                Err(error) if is_missing_privilege(&error) => true,
                Err(error) => return Err(error.into()),
            };
            if lacks && missing.iter().all(|known| known.privilege != privilege) {
                missing.push(MissingPrivilege { privilege, purpose, grant: sql::grant(privilege, &account) });
            }
        }
        Ok(missing)
    }
}
