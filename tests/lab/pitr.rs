//! Points in time: a backup of files, and the archived binary logs onto it.

use crate::dump::root;
use crate::host::{self, mysnap_ok, run};
use crate::live::{Undo, expect, forget_stored, local};
use crate::restore::start_and_ask;

const TO: &str = "/srv/local";
const PLACE: &str = "/srv/then";

/// Rows are logged as rows: MariaDB logs statements where it can.
fn sql(statement: &str) -> String {
    let rows = if host::is_mariadb() { "SET SESSION binlog_format = ROW; " } else { "" };
    run(&[host::client(), "-N", "-e", &format!("{rows}{statement}")]).trim().to_owned()
}

/// What the server has executed by name, as a restored one tells it.
fn executed() -> (String, &'static str) {
    if host::is_mariadb() {
        return (sql("SELECT @@GLOBAL.gtid_binlog_pos"), "SELECT @@GLOBAL.gtid_slave_pos");
    }
    let query = "SELECT REPLACE(@@GLOBAL.gtid_executed, \"\\n\", \"\")";
    (sql(query), query)
}

#[test]
fn a_dropped_table_comes_back_as_it_was_just_before() {
    forget_stored();
    let drop = format!("{} -e 'DROP DATABASE IF EXISTS point; DROP DATABASE IF EXISTS point_then'", host::client());
    let _undo = Undo::with(&format!("rm -rf {TO}/lab {PLACE} /var/lib/mysnap/archives; {drop}"));
    let config = local("pitr", &format!("[binlog.lab]\nto = \"{TO}\"\n"));
    run(&["install", "-d", "-m", "0755", PLACE]);
    sql("CREATE DATABASE point; CREATE TABLE point.t (id INT PRIMARY KEY, a VARCHAR(40)) ENGINE = InnoDB; \
         CREATE TABLE point.u (id INT PRIMARY KEY) ENGINE = InnoDB; INSERT INTO point.t VALUES (1, 'before')");
    mysnap_ok(&["--config", &config, "backup", "local"]);
    sql("INSERT INTO point.t VALUES (2, 'after'), (3, 'later'); FLUSH BINARY LOGS; \
         UPDATE point.t SET a = 'changed' WHERE id = 1; ALTER TABLE point.t ADD COLUMN b INT DEFAULT 7; \
         BEGIN; INSERT INTO point.u VALUES (1); DELETE FROM point.t WHERE id = 3; COMMIT");
    let (executed, ask) = executed();
    sql("DROP TABLE point.t; INSERT INTO point.u VALUES (2)");
    mysnap_ok(&["--config", &config, "binlog", "ship", "--rotate"]);
    let found = mysnap_ok(&["--config", &config, "binlog", "find", "--table", "point.t", "--kind", "drop"]);
    let place = found.lines().find_map(|line| line.trim().strip_prefix("stop just before it: ")).unwrap();
    let to = format!("{PLACE}/data");
    let restore = ["--config", &config, "restore", "--before", place];
    let whole = [&restore[..], &["--to", &to]].concat();
    let shown = mysnap_ok(&[&whole[..], &["--dry-run"]].concat());
    println!("{shown}");
    assert!(shown.split_once("the first that is not:").unwrap().1.contains("DROP TABLE"), "{shown}");
    println!("{}", mysnap_ok(&whole));
    let data = std::path::Path::new(&to);
    let row = "SELECT CONCAT_WS(\",\", id, a, b, (SELECT COUNT(*) FROM point.t), (SELECT COUNT(*) FROM point.u)) \
               FROM point.t WHERE id = 1";
    assert_eq!(start_and_ask(data, row), "1,changed,7,2,1");
    assert_eq!(start_and_ask(data, "SELECT COUNT(*) FROM mysql.user WHERE User = \"mysnap_instance\""), "0");
    assert_eq!(start_and_ask(data, ask), executed);
    host::assert_nothing_left();

    // The same beside the live one.
    let server = root();
    let beside = ["--database", "point", "--as", "point_then", "--into", &server, "--scratch", PLACE];
    mysnap_ok(&[&restore[..], &beside].concat());
    assert_eq!(sql("SELECT CONCAT_WS(',', COUNT(*), MAX(b)) FROM point_then.t"), "2,7");
    host::assert_nothing_left();
    // Nothing is there from before the backup.
    let early = host::mysnap(&["--config", &config, "restore", "--until", "2020-01-01T00:00:00Z", "--to", &to]);
    expect(&early, 12, &["no backup leads to"]);
    forget_stored();
}
