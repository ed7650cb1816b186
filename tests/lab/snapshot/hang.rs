//! A disk that hangs (S1): LVM's commands then can't be ended by anybody.

use std::time::{Duration, Instant};

use mysnap::fault::{Kind, kind_of};
use mysnap::lvm;
use mysnap::snapshot::{self, SnapshotKind};
use mysnap::sys::retry;

use super::both_kinds;
use super::scratch::{Nobody, SUSPEND_THE_DISK, Scratch, in_seconds, new_run, resume_the_disk, suspend_the_disk};
use super::traced::Replaced;
use crate::host::{self, try_run};

both_kinds!(
    the_hold_ends_at_its_deadline_and_a_late_snapshot_is_removed,
    a_removal_whose_disk_hangs_is_given_up_and_done_later,
    a_snapshot_is_unmounted_whose_disk_hangs,
);

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

/// Takes 70 s: LVM's deadline, and a little more before what is left is told.
fn a_removal_whose_disk_hangs_is_given_up_and_done_later(kind: SnapshotKind) {
    let scratch = Scratch::on_a_disk_that_hangs(kind);
    let id = new_run();
    let ours = scratch.snapshot(&id, 16);
    let began = Instant::now();
    let error = {
        let _hangs = Replaced::by("lvremove", &format!("{SUSPEND_THE_DISK}\nexec /usr/sbin/lvremove \"$@\""));
        let removed = snapshot::remove(&ours.uuid, &id);
        assert!(lvm_is_at_work(), "LVM's command is left to end by itself");
        resume_the_disk();
        removed.unwrap_err()
    };
    let took = began.elapsed();
    println!("{took:?}: {error:#}");
    assert_eq!(kind_of(&error), Some(Kind::CleanupPending), "{error:#}");
    assert!(format!("{error:#}").contains(&ours.spec.name.to_string()), "{error:#}");
    assert!(took < Duration::from_secs(90), "given up after {took:?}");
    let ended = || if lvm_is_at_work() { Err("LVM is still at work") } else { Ok(()) };
    retry::until(Duration::from_secs(30), ended).unwrap();
    snapshot::remove(&ours.uuid, &id).unwrap();
    scratch.assert_only_a_live_origin();
}

/// What was mounted read-only has nothing to write out: an unmount is the one step of the end that has no deadline.
fn a_snapshot_is_unmounted_whose_disk_hangs(kind: SnapshotKind) {
    let scratch = Scratch::on_a_disk_that_hangs(kind);
    let id = new_run();
    let ours = scratch.snapshot(&id, 16);
    let at = host::scratch("/srv");
    let mounted = snapshot::mount(&ours, "ext4", at.path()).unwrap();
    std::fs::read_dir(at.path()).unwrap().for_each(drop);
    suspend_the_disk();
    let unmounting = std::thread::spawn(|| mounted.release());
    std::thread::sleep(Duration::from_secs(3));
    let is_unmounted = unmounting.is_finished();
    resume_the_disk();
    unmounting.join().unwrap().unwrap();
    assert!(is_unmounted, "it waits for the disk");
    snapshot::remove(&ours.uuid, &id).unwrap();
    scratch.assert_only_a_live_origin();
}

/// One that has ended and was not waited for is none.
pub fn lvm_is_at_work() -> bool {
    let states = try_run(&["ps", "-C", "lvm,lvconvert,lvcreate,lvremove", "-o", "state="]).stdout;
    String::from_utf8_lossy(&states).lines().any(|state| state.trim() != "Z")
}
