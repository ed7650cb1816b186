//! A backup that is called good only after a second server has recovered on the snapshot.

use mysql::prelude::Queryable as _;
use nix::sys::signal::Signal;

use crate::drill::{live_server, second_servers_start_with, second_servers_start_wrong, shown};
use crate::host::{self, mysnap, mysnap_ok, run, try_run};
use crate::live::{LOCAL, Live, Undo, expect, forget_stored, local, stored, until};
use crate::watch::Watch;

fn proved_by(level: &str, query: &str) -> String {
    local("proof", &format!("prove = \"{level}\"\nqueries = [\"{query}\"]\n"))
}

fn a_second_server_runs() -> bool {
    try_run(&["pgrep", "-f", "socket=/run/mysnap/"]).status.success()
}

fn manifest(config: &str, id: &str) -> serde_json::Value {
    serde_json::from_str(&mysnap_ok(&["--config", config, "show", id, "--json"])).unwrap()
}

#[test]
fn a_second_server_proves_a_backup_and_the_live_one_notices_nothing() {
    forget_stored();
    // The moment of the snapshot, not that of the question.
    let mut root = host::root();
    root.query_drop("CREATE DATABASE IF NOT EXISTS proved").unwrap();
    root.query_drop("CREATE TABLE IF NOT EXISTS proved.clock (at DATETIME(6))").unwrap();
    root.query_drop("INSERT INTO proved.clock VALUES (NOW(6))").unwrap();
    let _gone = Undo::with(&format!("{} -e 'DROP DATABASE proved'", host::client()));
    let age = "TIMESTAMPDIFF(SECOND, MAX(at), NOW(6))";
    let config = proved_by("tables", &format!("SELECT {age} BETWEEN -2 AND 120 FROM proved.clock"));
    // The first backup since its start makes the server itself remove a log of its own (MariaDB's ddl.log).
    mysnap_ok(&["--config", &local("first", ""), "backup", "local"]);
    // The looks at the end write to a table of their own, which must not be new then.
    host::assert_writable();
    let before = live_server();
    let watch = Watch::start();
    mysnap_ok(&["--config", &config, "backup", "local"]);
    watch.assert_only_the_live_server();
    let manifest = manifest(&config, "latest");
    let (proof, recorded) = (&manifest["proof"], &manifest["position"]);
    println!("{recorded:#} {proof:#}");
    assert_eq!((&proof["level"], &recorded["exact"]), (&"tables".into(), &"exact".into()));
    let shown_by_it = &proof["shown"];
    let position = shown_by_it["position"].as_str().unwrap();
    assert!(position.contains("is where its binary log ended"), "{position}");
    let gtids = recorded["gtid_set"].as_str();
    assert_eq!(position.contains("and the GTID set is the recorded one"), gtids.is_some(), "{position}: {gtids:?}");
    assert!(!host::is_mariadb() || gtids.is_some_and(|set| !set.is_empty()), "{recorded}");
    assert!(shown_by_it["start_ms"].as_u64().unwrap() > 0, "{proof}");
    assert_eq!(shown_by_it["queries"], 1, "{proof}");
    assert!(shown_by_it["tables"].as_u64().unwrap() > 20, "{proof}");
    host::assert_nothing_left();
    assert!(!a_second_server_runs());
    assert_eq!(live_server(), before, "the live server was touched");
    assert!(shown(&config, "list").contains(" tables "), "{}", shown(&config, "list"));
    // What the second server wrote is not in what is stored.
    mysnap_ok(&["verify", "latest", "--from", LOCAL]);
    let kept = mysnap(&["--config", &config, "backup", "local", "--keep-snapshot"]);
    expect(&kept, 3, &["can't be kept", "mysnap drill"]);
}

#[test]
fn a_backup_whose_proof_fails_is_kept_aside_and_counts_as_none() {
    forget_stored();
    // Queries mean what they mean to the live server.
    host::root().query_drop("SET GLOBAL sql_mode = 'PIPES_AS_CONCAT'").unwrap();
    let _mode = Undo::with(&format!("{} -e 'SET GLOBAL sql_mode = DEFAULT'", host::client()));
    let config = proved_by("queries", "SELECT ('a' || 'b') = 'ab'");
    mysnap_ok(&["--config", &config, "backup", "local"]);
    let good = manifest(&config, "latest")["id"].clone();
    let wrong = second_servers_start_wrong();
    let ran = mysnap(&["--config", &config, "backup", "local"]);
    expect(&ran, 8, &["is bad, and is kept aside", "did not start on the files; it said: ", "left: nothing"]);
    host::assert_nothing_left();
    assert_eq!(stored().len(), 2);
    assert!(shown(&config, "list").contains(" BAD "), "{}", shown(&config, "list"));
    assert_eq!(manifest(&config, "latest")["id"], good, "the latest is a good one");
    let status = mysnap(&["--config", &config, "status"]);
    expect(&status, 1, &[" is bad: "]);
    assert!(status.stdout.contains(&format!("newest good backup {}", good.as_str().unwrap())), "{}", status.stdout);
    drop(wrong);
    mysnap_ok(&["--config", &config, "backup", "local"]);
    assert_eq!(stored().len(), 3);
    let empty = proved_by("queries", "SELECT COUNT(*) = 0 FROM mysql.user");
    let ran = mysnap(&["--config", &empty, "backup", "local"]);
    expect(
        &ran,
        8,
        &["is bad, and is kept aside", "the query `SELECT COUNT(*) = 0 FROM mysql.user` is answered with 0"],
    );
}

#[test]
fn a_prepared_backup_starts_without_a_recovery_and_another_one_does_not() {
    const SCRATCH: &str = "/srv/drill";
    const LOG: &str = "/srv/second-server.log";
    let _gone = Undo::with(&format!("rm -rf /var/lib/mysnap/drills {SCRATCH} {LOG}"));
    run(&["install", "-d", "-m", "0755", SCRATCH]);
    for prepared in [false, true] {
        forget_stored();
        let config = local("prepared", &format!("prepared = {prepared}\nprove = \"start\"\n"));
        mysnap_ok(&["--config", &config, "backup", "local"]);
        assert_eq!(manifest(&config, "latest")["crash_consistent"], !prepared);
        run(&["install", "-o", "mysql", "-m", "0600", "/dev/null", LOG]);
        let logged = second_servers_start_with(&format!("--log-error={LOG}"));
        let drill = ["--config", &config, "drill", "local", "--scratch", SCRATCH, "--level", "start", "--json"];
        let report: serde_json::Value = serde_json::from_str(&mysnap_ok(&drill)).unwrap();
        drop(logged);
        let position = report["found"]["position"].as_str().unwrap();
        assert!(position.contains("is where its binary log ended"), "{position}");
        let log = run(&["cat", LOG]).to_lowercase();
        assert_eq!(log.contains("crash recovery"), !prepared, "prepared {prepared}: {log}");
    }
    host::assert_nothing_left();
}

#[test]
fn a_run_that_ends_during_its_proof_leaves_nothing_and_no_backup() {
    let config = proved_by("tables", "SELECT 1");
    let before = stored();
    for (phase, signal, status) in
        [("start", Signal::SIGTERM, 143), ("tables", Signal::SIGTERM, 143), ("tables", Signal::SIGKILL, 137)]
    {
        let mut live = Live::backup(&config);
        live.wait_for(phase);
        live.signal(signal);
        let ran = live.finish();
        assert_eq!(ran.status, status, "{phase}: {}", ran.stderr);
        if signal == Signal::SIGKILL {
            until("the end of the second server", || !a_second_server_runs());
            mysnap_ok(&["recover"]);
        }
        assert!(!a_second_server_runs(), "{phase}");
        assert_eq!(stored(), before, "{phase}");
        host::assert_nothing_left();
        assert_eq!(run(&["find", "/run/mysnap", "-mindepth", "1", "-type", "d"]), "", "{phase}");
    }
}
