//! A second server that hangs at its start: before it listens, and when it has taken a connection.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use mysnap::sys::retry;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{Bench, names};
use crate::files::back_up_files;
use crate::server::{READY, Server};

/// What the second server has reached when it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Beginning,
    Socket,
}

/// The process of the server whose socket is below `scratch`, and that socket.
fn second_server(scratch: &Path) -> Option<(Pid, PathBuf)> {
    let pids = Path::new("/proc").read_dir().unwrap();
    pids.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).find_map(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let is_server = line.starts_with("mariadbd\0") || line.starts_with("mysqld\0");
        let socket = line.split('\0').find_map(|argument| argument.strip_prefix("--socket="))?;
        let found = is_server && Path::new(socket).starts_with(scratch);
        found.then(|| (Pid::from_raw(pid), PathBuf::from(socket)))
    })
}

/// A drill whose server is stopped where it has `reached` that, as a hanging disk would, and the server.
fn hanging(bench: &Bench, reached: Reached) -> (Child, Pid) {
    let scratch = bench.at("").canonicalize().unwrap();
    let mut drill = bench.begin_telling(&["drill", "nightly", "--scratch", scratch.to_str().unwrap()]);
    let end = Instant::now() + READY;
    loop {
        assert!(drill.try_wait().unwrap().is_none() && Instant::now() < end, "no server was seen");
        let Some((pid, socket)) = second_server(&scratch) else { continue };
        while reached == Reached::Socket && !socket.exists() {
            assert!(drill.try_wait().unwrap().is_none() && Instant::now() < end, "it never listened");
        }
        kill(pid, Signal::SIGSTOP).unwrap();
        return (drill, pid);
    }
}

/// Its exit status, and what it said.
fn ended(mut drill: Child) -> (Option<i32>, String) {
    let mut is_over = || if drill.try_wait().unwrap().is_some() { Ok(()) } else { Err("the drill goes on") };
    retry::until(Duration::from_secs(60), &mut is_over).unwrap();
    let output = drill.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn assert_nothing_left(bench: &Bench, server: Pid) {
    assert!(kill(server, None).is_err(), "the server is still there");
    let left: Vec<String> = names(&bench.at("")).into_iter().filter(|name| name.starts_with("mysnap-")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!bench.works(&["list"]).contains("FAILED"), "it says nothing against the backup");
}

#[test]
fn a_second_server_that_hangs_at_its_start_is_killed_at_its_deadline_and_at_a_signal() {
    let server = Server::start_with(&["--innodb-flush-log-at-trx-commit=1"]);
    let bench = Bench::new(&server);
    back_up_files(&server, &bench);
    // Nothing but the signal ends it.
    let (drill, second) = hanging(&bench, Reached::Beginning);
    kill(Pid::from_raw(i32::try_from(drill.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(ended(drill).0, Some(143));
    assert_nothing_left(&bench, second);

    bench.wait_for_servers("5s");
    for reached in [Reached::Beginning, Reached::Socket] {
        let (drill, second) = hanging(&bench, reached);
        let (status, said) = ended(drill);
        assert_eq!(status, Some(1), "{reached:?}: {said}");
        assert!(said.contains("the second server did not answer within 5.0 s and was killed"), "{reached:?}: {said}");
        assert!(said.contains("that says nothing about the files"), "{reached:?}: {said}");
        assert_nothing_left(&bench, second);
    }
}
