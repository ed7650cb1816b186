//! The statements of a replay, and which server takes which. MySQL took away the old words with 8.4.

use super::sql::literal;
use super::version::{Flavour, Version};

/// The statements that one server takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub(super) is_mariadb: bool,
    /// `CHANGE MASTER` and its options.
    is_old_change: bool,
    /// `SLAVE`.
    is_old: bool,
    pub(super) status: &'static str,
    pub(super) all_status: &'static str,
    pub(super) start: &'static str,
    pub(super) stop: &'static str,
    pub(super) executed: &'static str,
    pub(super) undecided: &'static str,
    pub(super) switched_off: &'static str,
    /// How many appliers execute beside each other.
    pub(super) appliers: &'static str,
}

impl Words {
    pub(super) fn of(flavour: Flavour, version: Version) -> Self {
        let is_mariadb = flavour.is_mariadb();
        let is_old = is_mariadb || version < Version(8, 0, 22);
        let is_new_event = !is_mariadb && version >= Version(8, 0, 22);
        let is_new_variable = version >= Version(8, 0, 26);
        Self {
            is_mariadb,
            is_old_change: is_mariadb || version < Version(8, 0, 23),
            is_old,
            status: if is_old { "SHOW SLAVE STATUS" } else { "SHOW REPLICA STATUS" },
            all_status: match (is_mariadb, is_old) {
                (true, _) => "SHOW ALL SLAVES STATUS",
                (false, true) => "SHOW SLAVE STATUS",
                (false, false) => "SHOW REPLICA STATUS",
            },
            start: if is_old { "START SLAVE SQL_THREAD" } else { "START REPLICA SQL_THREAD" },
            stop: if is_old { "STOP SLAVE SQL_THREAD" } else { "STOP REPLICA SQL_THREAD" },
            executed: if is_mariadb {
                "SELECT @@GLOBAL.gtid_slave_pos"
            } else {
                "SELECT IF(@@GLOBAL.gtid_mode = 'OFF', NULL, @@GLOBAL.gtid_executed)"
            },
            undecided: "XA RECOVER",
            appliers: if is_mariadb {
                "SELECT @@GLOBAL.slave_parallel_threads"
            } else if is_new_variable {
                "SELECT @@GLOBAL.replica_parallel_workers"
            } else {
                "SELECT @@GLOBAL.slave_parallel_workers"
            },
            switched_off: if is_new_event {
                "SELECT CONCAT(EVENT_SCHEMA, '.', EVENT_NAME) FROM information_schema.EVENTS \
                 WHERE STATUS IN ('REPLICA_SIDE_DISABLED', 'SLAVESIDE_DISABLED')"
            } else {
                "SELECT CONCAT(EVENT_SCHEMA, '.', EVENT_NAME) FROM information_schema.EVENTS \
                 WHERE STATUS = 'SLAVESIDE_DISABLED'"
            },
        }
    }

    /// Forgets a source and its relay logs; that there is none is no error.
    pub(super) fn reset(&self, channel: &str) -> String {
        let what = if self.is_old { "SLAVE" } else { "REPLICA" };
        match (channel, self.is_mariadb) {
            ("", _) => format!("RESET {what} ALL"),
            (channel, true) => format!("RESET {what} {} ALL", literal(channel)),
            (channel, false) => format!("RESET {what} ALL FOR CHANNEL {}", literal(channel)),
        }
    }

    /// Needs a server that has executed nothing with a name.
    pub(super) fn take_for_executed(&self, set: &str) -> String {
        let name = if self.is_mariadb { "gtid_slave_pos" } else { "gtid_purged" };
        format!("SET GLOBAL {name} = {}", literal(set))
    }

    /// A source that nobody asks, and the place in the relay logs.
    pub(super) fn change(&self, file: &str, offset: u64) -> String {
        let file = literal(file);
        let place = format!("RELAY_LOG_FILE = {file}, RELAY_LOG_POS = {offset}");
        match (self.is_mariadb, self.is_old_change) {
            (true, _) => format!("CHANGE MASTER TO MASTER_HOST = 'nobody', {place}, MASTER_USE_GTID = no"),
            (false, true) => format!("CHANGE MASTER TO MASTER_HOST = 'nobody', {place}, MASTER_AUTO_POSITION = 0"),
            (false, false) => {
                format!("CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'nobody', {place}, SOURCE_AUTO_POSITION = 0")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_gets_what_it_understands() {
        let words = |flavour, version| Words::of(flavour, version);
        let mariadb = words(Flavour::MariaDb, Version(11, 8, 6));
        assert_eq!(mariadb.reset("east"), "RESET SLAVE 'east' ALL");
        assert!(mariadb.change("r.000001", 4).ends_with("RELAY_LOG_POS = 4, MASTER_USE_GTID = no"));
        assert_eq!(mariadb.take_for_executed("0-1-5"), "SET GLOBAL gtid_slave_pos = '0-1-5'");
        let old = words(Flavour::MySql, Version(5, 7, 42));
        assert_eq!((old.start, old.status), ("START SLAVE SQL_THREAD", "SHOW SLAVE STATUS"));
        assert!(old.change("r.000001", 4).starts_with("CHANGE MASTER TO MASTER_HOST"));
        assert_eq!(old.appliers, "SELECT @@GLOBAL.slave_parallel_workers");
        let new = words(Flavour::MySql, Version(9, 7, 4));
        assert_eq!(new.reset("east"), "RESET REPLICA ALL FOR CHANNEL 'east'");
        assert!(new.change("r.000001", 4).starts_with("CHANGE REPLICATION SOURCE TO SOURCE_HOST"));
        assert_eq!(new.start, "START REPLICA SQL_THREAD");
    }
}
