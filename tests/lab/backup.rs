//! The main job, end to end: backup under write load to the second node, and the way back.

use std::time::Instant;

use mysql::prelude::Queryable as _;

use crate::host::{self, mysnap, mysnap_ok, on_node2, run};
use crate::witness::{Row, Witness, rows_in_binary_logs};

/// The configuration with the second node as destination; its path.
fn configured(extra: &str) -> String {
    host::configure("nightly", &format!("[job.nightly]\nto = \"root@{}:/srv/backup\"\n{extra}", host::node2()))
}

fn fresh_destination() {
    on_node2("rm -rf /srv/backup && mkdir -p -m 0700 /srv/backup");
}

fn shown(config: &str, id: &str) -> serde_json::Value {
    serde_json::from_str(&mysnap_ok(&["--config", config, "show", id, "--json"])).unwrap()
}

/// The witness rows of the server on the second node.
fn rows_on_node2() -> std::collections::BTreeSet<Row> {
    let text = on_node2(&format!("{} -N -e 'SELECT writer, n FROM witness.ledger'", host::client()));
    let number = |field: Option<&str>| field.and_then(|f| f.parse().ok()).unwrap();
    text.lines().map(|l| l.split_whitespace()).map(|mut f| (number(f.next()), number(f.next()))).collect()
}

#[test]
fn a_backup_under_load_restores_exactly_the_recorded_position() {
    fresh_destination();
    let config = configured("");
    let witness = Witness::start(4);
    let began = Instant::now();
    let result = mysnap(&["--config", &config, "backup", "nightly"]);
    let testimony = witness.stop();
    assert_eq!(result.status, 0, "{}", result.stderr);
    assert_eq!(testimony.failed, 0, "a writer met an error");
    assert!(testimony.longest_gap.as_secs_f64() < 6.0, "writers waited {:?}", testimony.longest_gap);
    host::assert_nothing_left();

    let manifest = shown(&config, "latest");
    let file = manifest["position"]["binlog"]["file"].as_str().unwrap();
    let offset = manifest["position"]["binlog"]["offset"].as_u64().unwrap();
    let promised = rows_in_binary_logs(file, offset);
    assert!(promised.is_superset(&testimony.before(began)), "rows from before the backup are missing in the log");

    mysnap_ok(&["--config", &config, "verify", "latest"]);
    run(&["scp", "-q", "/usr/local/bin/mysnap", &format!("{}:/usr/local/bin/mysnap", host::node2())]);
    on_node2(&format!("systemctl stop {}", host::service()));
    let restored = on_node2(
        "mysnap restore latest --from /srv/backup --to /var/lib/mysql --replace --start --yes 2>&1 || echo status $?",
    );
    assert!(!restored.contains("status"), "{restored}");
    let found = rows_on_node2();
    assert_eq!(found.len(), promised.len(), "rows in the restored server, rows up to {file}:{offset}");
    assert_eq!(found, promised);
    let check = on_node2(&format!("{} -N -e 'CHECK TABLE shop.orders, shop.items'", host::client()));
    assert!(!check.to_lowercase().contains("corrupt"), "{check}");
}

#[test]
fn a_second_generation_links_what_has_not_changed_and_both_verify() {
    fresh_destination();
    let config = configured("");
    mysnap_ok(&["--config", &config, "backup", "nightly"]);
    mysnap_ok(&["--config", &config, "backup", "nightly"]);
    let linked = on_node2("find /srv/backup/nightly -type f -links +1 -path '*/datadir/*' | wc -l");
    assert!(linked.trim().parse::<u32>().unwrap() > 10, "only {linked} files are shared");
    let listed: serde_json::Value = serde_json::from_str(&mysnap_ok(&["--config", &config, "list", "--json"])).unwrap();
    for row in listed.as_array().unwrap() {
        mysnap_ok(&["--config", &config, "verify", row["id"].as_str().unwrap()]);
    }
    assert_eq!(listed.as_array().unwrap().len(), 2);
}

#[test]
fn a_quiet_success_says_nothing() {
    fresh_destination();
    let config = configured("");
    let ran = mysnap(&["--config", &config, "--quiet", "backup", "nightly"]);
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
}

#[test]
fn check_and_dry_run_change_nothing() {
    fresh_destination();
    let config = configured("");
    let before = (host::volumes(), on_node2("find /srv/backup | sort"));
    let checked = mysnap_ok(&["--config", &config, "check", "nightly"]);
    assert!(checked.contains("vg0/data"), "{checked}");
    mysnap_ok(&["--config", &config, "backup", "nightly", "--dry-run"]);
    assert_eq!((host::volumes(), on_node2("find /srv/backup | sort")), before);
    host::assert_nothing_left();
}

#[test]
fn the_second_run_says_who_holds_the_server_and_harms_nothing() {
    fresh_destination();
    let config = configured("bandwidth_limit = \"8MiB\"\n");
    let first = {
        let config = config.clone();
        std::thread::spawn(move || mysnap(&["--config", &config, "backup", "nightly"]))
    };
    while host::run(&["lvs", "--noheadings", "-o", "lv_name", "@mysnap"]).trim().is_empty() {
        assert!(!first.is_finished(), "the first run ended before its snapshot was seen");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let second = mysnap(&["--config", &config, "backup", "nightly"]);
    assert_eq!(second.status, 5, "{}", second.stderr);
    assert!(second.stderr.contains("backup nightly (pid"), "{}", second.stderr);
    assert_eq!(first.join().unwrap().status, 0);
    host::assert_nothing_left();
}

#[test]
fn a_kept_snapshot_rolls_the_server_back() {
    fresh_destination();
    let config = configured("");
    let mut conn = host::root();
    conn.query_drop("CREATE DATABASE IF NOT EXISTS undo_me").unwrap();
    conn.query_drop("CREATE OR REPLACE TABLE undo_me.t (n INT)")
        .or_else(|_| {
            conn.query_drop("DROP TABLE IF EXISTS undo_me.t")?;
            conn.query_drop("CREATE TABLE undo_me.t (n INT)")
        })
        .unwrap();
    conn.query_drop("INSERT INTO undo_me.t VALUES (1)").unwrap();
    mysnap_ok(&["--config", &config, "backup", "nightly", "--keep-snapshot"]);
    let kept: serde_json::Value = serde_json::from_str(&mysnap_ok(&["snapshots", "--json"])).unwrap();
    let id = kept[0]["run"].as_str().unwrap().to_owned();
    conn.query_drop("DROP DATABASE undo_me").unwrap();
    let refused = mysnap(&["--config", &config, "rollback", &id]);
    assert_eq!(refused.status, 11, "{}", refused.stderr);
    drop(conn);
    mysnap_ok(&["--config", &config, "rollback", &id, "--yes"]);
    let rows: Vec<u32> = host::root().query("SELECT n FROM undo_me.t").unwrap();
    assert_eq!(rows, [1]);
    host::assert_nothing_left();
}

#[test]
fn a_killed_run_is_cleaned_up_by_recover_and_by_the_next_run() {
    let config = configured("bandwidth_limit = \"4MiB\"\n");
    for by_next_run in [false, true] {
        fresh_destination();
        kill_a_run_while_it_copies(&config);
        assert!(
            !run(&["lvs", "--noheadings", "-o", "lv_name", "@mysnap"]).trim().is_empty(),
            "a leftover was expected"
        );
        if by_next_run {
            mysnap_ok(&["--config", &configured(""), "backup", "nightly"]);
        } else {
            mysnap_ok(&["recover"]);
            mysnap_ok(&["recover"]);
        }
        host::assert_nothing_left();
    }
    let listed: serde_json::Value = serde_json::from_str(&mysnap_ok(&["--config", &config, "list", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "a killed run must not be listed");
}

/// SIGKILL to the agent as soon as the unfinished directory holds data.
fn kill_a_run_while_it_copies(config: &str) {
    let running = {
        let config = config.to_owned();
        std::thread::spawn(move || mysnap(&["--config", &config, "backup", "nightly"]))
    };
    loop {
        assert!(!running.is_finished(), "the run ended before it copied");
        let staged = on_node2("find /srv/backup -path '*/.unfinished-*/datadir/*' 2>/dev/null | head -n 1");
        if !staged.trim().is_empty() {
            break;
        }
    }
    run(&["pkill", "-KILL", "-x", "mysnap"]);
    assert_ne!(running.join().unwrap().status, 0);
    let _gone = host::try_run(&["pkill", "-x", "rsync"]);
}
