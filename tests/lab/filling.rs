//! Snapshots that fill up while they are copied (P2, B1): the backup pays, or room is made in time;
//! the server never notices.

use std::time::Duration;

use crate::host::{self, run};
use crate::live::{Live, Undo, expect, forget_stored, local, stored};
use crate::pulse::Pulse;
use crate::sweep::{STALL, noise, tell};

/// Lies on the origin, and is made after the snapshot.
const FILLER: &str = "/var/lib/mysql/filler";

fn fill(megabytes: u32) {
    let count = format!("count={megabytes}");
    run(&["dd", "if=/dev/zero", &format!("of={FILLER}"), "bs=1M", &count, "oflag=append", "conv=notrunc,fsync"]);
}

/// A configuration whose next copy takes its time: there is no earlier one whose files it could link.
fn slow_copy(name: &str, room: &str) -> String {
    forget_stored();
    local(name, &format!("{room}bandwidth_limit = \"2MiB\"\n"))
}

fn emptied() -> Undo {
    Undo::with(&format!("rm -f {FILLER}; sync; fstrim /var/lib/mysql"))
}

/// How full the pool of a thin origin is, in percent.
fn pool_used() -> f64 {
    run(&["lvs", "--noheadings", "-o", "data_percent", "vg0/pool"]).trim().parse().unwrap()
}

#[test]
fn a_snapshot_that_fills_up_costs_the_backup_and_no_write() {
    let rounds = host::rounds(1, 200);
    let mut overflowed = 0;
    for round in 1..=rounds {
        let room = if host::is_thin() {
            format!("pool_give_up = \"{:.0}%\"\n", pool_used() + 4.0)
        } else {
            // Late enough that it overflows, and is not given up before.
            "snapshot_size = \"24MiB\"\nstore_grow_at = \"98%\"\nstore_give_up = \"99%\"\n".to_owned()
        };
        let config = slow_copy("filling", &room);
        let _emptied = emptied();
        let heartbeat = Pulse::start();
        let mut live = Live::backup(&config);
        live.wait_for("copy");
        // Thick: twice its store. Thin: beyond where it is given up.
        fill(if host::is_thin() { 200 } else { 48 });
        let ran = live.finish();
        let longest = heartbeat.longest();
        tell(&format!("round {round} of {rounds}: exit {}, longest gap between writes {longest:?}", ran.status));
        expect(&ran, 6, &["was given up", "the server is unharmed"]);
        overflowed += u32::from(ran.stderr.contains("it overflowed"));
        assert!(longest < STALL + noise(), "round {round}: a write took {longest:?}");
        assert!(stored().is_empty(), "round {round}");
        host::assert_nothing_left();
        host::assert_writable();
    }
    tell(&format!(
        "table: snapshots that filled up during the copy: {rounds}, of them {overflowed} overflowed, none called good, the \
         origin unharmed"
    ));
    assert!(host::is_thin() || overflowed > 0, "no store overflowed in {rounds} rounds");
}

#[test]
fn a_snapshot_that_has_room_to_grow_keeps_up_with_the_writers() {
    let config = slow_copy("growing", "snapshot_size = \"64MiB\"\n");
    let _emptied = emptied();
    let mut live = Live::start_logging("info", &config, &["backup", "local"]);
    live.wait_for("copy");
    for _ in 0..20 {
        fill(3);
        std::thread::sleep(Duration::from_millis(500));
    }
    let ran = live.finish();
    expect(&ran, 0, &[]);
    let grown = ran.stderr.contains("the store of vg0/data_mysnap_") && ran.stderr.contains("was grown by");
    assert_eq!(grown, !host::is_thin(), "{}", ran.stderr);
    assert!(!ran.stderr.contains("cannot grow"), "{}", ran.stderr);
    assert_eq!(stored().len(), 1);
    host::assert_nothing_left();
}
