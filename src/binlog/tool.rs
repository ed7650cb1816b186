//! The servers' own tool that reads binary logs as a replica does: which one it is, what it is told, what its words mean.
//!
//! It writes each file as the server has it, decrypted, from the first byte on, and nothing else is known of it: it does
//! not go on after a lost connection, truncates what it wrote when it is started again, and writes out nothing durably.
//! [`Spool`](super::spool::Spool) makes up for all that.

use std::path::Path;

use crate::fault::{Fault, Kind};
use crate::server::{Facts, Flavour, Session};
use crate::store::Sha256;
use crate::sys::cmd::{Call, CommandError};
use crate::sys::secret::Secret;

/// Where ids of replicas begin of which a tool has one: nobody gives such high ones by hand, and as addresses they are
/// no host's.
const LOWEST_ID: u32 = 4_000_000_000;
const IDS: u32 = 200_000_000;

/// The tool for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tool {
    /// The program.
    pub(super) name: &'static str,
    flavour: Flavour,
    /// The server's own id.
    server: u32,
    /// The replica that it is to the server. A second one with the same id ends the first: what a killed stream left.
    replica: u32,
}

/// Why the tool did not give what it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server has no such file any more.
    Purged,
    /// The file's last event is torn: what comes before it was given.
    Torn,
    /// An event of the file is none: what comes before it was given.
    Damaged,
    /// Something else.
    Other,
}

/// What a server says of an event that it reads and that is none. What it can't read now, or not decrypt, may be whole.
const DAMAGES: [&str; 10] = [
    "bogus data in log event",
    "corrupted data in log event",
    "exceeded max_allowed_packet",
    "Event too big",
    "did not pass crc check",
    "did not pass checksum algorithm check",
    "Event crc check failed",
    "Found invalid event in binary log",
    "Found invalid Format description event",
    "bad magic number",
];

impl Refusal {
    /// What the server said, as both families write it.
    pub(super) fn of(said: &str) -> Self {
        if said.contains("truncated in the middle of event") {
            Self::Torn
        } else if DAMAGES.iter().any(|damage| said.contains(damage)) {
            Self::Damaged
        } else if said.contains("Could not find first log file name") {
            Self::Purged
        } else {
            Self::Other
        }
    }
}

impl Tool {
    /// The one that this host has for the server of `session`, to write the archive that `archive` tells from others.
    ///
    /// # Errors
    /// `Refused` where there is none: each family's tool refuses the other's servers.
    pub(super) fn find(session: &Session, archive: &str) -> anyhow::Result<Self> {
        let Facts { flavour, server_id, .. } = *session.facts();
        let help = |name: &str| {
            let installed = Call::is_installed(name);
            installed.then(|| Call::new(name).args(["--no-defaults", "--help"]).stdout()).transpose()
        };
        Ok(Self { name: named(flavour, help)?, flavour, server: server_id, replica: replica(archive, server_id) })
    }

    /// The same as another replica, `others` of which were somebody else's.
    pub(super) fn evading(self, others: u32) -> Self {
        let wanted = self.replica.saturating_add(others);
        let passes_server = self.replica < self.server && self.server <= wanted;
        Self { replica: wanted.saturating_add(u32::from(passes_server)), ..self }
    }

    /// Has it write `file`, and with `follow` all that comes after it, into `directory`. It reads its options from a
    /// pipe: a password is in no file that a kill could leave behind.
    pub(super) fn call(&self, options: &Secret, directory: &Path, file: &str, follow: bool) -> Call<'static> {
        let call = Call::new(self.name)
            .arg("--defaults-file=/dev/stdin")
            .args(["--read-from-remote-server", "--raw"])
            .arg(format!("--result-file={}/", directory.display()));
        let id = if self.flavour.is_mariadb() { "stop-never-slave-server-id" } else { "connection-server-id" };
        let call = if follow { call.arg("--stop-never").arg(format!("--{id}={}", self.replica)) } else { call };
        call.arg(file).stdin(options.reveal()).tied()
    }

    /// What it means that it ended, `error`, while it was to write `file`.
    pub(super) fn explained(&self, file: &str, error: CommandError, grant: impl FnOnce() -> String) -> anyhow::Error {
        let said = error.stderr().unwrap_or_default().trim_start_matches("ERROR: ").to_owned();
        let fault = if said.contains("REPLICATION SLAVE") {
            let message = "the account may not read the server's binary logs as a replica does";
            Fault::new(Kind::Config, message).hint(grant())
        } else if said.contains("same server_uuid/server_id") {
            let message = format!("another one reads the server's binary logs as the replica {}", self.replica);
            Fault::new(Kind::Busy, message).hint("does a host of the same name write an archive of the same place?")
        } else {
            Fault::new(Kind::Refused, format!("{} did not go on with {file}", self.name))
                .hint("does the server still run, and can it be reached?")
        };
        fault.caused_by(error).into()
    }
}

/// The program whose `help` is that of the family's tool.
fn named(
    flavour: Flavour,
    help: impl Fn(&str) -> Result<Option<String>, CommandError>,
) -> anyhow::Result<&'static str> {
    let (names, wanted, package): (&[&str], _, _) = if flavour.is_mariadb() {
        (&["mariadb-binlog", "mysqlbinlog"], "mariadb-binlog", "mariadb-client or mariadb-server")
    } else {
        (&["mysqlbinlog"], "MySQL's own mysqlbinlog", "mysql-client or mysql-community-client")
    };
    for name in names {
        if help(name)?.is_some_and(|help| is_for(flavour, &help)) {
            return Ok(name);
        }
    }
    let message = format!("{wanted} is not installed, which reads binary logs that can't be read as files");
    Err(Fault::new(Kind::Refused, message).hint(format!("install the package {package}")).into())
}

fn is_for(flavour: Flavour, help: &str) -> bool {
    help.contains("--raw") && help.contains("--connection-server-id") != flavour.is_mariadb()
}

/// The same for each start of the same archive on the same host, and not the server's own.
fn replica(archive: &str, server: u32) -> u32 {
    let digest = Sha256::of(archive.as_bytes()).to_string();
    let number = digest.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or_default();
    let id = LOWEST_ID + number % IDS;
    if id == server { id + 1 } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;

    const MYSQL: &str = "--raw --stop-never --connection-server-id=#";
    const MARIADB: &str = "--raw --stop-never --stop-never-slave-server-id=#";

    #[test]
    fn each_family_has_a_tool_of_its_own() {
        assert!(is_for(Flavour::MariaDb, MARIADB) && is_for(Flavour::Percona, MYSQL));
        assert!(!is_for(Flavour::MariaDb, MYSQL) && !is_for(Flavour::MySql, MARIADB) && !is_for(Flavour::MySql, ""));
    }

    #[test]
    fn a_host_without_the_familys_tool_is_refused_with_its_name() {
        let only =
            |there: &'static str, help: &'static str| move |name: &str| Ok((name == there).then(|| help.to_owned()));
        assert_eq!(named(Flavour::MariaDb, only("mysqlbinlog", MARIADB)).unwrap(), "mysqlbinlog");
        assert_eq!(named(Flavour::MySql, only("mysqlbinlog", MYSQL)).unwrap(), "mysqlbinlog");
        for (flavour, help, name) in
            [(Flavour::MariaDb, MYSQL, "mariadb-binlog is not installed"), (Flavour::MySql, MARIADB, "MySQL's own")]
        {
            let error = named(flavour, only("mysqlbinlog", help)).unwrap_err();
            assert!(kind_of(&error) == Some(Kind::Refused) && error.to_string().starts_with(name), "{error:#}");
        }
    }

    #[test]
    fn a_replica_keeps_its_id_and_never_has_the_servers() {
        let id = replica("host:/srv/binlog/shop", 1);
        assert!(id >= LOWEST_ID && id == replica("host:/srv/binlog/shop", 2));
        assert_ne!(replica("host:/srv/binlog/shop", id), id);
        assert_ne!(replica("host:/srv/binlog/crm", 1), id);
    }

    #[test]
    fn whoever_was_taken_for_another_replica_becomes_one_that_nobody_is() {
        let tool = |server| Tool { name: "tool", flavour: Flavour::MySql, server, replica: 4_000_000_007 };
        assert_eq!(tool(1).evading(0), tool(1));
        assert_eq!(tool(1).evading(2).replica, 4_000_000_009);
        assert_eq!(tool(4_000_000_008).evading(1).replica, 4_000_000_009);
        assert_eq!(tool(4_000_000_008).evading(2).replica, 4_000_000_010);
    }

    #[test]
    fn what_the_server_says_is_understood() {
        let torn = "binlog truncated in the middle of event; consider out of disk space on master; the first event";
        assert_eq!(Refusal::of(torn), Refusal::Torn);
        assert_eq!(Refusal::of("Could not find first log file name in binary log index file"), Refusal::Purged);
        let bogus =
            "ERROR: Got error reading packet from server: bogus data in log event; the first event 'b.000001' at";
        assert_eq!(Refusal::of(bogus), Refusal::Damaged);
        // A disk that can be read again, and a key that is found.
        for passing in ["I/O error reading log event", "event decryption failure"] {
            assert_eq!(Refusal::of(passing), Refusal::Other);
        }
        assert_eq!(Refusal::of("Lost connection to server during query"), Refusal::Other);
    }
}
