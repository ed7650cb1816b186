//! The isolated server is ended by the kernel in the middle of a replay, as where memory runs short.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout};
use std::sync::PoisonError;

use mysnap::run::events::Event;
use mysnap::sys::durable;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::KILLS;
use crate::bench::Bench;
use crate::server::Server;

/// The process that replays in `directory`.
fn replaying(directory: &Path) -> Pid {
    let directory = directory.display().to_string();
    let replays = |line: &str| line.contains("--relay-log=mysnap-relay") && line.contains(&directory);
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let mut found = pids.filter(|pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        replays(&String::from_utf8_lossy(&line))
    });
    Pid::from_raw(found.next().expect("no server replays"))
}

/// Waits until the replay has been at work for a moment; the rest of what it tells.
fn until_it_is_in_the_middle(child: &mut Child) -> BufReader<ChildStdout> {
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut replays, mut looks) = (String::new(), false, 0);
    while told.read_line(&mut line).unwrap() > 0 {
        match serde_json::from_str::<Event>(&line) {
            Ok(Event::Phase { name }) => replays = name == "replay",
            Ok(Event::Progress { done, total }) if replays => {
                assert!(done < total, "{line}");
                looks += 1;
            }
            _ => {}
        }
        if looks == 5 {
            return told;
        }
        line.clear();
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    panic!("it ended by itself: {said}")
}

#[test]
fn a_restore_whose_server_is_killed_fails_leaves_nothing_and_is_begun_again() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&["--server-id=1"]);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, slept INT)");
    let bench = Bench::new(&server);
    bench.backup();
    // Takes as many seconds as the file says: none where there is none, as for the live server.
    let slow = bench.at("slow");
    let seconds = format!("SLEEP(IFNULL(LOAD_FILE('{}'), 0))", slow.display());
    server.sql(&format!(
        "INSERT INTO shop.t VALUES (1, 0), (2, 0); SET SESSION binlog_format = 'STATEMENT'; \
         INSERT INTO shop.t VALUES (3, {seconds})"
    ));
    bench.ship();
    let takes = |seconds: &str| {
        durable::write(&slow, seconds.as_bytes()).unwrap();
        fs::set_permissions(&slow, Permissions::from_mode(0o644)).unwrap();
    };

    takes("600");
    let to = bench.at("then").display().to_string();
    let wanted = ["restore", "--until", "latest", "--to", &to];
    let mut child = bench.begin_telling(&wanted);
    let mut rest = until_it_is_in_the_middle(&mut child);
    kill(replaying(&bench.at("")), Signal::SIGKILL).unwrap();
    let mut told = String::new();
    rest.read_to_string(&mut told).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    for words in ["the second server ended while it was asked", "says nothing about the files", "SIGKILL"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!told.contains(r#""event":"result""#), "{told}");
    assert!(!bench.names().iter().any(|name| name.starts_with("mysnap-") || name == "then"), "{:?}", bench.names());

    // What is read and not executed yet is waited for.
    takes("1");
    bench.works(&wanted);
    let restored = bench.started("then");
    assert_eq!(restored.sql("SELECT id, slept FROM shop.t ORDER BY id"), "1\t0\n2\t0\n3\t0\n");
}
