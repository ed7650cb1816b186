//! The files of a replica, and of a server with an event that is due: the second server on them replicates nothing and runs
//! nothing.

use std::net::TcpListener;

use mysnap::sys::retry;

use crate::bench::Bench;
use crate::files::back_up_files;
use crate::server::{READY, Server, either};

/// MariaDB names relay logs by the pid file: by that of the second server, nothing but what it is told keeps that one from
/// going on with them.
const RELAY_LOG: &str = "--relay-log=pid-relay-bin";

/// A port of this host that nobody listens at.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn listening(server_id: u32, port: u16, more: &[&str]) -> Server {
    let (id, port) = (format!("--server-id={server_id}"), format!("--port={port}"));
    let listens = ["--skip-networking=0", "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=1"];
    Server::start_with(&[&listens[..], &[&id, &port], more].concat())
}

/// Has `replica` take what `primary` logs, as the account `copy`.
fn replicate(primary: &Server, replica: &Server, port: u16) {
    primary.sql("CREATE USER copy@'%' IDENTIFIED BY 'copy'; GRANT REPLICATION SLAVE ON *.* TO copy@'%'");
    replica.sql(&either(
        format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='copy', MASTER_PASSWORD='copy', \
             MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos; START SLAVE"
        ),
        format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='copy', \
             SOURCE_PASSWORD='copy', SOURCE_CONNECT_RETRY=1, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; \
             START REPLICA"
        ),
    ));
}

/// Waits for so many rows.
fn wait_for(server: &Server, table: &str, rows: u32) {
    let count = format!(
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) = '{table}'"
    );
    let number = |query: &str| server.sql(query).trim().parse::<u32>().unwrap();
    let are_there = || number(&count) == 1 && number(&format!("SELECT COUNT(*) FROM {table}")) >= rows;
    retry::until(READY, || if are_there() { Ok(()) } else { Err(table) }).unwrap();
}

/// How many connections the server has taken, but for those that ask this way.
fn connections(primary: &Server) -> u64 {
    let said = primary.sql("SHOW GLOBAL STATUS LIKE 'Connections'");
    said.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_second_server_on_a_replicas_files_neither_replicates_nor_runs_events() {
    let port = free_port();
    let primary = listening(1, port, &[]);
    let replica = listening(2, free_port(), &["--event-scheduler=ON", RELAY_LOG]);
    replicate(&primary, &replica, port);
    primary.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t VALUES (1), (2)");
    wait_for(&replica, "shop.t", 2);
    replica.sql(
        "CREATE DATABASE own; CREATE TABLE own.ticks (at DATETIME(6)); \
         CREATE EVENT own.tick ON SCHEDULE EVERY 1 SECOND DO INSERT INTO own.ticks VALUES (NOW(6))",
    );
    wait_for(&replica, "own.ticks", 2);
    let bench = Bench::new(&replica);
    let ticks = "SELECT COUNT(*) FROM own.ticks";
    back_up_files(&replica, &bench);
    // What a second server would fetch, and the live replica does not take before the end.
    replica.sql(either("STOP SLAVE", "STOP REPLICA"));
    replica.sql("SET GLOBAL event_scheduler = OFF");
    primary.sql("INSERT INTO shop.t VALUES (3)");
    let before = (connections(&primary), replica.sql(ticks));

    let scratch = bench.at("").display().to_string();
    // Time enough for the event, and for a replica to fetch what it lacks; NOW() is the second in which the backup was made.
    bench.ask(&[
        "SELECT SLEEP(4) = 0",
        "SELECT COUNT(*) = 2 FROM shop.t",
        "SELECT COUNT(*) > 1 AND SUM(at > NOW() + INTERVAL 1 SECOND) = 0 FROM own.ticks",
        "SELECT @@server_id NOT IN (1, 2)",
    ]);
    bench.works(&["drill", "nightly", "--scratch", &scratch, "--level", "queries"]);
    assert_eq!((connections(&primary), replica.sql(ticks)), (before.0 + 1, before.1));

    // The live replica goes on from where it stood.
    replica.sql(either("START SLAVE", "START REPLICA"));
    wait_for(&replica, "shop.t", 3);
}
