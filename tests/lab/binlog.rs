//! Archives of the binary logs of the guest's own server, of either family.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::host::{self, mysnap, mysnap_ok, node2, on_node2, run};
use crate::live::{Live, Undo, expect, forget_stored, local, until};

/// On a disk other than the server's.
const TO: &str = "/srv/local";
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

fn configure(name: &str) -> (String, Undo) {
    run(&["mkdir", "-p", "-m", "0700", TO]);
    let config = host::configure(name, &format!("[binlog.lab]\nto = \"{TO}\"\ncompression = \"none\"\n"));
    // What was there would be missed.
    let gone = format!("rm -rf {TO}/lab /var/lib/mysnap/archives");
    (config, Undo::with(&format!("{gone}; {} -e 'DROP DATABASE IF EXISTS archived'", host::client())))
}

/// Rows are counted where rows are logged: MariaDB logs statements where it can.
fn sql(statement: &str) -> String {
    let rows = if host::is_mariadb() { "SET SESSION binlog_format = ROW; " } else { "" };
    run(&[host::client(), "-N", "-e", &format!("{rows}{statement}")])
}

/// The server's files, oldest first.
fn logs() -> Vec<PathBuf> {
    let index = sql("SELECT @@log_bin_index");
    let names = std::fs::read_to_string(index.trim()).unwrap();
    names.lines().map(|line| Path::new(index.trim()).with_file_name(Path::new(line).file_name().unwrap())).collect()
}

fn archived() -> PathBuf {
    let timelines = run(&["find", &format!("{TO}/lab"), "-mindepth", "1", "-maxdepth", "1", "-type", "d"]);
    PathBuf::from(timelines.lines().last().unwrap())
}

/// Every file of the server is in the archive, byte for byte, as far as it is closed.
fn compare() {
    let logs = logs();
    for log in &logs[..logs.len() - 1] {
        run(&["cmp", &log.display().to_string(), &archived().join(log.file_name().unwrap()).display().to_string()]);
    }
}

#[test]
fn what_the_server_has_logged_is_archived_and_found() {
    let (config, _undo) = configure("binlog");
    sql("CREATE DATABASE archived; CREATE TABLE archived.t (id INT PRIMARY KEY, a VARCHAR(300)); \
         INSERT INTO archived.t VALUES (1, 'a'), (2, 'b'), (3, 'c'); DROP TABLE archived.t");
    mysnap_ok(&["--config", &config, "check", "lab"]);
    // The least-privilege account has RELOAD on both.
    mysnap_ok(&["--config", &config, "binlog", "ship", "--rotate"]);
    compare();
    let found = mysnap_ok(&["--config", &config, "binlog", "find", "--table", "archived.t"]);
    for told in ["insert archived.t  3 rows", "  drop  ", "CREATE TABLE archived.t"] {
        assert!(found.contains(told), "{told}: {found}");
    }
    mysnap_ok(&["--config", &config, "binlog", "verify"]);
    assert_eq!(mysnap_ok(&["--config", &config, "binlog", "list"]).matches("  window  ").count(), 1);
}

#[test]
fn a_stream_goes_on_over_a_restart_and_ends_in_order() {
    let (config, _undo) = configure("binlog");
    sql("CREATE DATABASE archived; CREATE TABLE archived.t (id INT PRIMARY KEY)");
    let stream = Live::start(&config, &["binlog", "stream"]);
    for round in 0..3 {
        sql(&format!("INSERT INTO archived.t VALUES ({round})"));
        run(&["systemctl", "restart", host::service()]);
    }
    std::thread::sleep(DEADLINE);
    stream.signal(Signal::SIGTERM);
    expect(&stream.finish(), 0, &[]);
    compare();
    let found = mysnap_ok(&["--config", &config, "binlog", "find", "--table", "archived.t", "--kind", "insert"]);
    assert_eq!(found.matches("  1 row  ").count(), 3, "{found}");
}

#[test]
fn a_purged_log_is_a_gap() {
    let (config, _undo) = configure("binlog");
    mysnap_ok(&["--config", &config, "binlog", "ship"]);
    sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS");
    let last = logs().last().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    sql(&format!("PURGE BINARY LOGS TO '{last}'"));
    expect(&mysnap(&["--config", &config, "binlog", "ship"]), 12, &["purged before it was archived"]);
    expect(&mysnap(&["--config", &config, "binlog", "ship"]), 0, &[]);
}

#[test]
fn increments_go_on_from_a_copy_until_a_log_is_missing() {
    let (_, _undo) = configure("binlog");
    forget_stored();
    let config = local("increments", &format!("incremental = \"binlog\"\n[binlog.lab]\nto = \"{TO}\"\n"));
    let backup = |words: &[&str]| expect(&mysnap(&["--config", &config, "backup", "local"]), 0, words);
    backup(&["there is no full backup to go on from; a full backup is made", "hold: "]);
    sql("CREATE DATABASE archived; CREATE TABLE archived.t (id INT PRIMARY KEY)");
    for round in 0..2 {
        sql(&format!("INSERT INTO archived.t VALUES ({round}); FLUSH BINARY LOGS"));
        backup(&["nothing is missing from backup", "prove: "]);
    }
    let listed = mysnap_ok(&["--config", &config, "list"]);
    let increments: Vec<&str> = listed.lines().filter_map(|line| line.strip_prefix("+ ")).collect();
    assert_eq!(increments.len(), 2, "{listed}");
    for increment in increments {
        mysnap_ok(&["--config", &config, "verify", increment.split(' ').next().unwrap()]);
    }

    sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS");
    let last = logs().last().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    sql(&format!("PURGE BINARY LOGS TO '{last}'"));
    backup(&["purged before it was archived", "a full backup is made", "hold: "]);
    sql("INSERT INTO archived.t VALUES (10)");
    backup(&["nothing is missing from backup"]);
    forget_stored();
    host::assert_nothing_left();
}

/// Nothing goes to the other node any more and nothing comes from it, and nobody is told.
fn cut() -> Undo {
    run(&[
        "nft",
        "add table inet mysnap_test; add chain inet mysnap_test in { type filter hook input priority 0; }; \
                  add chain inet mysnap_test out { type filter hook output priority 0; }; \
                  add rule inet mysnap_test in tcp sport 22 drop; add rule inet mysnap_test out tcp dport 22 drop",
    ]);
    Undo::with("nft delete table inet mysnap_test")
}

#[test]
fn an_archive_on_another_node_goes_on_after_the_network_was_cut() {
    const AT: &str = "/srv/node-binlog";
    on_node2(&format!("rm -rf {AT}"));
    let config = host::configure(
        "binlog-node",
        &format!("[binlog.lab]\nto = \"root@{}:{AT}\"\ncompression = \"none\"\n", node2()),
    );
    let client = host::client();
    let gone = format!("ssh {} rm -rf {AT}; rm -rf /var/lib/mysnap/archives", node2());
    let _undo = Undo::with(&format!("{gone}; {client} -e 'DROP DATABASE IF EXISTS archived'"));
    sql("CREATE DATABASE archived; CREATE TABLE archived.elsewhere (id INT PRIMARY KEY)");
    mysnap_ok(&["--config", &config, "check", "lab"]);
    let stream = Live::start(&config, &["binlog", "stream"]);
    until("the archive", || on_node2(&format!("ls {AT}/lab/index.json 2>&1 || true")).trim().ends_with("/index.json"));
    let cut = cut();
    sql("INSERT INTO archived.elsewhere VALUES (1); FLUSH BINARY LOGS; INSERT INTO archived.elsewhere VALUES (2)");
    std::thread::sleep(2 * DEADLINE);
    drop(cut);
    // The longest pause between two tries is half a minute.
    std::thread::sleep(3 * DEADLINE);
    sql("INSERT INTO archived.elsewhere VALUES (3); FLUSH BINARY LOGS");
    std::thread::sleep(DEADLINE);
    stream.signal(Signal::SIGTERM);
    expect(&stream.finish(), 0, &["it is tried again", "the archive goes on"]);
    let logs = logs();
    for log in &logs[..logs.len() - 1] {
        let here = run(&["sha256sum", &log.display().to_string()]);
        let name = log.file_name().unwrap().to_str().unwrap();
        let there = on_node2(&format!("cat {AT}/lab/*/{name} | sha256sum"));
        assert_eq!(here.split_whitespace().next(), there.split_whitespace().next(), "{name}");
    }
    let found =
        mysnap_ok(&["--config", &config, "binlog", "find", "--table", "archived.elsewhere", "--kind", "insert"]);
    assert_eq!(found.matches("  1 row  ").count(), 3, "{found}");
    mysnap_ok(&["--config", &config, "binlog", "verify"]);
}
