//! What happens to a run that is hit while it works: the exit status, the words, and nothing left.

use std::time::Duration;

use mysql::prelude::Queryable as _;
use nix::sys::signal::Signal;

use crate::host::{self, mysnap, mysnap_ok, run, try_run};
use crate::live::{BeforeSnapshot, DEFAULT_STALL, Halt, LOCAL, Live, Undo, expect, fails, local, stored, until};
use crate::pulse::Pulse;
use crate::support::start_server;
use crate::sweep::{Point, STALL, STOPPED, hit, noise};

/// A statement on a connection of its own, in the background; its error, if it met one.
pub fn in_background(statement: &str) -> std::thread::JoinHandle<Result<(), String>> {
    let mut connection = host::root();
    let statement = statement.to_owned();
    std::thread::spawn(move || connection.query_drop(statement).map_err(|error| error.to_string()))
}

/// The connection whose statement has `part` in it.
pub fn running(part: &str) -> Option<u64> {
    let query = format!(
        "SELECT id FROM information_schema.processlist WHERE info LIKE '%{part}%' AND id <> CONNECTION_ID() AND time >= 0"
    );
    host::root().query_first(query).unwrap()
}

/// `faults.plain` and `faults.inno`, each with one row.
pub fn probe_tables() {
    let mut root = host::root();
    root.query_drop("CREATE DATABASE IF NOT EXISTS faults").unwrap();
    root.query_drop("DROP TABLE IF EXISTS faults.plain, faults.inno").unwrap();
    root.query_drop("CREATE TABLE faults.plain (n INT) ENGINE=MyISAM").unwrap();
    root.query_drop("CREATE TABLE faults.inno (n INT PRIMARY KEY) ENGINE=InnoDB").unwrap();
    root.query_drop("INSERT INTO faults.plain VALUES (1)").unwrap();
    root.query_drop("INSERT INTO faults.inno VALUES (1)").unwrap();
}

#[test]
fn a_long_statement_is_not_started_behind_and_only_selects_are_killed() {
    probe_tables();
    let select = in_background("SELECT SLEEP(120) FROM faults.inno");
    let update = in_background("UPDATE faults.plain SET n = n + SLEEP(121)");
    until("the statements", || running("SLEEP(120)").is_some() && running("SLEEP(121)").is_some());
    std::thread::sleep(Duration::from_millis(2100));
    let heartbeat = Pulse::start();
    let policy = "long_query_threshold = \"2s\"\nlong_query_wait = \"4s\"\nkill_long_selects = \"1s\"\n";
    // Killing another account's statement is not among the least privileges.
    let killer = if host::is_mariadb() { "CONNECTION ADMIN" } else { "CONNECTION_ADMIN" };
    host::root().query_drop(format!("GRANT {killer} ON *.* TO 'mysnap'@'localhost'")).unwrap();
    let ran = mysnap(&["--config", &local("long", policy), "backup", "local"]);
    host::root().query_drop(format!("REVOKE {killer} ON *.* FROM 'mysnap'@'localhost'")).unwrap();
    let longest = heartbeat.longest();
    expect(
        &ran,
        4,
        &["after 4 s the lock would still wait behind query", "UPDATE faults.plain SET n = n + SLEEP(121)"],
    );
    assert!(longest < Duration::from_secs(3), "nobody may wait for a lock that was not asked for: {longest:?}");
    // On MariaDB no SELECT is in the way of its lock, so that none is killed.
    assert_eq!(running("SLEEP(120)").is_some(), host::is_mariadb(), "{}", ran.stderr);
    let mut root = host::root();
    let left = running("SLEEP(121)").expect("an UPDATE is never killed");
    root.query_drop(format!("KILL {left}")).unwrap();
    if let Some(id) = running("SLEEP(120)") {
        root.query_drop(format!("KILL {id}")).unwrap();
    }
    drop((select.join(), update.join()));
    host::assert_nothing_left();
}

#[test]
fn writers_wait_behind_a_stuck_alter_no_longer_than_the_budget() {
    probe_tables();
    let mut reader = host::root();
    reader.query_drop("BEGIN").unwrap();
    reader.query_drop("SELECT * FROM faults.inno").unwrap();
    let alter = in_background("ALTER TABLE faults.inno ADD COLUMN late INT");
    until("the ALTER", || running("ADD COLUMN late").is_some());
    let heartbeat = Pulse::start();
    // However slow the guest, the ALTER is not waited for before the lock is asked for.
    let policy = format!("{DEFAULT_STALL}long_query_threshold = \"10min\"\n");
    let mut run = Live::backup(&local("alter", &policy));
    run.wait_for("hold");
    // MariaDB may hold beside it; MySQL waits for it and gives up.
    if run.came_to("copy") {
        run.signal(Signal::SIGTERM);
    }
    let ran = run.finish();
    let longest = heartbeat.longest();
    assert!([4, 143].contains(&ran.status), "{}", ran.stderr);
    if ran.status == 4 && !host::is_mariadb() {
        expect(&ran, 4, &["the read lock was not granted within", "SHOW FULL PROCESSLIST"]);
    }
    assert!(longest < STALL + noise(), "{longest:?}");
    reader.query_drop("COMMIT").unwrap();
    drop(alter.join());
    host::assert_nothing_left();
}

#[test]
fn a_server_that_dies_in_the_hold_makes_the_snapshot_void() {
    let halt = Halt::new();
    let before = stored();
    let live = Live::backup(&local("crash", ""));
    halt.reached();
    run(&["pkill", "-KILL", "-x", if host::is_mariadb_installed() { "mariadbd" } else { "mysqld" }]);
    halt.go_on();
    let ran = live.finish();
    start_server();
    expect(&ran, 4, &["the read lock was lost before it was released", "server restarted"]);
    assert_eq!(stored(), before);
    host::assert_nothing_left();
}

#[test]
fn a_session_that_is_killed_in_the_hold_makes_the_snapshot_void() {
    let halt = Halt::new();
    let before = stored();
    let live = Live::backup(&local("killed", ""));
    halt.reached();
    let mut root = host::root();
    let ours: Vec<u64> =
        root.query("SELECT id FROM information_schema.processlist WHERE user = 'mysnap' ORDER BY id").unwrap();
    root.query_drop(format!("KILL {}", ours.last().expect("the session with the lock"))).unwrap();
    halt.go_on();
    let ran = live.finish();
    expect(&ran, 4, &["the read lock was lost before it was released", "was its session killed"]);
    assert_eq!(stored(), before);
    host::assert_nothing_left();
}

/// Q1: without a position there is no backup, however good the copy might be.
#[test]
fn a_position_that_cannot_be_read_is_fatal() {
    probe_tables();
    let config = local("position", "long_query_threshold = \"1s\"\nlong_query_wait = \"60s\"\n");
    let before = stored();
    // In its way, so that the run is still before its hold when the privilege goes.
    let busy = in_background("UPDATE faults.plain SET n = n + SLEEP(122)");
    until("the statement", || running("SLEEP(122)").is_some());
    std::thread::sleep(Duration::from_millis(1500));
    let mut run = Live::backup(&config);
    run.wait_for("hold");
    let privilege = if host::is_mariadb() { "BINLOG MONITOR" } else { "REPLICATION CLIENT" };
    let mut root = host::root();
    root.query_drop(format!("REVOKE {privilege} ON *.* FROM 'mysnap'@'localhost'")).unwrap();
    root.query_drop(format!("KILL {}", running("SLEEP(122)").unwrap())).unwrap();
    let ran = run.finish();
    root.query_drop(format!("GRANT {privilege} ON *.* TO 'mysnap'@'localhost'")).unwrap();
    drop(busy.join());
    assert_ne!(ran.status, 0);
    expect(&ran, ran.status, &["cannot read the position", "privilege"]);
    assert_eq!(stored(), before);
    host::assert_nothing_left();
}

/// U2: a slow hold is told as long as it was for those who waited.
#[test]
fn what_writers_waited_is_what_is_recorded() {
    let slow = BeforeSnapshot::runs("sleep 1.5");
    let config = local("slow", "max_stall = \"20s\"\n");
    let heartbeat = Pulse::start();
    let ran = mysnap(&["--config", &config, "backup", "local"]);
    let longest = heartbeat.longest();
    drop(slow);
    expect(&ran, 0, &["is good", "writers waited"]);
    let shown: serde_json::Value =
        serde_json::from_str(&mysnap_ok(&["--config", &config, "show", "latest", "--json"])).unwrap();
    let recorded = ["waited_ms", "held_ms"].map(|key| shown["hold"][key].as_u64().unwrap());
    let recorded = Duration::from_millis(recorded.iter().sum());
    println!("recorded {recorded:?}, the heartbeat's longest wait was {longest:?}");
    assert!(recorded > Duration::from_millis(1500) && recorded < Duration::from_secs(20), "{shown}");
    // After the lock the origin is suspended for a moment more, which is LVM's.
    assert!(
        longest > Duration::from_millis(1400) && longest < recorded + Duration::from_secs(3) + noise(),
        "{longest:?}"
    );
}

#[test]
fn a_volume_that_froze_before_the_log_was_flushed_is_snapshotted_again_at_once() {
    let before = stored().len();
    let arguments = ["--config", &local("early", ""), "backup", "local"].map(str::to_owned);
    // The first is the check's.
    let late = Point { step: "main sql FLUSH LOCAL ENGINE#2".to_owned(), fault: "hang" };
    let (ran, reached) = hit(&arguments, &late);
    assert!(reached, "{}", ran.stderr);
    expect(&ran, 0, &["froze before everything was written out; again at once"]);
    assert_eq!(stored().len(), before + 1);
    mysnap_ok(&["verify", "latest", "--from", LOCAL]);
    host::assert_nothing_left();
}

#[test]
fn a_frozen_run_lets_writers_go_on() {
    let heartbeat = Pulse::start();
    let halt = Halt::new();
    let before = stored();
    let live = Live::backup(&local("frozen", DEFAULT_STALL));
    halt.reached();
    live.signal(Signal::SIGSTOP);
    std::thread::sleep(STOPPED);
    let longest = heartbeat.longest();
    assert!(longest > Duration::from_secs(1), "the hold was not hit: {longest:?}");
    assert!(longest < STALL + noise(), "writers waited {longest:?}");
    live.signal(Signal::SIGCONT);
    halt.go_on();
    let ran = live.finish();
    assert_eq!(ran.status, 4, "{}", ran.stderr);
    assert_eq!(stored(), before);
    host::assert_nothing_left();
}

#[test]
fn an_lvm_command_that_hangs_costs_writers_the_budget_and_its_late_snapshot_is_removed() {
    let heartbeat = Pulse::start();
    let slow = BeforeSnapshot::runs("sleep 6");
    let ran = fails(&local("hang", "max_stall = \"2s\"\n"), 4, &["max_stall (2s)"]);
    let longest = heartbeat.longest();
    assert!(longest < Duration::from_millis(3500) + noise(), "writers waited {longest:?}: {}", ran.stderr);
    until("the end of the command", || !try_run(&["pgrep", "-x", "lvm|lvcreate|lvconvert"]).status.success());
    drop(slow);
    host::assert_nothing_left();
}

#[test]
fn a_busy_group_costs_a_try_and_the_backup_that_then_works_is_told_in_events() {
    let marker = "/run/first-try";
    let _gone = Undo::with(&format!("rm -f {marker}"));
    // Another LVM command comes in between just in the first hold.
    let busy = "flock -x /run/lock/lvm/V_vg0 sleep 3 & sleep 0.3";
    let slow = BeforeSnapshot::runs(&format!("[ -e {marker} ] || {{ touch {marker}; {busy}; }}"));
    let config = local("retries", "retries = 3\nretry_pause = \"1s\"\n");
    run(&["sh", "-c", "umask 0; cd /var/lib/mysql && cp /bin/true planted && chmod 4755 planted && mknod node b 1 1"]);
    let _planted = Undo::with("rm -f /var/lib/mysql/planted /var/lib/mysql/node");
    let before = stored();
    let mut run = Live::backup(&config);
    run.wait_for("copy");
    drop(slow);
    let seen = run.mounts();
    let ours: Vec<&str> = seen.lines().filter(|line| line.contains("/run/mysnap/")).collect();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(ours.len() == 1 && ours[0].contains(option), "{option}: {ours:?}");
    }
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.contains("/run/mysnap/"), "the host must not see our mounts: {host}");
    let ran = run.finish();
    expect(&ran, 0, &["try 1 of 3", "volume group vg0 is held by another LVM command"]);
    let events: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["result"]["hold"]["tries"]), (&"result".into(), &2.into()), "{last}");
    assert!(last.to_string().contains("device datadir/node is not stored"), "{last}");
    let new: Vec<String> = stored().into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    let at = std::path::Path::new(&new[0]).join("datadir");
    assert!(at.join("planted").exists() && at.join("node").symlink_metadata().is_err(), "a device is stored");
    host::assert_nothing_left();
}

#[test]
fn a_killed_run_is_told_of_and_cleaned_up_by_recover_and_by_the_next_run() {
    let config = local("kill", "bandwidth_limit = \"4MiB\"\n");
    let before = stored();
    for by_next_run in [false, true] {
        let mut run = Live::backup(&config);
        run.wait_for("copy");
        run.signal(Signal::SIGKILL);
        assert_eq!(run.finish().status, 137);
        let left = host::run(&["lvs", "--noheadings", "-o", "lv_name", "@mysnap"]);
        assert!(!left.trim().is_empty(), "a leftover was expected");
        let checked = mysnap(&["--config", &config, "check", "local"]);
        expect(&checked, 0, &["remove snapshot vg0/data_mysnap_", "`mysnap recover` removes what a dead run left"]);
        assert_eq!(host::run(&["lvs", "--noheadings", "-o", "lv_name", "@mysnap"]), left, "a check changes nothing");
        if by_next_run {
            mysnap_ok(&["--config", &local("after-kill", ""), "backup", "local"]);
        } else {
            mysnap_ok(&["recover"]);
            mysnap_ok(&["recover"]);
        }
        host::assert_nothing_left();
    }
    assert_eq!(stored().len(), before.len() + 1, "a killed run must not be listed");
    let left = host::run(&["find", LOCAL, "-name", ".unfinished-*"]);
    assert_eq!(left, "", "what dead runs left is removed after a good one");
}

#[test]
fn a_copy_whose_rsync_dies_is_no_backup() {
    let config = local("rsync", "bandwidth_limit = \"4MiB\"\n");
    let before = stored();
    let mut run = Live::backup(&config);
    run.wait_for("copy");
    until("rsync", || try_run(&["pkill", "-KILL", "-x", "rsync"]).status.success());
    let ran = run.finish();
    expect(&ran, 7, &["rsync"]);
    assert_eq!(stored(), before);
    host::assert_nothing_left();
}

#[test]
fn a_destination_that_is_exchanged_during_the_copy_gets_no_backup() {
    let config = local("exchanged", "bandwidth_limit = \"16MiB\"\n");
    let mut run = Live::backup(&config);
    run.wait_for("copy");
    let (job, aside) = (format!("{LOCAL}/local"), format!("{LOCAL}/aside"));
    let _back = Undo::with(&format!("rm -rf {job} /srv/bait && mv {aside} {job}"));
    host::run(&["mv", &job, &aside]);
    host::run(&["sh", "-c", &format!("mkdir /srv/bait && ln -s /srv/bait {job}")]);
    let ran = run.finish();
    assert!([1, 7, 8].contains(&ran.status), "{} {}", ran.status, ran.stderr);
    assert_eq!(host::run(&["find", "/srv/bait", "-mindepth", "1"]), "", "nothing may be led elsewhere");
    host::assert_nothing_left();
}
