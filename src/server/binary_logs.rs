//! What the server says of its binary logs, and whether its files can be read instead of asking it.

use serde::{Deserialize, Serialize};

use super::access::Endpoint;
use super::position::{BinlogPosition, binlog_position};
use super::session::{Columns, Session, is_missing_privilege};
use super::sql;
use crate::fault::{Fault, Kind};

/// By how much MySQL's encryption makes a file longer than what is in it.
const ENCRYPTION_HEADER: u64 = 512;

/// How a server's binary logs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogEngine {
    /// The files where they are on this host and not encrypted, else by the tool.
    #[default]
    Auto,
    /// The server's own files.
    Files,
    /// The family's own tool, which asks the server for them as a replica does.
    Tool,
}

/// A binary log as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLog {
    /// Its name, without a directory.
    pub name: String,
    /// Its length, decrypted.
    pub size: u64,
}

impl Session {
    /// Whether the server's files are certainly those that this host has under the same names: one on another host may
    /// have the same paths.
    pub fn is_on_this_host(&self) -> bool {
        let same_host = || nix::unistd::gethostname().is_ok_and(|name| name.to_str() == Some(&self.facts().hostname));
        let may_be = matches!(self.address.endpoint, Endpoint::Socket(_)) || same_host();
        may_be && self.prove_local().is_ok()
    }

    /// The setting by which the server encrypts its binary log now; none where it does not.
    pub fn log_encryption(&self) -> Option<&'static str> {
        let is_on =
            |name: &&str| self.facts().must_match.get(*name).is_some_and(|value| ["ON", "1"].contains(&&**value));
        ["encrypt_binlog", "binlog_encryption"].into_iter().find(is_on)
    }

    /// The binary logs that the server has, oldest first. It opens each of them for that: not to be asked often.
    pub fn binary_logs(&mut self) -> anyhow::Result<Vec<ServerLog>> {
        let rows = self.asked(sql::BINARY_LOGS)?;
        let listed: Vec<ServerLog> = rows.iter().filter_map(listed).collect();
        if listed.len() < rows.len() || listed.is_empty() {
            let message = "the server lists its binary logs in a way that is not understood";
            return Err(Fault::new(Kind::Refused, message).into());
        }
        Ok(listed)
    }

    /// Where the server's binary log ends now; none where it is off.
    pub fn binary_log_end(&mut self) -> anyhow::Result<Option<BinlogPosition>> {
        let query = self.dialect().binlog_status;
        Ok(self.asked(query)?.first().and_then(binlog_position))
    }

    fn asked(&mut self, query: &str) -> anyhow::Result<Vec<Columns>> {
        match self.connection.rows(query) {
            Err(error) if error.downcast_ref().is_some_and(is_missing_privilege) => {
                let grant = self.grant(self.dialect().binlog_status_privilege);
                let fault = Fault::new(Kind::Config, "the account may not ask for the server's binary logs");
                Err(fault.hint(grant).caused_by(error).into())
            }
            rows => rows,
        }
    }

    /// The statement that gives our account `privilege`.
    pub fn grant(&mut self, privilege: &str) -> String {
        let account = self.connection.value(sql::ACCOUNT).ok().flatten();
        account.map_or_else(|| format!("GRANT {privilege} ON *.*"), |account| sql::grant(privilege, &account))
    }
}

fn listed(row: &Columns) -> Option<ServerLog> {
    let size: u64 = row.get(&["file_size"])?.parse().ok()?;
    let encrypted = row.get(&["encrypted"]).is_some_and(|is| is.eq_ignore_ascii_case("yes"));
    let header = if encrypted { ENCRYPTION_HEADER } else { 0 };
    Some(ServerLog { name: row.get(&["log_name"])?.to_owned(), size: size.saturating_sub(header) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encrypted_is_listed_with_the_length_of_what_is_in_it() {
        let size = |columns: &[(&str, &str)]| listed(&Columns::of(columns)).map(|log| log.size);
        assert_eq!(size(&[("Log_name", "b.000001"), ("File_size", "700")]), Some(700));
        assert_eq!(size(&[("Log_name", "b.000001"), ("File_size", "700"), ("Encrypted", "No")]), Some(700));
        assert_eq!(size(&[("Log_name", "b.000001"), ("File_size", "700"), ("Encrypted", "Yes")]), Some(188));
        assert_eq!(size(&[("Log_name", "b.000001"), ("File_size", "many")]), None);
    }
}
