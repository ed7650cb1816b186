//! S2: the command that grows a store suspends the origin too, and is killed or stopped at each of its device-mapper
//! calls.

use std::time::{Duration, Instant};

use mysnap::lvm;
use mysnap::snapshot::{self, Health, Limits, Snapshot, SnapshotKind};
use mysnap::sys::cancel::Cancel;
use mysnap::sys::units::Bytes;

use super::inside::intending;
use super::scratch::{MIB, Scratch, new_run, take};
use super::traced::{BACK, SHORT, Traced, assert_recovered, at, behind_switches, sweep, wait_until_still};
use crate::sweep::tell;

/// How large a store is before it is grown.
const STORE: u64 = 32;
/// What is overwritten before: above where it is grown, with room for what is written while it is.
const OVERWRITTEN: u64 = 26;
/// Between two writes, so that these don't fill it up.
const PAUSE: Duration = Duration::from_millis(50);
/// How long its own run may take to grow it, with a command that is killed in between.
const GROWN: Duration = Duration::from_secs(60);

/// Grows a store with the traced command, and dies.
fn grow_and_die(scratch: &Scratch, inject: &str) -> usize {
    let dying = intending(scratch);
    let snapshot = take(scratch.spec(dying.id(), STORE)).unwrap();
    let _traced = Traced::new("lvextend", inject);
    // The product's own command, which outlives its run.
    let growing = std::thread::spawn(move || drop(lvm::extend(&snapshot.spec.name, Bytes(4 * MIB))));
    wait_until_still(|| growing.is_finished());
    0
}

#[test]
fn whatever_hits_the_command_that_grows_a_store_the_origin_is_writable_after_recover() {
    let scratch = Scratch::new(SnapshotKind::Thick, "ext4");
    let recovered = |point: &str| assert_recovered(&scratch, point);
    sweep("thick lvextend", SHORT, |inject| grow_and_die(&scratch, inject), recovered);
}

/// Has a run watch over a snapshot whose store is nearly full until it is grown or given up; the longest that a write took
/// meanwhile.
fn watch_until_grown(scratch: &Scratch, snapshot: &Snapshot) -> (Duration, anyhow::Result<()>) {
    let cancel = Cancel::new();
    let mut longest = Duration::ZERO;
    let until_grown = || {
        let end = Instant::now() + GROWN;
        while cancel.signal().is_none() {
            let began = Instant::now();
            scratch.write("heartbeat", b"written");
            longest = longest.max(began.elapsed());
            std::thread::sleep(PAUSE);
            let sample = snapshot::sample(snapshot)?;
            // As the kernel has it: what LVM wrote down first may not be in force.
            if sample.size > Bytes(STORE * MIB) && matches!(sample.health, Health::Good { used } if used < 80.0) {
                return Ok(());
            }
            assert!(Instant::now() < end, "it is neither grown nor given up: {sample:?}");
        }
        Ok(())
    };
    let watched = snapshot::watched(std::slice::from_ref(snapshot), Limits::default(), &cancel, until_grown);
    (longest, watched)
}

/// What LVM takes for free must not be written to: half grown, a snapshot is given up.
#[test]
fn a_growth_that_is_killed_costs_no_writer_the_budget_and_is_done_again_or_ends_the_run() {
    let scratch = Scratch::new(SnapshotKind::Thick, "ext4");
    scratch.overwrite("table", 40, 1);
    let grown = |traced: &dyn Fn() -> Traced, what: &str| {
        let id = new_run();
        let snapshot = scratch.snapshot(&id, STORE);
        scratch.overwrite("table", OVERWRITTEN, 2);
        let (longest, watched) = {
            let _traced = traced();
            watch_until_grown(&scratch, &snapshot)
        };
        tell(&format!("thick lvextend in a living run, {what}: a write took {longest:.1?} at most, {watched:?}"));
        assert!(longest < BACK, "{what}: a write took {longest:?}");
        match &watched {
            Ok(()) => {
                let volume = lvm::volume(&snapshot.spec.name).unwrap().unwrap();
                assert!(!lvm::has_outgrown(&volume), "{what}");
                scratch.looking_into(&snapshot, |into| assert!(std::fs::read(into.join("table")).is_ok()));
            }
            Err(error) => assert!(format!("{error:#}").contains("died in the middle"), "{what}: {error:#}"),
        }
        snapshot::remove(&snapshot.uuid, &id).unwrap();
        scratch.assert_only_a_live_origin();
        scratch.overwrite("table", 40, 1);
        watched.is_ok()
    };
    assert!(grown(&|| Traced::new("lvextend", ""), "untouched"));
    let hits: Vec<usize> = behind_switches(&Traced::calls()).collect();
    assert!(hits.len() > 1, "{:?}", Traced::calls());
    for call in hits {
        grown(&|| Traced::once("lvextend", &at(call, "KILL")), &format!("KILL at call {call}"));
    }
}
