//! A server beside the live one that people can write to, and that leaves nothing.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mysnap::sys::retry;
use mysql::prelude::Queryable as _;
use mysql::{Conn, OptsBuilder};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::drill::{live_server, second_servers_start_wrong};
use crate::host::{self, mysnap, mysnap_ok, run, try_run};
use crate::live::{LOCAL, Undo, expect, forget_stored, local, until};
use crate::sweep::kept;
use crate::watch::Watch;

const SCRATCH: &str = "/srv/clone";

fn socket(name: &str) -> String {
    format!("/run/mysnap/clone-{name}/mysqld.sock")
}

/// Root by the socket, as in the data.
fn clone_root(name: &str) -> Conn {
    let options = OptsBuilder::new().socket(Some(socket(name))).user(Some("root")).prefer_socket(false);
    Conn::new(options).unwrap()
}

fn rows(conn: &mut Conn) -> Vec<u32> {
    conn.query("SELECT n FROM cloned.t ORDER BY n").unwrap()
}

/// A table with the row 1, a backup whose snapshot is kept, and then the row 2; the run, and what undoes it.
pub fn keep(name: &str, extra: &str) -> (String, String, Undo) {
    let (config, undo) = backed_up(name, extra, &["--keep-snapshot"]);
    (config, kept().pop().unwrap(), undo)
}

/// The same without a snapshot that is kept.
fn backed_up(name: &str, extra: &str, how: &[&str]) -> (String, Undo) {
    forget_stored();
    let mut root = host::root();
    root.query_drop("DROP DATABASE IF EXISTS cloned").unwrap();
    root.query_drop("CREATE DATABASE cloned").unwrap();
    root.query_drop("CREATE TABLE cloned.t (n INT PRIMARY KEY)").unwrap();
    root.query_drop("INSERT INTO cloned.t VALUES (1)").unwrap();
    root.query_drop("CREATE VIEW cloned.seen AS SELECT n FROM cloned.t").unwrap();
    let config = local(name, extra);
    mysnap_ok(&[&["--config", &config, "backup", "local"], how].concat());
    root.query_drop("INSERT INTO cloned.t VALUES (2)").unwrap();
    let undo = "for name in $(mysnap clone list --json | sed -n 's/.*\"name\": \"\\(.*\\)\",/\\1/p'); do \
                mysnap clone stop $name --yes; done; \
                for id in $(mysnap snapshots --json | sed -n 's/.*\"run\": \"\\(.*\\)\",/\\1/p'); do \
                mysnap release $id --yes; done";
    let undo = Undo::with(&format!("{undo}; {} -e 'DROP DATABASE IF EXISTS cloned'", host::client()));
    (config, undo)
}

fn state(name: &str) -> Option<String> {
    let listed: serde_json::Value = serde_json::from_str(&mysnap_ok(&["clone", "list", "--json"])).unwrap();
    let clone = listed.as_array().unwrap().iter().find(|clone| clone["name"] == name)?.clone();
    println!("{clone:#}");
    Some(clone["state"].as_str().unwrap().to_owned())
}

/// Waits for a start in a slow guest.
fn started(name: &str) {
    let runs = || if state(name).as_deref() == Some("running") { Ok(()) } else { Err(name.to_owned()) };
    retry::until(Duration::from_secs(300), runs).unwrap();
}

/// What is left of clones: units, servers, places, files.
pub fn assert_no_clone_is_left() {
    until("the end of all units", || run(&["systemctl", "list-units", "--all", "-q", "mysnap-clone-*"]).is_empty());
    assert!(!try_run(&["pgrep", "-f", "socket=/run/mysnap/"]).status.success(), "a server is left");
    assert_eq!(run(&["find", "/run/mysnap", "-mindepth", "1", "-type", "d"]), "");
    let records = std::fs::read_dir("/var/lib/mysnap/runs").map_or(0, Iterator::count);
    assert_eq!(records, 0, "records are left");
    assert!(!std::fs::read_to_string("/proc/mounts").unwrap().contains("mysnap"), "mounts are left");
    assert!(!host::volumes().iter().any(|name| name.matches("_mysnap_").count() > 1), "{:?}", host::volumes());
}

#[test]
fn a_clone_of_a_kept_snapshot_is_written_to_and_the_live_server_notices_nothing() {
    let (config, id, _undo) = keep("clone", "");
    host::assert_writable();
    let before = live_server();
    let watch = Watch::start();
    let clone = ["--config", &config, "clone", &id, "--name", "shop", "--port", "3310", "--yes"];
    let told = mysnap_ok(&clone);
    expect(&mysnap(&["clone", "list"]), 0, &["shop", "running", &id, "127.0.0.1:3310", "% used"]);
    assert!(told.contains(&format!("--socket={}", socket("shop"))) && told.contains("--port=3310"), "{told}");

    let mut conn = clone_root("shop");
    assert_eq!(rows(&mut conn), [1], "the data of the snapshot");
    conn.query_drop("INSERT INTO cloned.t VALUES (10), (11)").unwrap();
    conn.query_drop("ALTER TABLE cloned.t ADD COLUMN more INT, ADD INDEX (more)").unwrap();
    assert_eq!(rows(&mut conn), [1, 10, 11]);
    assert_eq!(rows(&mut host::root()), [1, 2], "the live server has its own");
    let databases: Vec<String> = conn.query("SHOW DATABASES").unwrap();
    assert!(!databases.iter().any(|name| name.contains("mysnap-tmp")), "{databases:?}");
    let own: (String, u32) = conn.query_first("SELECT @@datadir, @@server_id").unwrap().unwrap();
    assert_ne!(own.1, host::root().query_first::<u32, _>("SELECT @@server_id").unwrap().unwrap());
    let listens = try_run(&["sh", "-c", "ss -ltn | grep 127.0.0.1:3310"]);
    assert!(listens.status.success(), "{}", run(&["ss", "-ltn"]));
    watch.assert_only_the_live_server();
    assert_eq!(live_server(), before, "the live server was touched");

    refused_while_it_lives(&config, &id);
    drop(conn);
    expect(&mysnap(&["clone", "stop", "shop"]), 11, &["not confirmed"]);
    mysnap_ok(&["clone", "stop", "shop", "--yes"]);
    assert_no_clone_is_left();
    expect(&mysnap(&["clone", "stop", "shop", "--yes"]), 10, &["there is no clone shop"]);
    its_snapshot_afterwards(&config, &id);
    assert_eq!(live_server(), before, "the live server was touched");
    mysnap_ok(&["release", &id, "--yes"]);
    host::assert_nothing_left();
    assert!(!Path::new(&format!("/var/lib/mysnap/kept/{id}.json")).exists());
}

fn refused_while_it_lives(config: &str, id: &str) {
    let again = |name: &str, port: &str| mysnap(&["--config", config, "clone", id, "--name", name, "--port", port]);
    expect(&again("shop", "3311"), 5, &["there is a clone shop already", "mysnap clone stop shop"]);
    expect(&again("other", "3310"), 3, &["no server can listen at 127.0.0.1:3310"]);
    for verb in ["release", "rollback"] {
        expect(&mysnap(&[verb, id, "--yes"]), 5, &["in use by clone shop (pid", "`mysnap clone stop shop` ends it"]);
    }
    mysnap_ok(&["recover"]);
    assert_eq!(state("shop").as_deref(), Some("running"));
    let status = mysnap(&["--config", config, "status"]);
    assert!(status.stdout.contains(&format!("clone shop: of {id} at 127.0.0.1:3310")), "{}", status.stdout);
}

/// A thin one is what it was, a thick one is used up and says so.
fn its_snapshot_afterwards(config: &str, id: &str) {
    let plan = mysnap_ok(&["--config", config, "clone", id, "--name", "second", "--dry-run"]);
    let rollback = mysnap(&["rollback", id, "--dry-run"]);
    if host::is_thin() {
        assert!(plan.contains("which stays as it is") && plan.contains("the clone is given up at 90%"), "{plan}");
        expect(&rollback, 0, &["merge vg0/data_mysnap_"]);
    } else {
        assert!(plan.contains("this one goes on from there"), "{plan}");
        expect(&rollback, 3, &["a clone has written to it", "restore the backup of that run"]);
        let listed = mysnap_ok(&["snapshots"]);
        assert!(listed.contains("kept, and written to by a clone"), "{listed}");
    }
}

#[test]
fn a_clone_that_is_killed_or_cannot_start_leaves_nothing() {
    let (config, id, _undo) = keep("clone-killed", "");
    refused_without_a_record(&config, &id);
    let clone = ["--config", &config, "clone", &id, "--name", "killed", "--yes"];
    if !host::is_thin() {
        // What uses a snapshot up is asked about.
        let asked = mysnap(&clone[..clone.len() - 1]);
        expect(&asked, 11, &["is used up by that: no rollback to it is possible any more", "not confirmed"]);
    }
    let wrong = second_servers_start_wrong();
    let ran = mysnap(&clone);
    drop(wrong);
    expect(&ran, 8, &["did not start on the files; it said: "]);
    assert_no_clone_is_left();

    mysnap_ok(&clone);
    run(&["systemctl", "kill", "--kill-whom=all", "--signal=SIGKILL", "mysnap-clone-killed.service"]);
    // The unit cleans up after itself too; whoever is first.
    until("the end of the unit", || {
        !try_run(&["systemctl", "is-active", "-q", "mysnap-clone-killed"]).status.success()
    });
    mysnap_ok(&["recover"]);
    until("the end of the clone", || state("killed").is_none());
    assert_no_clone_is_left();
    without_a_unit_it_ends_with_its_command_or_is_recovered(&config, &id);
    host::assert_writable();
}

/// What has no unit: a process that the test may kill.
#[expect(clippy::disallowed_methods, reason = "tests start programs too")]
fn in_the_foreground(arguments: &[&str]) -> Child {
    let mut command = Command::new("/usr/local/bin/mysnap");
    command.args(arguments).args(["--foreground", "--yes"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

fn without_a_unit_it_ends_with_its_command_or_is_recovered(config: &str, id: &str) {
    let arguments = ["--config", config, "clone", id, "--name", "plain"];
    let mut child = in_the_foreground(&arguments);
    started("plain");
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    until("the end of its server", || !try_run(&["pgrep", "-f", "socket=/run/mysnap/"]).status.success());
    assert_eq!(state("plain").as_deref(), Some("dead"));
    expect(&mysnap(&["recover", "--dry-run"]), 0, &["remove /run/mysnap/clone-plain"]);

    // What the dead one left goes, and is not in the way of another one of its name.
    let mut child = in_the_foreground(&arguments);
    started("plain");
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_no_clone_is_left();
}

/// Nothing would be known of the server whose files they are.
fn refused_without_a_record(config: &str, id: &str) {
    let record = format!("/var/lib/mysnap/kept/{id}.json");
    let _back = Undo::with(&format!("mv {record}.aside {record}"));
    run(&["mv", &record, &format!("{record}.aside")]);
    let unknown = mysnap(&["--config", config, "clone", id, "--name", "none"]);
    expect(&unknown, 3, &["nothing is on record of the snapshot", "--from"]);
    assert_no_clone_is_left();
}

#[test]
fn a_clone_is_given_up_before_it_fills_the_pool_of_the_live_server() {
    if !host::is_thin() {
        println!("a thick store that fills up is its own loss: snapshot::room");
        return;
    }
    // The fuller part counts; what a start writes fits.
    let used = run(&["lvs", "--noheadings", "-o", "data_percent,metadata_percent", "vg0/pool"]);
    let used = used.split_whitespace().map(|used| used.parse::<f64>().unwrap()).fold(0.0, f64::max);
    let (config, id, _undo) = keep("clone-pool", &format!("pool_give_up = \"{:.0}%\"\n", used + 1.5));
    let child = in_the_foreground(&["--config", &config, "clone", &id, "--name", "greedy"]);
    started("greedy");
    let mut conn = clone_root("greedy");
    conn.query_drop("CREATE TABLE cloned.big (b LONGBLOB)").unwrap();
    conn.query_drop("INSERT INTO cloned.big VALUES (RANDOM_BYTES(1024))").unwrap();
    // Twice as many rows each time, until the server is gone.
    let doubled = (0..16).take_while(|_| {
        conn.query_drop("INSERT INTO cloned.big SELECT CONCAT(b, RANDOM_BYTES(1024)) FROM cloned.big").is_ok()
    });
    println!("doubled {} times", doubled.count());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(6), "{said}");
    assert!(said.contains("its pool is nearly full, which would stop the server"), "{said}");
    assert_no_clone_is_left();
    assert_eq!(rows(&mut host::root()), [1, 2]);
    host::assert_writable();
}

#[test]
fn a_clone_is_given_up_before_it_costs_the_thick_snapshot_that_it_stands_on() {
    if host::is_thin() {
        println!("a thin one stays as it was");
        return;
    }
    let limits = "store_warn = \"50%\"\nstore_grow_at = \"55%\"\nstore_give_up = \"60%\"\n";
    let (config, id, _undo) = keep("clone-store", &format!("snapshot_size = \"256MiB\"\n{limits}"));
    run(&["lvcreate", "-qy", "-n", "taken", "-l", "100%FREE", "vg0"]);
    let _taken = Undo::with("lvremove -qy vg0/taken");
    // Of its buffer pool of 128 MiB it may have more to write than the store has room for.
    let child = in_the_foreground(&["--config", &config, "clone", &id, "--name", "greedy"]);
    started("greedy");
    let mut conn = clone_root("greedy");
    conn.query_drop("CREATE TABLE cloned.big (b LONGBLOB)").unwrap();
    let filled = (0..200).take_while(|_| {
        std::thread::sleep(Duration::from_millis(300));
        conn.query_drop("INSERT INTO cloned.big VALUES (REPEAT(RANDOM_BYTES(1024), 4096))").is_ok()
    });
    println!("wrote {} times 4 MiB", filled.count());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(6), "{said}");
    assert!(said.contains("its store is full and the group has no room"), "{said}");
    assert_no_clone_is_left();
    let volumes = run(&["lvs", "--noheadings", "-o", "lv_name,lv_attr", "vg0"]);
    let kept = volumes.lines().find(|line| line.contains("_mysnap_")).unwrap();
    let attributes = kept.split_whitespace().nth(1).unwrap();
    assert!(attributes.starts_with('s'), "the snapshot is lost: {volumes}");
    host::assert_writable();
}

#[test]
fn a_stored_backup_becomes_a_clone_with_an_account_of_its_own() {
    let (_, _undo) = backed_up("clone-files", "", &[]);
    let _scratch = Undo::with(&format!("rm -rf {SCRATCH}"));
    run(&["install", "-d", "-m", "0755", SCRATCH]);
    let from = ["clone", "latest", "--from", LOCAL, "--name", "files", "--scratch"];
    expect(&mysnap(&["clone", "20260101T000000Z-abcd", "--from", LOCAL, "--name", "none"]), 10, &["mysnap list"]);
    let refused = mysnap(&[&from[..], &["/var/lib/mysql"]].concat());
    expect(&refused, 3, &["name another directory with --scratch"]);
    let told = mysnap_ok(&[&from[..], &[SCRATCH, "--replace-accounts"]].concat());
    let file = "/run/mysnap/clone-files/client.cnf";
    assert!(told.contains(&format!("--defaults-file={file}")), "{told}");
    assert_eq!(run(&["stat", "-c", "%a %U", file]).trim(), "600 root");
    let asked = run(&[host::client(), &format!("--defaults-file={file}"), "-N", "-e", "SELECT n FROM cloned.seen"]);
    assert_eq!(asked.trim(), "1", "a locked account is still a definer");
    let old = Conn::new(OptsBuilder::new().socket(Some(socket("files"))).user(Some("root")));
    assert!(old.is_err(), "the accounts of the data are locked");
    let password = run(&["sh", "-c", &format!("sed -n 's/^password=//p' {file}")]);
    let read = "SELECT LOAD_FILE('/etc/passwd') IS NULL";
    let read = run(&[host::client(), &format!("--defaults-file={file}"), "-N", "-e", read]);
    assert_eq!(read.trim(), "1", "the host's files are not for accounts of the data");
    let arguments = run(&["sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"]);
    for place in [&told, &arguments] {
        assert!(!place.contains(password.trim()), "the password is told");
    }
    mysnap_ok(&["clone", "stop", "files", "--yes"]);
    assert_no_clone_is_left();
    assert_eq!(run(&["ls", "-A", SCRATCH]), "", "files are left");
    mysnap_ok(&["verify", "latest", "--from", LOCAL]);
    host::assert_nothing_left();
}

#[test]
fn of_clones_that_are_started_on_one_thick_snapshot_at_the_same_time_one_comes_up() {
    // A thin one can have as many as there is memory for.
    if host::is_thin() {
        return;
    }
    let (config, id, _undo) = keep("clone-twice", "");
    let start = |name: &str| in_the_foreground(&["--config", &config, "clone", &id, "--name", name]);
    let mut children = ["one", "two"].map(|name| (name, start(name)));
    until("the end of one", || children.iter_mut().any(|(_, child)| child.try_wait().unwrap().is_some()));
    let (mut codes, mut lived) = (Vec::new(), 0);
    for (name, mut child) in children {
        if child.try_wait().unwrap().is_none() {
            started(name);
            lived += 1;
            signal(&child, Signal::SIGINT);
        }
        codes.push(child.wait().unwrap().code());
    }
    codes.sort_unstable();
    assert_eq!((lived, codes.as_slice()), (1, &[Some(0), Some(5)][..]));
    assert_no_clone_is_left();
}
