//! A disk that hangs (S1): LVM's commands then can't be ended by anybody.

use std::time::{Duration, Instant};

use mysnap::fault::{Kind, kind_of};
use mysnap::lvm;
use mysnap::snapshot::{self, SnapshotKind};
use mysnap::sys::retry;

use super::both_kinds;
use super::scratch::{Nobody, Scratch, in_seconds, new_run, resume_the_disk, suspend_the_disk};
use crate::host::try_run;

both_kinds!(the_hold_ends_at_its_deadline_and_a_late_snapshot_is_removed);

fn the_hold_ends_at_its_deadline_and_a_late_snapshot_is_removed(kind: SnapshotKind) {
    let scratch = Scratch::on_a_disk_that_hangs(kind);
    let id = new_run();
    let prepared = scratch.spec(&id, 16).prepare().unwrap();
    suspend_the_disk();
    let began = Instant::now();
    let frozen = snapshot::freeze(vec![prepared], &Nobody, in_seconds(3));
    let took = began.elapsed();
    let alive = lvm_is_at_work();
    resume_the_disk();
    let error = frozen.unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Snapshot), "{error:#}");
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(4), "given up after {took:?}");
    assert!(alive, "LVM's command is left to end by itself");

    let ended = || if lvm_is_at_work() { Err("LVM is still at work") } else { Ok(()) };
    retry::until(Duration::from_secs(30), ended).unwrap();
    let late = lvm::volumes_of_ours().unwrap();
    assert!(late.iter().any(|v| v.run().as_ref() == Some(&id)), "LVM finished what it had begun: {late:?}");
    assert_eq!(snapshot::remove_all_of(&id).unwrap().len(), 1);
    scratch.assert_only_a_live_origin();
}

/// One that has ended and was not waited for is none.
pub fn lvm_is_at_work() -> bool {
    let states = try_run(&["ps", "-C", "lvm,lvconvert,lvcreate", "-o", "state="]).stdout;
    String::from_utf8_lossy(&states).lines().any(|state| state.trim() != "Z")
}
