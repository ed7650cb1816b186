//! Former rows between servers whose time ends in different years.

use mysnap::load::Request;

use crate::bench::{Bench, everything, request};
use crate::server::{IS_MARIADB, Server};

/// The ends of time of MariaDB before 11.5, and of later ones.
const ENDS: [&str; 2] = ["2038-01-19 03:14:07.999999", "2106-02-07 06:28:15.999999"];
const VALID: &str = "SELECT COUNT(*), MAX(x) FROM beside.";

/// Rows that end where another server's time ends are what a dump of that one has. A server whose time ends in 2106
/// holds such rows of both kinds; an older one only of its own.
#[test]
fn a_row_that_is_valid_now_stays_so_in_a_server_whose_time_ends_elsewhere() {
    if !*IS_MARIADB {
        println!("MariaDB's alone: MySQL has no such tables");
        return;
    }
    let (server, bench) = (Server::start(), Bench::new());
    let own = server
        .sql("SET time_zone = '+00:00'; SELECT FROM_UNIXTIME(4294967295.999999) IS NOT NULL")
        .trim()
        .parse::<usize>()
        .unwrap();
    server.sql(
        "CREATE DATABASE past; CREATE TABLE past.hidden (x INT) WITH SYSTEM VERSIONING; \
         CREATE TABLE past.named (x INT, since TIMESTAMP(6) GENERATED ALWAYS AS ROW START, \
             `un``til` TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (since, `un``til`)) \
             WITH SYSTEM VERSIONING",
    );
    for (table, columns) in [("hidden", "x, row_start, row_end"), ("named", "x, since, `un``til`")] {
        for (n, end) in ENDS[..=own].iter().chain(["2020-01-01 00:00:00"].iter()).enumerate() {
            server.sql(&format!(
                "SET time_zone = '+00:00', system_versioning_insert_history = 1; \
                 INSERT INTO past.{table} ({columns}) VALUES ({n}, '2019-01-01 00:00:00', '{end}')"
            ));
        }
    }
    bench.dump(&server, &everything()).unwrap();
    let beside = Request { new_name: Some("beside".into()), ..request(&["past"]) };
    bench.load(&server, &beside).unwrap();
    for (table, until) in [("hidden", "row_end"), ("named", "`un``til`")] {
        let valid = server.sql(&format!("{VALID}{table}"));
        assert_eq!(valid.trim(), format!("{}\t{own}", own + 1), "{table}");
        let all = format!("SELECT {until} FROM beside.{table} FOR SYSTEM_TIME ALL ORDER BY x");
        let ends = server.sql(&format!("SET time_zone = '+00:00'; {all}"));
        let mut expected = vec![ENDS[own]; own + 1];
        expected.push("2020-01-01 00:00:00.000000");
        assert_eq!(ends.lines().collect::<Vec<_>>(), expected, "{table}");
        // It is a row like any other: what is deleted now ends now.
        server.sql(&format!("DELETE FROM beside.{table}"));
        assert_eq!(server.sql(&format!("{VALID}{table}")).trim(), "0\tNULL");
    }
    // What a person would do by hand stands beside the statements, and does the same.
    let by_hand = std::fs::read_to_string(bench.stored("past/tables.sql")).unwrap();
    assert!(by_hand.contains("system_versioning_insert_history = 1") && by_hand.contains("@end_of_time, @v"));
}
