//! A server whose clock is not UTC: what its log says without a zone means what it meant.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::PoisonError;

use mysnap::sys::cmd::Call;
use mysnap::sys::durable;

use crate::KILLS;
use crate::bench::Bench;
use crate::server::{Server, either};

/// Five hours behind UTC, and an hour less in summer; no host is set to it by chance.
const ZONE: &str = "XST5XDT,M3.2.0,M11.1.0";

/// The server's program, which works in that zone.
fn program(home: &tempfile::TempDir) -> PathBuf {
    let (path, name) = (home.path().join("server"), either("mariadbd", "mysqld"));
    durable::write(&path, format!("#!/bin/sh\nTZ={ZONE} exec {name} \"$@\"\n").as_bytes()).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn times_come_back_as_the_servers_own_zone_has_them() {
    const SHOWN: &str = "SELECT ts, day FROM shop.o ORDER BY id; SELECT STARTS FROM information_schema.EVENTS";
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let home = tempfile::tempdir().unwrap();
    let program = program(&home);
    let server = Server::start_by(&program, &["--server-id=1", "--binlog-format=STATEMENT"]);
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.o (id INT PRIMARY KEY, ts TIMESTAMP NULL, day DATETIME) ENGINE=InnoDB; \
         INSERT INTO shop.o VALUES (1, '2026-07-01 12:00:00', NULL), (2, '2026-12-01 12:00:00', NULL)",
    );
    let bench = Bench::new(&server);
    bench.backup();
    server.sql(
        "ALTER TABLE shop.o MODIFY ts DATETIME; INSERT INTO shop.o VALUES (3, NOW(), FROM_UNIXTIME(1782900000)); \
         CREATE EVENT shop.e ON SCHEDULE EVERY 1 DAY STARTS '2037-07-10 03:00:00' DO DO 1",
    );
    bench.ship();
    let expected = server.sql(SHOWN);
    assert!(expected.contains("2026-07-01 12:00:00") && expected.contains("2026-07-01 06:00:00"), "{expected}");
    bench.works(&["restore", "--until", "latest", "--to", bench.at("then").to_str().unwrap()]);
    let restored = Server::on_data_by(&program, &bench.at("then"), &["--server-id=1"]);
    assert_eq!(restored.sql(SHOWN), expected);
}

/// In the words of the server's own program.
fn know_zones_by_name(server: &Server) {
    let made = Call::new(either("mariadb-tzinfo-to-sql", "mysql_tzinfo_to_sql")).arg("/usr/share/zoneinfo");
    server.play(format!("USE mysql;\n{}", made.stdout().unwrap()).as_bytes());
}

#[test]
fn zones_that_events_and_logged_statements_name_are_known_to_the_servers_that_need_them() {
    const SHOWN: &str = "SELECT ts FROM shop.o ORDER BY id; SELECT TIME_ZONE, STARTS FROM information_schema.EVENTS";
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&["--server-id=1", "--binlog-format=STATEMENT"]);
    know_zones_by_name(&server);
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.o (id INT PRIMARY KEY, ts TIMESTAMP NULL) ENGINE=InnoDB; \
         SET time_zone = 'Europe/Berlin'; \
         CREATE EVENT shop.e ON SCHEDULE EVERY 1 DAY STARTS '2037-07-10 03:00:00' DO DO 1",
    );
    let bench = Bench::new(&server);
    bench.backup();
    let scratch = bench.at("scratch");
    fs::create_dir(&scratch).unwrap();
    bench.works(&["drill", "nightly", "--scratch", scratch.to_str().unwrap()]);
    server.sql("SET time_zone = 'Asia/Kolkata'; INSERT INTO shop.o VALUES (1, '2026-07-01 12:00:00')");
    bench.ship();
    let expected = server.sql(SHOWN);
    assert!(expected.contains("Europe/Berlin"), "{expected}");

    bench.works(&["restore", "--until", "latest", "--to", bench.at("then").to_str().unwrap()]);
    assert_eq!(bench.started("then").sql(SHOWN), expected);

    // A server of other people is theirs to teach.
    let other = Server::start();
    let file = bench.at("other.cnf");
    durable::write(&file, format!("[client]\nsocket={}\nuser=root\n", other.socket().display()).as_bytes()).unwrap();
    let from = bench.at("backups").display().to_string();
    let restore = ["restore", "latest", "--from", &from, "--into", file.to_str().unwrap(), "--yes"];
    bench.fails(&restore, 3, &["does not know time zone Europe/Berlin (event shop.e)", "mysql_tzinfo_to_sql"]);
    assert_eq!(other.sql("SHOW DATABASES LIKE '%shop%'"), "");
    know_zones_by_name(&other);
    bench.works(&restore);
    assert!(other.sql(SHOWN).contains("Europe/Berlin"));
}
