//! Second servers on what is stored of one whose files ask for settings of their own, or that replicates; those that
//! hang; runs that are ended or killed beside them.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "pitr.rs uses the rest")]
#[path = "pitr/bench.rs"]
mod bench;
#[path = "second/files.rs"]
mod files;
#[path = "second/hanging.rs"]
mod hanging;
#[path = "second/killed.rs"]
mod killed;
#[path = "second/replica.rs"]
mod replica;
#[allow(dead_code, reason = "expire.rs uses the rest")]
#[path = "pitr/room.rs"]
mod room;
#[allow(dead_code, reason = "dump.rs and binlog.rs use the rest")]
#[path = "dump/server.rs"]
mod server;

use bench::Bench;
use files::back_up_files;
use server::{Server, either};

/// Settings without which the files of a server can't be read, and whether they are needed to make them.
const SETTINGS: [&str; 4] = [
    "--innodb-page-size=8k",
    "--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend",
    "--lower-case-table-names=1",
    "--innodb-undo-tablespaces=4",
];
/// The settings that this server can be given.
fn settings() -> Vec<&'static str> {
    // MySQL 8 creates undo tablespaces by statements.
    SETTINGS.into_iter().filter(|setting| either(true, !setting.contains("undo"))).collect()
}

/// A server with them, and rows.
fn filled() -> Server {
    let server = Server::start_made_with(&[&settings()[..], &["--innodb-flush-log-at-trx-commit=1"]].concat());
    server.sql(
        "CREATE DATABASE Shop; CREATE TABLE Shop.Orders (id INT PRIMARY KEY, note TEXT); \
         INSERT INTO shop.orders VALUES (1, 'one'), (2, REPEAT('x', 9000))",
    );
    server
}

const READ: &str = "SELECT id, LENGTH(note) FROM SHOP.ORDERS ORDER BY id";
const ROWS: &str = "1\t3\n2\t9000\n";

#[test]
fn files_that_ask_for_settings_of_their_own_are_drilled_taken_out_of_and_brought_back() {
    let server = filled();
    let bench = Bench::new(&server);
    back_up_files(&server, &bench);
    let scratch = bench.at("").display().to_string();
    bench.works(&["drill", "nightly", "--scratch", &scratch, "--level", "tables"]);

    let out = ["restore", "latest", "--database", "shop", "--as", "shop_then", "--scratch", &scratch, "--yes"];
    bench.works(&out);
    assert_eq!(server.sql("SELECT id, LENGTH(note) FROM shop_then.orders ORDER BY id"), ROWS);
    assert_eq!(server.sql(READ), ROWS);

    let to = bench.at("then").display().to_string();
    bench.works(&["restore", "latest", "--to", &to]);
    assert_eq!(bench.started_with("then", &settings()).sql(READ), ROWS);
}

/// Rows of more than half a page of the usual size.
#[test]
fn a_dump_is_drilled_and_replayed_onto_in_a_server_with_the_settings_that_its_own_was_made_with() {
    let settings: Vec<&str> = settings().into_iter().filter(|setting| !setting.contains("page-size")).collect();
    let settings = [&settings[..], &["--innodb-page-size=32k"]].concat();
    let server = Server::start_made_with(&settings);
    let columns: Vec<String> = (0..50).map(|n| format!("c{n} CHAR(240) CHARACTER SET latin1 DEFAULT 'x'")).collect();
    server.sql(&format!("CREATE DATABASE Shop; CREATE TABLE Shop.Wide (id INT PRIMARY KEY, {})", columns.join(", ")));
    server.sql("INSERT INTO shop.wide (id) VALUES (1)");
    let bench = Bench::new(&server);
    bench.ship();
    bench.backup();
    let scratch = bench.at("").display().to_string();
    bench.works(&["drill", "nightly", "--scratch", &scratch, "--level", "tables"]);

    server.sql("INSERT INTO Shop.WIDE (id, c49) VALUES (2, 'later'); FLUSH BINARY LOGS");
    bench.ship();
    let to = bench.at("then").display().to_string();
    bench.works(&["restore", "--until", "latest", "--to", &to]);
    let restored = bench.started_with("then", &settings);
    assert_eq!(restored.sql("SELECT id, c49 FROM shop.wide ORDER BY id"), "1\tx\n2\tlater\n");
}
