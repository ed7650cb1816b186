//! Dumps of one server in another: of another family, or of an older or newer release. `tests/native cross` starts them.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cross/accounts.rs"]
mod accounts;
#[allow(dead_code, reason = "dump.rs uses the rest")]
#[path = "dump/bench.rs"]
mod bench;
#[path = "cross/refused.rs"]
mod refused;
#[path = "cross/said.rs"]
mod said;
#[path = "cross/server.rs"]
mod server;

use bench::{Bench, everything, request};
use server::Server;

/// What every server has.
const ORDINARY: &str = include_str!("cross/ordinary.sql");
/// What every MariaDB has.
const OF_MARIADB: &str = include_str!("cross/mariadb.sql");

/// Loads `database` of one server, which has `statements`, into another, and compares both.
fn crosses(from: &str, to: &str, statements: &str, database: &str) {
    let (from, to, bench) = (Server::of(from), Server::of(to), Bench::new());
    from.sql(statements);
    bench.dump(&from, &everything()).unwrap();
    let request = request(&[database]);
    let warnings = bench.plan(&to, &request).unwrap().warnings;
    assert!(warnings[0].starts_with("the dump is of M"), "{warnings:?}");
    bench.load(&to, &request).unwrap();
    assert_eq!(to.databases(), [database], "something is left");
    compare(&from, &to, database);
}

/// Every row of every table, what every view shows, what belongs to them, and that it does what it did.
fn compare(from: &Server, to: &Server, database: &str) {
    let of = |what: &str| {
        let query = what.replace("NAMED", &format!("'{database}'"));
        let sorted = |server: &Server| {
            let mut rows = server.rows(&query);
            rows.sort();
            rows
        };
        let (was, is) = (sorted(from), sorted(to));
        assert_eq!(was.len(), is.len(), "{query}");
        for (was, is) in was.iter().zip(&is) {
            assert!(was == is, "{query}: {} is {}", shown(was), shown(is));
        }
        was
    };
    let relations = of("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = NAMED");
    for name in relations.iter().filter_map(|row| row[0].clone()) {
        let name = String::from_utf8(name).unwrap().replace('`', "``");
        assert!(!of(&format!("SELECT * FROM `{database}`.`{name}`")).is_empty() || name == "log", "{name} is empty");
    }
    of("SELECT TABLE_NAME, COLUMN_NAME, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, DATETIME_PRECISION, \
        NUMERIC_PRECISION, NUMERIC_SCALE, COLUMN_KEY, COLUMN_COMMENT, LOWER(EXTRA) LIKE '%invisible%', \
        LOWER(EXTRA) LIKE '%auto_increment%' \
        FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = NAMED AND TABLE_NAME NOT LIKE '%view' AND TABLE_NAME <> 'grouped' AND COLUMN_NAME NOT IN ('j', 'f', 'fd', 'g', 'p')");
    of("SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE, COLLATION, SUB_PART, INDEX_TYPE \
        FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = NAMED AND INDEX_TYPE <> 'SPATIAL'");
    of("SELECT TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME, REPLACE(DELETE_RULE, 'RESTRICT', 'NO ACTION'), \
        REPLACE(UPDATE_RULE, 'RESTRICT', 'NO ACTION') \
        FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = NAMED");
    of("SELECT TABLE_NAME, PARTITION_NAME, SUBPARTITION_NAME, TABLE_ROWS IS NULL FROM information_schema.PARTITIONS \
        WHERE TABLE_SCHEMA = NAMED AND PARTITION_NAME IS NOT NULL");
    of(
        "SELECT ROUTINE_NAME, ROUTINE_TYPE, IS_DETERMINISTIC, ROUTINE_COMMENT, DEFINER FROM information_schema.ROUTINES \
        WHERE ROUTINE_SCHEMA = NAMED",
    );
    of(
        "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_TIMING, ACTION_ORDER, DEFINER FROM information_schema.TRIGGERS \
        WHERE TRIGGER_SCHEMA = NAMED",
    );
    of("SELECT EVENT_NAME, STATUS, INTERVAL_VALUE, STARTS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = NAMED");
}

fn shown(row: &[Option<Vec<u8>>]) -> String {
    let value = |value: &Option<Vec<u8>>| match value {
        Some(bytes) => String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned(),
        None => "NULL".to_owned(),
    };
    row.iter().map(value).collect::<Vec<_>>().join(", ")
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn what_every_server_has_comes_back_in_a_newer_mariadb() {
    crosses("HOST", "MARIADB", ORDINARY, "ordinary");
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn what_every_server_has_comes_back_in_an_older_mariadb() {
    crosses("MARIADB", "HOST", ORDINARY, "ordinary");
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn what_every_server_has_comes_back_in_mariadb_out_of_mysql() {
    crosses("MYSQL", "MARIADB", ORDINARY, "ordinary");
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn what_every_server_has_comes_back_in_mysql_out_of_mariadb() {
    crosses("MARIADB", "MYSQL", ORDINARY, "ordinary");
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn what_is_mariadbs_own_comes_back_in_an_older_and_a_newer_one() {
    crosses("HOST", "MARIADB", OF_MARIADB, "own");
    crosses("MARIADB", "HOST", OF_MARIADB, "own");
}
