//! S2: the commands of a rollback are killed or stopped at each of their device-mapper calls. After `recover`, and what
//! it tells a person to do, the origin is whole: all of the old data or all of the new, and what is written from then on
//! stays.

use std::time::Instant;

use mysnap::id::RunId;
use mysnap::lvm::{self, Volume};
use mysnap::recover;
use mysnap::run::{Intent, Run, events::Silent};
use mysnap::snapshot::{self, SnapshotKind};
use mysnap::sys::cmd::CommandError;

use super::both_kinds;
use super::scratch::{Scratch, new_run};
use super::traced::{PATIENCE, SHORTER, Traced, at, behind_switches, sweep, wait_until_still};
use crate::host::run;
use crate::live::until;
use crate::sweep::tell;

both_kinds!(
    whatever_hits_the_command_that_merges_the_origin_is_whole_after_recover,
    whatever_hits_the_command_that_deactivates_for_a_merge_the_origin_is_whole_after_recover,
    whatever_hits_the_command_that_activates_for_a_merge_the_origin_is_whole_after_recover,
    a_merge_whose_command_is_killed_is_done_or_undone_by_its_own_run,
);

/// A snapshot that somebody kept, and an origin that has gone on since and is not in use.
fn kept(scratch: &Scratch) -> (RunId, Volume) {
    scratch.write("row", b"before");
    scratch.overwrite("table", 4, 1);
    let id = new_run();
    let snapshot = scratch.snapshot(&id, 16);
    scratch.write("row", b"after");
    scratch.overwrite("table", 4, 2);
    scratch.unmount_origin();
    (id, lvm::volume(&snapshot.spec.name).unwrap().unwrap())
}

/// A run that is about to merge, with its record.
fn intending(scratch: &Scratch, snapshot: &Volume) -> Run {
    let mut begun = Run::begin("rollback", None, &scratch.at).unwrap();
    begun
        .intend(Intent::Merge {
            group: scratch.origin.vg.to_string(),
            name: snapshot.name.lv.to_string(),
            origin: scratch.origin.lv.to_string(),
            mount_point: scratch.at.clone(),
            unit: None,
            uses: vec![scratch.volume().uuid, snapshot.uuid.clone()],
        })
        .unwrap();
    begun
}

/// Begins a merge, runs `command` with `tool` traced, and dies.
fn roll_back_and_die<F>(scratch: &Scratch, traced: (&str, &str), first: impl Fn(&Volume), command: F) -> usize
where
    F: FnOnce(&Volume) -> Result<(), CommandError> + Send + 'static,
{
    let (_, snapshot) = kept(scratch);
    let _dying = intending(scratch, &snapshot);
    first(&snapshot);
    let _traced = Traced::new(traced.0, traced.1);
    // The product's own command, which outlives its run.
    let working = std::thread::spawn(move || drop(command(&snapshot)));
    wait_until_still(|| working.is_finished());
    0
}

/// Recovers, does what `recover` tells a person to do, and looks.
fn assert_whole(scratch: &Scratch, point: &str) -> bool {
    let suspended = scratch.volume().is_suspended();
    let began = Instant::now();
    recover::recover(&Silent).unwrap_or_else(|error| panic!("{point}: {error:#}"));
    activate_anew(scratch);
    scratch.mount_origin();
    // The record stays until then.
    recover::recover(&Silent).unwrap_or_else(|error| panic!("{point}: {error:#}"));
    scratch.write("later", b"written");
    let took = began.elapsed();
    let side = side(scratch);
    tell(&format!("{point}: suspended {suspended}, all of {side}, writable after {took:.1?}"));
    assert!(took < PATIENCE, "{point}: writable only after {took:?}");
    assert_stays(scratch, side, point);
    suspended
}

/// That begins what LVM has accepted.
fn activate_anew(scratch: &Scratch) {
    let origin = scratch.origin.to_string();
    run(&["lvchange", "-q", "-an", &origin]);
    run(&["lvchange", "-q", "-ay", &origin]);
}

/// Of which side of the snapshot everything is.
fn side(scratch: &Scratch) -> &'static str {
    let row = scratch.read("row");
    let (side, byte) = if row == b"before" { ("before", 1) } else { ("after", 2) };
    assert_eq!(row, side.as_bytes());
    assert!(scratch.read("table").iter().all(|found| *found == byte), "half of it is of the other side");
    side
}

/// What was written since stays when the volume is activated the next time, as after a reboot; then removes all but the
/// origin.
fn assert_stays(scratch: &Scratch, was: &str, point: &str) {
    let ours = || lvm::volumes_of_ours().unwrap();
    until("the end of the merge", || {
        drop(lvm::poll_merge(&scratch.origin));
        ours().iter().all(|volume| !volume.merging)
    });
    scratch.unmount_origin();
    lvm::deactivate(&scratch.origin).unwrap();
    lvm::activate(&scratch.origin).unwrap();
    scratch.mount_origin();
    assert_eq!((side(scratch), scratch.read("later").as_slice()), (was, &b"written"[..]), "{point}: then it changed");
    for volume in ours() {
        snapshot::remove(&volume.uuid, &volume.run().unwrap()).unwrap();
    }
    run(&["rm", "-f", &scratch.at.join("later").to_string_lossy()]);
    scratch.assert_only_a_live_origin();
}

fn whatever_hits_the_command_that_merges_the_origin_is_whole_after_recover(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let hit = |inject: &str| {
        roll_back_and_die(&scratch, ("lvconvert", inject), |_| (), |snapshot| lvm::merge(&snapshot.name))
    };
    sweep(&format!("{} lvconvert --merge", kind.name()), SHORTER, hit, |point| assert_whole(&scratch, point));
}

fn whatever_hits_the_command_that_deactivates_for_a_merge_the_origin_is_whole_after_recover(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let hit = |inject: &str| {
        let origin = scratch.origin.clone();
        let merge = |snapshot: &Volume| lvm::merge(&snapshot.name).unwrap();
        roll_back_and_die(&scratch, ("lvchange", inject), merge, move |_| lvm::deactivate(&origin))
    };
    sweep(&format!("{} lvchange -an", kind.name()), SHORTER, hit, |point| assert_whole(&scratch, point));
}

fn whatever_hits_the_command_that_activates_for_a_merge_the_origin_is_whole_after_recover(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let hit = |inject: &str| {
        let origin = scratch.origin.clone();
        let first = |snapshot: &Volume| {
            lvm::merge(&snapshot.name).unwrap();
            lvm::deactivate(&scratch.origin).unwrap();
        };
        roll_back_and_die(&scratch, ("lvchange", inject), first, move |_| lvm::activate(&origin))
    };
    sweep(&format!("{} lvchange -ay", kind.name()), SHORTER, hit, |point| assert_whole(&scratch, point));
}

/// Either is right, as long as nothing is suspended, and a run that says so has rolled back. One that fails may not know:
/// a thin snapshot that is merged is gone at once.
fn a_merge_whose_command_is_killed_is_done_or_undone_by_its_own_run(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let rolled_back = |traced: &dyn Fn() -> Traced, what: &str| {
        let (_, volume) = kept(&scratch);
        let merged = {
            let _traced = traced();
            snapshot::start_merge(&scratch.origin, &volume)
        };
        let merged = merged.and_then(|()| snapshot::finish_merge(&scratch.origin, &volume, |_| ()));
        assert!(!scratch.volume().is_suspended(), "{what}: {merged:?}");
        if merged.is_err() {
            activate_anew(&scratch);
        }
        scratch.mount_origin();
        scratch.write("later", b"written");
        let side = side(&scratch);
        tell(&format!("{} {what} in a living run: {merged:?}, all of {side}", kind.name()));
        assert!(merged.is_err() || side == "before", "{what}");
        assert_stays(&scratch, side, what);
    };
    // A thin snapshot is merged at once.
    let tools: &[&str] = if kind == SnapshotKind::Thin { &["lvconvert"] } else { &["lvconvert", "lvchange"] };
    for tool in tools {
        rolled_back(&|| Traced::new(tool, ""), &format!("{tool}, untouched"));
        let calls = Traced::calls();
        let mut hits: Vec<usize> = behind_switches(&calls).collect();
        hits.push(calls.len() / 2);
        for call in hits {
            rolled_back(&|| Traced::once(tool, &at(call, "KILL")), &format!("{tool}, KILL at call {call}"));
        }
    }
}
