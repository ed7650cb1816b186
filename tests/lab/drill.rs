//! A drill: a backup comes back on scratch space, a server starts on it, the live one notices nothing.

use nix::sys::signal::Signal;

use mysql::prelude::Queryable as _;

use crate::host::{self, mysnap, mysnap_ok, run, try_run};
use crate::live::{Live, Undo, expect, forget_stored, local, until};
use crate::watch::Watch;

const SCRATCH: &str = "/srv/drill";

/// A new backup of job `local`; the configuration, and what forgets the drill in the end.
fn backed_up(name: &str) -> (String, Undo) {
    forget_stored();
    let forget = Undo::with(&format!("rm -rf /var/lib/mysnap/drills {SCRATCH}"));
    run(&["install", "-d", "-m", "0755", SCRATCH]);
    let config = local(name, "");
    mysnap_ok(&["--config", &config, "backup", "local"]);
    (config, forget)
}

fn drill<'a>(config: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ["--config", config, "drill", "local", "--scratch", SCRATCH].into_iter().chain(more.iter().copied()).collect()
}

/// What a stranger finds of a drill: files, servers, mounts.
fn assert_no_drill_is_left() {
    assert_eq!(run(&["ls", "-A", SCRATCH]), "", "files are left");
    assert!(!try_run(&["pgrep", "-f", "mysnap-drill-"]).status.success(), "a server is left");
    host::assert_nothing_left();
}

/// The live server's process, and the names of its files.
pub fn live_server() -> (String, String) {
    let pid = run(&["systemctl", "show", "--value", "-p", "MainPID", host::service()]);
    (pid, run(&["find", "/var/lib/mysql", "/run/mysqld", "-not", "-path", "*/mysnap_test/*"]))
}

pub fn shown(config: &str, verb: &str) -> String {
    String::from_utf8_lossy(&try_run(&["mysnap", "--config", config, verb]).stdout).into_owned()
}

#[test]
fn a_drill_starts_the_newest_backup_and_reads_its_tables_and_the_live_server_notices_nothing() {
    let (config, _forget) = backed_up("drill");
    // The looks at the end write to a table of their own, which must not be new then.
    host::assert_writable();
    let before = live_server();
    let ran = mysnap(&drill(&config, &["--json"]));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    println!("{report:#}");
    let found = &report["found"];
    let position = found["position"].as_str().unwrap();
    assert!(position.contains("is where its binary log ended"), "{position}");
    assert!(found["tables"].as_u64().unwrap() > 20, "{report}");
    assert!(found["start_ms"].as_u64().unwrap() > 100, "{report}");
    assert_no_drill_is_left();
    assert_eq!(live_server(), before, "the live server was touched");
    assert!(shown(&config, "list").contains(" drilled "), "{}", shown(&config, "list"));
    assert!(shown(&config, "status").contains("drill local: backup "), "{}", shown(&config, "status"));
    // Where a drill would take the live server's room.
    let refused = mysnap(&["--config", &config, "drill", "local", "--scratch", "/var/lib/mysql"]);
    assert_eq!(refused.status, 3, "{}", refused.stderr);
}

#[test]
fn verify_ends_with_a_drill_where_it_is_told_to() {
    let (config, _forget) = backed_up("verify");
    let verify = ["--config", &config, "verify", "latest", "--json", "--scratch", SCRATCH, "--level"];
    let without = mysnap(&[&verify[..], &["queries"]].concat());
    expect(&without, 2, &["there are no queries", "set queries in the job"]);
    let watch = Watch::start();
    let verified = mysnap_ok(&[&verify[..], &["start"]].concat());
    watch.assert_only_the_live_server();
    let verified: serde_json::Value = serde_json::from_str(&verified).unwrap();
    assert!(verified["files"].as_u64().unwrap() > 100, "{verified}");
    assert!(verified["drill"]["found"]["start_ms"].as_u64().unwrap() > 100, "{verified}");
    assert_no_drill_is_left();
}

/// A table `drilled.worn` that is damaged on the live server, which does not know it yet.
pub fn damaged_table() -> Undo {
    let mut root = host::root();
    root.query_drop("CREATE DATABASE IF NOT EXISTS drilled").unwrap();
    root.query_drop("DROP TABLE IF EXISTS drilled.worn").unwrap();
    root.query_drop("CREATE TABLE drilled.worn (n INT PRIMARY KEY, t CHAR(200)) ENGINE=MyISAM").unwrap();
    for n in 0..200 {
        root.query_drop(format!("INSERT INTO drilled.worn VALUES ({n}, REPEAT('x', 200))")).unwrap();
    }
    root.query_drop("FLUSH TABLES drilled.worn").unwrap();
    let index = "/var/lib/mysql/drilled/worn.MYI";
    run(&[
        "dd",
        "if=/dev/zero",
        &format!("of={index}"),
        "bs=1",
        "seek=1100",
        "count=900",
        "conv=notrunc",
        "status=none",
    ]);
    Undo::with(&format!("{} -e 'DROP DATABASE drilled'", host::client()))
}

#[test]
fn a_damaged_table_is_named_and_the_backup_is_not_called_good_any_more() {
    let _gone = damaged_table();
    let (config, _forget) = backed_up("worn");
    let ran = mysnap(&drill(&config, &[]));
    expect(&ran, 8, &["tables are damaged: drilled.worn", "CHECK TABLE on the live server"]);
    assert_no_drill_is_left();
    assert!(shown(&config, "list").contains(" FAILED "), "{}", shown(&config, "list"));
    let status = mysnap(&["--config", &config, "status"]);
    assert_eq!(status.status, 2, "{}", status.stdout);
    assert!(status.stdout.contains("did not come back"), "{}", status.stdout);
}

/// Second servers start with a setting that their files refuse.
pub fn second_servers_start_wrong() -> Undo {
    second_servers_start_with("--innodb-page-size=4k")
}

/// Whoever looks for the server's program finds one that starts with `option`.
pub fn second_servers_start_with(option: &str) -> Undo {
    let name = if host::is_mariadb() { "mariadbd" } else { "mysqld" };
    let wrapper = format!("/usr/local/sbin/{name}");
    let text = format!("#!/bin/sh\nexec /usr/sbin/{name} \"$@\" {option}\n");
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(&wrapper, text).unwrap();
    run(&["chmod", "0755", &wrapper]);
    Undo::with(&format!("rm -f {wrapper}"))
}

#[test]
fn a_server_that_does_not_start_is_told_in_its_own_words() {
    let (config, _forget) = backed_up("wrong");
    let _wrong = second_servers_start_wrong();
    let ran = mysnap(&drill(&config, &["--level", "start"]));
    expect(&ran, 8, &["did not start on the files; it said: ", "4096"]);
    assert_no_drill_is_left();
}

#[test]
fn what_a_killed_drill_leaves_ends_with_it_or_is_recovered() {
    let (config, _forget) = backed_up("killed");
    let mut live = Live::start(&config, &drill(&config, &[])[2..]);
    live.wait_for("tables");
    live.signal(Signal::SIGKILL);
    assert_eq!(live.finish().status, 137);
    until("the end of the second server", || !try_run(&["pgrep", "-f", "mysnap-drill-"]).status.success());
    expect(&mysnap(&["recover", "--dry-run"]), 0, &[]);
    assert!(mysnap_ok(&["recover", "--dry-run"]).contains("remove /srv/drill/mysnap-drill-"));
    mysnap_ok(&["recover"]);
    assert_no_drill_is_left();

    let mut live = Live::start(&config, &drill(&config, &[])[2..]);
    live.wait_for("start");
    live.signal(Signal::SIGTERM);
    assert_eq!(live.finish().status, 143);
    assert_no_drill_is_left();
}
