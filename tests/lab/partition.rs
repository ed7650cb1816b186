//! A network that is cut while the server is held over TCP (L6): the server frees its writers by
//! itself, and the run ends.

use std::time::{Duration, Instant};

use mysql::prelude::Queryable as _;

use crate::host::{self, run};
use crate::live::{BeforeSnapshot, DEFAULT_STALL, Halt, Live, Undo, expect, local, stored};
use crate::pulse::Pulse;
use crate::sweep::{STALL, STOPPED, noise};

/// What a run may take from the cut on.
const BOUND: Duration = Duration::from_secs(60);
/// What cuts the network when `nft -f` reads it.
pub const RULES: &str = "/run/mysnap-test-cut.nft";

/// Packets to and from the server's port are dropped from the moment that `nft -f RULES` is run.
pub fn ready_to_cut() -> Undo {
    let port: u16 = host::root().query_first("SELECT @@port").unwrap().unwrap();
    let rules = format!(
        "add rule inet mysnap_test cut tcp dport {port} drop\nadd rule inet mysnap_test cut tcp sport {port} drop\n"
    );
    // Made before, so that the kernel's modules are there when it counts.
    run(&["nft", "add table inet mysnap_test; add chain inet mysnap_test cut { type filter hook input priority 0; }"]);
    let back = Undo::with(&format!("nft delete table inet mysnap_test; rm -f {RULES}"));
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(RULES, rules).unwrap();
    back
}

/// The job, with the server reached over TCP.
pub fn over_tcp(name: &str) -> String {
    local(name, &format!("{DEFAULT_STALL}[server]\nhost = \"127.0.0.1\"\n"))
}

#[test]
fn a_network_cut_under_the_lock_stalls_writers_for_a_bounded_time_and_fails_the_run() {
    let _back = ready_to_cut();
    let config = over_tcp("cut");
    let before = stored();
    let heartbeat = Pulse::start();
    let cut = BeforeSnapshot::runs(&format!("nft -f {RULES}"));
    let mut live = Live::backup(&config);
    live.wait_for("hold");
    let began = Instant::now();
    let ran = live.finish();
    let took = began.elapsed();
    drop(cut);
    let longest = heartbeat.longest();
    println!("stall {longest:?}, ended after {took:?}: {}", ran.stderr);
    assert!(longest > Duration::from_secs(2), "the hold was not hit: {longest:?}");
    assert!(longest < STALL + noise(), "writers waited {longest:?}");
    assert!(took < BOUND, "the run went on for {took:?}");
    expect(&ran, 4, &["the read lock was"]);
    assert_eq!(stored(), before);
    host::assert_nothing_left();
}

#[test]
fn a_network_that_comes_back_too_late_does_not_make_the_snapshot_good() {
    let _back = ready_to_cut();
    let config = over_tcp("late");
    let before = stored();
    let halt = Halt::new();
    let heartbeat = Pulse::start();
    let live = Live::backup(&config);
    halt.reached();
    run(&["nft", "-f", RULES]);
    std::thread::sleep(STOPPED);
    run(&["nft", "flush", "chain", "inet", "mysnap_test", "cut"]);
    halt.go_on();
    let ran = live.finish();
    let longest = heartbeat.longest();
    println!("stall {longest:?}: {}", ran.stderr);
    assert!(longest < STALL + noise(), "writers waited {longest:?}");
    expect(&ran, 4, &["the read lock was"]);
    assert_eq!(stored(), before);
    host::assert_nothing_left();
}

/// What the cases above do without their cut: the job works over TCP.
#[test]
fn a_backup_over_tcp_works() {
    let ran = host::mysnap(&["--config", &over_tcp("tcp"), "backup", "local"]);
    expect(&ran, 0, &["is good"]);
    host::assert_nothing_left();
}
