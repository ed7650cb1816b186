//! Runs that are ended, or killed, at the beginning of each of their phases: a dump of the live server, and a database
//! that is taken out of stored files by a second server.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use mysnap::run::events::Event;
use mysnap::sys::retry;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{Bench, names};
use crate::files::back_up_files;
use crate::server::Server;

/// Both ways to end.
const SIGNALS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGKILL];
/// Long enough for a server to end with its run, or to see that a client is gone.
const GONE: Duration = Duration::from_secs(60);
const ROWS: u32 = 500;

/// Runs it and sends `signal` when its phase of that number begins: the phase and the status, none where it has fewer.
fn signalled(bench: &Bench, arguments: &[&str], number: usize, signal: Signal) -> Option<(String, Option<i32>)> {
    let mut run = bench.begin_telling(arguments);
    let (mut count, mut reached) = (0, None);
    for line in BufReader::new(run.stdout.take().unwrap()).lines() {
        let Ok(Event::Phase { name }) = serde_json::from_str(&line.unwrap()) else { continue };
        if count == number {
            kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), signal).unwrap();
            reached = Some(name.into_owned());
        }
        count += 1;
    }
    let output = run.wait_with_output().unwrap();
    let phase = reached?;
    println!("{signal} at {phase}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    Some((phase, output.status.code()))
}

/// Signals at each phase in turn, and has `look` at what is there after `recover`; how many phases there were.
fn at_each_phase(bench: &Bench, arguments: &[&str], mut look: impl FnMut(&str, Option<i32>)) -> usize {
    let mut phases = 0;
    for signal in SIGNALS {
        phases = 0;
        while let Some((phase, status)) = signalled(bench, arguments, phases, signal) {
            let expected = if signal == Signal::SIGTERM { Some(143) } else { None };
            assert!(status == expected || status == Some(0), "{signal} at {phase}: {status:?}");
            // In its last moment the signal may come too late.
            bench.works(&["recover"]);
            look(&format!("{signal} at {phase}"), status);
            phases += 1;
        }
        look(&format!("no {signal}"), Some(0));
    }
    phases
}

fn shop(server: &Server) {
    server.sql(&format!(
        "CREATE DATABASE shop; USE shop; CREATE TABLE t (id INT PRIMARY KEY, note VARCHAR(200)); \
         INSERT INTO t SELECT seq, REPEAT('x', 200) FROM {}",
        crate::server::numbers(ROWS)
    ));
}

fn second_servers_in(scratch: &Path) -> Result<(), String> {
    let scratch = format!("--socket={}", scratch.display());
    let pids = Path::new("/proc").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let found = pids.filter_map(|path| std::fs::read_to_string(path.join("cmdline")).ok());
    match found.into_iter().find(|line| line.contains(&scratch)) {
        None => Ok(()),
        Some(line) => Err(line),
    }
}

#[test]
fn a_dump_of_the_live_server_that_is_ended_or_killed_in_any_phase_is_whole_or_absent() {
    let server = Server::start();
    shop(&server);
    let bench = Bench::new(&server);
    let mut before = Vec::new();
    let phases = at_each_phase(&bench, &["backup", "nightly"], |what, status| {
        let stored = bench.at("backups/nightly");
        let now = if stored.exists() { names(&stored) } else { Vec::new() };
        let new = now.iter().filter(|name| name.starts_with('2') && !before.contains(*name)).count();
        assert!(new == usize::from(status == Some(0)) || status.is_none() && new == 1, "{what}: {before:?} {now:?}");
        if new == 1 {
            bench.works(&["verify", "latest"]);
        }
        before = now;
    });
    assert!(phases >= 4, "{phases}");
    assert!(
        before.iter().all(|name| name.starts_with('2')),
        "what killed runs had begun goes with the next: {before:?}"
    );
}

#[test]
fn a_restore_out_of_stored_files_that_is_ended_or_killed_in_any_phase_leaves_all_or_nothing() {
    let server = Server::start_with(&["--innodb-flush-log-at-trx-commit=1"]);
    shop(&server);
    let bench = Bench::new(&server);
    back_up_files(&server, &bench);
    let place = bench.at("").canonicalize().unwrap();
    let scratch = place.display().to_string();
    let restore = ["restore", "latest", "--database", "shop", "--as", "shop_then", "--scratch", &scratch, "--yes"];
    let rows = || server.sql("SELECT COUNT(*) FROM shop_then.t");
    let databases = || server.sql("SHOW DATABASES");
    let phases = at_each_phase(&bench, &restore, |what, status| {
        retry::until(GONE, || second_servers_in(&place)).unwrap();
        let is_free = || (server.sql("SELECT IS_FREE_LOCK('mysnap restore')").trim() == "1").then_some(()).ok_or(());
        retry::until(GONE, is_free).unwrap();
        // A run of another test may be the one that cleans up, and be at it.
        let left = || names(&place).into_iter().find(|name| name.starts_with("mysnap-")).map_or(Ok(()), Err);
        retry::until(GONE, left).unwrap_or_else(|left| panic!("{what}: {left}"));
        let is_there = databases().lines().any(|name| name == "shop_then");
        assert!(is_there || status != Some(0), "{what}");
        if is_there {
            assert_eq!(rows(), format!("{ROWS}\n"), "{what}");
            server.sql("DROP DATABASE shop_then");
        }
        bench.works(&["verify", "latest"]);
    });
    assert!(phases >= 5, "{phases}");
    assert!(!databases().contains("mysnap_restoring"), "{}", databases());
    assert_eq!(server.sql("SELECT COUNT(*) FROM shop.t"), format!("{ROWS}\n"));
}
