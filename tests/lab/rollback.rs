//! A kept snapshot and its two ends: rolled back to, or released.

use mysql::prelude::Queryable as _;
use nix::sys::signal::Signal;

use crate::host::{self, Ran, mysnap, mysnap_ok, run, try_run};
use crate::live::{Live, Undo, expect, local, until};
use crate::support::start_server;
use crate::sweep::kept;

/// Makes a backup that keeps its snapshot; the run's id.
fn keep(extra: &str) -> String {
    let before = kept();
    mysnap_ok(&["--config", &local("keep", extra), "backup", "local", "--keep-snapshot"]);
    kept().into_iter().find(|id| !before.contains(id)).expect("a snapshot is kept")
}

fn server_is_up() -> bool {
    try_run(&["systemctl", "is-active", "--quiet", host::service()]).status.success()
}

fn refused(ran: &Ran, status: i32, words: &[&str]) {
    expect(ran, status, words);
    assert!(server_is_up(), "a refused rollback must not touch the server: {}", ran.stderr);
    host::assert_writable();
}

fn rows() -> Vec<u32> {
    host::root().query("SELECT n FROM undo_me.t ORDER BY n").unwrap()
}

#[test]
fn a_server_goes_back_to_its_kept_snapshot_and_only_when_nothing_else_would_be_hurt() {
    let mut root = host::root();
    root.query_drop("DROP DATABASE IF EXISTS undo_me").unwrap();
    root.query_drop("CREATE DATABASE undo_me").unwrap();
    root.query_drop("CREATE TABLE undo_me.t (n INT)").unwrap();
    root.query_drop("INSERT INTO undo_me.t VALUES (1)").unwrap();
    let id = keep("");
    root.query_drop("INSERT INTO undo_me.t VALUES (2)").unwrap();
    drop(root);

    let plan = mysnap(&["rollback", &id, "--dry-run"]);
    refused(&plan, 0, &["stop ", "unmount /var/lib/mysql", "lost for good: everything written since"]);
    refused(&mysnap(&["rollback", &id]), 11, &["not confirmed", "--yes"]);
    refused(&mysnap(&["release", &id]), 11, &["no rollback to it is possible any more"]);
    refused(&mysnap(&["rollback", "20260101T000000Z-abcd", "--yes"]), 10, &["has no snapshot here"]);
    refused(&mysnap(&["rollback", "yesterday", "--yes"]), 2, &["`mysnap snapshots` lists the runs"]);
    a_stranger_on_the_volume_is_not_stopped(&id);
    a_running_backup_is_not_pulled_away(&id);
    assert_eq!(rows(), [1, 2]);

    let ran = mysnap(&["rollback", &id, "--yes"]);
    expect(&ran, 0, &["the server answers on the rolled back data"]);
    assert_eq!(rows(), [1]);
    host::assert_nothing_left();
    host::root().query_drop("DROP DATABASE undo_me").unwrap();
}

/// A shell in the data directory belongs to a service too: that of the remote login.
fn a_stranger_on_the_volume_is_not_stopped(id: &str) {
    #[expect(clippy::disallowed_methods, reason = "tests start programs too")]
    let mut stranger = std::process::Command::new("sleep").arg("600").current_dir("/var/lib/mysql").spawn().unwrap();
    let ran = mysnap(&["rollback", id, "--yes"]);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    refused(&ran, 5, &["sleep (process", "uses /var/lib/mysql and is no server", "stop it first"]);
}

fn a_running_backup_is_not_pulled_away(id: &str) {
    let mut live = Live::backup(&local("meanwhile", "bandwidth_limit = \"4MiB\"\n"));
    live.wait_for("copy");
    let ran = mysnap(&["rollback", id, "--yes"]);
    live.signal(Signal::SIGTERM);
    assert_eq!(live.finish().status, 143);
    refused(&ran, 5, &["in use by backup local (pid"]);
}

#[test]
fn a_volume_that_cannot_be_freed_costs_no_more_than_a_restart() {
    let id = keep("");
    // Something that has no file open on the volume still keeps it: a mount on top.
    run(&["sh", "-c", "mkdir -p /var/lib/mysql/top && mount -t tmpfs tmpfs /var/lib/mysql/top"]);
    let ran = {
        let _gone = Undo::with("umount /var/lib/mysql/top; rmdir /var/lib/mysql/top");
        mysnap(&["rollback", &id, "--yes"])
    };
    refused(&ran, 5, &["cannot unmount /var/lib/mysql", "fuser -vm"]);
    assert_eq!(run(&["lvs", "--noheadings", "-o", "lv_name", "@mysnap"]).lines().count(), 1, "the snapshot stays");
    expect(&mysnap(&["release", &id, "--yes"]), 0, &["removed vg0/data_mysnap_"]);
    host::assert_nothing_left();
}

/// A release that failed half-way, or somebody's `lvremove`, would leave a part of what was kept together.
#[test]
fn a_set_of_which_one_snapshot_is_missing_is_refused_and_the_rest_can_be_released() {
    let id = keep("");
    let record = format!("/var/lib/mysnap/kept/{id}.json");
    let mut kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    let volumes = kept["volumes"].as_array_mut().unwrap();
    let mut gone = volumes[0].clone();
    gone["uuid"] = "none-such".into();
    volumes.push(gone);
    #[expect(clippy::disallowed_methods, reason = "what a release that failed half-way leaves")]
    std::fs::write(&record, kept.to_string()).unwrap();
    for arguments in [["rollback", &id, "--dry-run"], ["rollback", &id, "--yes"]] {
        refused(&mysnap(&arguments), 3, &["is not there any more", "none-such", "mysnap release"]);
    }
    expect(&mysnap(&["release", &id, "--yes"]), 0, &["removed vg0/data_mysnap_"]);
    host::assert_nothing_left();
}

/// A snapshot of no backup would be watched by nobody, and each retry would add one.
#[test]
fn nothing_is_kept_of_a_backup_that_is_not_published() {
    let config = local("keep", "");
    let line = format!(
        "MYSNAP_FAILPOINT='error:main rename#1' mysnap-failpoints --config {config} backup local --keep-snapshot 2>&1"
    );
    let records = || run(&["sh", "-c", "ls /var/lib/mysnap/kept 2>/dev/null || true"]);
    let before = records();
    let said = run(&["sh", "-c", &format!("{line} || echo failed")]);
    assert!(said.contains("the snapshot is kept") && said.ends_with("failed\n"), "{said}");
    assert_eq!(kept(), Vec::<String>::new());
    assert_eq!(records(), before);
    host::assert_nothing_left();
}

/// Nobody says what was done to it since.
#[test]
fn a_snapshot_that_nobody_kept_is_refused() {
    let id = keep("");
    let volume = run(&["lvs", "--noheadings", "-o", "lv_full_name", "@mysnap"]).trim().to_owned();
    run(&["lvchange", "-q", "--deltag", "mysnap.keep", &volume]);
    refused(&mysnap(&["rollback", &id, "--yes"]), 3, &["was not kept", "mysnap recover"]);
    expect(&mysnap(&["release", &id, "--yes"]), 0, &["removed vg0/data_mysnap_"]);
    host::assert_nothing_left();
}

/// A backup may be the first to clean up after it, and nobody reads what that says.
#[test]
fn a_rollback_that_died_is_told_of_until_its_volume_is_mounted() {
    let id = keep("");
    let ran = try_run(&[
        "env",
        "MYSNAP_FAILPOINT=kill:main run lvconvert#1",
        "/usr/local/bin/mysnap-failpoints",
        "rollback",
        &id,
        "--yes",
    ]);
    assert!(!ran.status.success());
    for _ in 0..2 {
        expect(&mysnap(&["recover"]), 0, &["a rollback of vg0/data", "mount /var/lib/mysql"]);
        expect(&mysnap(&["--config", &local("keep", ""), "status"]), 2, &["a rollback of vg0/data"]);
    }
    run(&["mount", "/var/lib/mysql"]);
    start_server();
    mysnap_ok(&["recover"]);
    assert!(!mysnap(&["recover"]).stderr.contains("a rollback of"));
    expect(&mysnap(&["release", &id, "--yes"]), 0, &["removed vg0/data_mysnap_"]);
    host::assert_nothing_left();
}

/// LVM waits for the lock of the group, and goes on with the merge when it is free: by then no server may be at work.
#[test]
fn a_merge_that_waits_for_the_group_longer_than_its_deadline_is_waited_for() {
    let id = keep("");
    let row = "/var/lib/mysql/since";
    run(&["touch", row]);
    run(&["sh", "-c", "flock /run/lock/lvm/V_vg0 sleep 100 >/dev/null 2>&1 &"]);
    let ran = mysnap(&["rollback", &id, "--yes"]);
    if host::is_thin() {
        // It is merged at once and then gone, and who did that nobody knows.
        expect(&ran, 6, &["the rollback is not finished", "mysnap recover"]);
        assert!(!server_is_up());
        expect(&mysnap(&["recover"]), 0, &["mount /var/lib/mysql"]);
        run(&["mount", "/var/lib/mysql"]);
        start_server();
        mysnap_ok(&["recover"]);
    } else {
        expect(&ran, 0, &["the server answers on the rolled back data"]);
    }
    assert!(!std::path::Path::new(row).exists(), "what was written since is there");
    host::assert_nothing_left();
    host::assert_writable();
}

/// What an entry by UUID comes to while a thin snapshot is active: it has the same.
#[test]
fn a_snapshot_that_the_table_of_mounts_leads_to_is_not_mounted_in_place_of_the_volume() {
    let id = keep("");
    let snapshot = run(&["lvs", "--noheadings", "-o", "lv_full_name", "@mysnap"]).trim().to_owned();
    run(&["lvchange", "-q", "-ay", "-K", &snapshot]);
    let fstype = run(&["findmnt", "-no", "FSTYPE", "/var/lib/mysql"]).trim().to_owned();
    let options = if fstype == "xfs" { "nouuid" } else { "defaults" };
    let line = format!("/dev/{snapshot} /var/lib/mysql {fstype} {options} 0 0");
    run(&["cp", "/etc/fstab", "/etc/fstab.before"]);
    let ran = {
        let _before = Undo::with("mv /etc/fstab.before /etc/fstab; systemctl daemon-reload");
        run(&[
            "sh",
            "-c",
            &format!("grep -v /var/lib/mysql /etc/fstab.before >/etc/fstab; echo '{line}' >>/etc/fstab"),
        ]);
        run(&["systemctl", "daemon-reload"]);
        // Nothing is merged, because something uses the snapshot: the server comes back as it was.
        let held = std::fs::File::open(format!("/dev/{snapshot}")).unwrap();
        let ran = mysnap(&["rollback", &id, "--yes"]);
        drop(held);
        ran
    };
    refused(&ran, 5, &["is in use"]);
    assert_eq!(run(&["findmnt", "-no", "SOURCE", "/var/lib/mysql"]).trim(), "/dev/mapper/vg0-data");
    expect(&mysnap(&["release", &id, "--yes"]), 0, &["removed vg0/data_mysnap_"]);
    host::assert_nothing_left();
}

#[test]
fn a_server_that_does_not_start_afterwards_is_told_apart_from_a_rollback_that_failed() {
    let id = keep("");
    let dir = format!("/run/systemd/system/{}.service.d", host::service());
    let fails = format!("mkdir -p {dir} && printf '[Service]\\nExecStartPre=/bin/false\\n' >{dir}/fails.conf");
    run(&["sh", "-c", &format!("{fails} && systemctl daemon-reload")]);
    let (ran, recovered) = {
        let _starts = Undo::with(&format!("rm -r {dir}; systemctl daemon-reload"));
        (mysnap(&["rollback", &id, "--yes"]), mysnap(&["recover"]))
    };
    start_server();
    expect(&ran, 8, &["the volumes are rolled back and mounted", "does not answer", "journalctl -u"]);
    expect(&recovered, 0, &[]);
    assert!(!recovered.stderr.contains("a rollback of"), "{}", recovered.stderr);
    assert!(!kept().contains(&id));
    host::assert_nothing_left();
    host::assert_writable();
}

#[test]
fn an_overflowed_snapshot_is_refused_and_can_be_released() {
    if host::is_thin() {
        return;
    }
    let id = keep("snapshot_size = \"16MiB\"\n");
    run(&["dd", "if=/dev/urandom", "of=/var/lib/mysql/ballast", "bs=1M", "count=24", "conv=fsync", "status=none"]);
    run(&["rm", "/var/lib/mysql/ballast"]);
    let invalid = || run(&["lvs", "--noheadings", "-o", "lv_snapshot_invalid", "@mysnap"]).contains("invalid");
    until("the overflow", invalid);
    refused(&mysnap(&["rollback", &id, "--yes"]), 3, &["overflowed: it holds nothing any more"]);
    expect(&mysnap(&["release", &id, "--yes"]), 0, &["removed vg0/data_mysnap_"]);
    host::assert_nothing_left();
}

#[test]
fn a_volume_that_is_being_merged_is_not_backed_up() {
    let mut create = vec!["lvcreate", "-qy", "-s", "-n", "foreign", "vg0/data"];
    create.extend(if host::is_thin() { ["-kn", "-ay"] } else { ["-L", "64M"] });
    run(&create);
    // Accepted while the origin is open: it begins at the next activation.
    run(&["lvconvert", "-qy", "--merge", "vg0/foreign"]);
    let ran = mysnap(&["--config", &local("merging", ""), "backup", "local"]);
    run(&["systemctl", "stop", host::service()]);
    run(&["umount", "/var/lib/mysql"]);
    run(&["lvchange", "-an", "vg0/data"]);
    run(&["lvchange", "-ay", "vg0/data"]);
    run(&["mount", "/var/lib/mysql"]);
    start_server();
    expect(&ran, 3, &["vg0/data is being merged with a snapshot", "repair it first"]);
    until("the end of the merge", || {
        drop(try_run(&["lvchange", "--poll", "y", "vg0/data"]));
        !run(&["lvs", "-a", "--noheadings", "-o", "lv_name", "vg0"]).contains("foreign")
    });
    host::assert_nothing_left();
}
