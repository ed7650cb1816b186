//! Storage engines that an option loads, as Debian's packages of them do: a second server is given them too.

use crate::bench::Bench;
use crate::server::{IS_MARIADB, Server};

#[test]
fn a_table_of_an_engine_that_an_option_loads_comes_back() {
    if !*IS_MARIADB {
        println!("MySQL's packages have no such engine");
        return;
    }
    let server = Server::start_with(&["--plugin-load-add=ha_archive.so"]);
    let bench = Bench::new(&server);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)");
    bench.works(&["binlog", "ship"]);
    bench.works(&["backup", "nightly"]);
    server.sql("CREATE TABLE shop.old (id INT, note TEXT) ENGINE=ARCHIVE");
    server.sql("INSERT INTO shop.old VALUES (1, 'kept'); FLUSH BINARY LOGS");
    bench.works(&["binlog", "ship"]);
    let to = bench.at("then");
    bench.works(&["restore", "--until", "latest", "--to", &to.display().to_string()]);
    let restored = Server::on_data(&to, &["--plugin-load-add=ha_archive.so"]);
    assert_eq!(
        restored.sql("SELECT id, note, ENGINE FROM shop.old, information_schema.TABLES WHERE TABLE_NAME = 'old'"),
        "1\tkept\tARCHIVE\n"
    );
}
