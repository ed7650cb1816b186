//! All SQL, and which server takes which: the one table of dialects.
//!
//! Tried on MySQL 5.6 and 9.7 and MariaDB 10.5, 10.11 and 11.8; the releases between them as in the
//! manuals.

use std::time::Duration;

use super::hold::LockMode;
use super::version::{Flavour, Version};

/// With autocommit off, our reads would keep a transaction, and so old row versions, open.
pub const PREPARE_SESSION: &str = "SET SESSION autocommit = 1";
pub const VARIABLES: &str = "SHOW GLOBAL VARIABLES";
pub const UPTIME: &str = "SHOW GLOBAL STATUS LIKE 'Uptime'";
pub const ACCOUNT: &str = "SELECT CURRENT_USER()";
pub const PROCESS_LIST: &str = "SHOW FULL PROCESSLIST";
/// Needs PROCESS on every server.
pub const ENGINE_STATUS: &str = "SHOW ENGINE INNODB STATUS";
/// LOCAL keeps it out of the binary log. Needs RELOAD on every server.
pub const FLUSH_ENGINE_LOGS: &str = "FLUSH LOCAL ENGINE LOGS";
pub const REDO_AT_COMMIT: &str = "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit";
/// MariaDB's log sequence numbers.
pub const LSN: &str = "SHOW GLOBAL STATUS LIKE 'Innodb_lsn_%'";

/// How far the session's clock is ahead, in seconds.
pub const UTC_OFFSET: &str = "SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW())";
/// The libraries of storage engines that are not built in.
pub const ENGINE_LIBRARIES: &str = "SELECT DISTINCT PLUGIN_LIBRARY FROM information_schema.PLUGINS WHERE PLUGIN_TYPE = \
     'STORAGE ENGINE' AND PLUGIN_STATUS = 'ACTIVE' AND PLUGIN_LIBRARY IS NOT NULL ORDER BY 1";
/// Begins a new binary log. LOCAL keeps it from the replicas. Needs RELOAD on every server.
pub const ROTATE_BINARY_LOG: &str = "FLUSH LOCAL BINARY LOGS";
/// Every binary log with its size.
pub const BINARY_LOGS: &str = "SHOW BINARY LOGS";
/// What MySQL's keyring component says of itself, by name and value. Needs SELECT on the table.
pub const KEYRING_COMPONENT: &str = "SELECT STATUS_KEY, STATUS_VALUE FROM performance_schema.keyring_component_status";
/// What holds data: no views, and nothing that the server makes up.
pub const BASE_TABLES: &str = "SELECT TABLE_SCHEMA AS schema_name, TABLE_NAME AS name FROM information_schema.TABLES \
     WHERE TABLE_TYPE IN ('BASE TABLE', 'SEQUENCE', 'SYSTEM VERSIONED') \
     AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'sys') ORDER BY 1, 2";

/// The statements that one server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Where the binary log stands.
    pub binlog_status: &'static str,
    /// The executed transactions; none before there were GTIDs.
    pub gtid_set: &'static str,
    /// What the replica has applied of its sources' transactions; MySQL keeps one set for all.
    pub replica_gtid_set: Option<&'static str>,
    /// Every channel of a replica.
    pub replica_status: &'static str,
    /// The files of InnoDB's tablespaces, one a row.
    pub tablespace_files: &'static str,
    /// What `binlog_status` needs, as GRANT writes it.
    pub binlog_status_privilege: &'static str,
    /// What `replica_status` needs.
    pub replica_status_privilege: &'static str,
}

impl Dialect {
    /// What a server of `flavour` and `version` takes.
    pub fn of(flavour: Flavour, version: Version) -> Self {
        if flavour.is_mariadb() { Self::mariadb(version) } else { Self::mysql(version) }
    }

    fn mariadb(version: Version) -> Self {
        Self {
            binlog_status: "SHOW MASTER STATUS",
            gtid_set: "SELECT @@GLOBAL.gtid_binlog_pos",
            replica_gtid_set: Some("SELECT @@GLOBAL.gtid_slave_pos"),
            replica_status: "SHOW ALL SLAVES STATUS",
            tablespace_files: if version < Version(10, 6, 0) {
                "SELECT PATH FROM information_schema.INNODB_SYS_DATAFILES"
            } else {
                "SELECT FILENAME FROM information_schema.INNODB_SYS_TABLESPACES"
            },
            binlog_status_privilege: "BINLOG MONITOR",
            replica_status_privilege: "SLAVE MONITOR",
        }
    }

    fn mysql(version: Version) -> Self {
        Self {
            // 8.2 brought the new name, 8.4 dropped the old one.
            binlog_status: if version < Version(8, 2, 0) { "SHOW MASTER STATUS" } else { "SHOW BINARY LOG STATUS" },
            // Without GTIDs the set stays where it was when they were switched off.
            gtid_set: "SELECT IF(@@GLOBAL.gtid_mode = 'OFF', NULL, @@GLOBAL.gtid_executed)",
            replica_gtid_set: None,
            replica_status: if version < Version(8, 0, 22) { "SHOW SLAVE STATUS" } else { "SHOW REPLICA STATUS" },
            tablespace_files: if version < Version(8, 0, 0) {
                "SELECT PATH FROM information_schema.INNODB_SYS_DATAFILES"
            } else {
                "SELECT PATH FROM information_schema.INNODB_DATAFILES"
            },
            binlog_status_privilege: "REPLICATION CLIENT",
            replica_status_privilege: "REPLICATION CLIENT",
        }
    }
}

impl LockMode {
    /// What prepares the lock without holding anybody up.
    pub(super) fn prepare(self) -> Option<&'static str> {
        match self {
            Self::Global => None,
            Self::Stages => Some("BACKUP STAGE START"),
        }
    }

    /// What takes it.
    pub(super) fn acquire(self) -> &'static str {
        match self {
            Self::Global => "FLUSH LOCAL TABLES WITH READ LOCK",
            Self::Stages => "BACKUP STAGE BLOCK_COMMIT",
        }
    }

    /// What ends it; the other's statement does nothing.
    pub(super) fn release(self) -> &'static str {
        match self {
            Self::Global => "UNLOCK TABLES",
            Self::Stages => "BACKUP STAGE END",
        }
    }
}

/// Lets the server read a whole table.
pub fn check_table(schema: &str, name: &str) -> String {
    format!("CHECK TABLE {}.{}", quoted(schema), quoted(name))
}

/// Lets the server read every value of a table. CHECK TABLE of InnoDB does not follow those that lie apart from their rows.
pub fn checksum_table(schema: &str, name: &str) -> String {
    format!("CHECKSUM TABLE {}.{} EXTENDED", quoted(schema), quoted(name))
}

/// InnoDB's tables whose rows may not fit into a page, so that values lie apart from them. What has no length in octets and is
/// long all the same is named.
pub const LONG_ROWS: &str = "SELECT c.TABLE_SCHEMA AS schema_name, c.TABLE_NAME AS name FROM information_schema.COLUMNS c \
     JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME \
     WHERE t.ENGINE = 'InnoDB' AND c.TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'sys') \
     GROUP BY c.TABLE_SCHEMA, c.TABLE_NAME HAVING SUM(COALESCE(c.CHARACTER_OCTET_LENGTH, CASE WHEN c.DATA_TYPE IN \
     ('json', 'vector', 'geometry', 'point', 'linestring', 'polygon', 'multipoint', 'multilinestring', 'multipolygon', \
     'geometrycollection', 'geomcollection') THEN 65536 ELSE 0 END)) > 1900";

/// Makes the account by which we reach a server of our own; one statement a line, as MariaDB reads an
/// init file. Nothing of it gets into the binary log, whose end is what is looked at afterwards.
/// With `everything` it can be fed with a dump.
pub fn own_account(user: &str, password: &str, everything: bool) -> String {
    let privileges = if everything {
        "ALL PRIVILEGES"
    } else {
        "SELECT, EXECUTE, PROCESS, REPLICATION CLIENT, SHOW VIEW, TRIGGER, EVENT"
    };
    let option = if everything { " WITH GRANT OPTION" } else { "" };
    format!(
        "SET sql_log_bin = 0;\nCREATE USER '{user}'@'localhost' IDENTIFIED BY '{password}';\n\
         GRANT {privileges} ON *.* TO '{user}'@'localhost'{option};\n"
    )
}

/// Removes the account that [`own_account`] made.
pub fn drop_account(user: &str) -> String {
    format!("DROP USER '{user}'@'localhost'")
}

/// Locks every account, and makes one that may do everything, by socket and by TCP; one statement a line, as
/// MariaDB reads an init file. Locked ones stay definers: views and stored programs go on working.
pub fn replaced_accounts(flavour: Flavour, user: &str, password: &str) -> String {
    let lock = if flavour.is_mariadb() {
        "UPDATE mysql.global_priv SET Priv = JSON_SET(Priv, '$.account_locked', true) \
         WHERE JSON_VALUE(Priv, '$.is_role') IS NULL"
    } else {
        "UPDATE mysql.user SET account_locked = 'Y'"
    };
    // An anonymous account of localhost would come before one of every host.
    let made = ["localhost", "%"].map(|host| {
        let account = format!("'{user}'@'{host}'");
        format!(
            "DROP USER IF EXISTS {account};\nCREATE USER {account} IDENTIFIED BY '{password}';\n\
             GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION;\n"
        )
    });
    format!("SET sql_log_bin = 0;\n{lock};\nFLUSH PRIVILEGES;\n{}", made.concat())
}

/// The names of the accounts with which somebody could log in.
pub fn unlocked_accounts(flavour: Flavour) -> &'static str {
    if flavour.is_mariadb() {
        "SELECT User FROM mysql.global_priv WHERE JSON_VALUE(Priv, '$.is_role') IS NULL \
         AND COALESCE(JSON_CONTAINS(Priv, 'true', '$.account_locked'), 0) = 0"
    } else {
        "SELECT User FROM mysql.user WHERE account_locked = 'N'"
    }
}

/// Has NOW() be `seconds` since the epoch, and times without a zone mean what they meant to a server whose
/// clock was `offset` seconds ahead of UTC.
pub fn at_that_time(seconds: i64, offset: i32) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let minutes = offset.unsigned_abs() / 60;
    format!("SET time_zone = '{sign}{:02}:{:02}', timestamp = {seconds}", minutes / 60, minutes % 60)
}

/// A name as the server reads it back unchanged.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Bounds what the server does for us when we can't: see [`super::hold`].
pub fn session_timeouts(lock_wait: u64, idle: u64) -> String {
    format!("SET SESSION lock_wait_timeout = {lock_wait}, SESSION wait_timeout = {idle}")
}

/// How long the server keeps us while we say nothing.
pub fn idle_timeout(idle: u64) -> String {
    format!("SET SESSION wait_timeout = {idle}")
}

/// Ends a connection and with it every lock. Never KILL QUERY here: FLUSH TABLES WITH READ LOCK
/// that is ended so keeps the global read lock (seen on MySQL 5.6 to 9.7).
pub fn kill_connection(id: u32) -> String {
    format!("KILL CONNECTION {id}")
}

/// Ends somebody's statement, by the operator's wish.
pub fn kill_query(id: u64) -> String {
    format!("KILL QUERY {id}")
}

/// Gives `privilege` to `account`, which is `user@host` as CURRENT_USER() writes it.
pub fn grant(privilege: &str, account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    format!("GRANT {privilege} ON *.* TO {}@{}", literal(user), literal(host))
}

/// Where a new replica begins in its source's changes.
#[derive(Debug)]
pub struct ReplicationSource<'a> {
    pub channel: &'a str,
    pub host: &'a str,
    pub port: u16,
    pub file: &'a str,
    pub offset: u64,
    pub gtid_set: Option<&'a str>,
}

impl ReplicationSource<'_> {
    /// The statements that start it; the account is left for the person to fill in.
    pub fn statement(&self, flavour: Flavour, version: Version) -> String {
        let renamed = !flavour.is_mariadb() && version >= Version(8, 0, 23);
        let (what, word, start) = if renamed {
            ("REPLICATION SOURCE", "SOURCE", "START REPLICA")
        } else {
            ("MASTER", "MASTER", "START SLAVE")
        };
        // MariaDB names a channel before TO, MySQL at the end.
        let (name, for_channel) = match (self.channel, flavour.is_mariadb()) {
            ("", _) => (String::new(), String::new()),
            (channel, true) => (format!(" {}", literal(channel)), String::new()),
            (channel, false) => (String::new(), format!(" FOR CHANNEL {}", literal(channel))),
        };
        let (before, place) = self.place(flavour, word);
        let (host, port) = (literal(self.host), self.port);
        format!(
            "{before}CHANGE {what}{name} TO {word}_HOST={host}, {word}_PORT={port}, {word}_USER='…', \
             {word}_PASSWORD='…', {place}{for_channel}; {start}{name}{for_channel};"
        )
    }

    fn place(&self, flavour: Flavour, word: &str) -> (String, String) {
        match self.gtid_set {
            Some(set) if flavour.is_mariadb() => {
                (format!("SET GLOBAL gtid_slave_pos={}; ", literal(set)), format!("{word}_USE_GTID=slave_pos"))
            }
            // What a restored server has executed is in its data.
            Some(_) => (String::new(), format!("{word}_AUTO_POSITION=1")),
            None => {
                let (file, offset) = (literal(self.file), self.offset);
                (String::new(), format!("{word}_LOG_FILE={file}, {word}_LOG_POS={offset}"))
            }
        }
    }
}

/// `text` as a string literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

/// Whole seconds, at least one: what a timeout of the server takes.
pub fn seconds(duration: Duration) -> u64 {
    duration.as_secs().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_gets_what_it_understands() {
        let binlog = |flavour, version| Dialect::of(flavour, version).binlog_status;
        assert_eq!(binlog(Flavour::MySql, Version(5, 6, 24)), "SHOW MASTER STATUS");
        assert_eq!(binlog(Flavour::Percona, Version(8, 0, 36)), "SHOW MASTER STATUS");
        assert_eq!(binlog(Flavour::MySql, Version(8, 4, 0)), "SHOW BINARY LOG STATUS");
        assert_eq!(binlog(Flavour::MySql, Version(9, 7, 4)), "SHOW BINARY LOG STATUS");
        assert_eq!(binlog(Flavour::MariaDb, Version(11, 8, 6)), "SHOW MASTER STATUS");
        let replica = |version| Dialect::of(Flavour::MySql, version).replica_status;
        assert_eq!(replica(Version(8, 0, 21)), "SHOW SLAVE STATUS");
        assert_eq!(replica(Version(8, 0, 22)), "SHOW REPLICA STATUS");
    }

    #[test]
    fn the_time_of_a_snapshot_is_told_with_its_zone() {
        assert_eq!(at_that_time(1_700_000_000, 19_800), "SET time_zone = '+05:30', timestamp = 1700000000");
        assert_eq!(at_that_time(0, -12_600), "SET time_zone = '-03:30', timestamp = 0");
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(grant("RELOAD", "o'neil@%"), "GRANT RELOAD ON *.* TO 'o''neil'@'%'");
        assert_eq!(grant("PROCESS", "a@b@host"), "GRANT PROCESS ON *.* TO 'a@b'@'host'");
    }
}
