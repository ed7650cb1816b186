//! The second server on the node that keeps the backups: the database host is spared it, and the node keeps
//! nothing of it.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::drill::damaged_table;
use crate::dump::{comes_back, demo_data, is_exact_under_load, manifest};
use crate::host::{self, Ran, mysnap, mysnap_ok, node2, on_node2, try_run};
use crate::live::{Live, Undo, expect, until};
use crate::watch::Watch;

/// Where copies go. What is there stays: a later one is quick where little has changed.
const COPIES: &str = "/srv/node-copies";
const DUMPS: &str = "/srv/node-dumps";

/// A configuration with the job `local`, which goes to a directory of the node.
fn configured(name: &str, at: &str, more: &str) -> String {
    on_node2(&format!("mkdir -p -m 0700 {at}"));
    let job = format!("[job.local]\nto = \"root@{}:{at}\"\nretries = 1\nmax_stall = \"30s\"\n", node2());
    host::configure(name, &(job + more))
}

fn proved(name: &str, more: &str) -> String {
    configured(name, COPIES, &format!("prove = \"tables\"\nprove_on = \"node\"\n{more}"))
}

fn dumped(name: &str, more: &str) -> String {
    configured(name, DUMPS, &format!("method = \"dump\"\ndump_on = \"node\"\n{more}"))
}

/// What is listed as a backup on the node.
fn listed() -> String {
    on_node2(&format!("find {COPIES} {DUMPS} -mindepth 2 -maxdepth 2 -name '[!.]*' 2>/dev/null | sort"))
}

fn backup(config: &str) -> Ran {
    mysnap(&["--config", config, "backup", "local"])
}

/// What a stranger finds on the node: files, records, mounts, programs.
fn left_on_node2() -> String {
    on_node2(
        "ls -A /var/tmp | grep mysnap; ls -A /var/lib/mysnap/runs 2>/dev/null; grep mysnap /proc/mounts; \
         ps -eo args | grep -E '[m]ysnap-drill-|[m]ysnap --events'; true",
    )
}

fn assert_nothing_left() {
    assert_eq!(left_on_node2(), "");
    host::assert_nothing_left();
}

/// A program of the node is another one meanwhile, or none.
fn instead(program: &str, script: &str) -> Undo {
    let at = format!("/usr/local/sbin/{program}");
    on_node2(&format!("printf '#!/bin/sh\\n%s\\n' {} > {at}; chmod 0755 {at}", mysnap::sys::cmd::quote(script)));
    Undo::with(&format!("ssh {} rm {at}", node2()))
}

fn server() -> &'static str {
    if host::is_mariadb_installed() { "mariadbd" } else { "mysqld" }
}

#[test]
fn the_node_proves_what_was_copied_to_it_and_nothing_is_left_there() {
    let config = proved("node", "queries = [\"SELECT COUNT(*) > 0 FROM mysql.user\"]\n");
    let check = mysnap_ok(&["--config", &config, "check", "local"]);
    assert!(check.contains(&format!("ok  node: {} has M", node2())), "{check}");
    let plan = mysnap_ok(&["--config", &config, "backup", "local", "--dry-run", "--keep-snapshot"]);
    let on = format!("start a second server on the copy, which stays as it is, on {}, in /var/tmp", node2());
    assert!(plan.contains(&on), "{plan}");
    assert_nothing_left();
    let watch = Watch::start();
    let ran = backup(&config);
    watch.assert_only_the_live_server();
    expect(&ran, 0, &["tables: ", "stop: "]);
    let released = ran.stderr.find("release: ").unwrap();
    assert!(released < ran.stderr.find("start: ").unwrap(), "the snapshot waits for nobody: {}", ran.stderr);
    let proof = &manifest(&config)["proof"];
    println!("{proof:#}");
    assert_eq!(proof["node"], node2());
    assert_eq!(proof["shown"]["queries"], 1);
    assert!(proof["shown"]["tables"].as_u64().unwrap() > 20, "{proof}");
    assert!(proof["shown"]["position"].as_str().unwrap().contains("is where its binary log ended"), "{proof}");
    let shown = mysnap_ok(&["--config", &config, "show", "latest"]);
    assert!(shown.contains(&format!("a server on {} answered", node2())), "{shown}");
    assert_nothing_left();
    // What the server wrote is not in what is stored.
    mysnap_ok(&["--config", &config, "verify", "latest"]);
}

#[test]
fn a_backup_that_fails_its_proof_on_the_node_is_kept_aside_in_the_servers_own_words() {
    let config = proved("nodebad", "");
    let damaged = damaged_table();
    let ran = backup(&config);
    expect(&ran, 8, &["is bad, and is kept aside", &format!("on {}: ", node2()), "drilled.worn", "left: nothing"]);
    drop(damaged);
    let listed = mysnap_ok(&["--config", &config, "list"]);
    assert!(listed.contains(" BAD "), "{listed}");
    assert_nothing_left();

    let wrong = instead(server(), &format!("exec /usr/sbin/{} \"$@\" --innodb-page-size=4k", server()));
    let ran = backup(&config);
    expect(&ran, 8, &["did not start on the files; it said: ", "4096", "left: nothing"]);
    drop(wrong);
    assert_nothing_left();
}

#[test]
fn the_node_dumps_what_was_brought_to_it_and_it_comes_back_as_it_was() {
    let config = dumped("nodedump", "workers = 2\n");
    let plan = mysnap_ok(&["--config", &config, "backup", "local", "--dry-run"]);
    assert!(plan.contains(&format!("to /var/tmp on {}, read them back", node2())), "{plan}");
    let _demo = demo_data();
    let watch = Watch::start();
    let manifest = is_exact_under_load(&config, "dump");
    watch.assert_only_the_live_server();
    assert_eq!(manifest["proof"]["node"], node2());
    assert_eq!(manifest["method"], "dump");
    assert_nothing_left();
    mysnap_ok(&["--config", &config, "verify", "latest"]);
    comes_back(&config, "shop");
}

#[test]
fn what_the_node_lacks_is_refused_by_name_before_the_lock() {
    let config = proved("nodelacks", "");
    let refused = |config: &str, words: &[&str]| {
        let ran = backup(config);
        expect(&ran, 3, &["refused before anything was touched", &node2()]);
        expect(&ran, 3, words);
        assert!(!ran.stderr.contains("hold: "), "{}", ran.stderr);
    };
    let away = |path: &str| {
        on_node2(&format!("mv {path} {path}.away"));
        Undo::with(&format!("ssh {} mv {path}.away {path}", node2()))
    };
    let gone = away("/usr/local/bin/mysnap");
    refused(&config, &["mysnap is not installed on", "as /usr/local/sbin/mysnap"]);
    drop(gone);
    let gone = away(&format!("/usr/sbin/{}", server()));
    refused(&config, &["no server of M", "hint: install M"]);
    drop(gone);
    let old = instead(server(), &format!("echo '{}  Ver 5.1.2-MariaDB for Linux on x86_64'", server()));
    refused(&config, &["which can't recover files of", "hint: install M"]);
    drop(old);
    let other = instead("mysnap", "echo 'error: unrecognized subcommand' >&2; exit 2");
    let ran = backup(&config);
    expect(&ran, 2, &["did not do what it was asked", "unrecognized subcommand", "`mysnap --version` there says so"]);
    drop(other);
    on_node2("mkdir -p /srv/small && mount -t tmpfs -o size=20m none /srv/small");
    let small = Undo::with(&format!("ssh {} 'umount /srv/small; rmdir /srv/small'", node2()));
    refused(
        &proved("nodesmall", "node_scratch = \"/srv/small\"\n"),
        &["a second server there may need", "node_scratch"],
    );
    drop(small);
    refused(&proved("nodeclosed", "node_scratch = \"/root\"\n"), &["can't pass through /root", "node_scratch"]);
    refused(&dumped("nodenowhere", "node_scratch = \"/srv/nowhere\"\n"), &["cannot look at /srv/nowhere"]);
    assert_nothing_left();
}

/// A run in whose phase something happens; nothing of it is listed, and nothing is left after `recover`.
fn hit(config: &str, phase: &str, status: i32, what: impl FnOnce(&Live)) -> Ran {
    let before = listed();
    let mut live = Live::backup(config);
    live.wait_for(phase);
    what(&live);
    let ran = live.finish();
    expect(&ran, status, &[]);
    assert_eq!(listed(), before, "{phase}");
    ran
}

fn kill_ssh() {
    assert!(try_run(&["pkill", "-KILL", "-x", "ssh"]).status.success());
}

/// The sockets of connections.
fn connections() -> String {
    host::run(&["find", "/run/mysnap", "-name", "ssh-*"])
}

#[test]
fn whatever_ends_the_nodes_part_nothing_is_left_after_recover() {
    let prove = proved("nodeend", "");
    let dump = dumped("nodedumpend", "");
    for (config, phase) in [(&prove, "tables"), (&dump, "copy")] {
        hit(config, phase, 143, |live| live.signal(Signal::SIGTERM));
        // It was waited for.
        assert_nothing_left();
    }
    // Its ssh would end by itself, with the socket; here it can't.
    hit(&prove, "tables", 137, |live| {
        live.signal(Signal::SIGKILL);
        kill_ssh();
    });
    assert_ne!(connections(), "");
    mysnap_ok(&["recover"]);
    assert_eq!(connections(), "");
    until("the end of the node's part", || left_on_node2().is_empty());
    assert_nothing_left();

    let ran = hit(&prove, "start", 7, |_| kill_ssh());
    expect(&ran, 7, &["left: nothing"]);
    assert_eq!(connections(), "");
    until("the end of the node's part", || left_on_node2().is_empty());
    assert_nothing_left();

    let kill = "pkill -KILL -x mysnap";
    let ran = hit(&prove, "start", 7, |_| drop(on_node2(kill)));
    expect(&ran, 7, &[&node2()]);
    until("the end of its server", || !on_node2("ps -eo comm").contains(server()));
    assert!(left_on_node2().contains("mysnap-drill-"), "it was killed too late");
    on_node2("mysnap recover");
    assert_nothing_left();
    assert!(
        !Path::new("/var/tmp").read_dir().unwrap().any(|e| e.unwrap().file_name().to_string_lossy().contains("mysnap"))
    );
}

#[test]
fn a_snapshot_does_not_wait_for_a_node_that_is_stuck() {
    let config = dumped("nodestuck", "");
    let before = listed();
    let mut live = Live::backup(&config);
    live.wait_for("copy");
    on_node2("pkill -STOP -x mysnap");
    let going_on = Undo::with(&format!("ssh {} pkill -CONT -x mysnap", node2()));
    live.signal(Signal::SIGTERM);
    let ours = || host::run(&["lvs", "--noheadings", "-o", "lv_full_name", "@mysnap"]);
    let began = std::time::Instant::now();
    until("the end of the snapshot", || ours().trim().is_empty());
    // The node has a minute for what it has to clean up.
    assert!(began.elapsed().as_secs() < 40, "{:?}", began.elapsed());
    assert!(Path::new(&format!("/proc/{}", live.pid())).exists(), "the run waits for the node");
    drop(going_on);
    let ran = live.finish();
    expect(&ran, 143, &["left: nothing"]);
    assert_eq!(listed(), before);
    until("the end of the node's part", || left_on_node2().is_empty());
    assert_nothing_left();
}

#[test]
fn a_job_that_is_called_like_a_root_is_dumped_on_the_node() {
    on_node2(&format!("mkdir -p -m 0700 {DUMPS}"));
    let job = format!(
        "[job.datadir]\nto = \"root@{}:{DUMPS}\"\nretries = 1\nmax_stall = \"30s\"\nmethod = \"dump\"\ndump_on = \"node\"\n",
        node2()
    );
    let config = host::configure("nodenamed", &job);
    mysnap_ok(&["--config", &config, "backup", "datadir"]);
    assert_nothing_left();
}
