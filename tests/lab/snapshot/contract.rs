//! What a snapshot is: the origin as it was when writers were held.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysnap::fault::{Kind, kind_of};
use mysnap::lvm;
use mysnap::snapshot::{self, Health, SnapshotKind};
use mysnap::sys::lockfile::{Attempt, LockFile};

use super::both_kinds;
use super::hang::lvm_is_at_work;
use super::scratch::{GROUP, Nobody, Scratch, in_seconds, make_foreign, new_run, take};
use crate::host::run;
use crate::live::{Undo, until};

const ROUNDS: u32 = 5;

both_kinds!(
    it_stays_as_it_was_while_the_origin_goes_on,
    writers_go_on_once_the_origin_is_suspended,
    one_that_froze_before_everything_was_written_out_is_refused,
    two_origins_are_frozen_under_one_hold,
    it_is_made_all_the_same_where_lvm_cannot_be_had_beforehand,
    mounting_ext4_writes_nothing_to_it,
    mounting_xfs_writes_nothing_to_it,
    a_group_held_by_another_command_is_busy_at_once,
    a_name_that_is_taken_fails_and_harms_nothing,
    a_long_group_and_volume_name_still_give_a_name,
);

fn it_stays_as_it_was_while_the_origin_goes_on(kind: SnapshotKind) {
    for fstype in ["ext4", "xfs"] {
        let scratch = Scratch::new(kind, fstype);
        scratch.write("row", b"before");
        let id = new_run();
        let snapshot = scratch.snapshot(&id, 32);
        scratch.write("row", b"after");
        scratch.write("new", b"after");
        let (row, new) =
            scratch.looking_into(&snapshot, |at| (std::fs::read(at.join("row")).unwrap(), at.join("new").exists()));
        assert_eq!((row.as_slice(), new), (b"before".as_slice(), false), "{kind:?} {fstype}");
        assert_eq!(scratch.read("row"), b"after");
        assert!(matches!(snapshot.health().unwrap(), Health::Good { used } if used < 50.0));
        assert!(snapshot.device().unwrap().is_some());
        snapshot::remove(&snapshot.uuid, &id).unwrap();
        scratch.assert_only_a_live_origin();
    }
}

/// What is written after `freeze` has returned must not be in the snapshot, although LVM still
/// works on it.
fn writers_go_on_once_the_origin_is_suspended(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let mut seen = 0;
    let mut after = Duration::ZERO;
    for _ in 0..ROUNDS {
        scratch.write("row", b"before");
        let id = new_run();
        let prepared = scratch.spec(&id, 32).prepare().unwrap();
        let stop = AtomicBool::new(false);
        let snapshot = std::thread::scope(|scope| {
            scope.spawn(|| write_until(&scratch.at.join("load"), &stop));
            let pending = snapshot::freeze(vec![prepared], &Nobody, in_seconds(20)).unwrap();
            let frozen = Instant::now();
            seen += u32::from(pending[0].seen_suspended);
            scratch.write("row", b"after");
            let snapshot = snapshot::complete(pending).unwrap().remove(0);
            after += frozen.elapsed();
            stop.store(true, Ordering::SeqCst);
            snapshot
        });
        let row = scratch.looking_into(&snapshot, |at| std::fs::read(at.join("row")).unwrap());
        assert_eq!(row, b"before");
        snapshot::remove(&snapshot.uuid, &id).unwrap();
    }
    println!("{kind:?}: suspend seen in {seen} of {ROUNDS}; spared writers {:?} on average", after / ROUNDS);
    assert!(seen > 0, "the suspend was never seen");
    scratch.assert_only_a_live_origin();
}

fn one_that_froze_before_everything_was_written_out_is_refused(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let id = new_run();
    let prepared = scratch.spec(&id, 16).prepare().unwrap();
    let mut freezing = snapshot::begin(vec![prepared], &Nobody).unwrap();
    until("the end of the command", || !lvm_is_at_work());
    freezing.written_out();
    let pending = freezing.finish(in_seconds(20)).unwrap();
    let error = snapshot::complete(pending).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Lock), "{error:#}");
    assert!(snapshot::is_early(&error), "{error:#}");
    assert_eq!(snapshot::remove_all_of(&id).unwrap().len(), 1);
    scratch.assert_only_a_live_origin();
}

fn write_until(path: &Path, stop: &AtomicBool) {
    let mut file = OpenOptions::new().create(true).append(true).custom_flags(nix::libc::O_DSYNC).open(path).unwrap();
    while !stop.load(Ordering::SeqCst) && file.metadata().unwrap().len() < 8 << 20 {
        file.write_all(&[7; 4096]).unwrap();
    }
}

fn two_origins_are_frozen_under_one_hold(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    run(&["lvcreate", "-q", "-y", "-Wn", "-L", "32m", "-n", "redo", GROUP]);
    let redo = lvm::volume(&format!("{GROUP}/redo").parse().unwrap()).unwrap().unwrap();
    let id = new_run();
    let first = scratch.spec(&id, 16);
    let second = snapshot::Spec { origin: redo.clone(), ..scratch.spec(&id, 16) };
    let second = snapshot::Spec::new(second.origin, second.group, &id, second.size);
    let prepared = [first, second].map(|spec| spec.prepare().unwrap()).into();
    let pending = snapshot::freeze(prepared, &Nobody, in_seconds(30)).unwrap();
    let snapshots = snapshot::complete(pending).unwrap();
    let origins: Vec<&str> = snapshots.iter().map(|s| s.spec.origin.uuid.as_str()).collect();
    assert_eq!(origins, [scratch.volume().uuid.as_str(), redo.uuid.as_str()]);
    assert_eq!(snapshot::remove_all_of(&id).unwrap().len(), 2);
    assert_eq!(scratch.names(), ["my-data", "redo"]);
    scratch.assert_unharmed();
}

fn it_is_made_all_the_same_where_lvm_cannot_be_had_beforehand(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let at = "/usr/local/sbin/lvm";
    let _gone = Undo::with(&format!("rm -f {at}"));
    // It takes no script, or it dies while it waits.
    for instead in ["exit 3", "head -n 2 >/dev/null; echo ready"] {
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(at, format!("#!/bin/sh\n{instead}\n")).unwrap();
        run(&["chmod", "0755", at]);
        let id = new_run();
        let prepared = scratch.spec(&id, 16).prepare().unwrap();
        until("the end of what waited", || !lvm_is_at_work());
        let pending = snapshot::freeze(vec![prepared], &Nobody, in_seconds(20)).unwrap();
        let snapshot = snapshot::complete(pending).unwrap().remove(0);
        assert!(matches!(snapshot.health().unwrap(), Health::Good { .. }), "{instead}");
        snapshot::remove(&snapshot.uuid, &id).unwrap();
    }
    scratch.assert_only_a_live_origin();
}

fn mounting_ext4_writes_nothing_to_it(kind: SnapshotKind) {
    mounting_writes_nothing(kind, "ext4");
}

fn mounting_xfs_writes_nothing_to_it(kind: SnapshotKind) {
    mounting_writes_nothing(kind, "xfs");
}

/// With what a live server leaves in a file system: written and not synced, and removed while open
/// (both file systems remember such files in their journal).
fn mounting_writes_nothing(kind: SnapshotKind, fstype: &'static str) {
    let scratch = Scratch::new(kind, fstype);
    let mut unsynced = std::fs::File::create(scratch.at.join("unsynced")).unwrap();
    unsynced.write_all(&vec![1; 1 << 20]).unwrap();
    let mut orphan = std::fs::File::create(scratch.at.join("orphan")).unwrap();
    orphan.write_all(&vec![2; 1 << 20]).unwrap();
    orphan.sync_all().unwrap();
    std::fs::remove_file(scratch.at.join("orphan")).unwrap();

    let id = new_run();
    let snapshot = scratch.snapshot(&id, 32);
    // The origin must be still: a write to it would be copied into a thick snapshot's store.
    run(&["fsfreeze", "--freeze", &scratch.at.to_string_lossy()]);
    let before = scratch.room_taken_by(&snapshot);
    let seen = scratch.looking_into(&snapshot, |at| std::fs::read(at.join("unsynced")).unwrap());
    let after = scratch.room_taken_by(&snapshot);
    run(&["fsfreeze", "--unfreeze", &scratch.at.to_string_lossy()]);
    assert_eq!(before, after, "{kind:?} {fstype}: mounting wrote to the snapshot");
    assert_eq!(seen, vec![1; 1 << 20]);
    drop(orphan);
    snapshot::remove(&snapshot.uuid, &id).unwrap();
    scratch.assert_only_a_live_origin();
}

/// P7: nobody waits for another LVM command, least of all under the database lock.
fn a_group_held_by_another_command_is_busy_at_once(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let [under_lock, before_lock] = [new_run(), new_run()].map(|id| scratch.spec(&id, 16));
    let calm = Instant::now();
    scratch.volume();
    let limit = Duration::from_secs(1).max(calm.elapsed() * 3);
    let runs = [under_lock.run.clone(), before_lock.run.clone()];
    let prepared = under_lock.prepare().unwrap();
    let path = format!("/run/lock/lvm/V_{GROUP}");
    let Attempt::Held(other) = LockFile::try_lock(Path::new(&path)).unwrap() else { panic!("must be free") };
    assert_eq!(kind_of(&lvm::probe_group_lock(&scratch.group()).unwrap_err()), Some(Kind::Busy));

    let began = Instant::now();
    let pending = snapshot::freeze(vec![prepared], &Nobody, in_seconds(20)).unwrap();
    assert_busy(&snapshot::complete(pending).unwrap_err(), began, limit);
    if kind == SnapshotKind::Thick {
        let began = Instant::now();
        assert_busy(&before_lock.prepare().unwrap_err(), began, limit);
    }
    drop(other);
    lvm::probe_group_lock(&scratch.group()).unwrap();
    for run in runs {
        snapshot::remove_all_of(&run).unwrap();
    }
    scratch.assert_only_a_live_origin();
}

/// Within a second, but for a guest on a busy machine.
fn assert_busy(error: &anyhow::Error, began: Instant, limit: Duration) {
    let took = began.elapsed();
    println!("busy after {took:?}: {error:#}");
    assert_eq!(kind_of(error), Some(Kind::Busy), "{error:#}");
    assert!(took < limit, "a busy group was noticed after {took:?}");
}

/// S4.
fn a_name_that_is_taken_fails_and_harms_nothing(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let id = new_run();
    let spec = scratch.spec(&id, 16);
    let name = spec.name.lv.as_str().to_owned();
    let foreign = make_foreign(&name, &[]);
    let error = take(spec).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Snapshot), "{error:#}");
    assert!(format!("{error:#}").contains("already exists"), "{error:#}");
    assert!(snapshot::remove_all_of(&id).unwrap().is_empty());
    assert_eq!(lvm::volume(&foreign.name).unwrap().unwrap().uuid, foreign.uuid);
    scratch.assert_unharmed();
}

/// device-mapper's names end at 127 bytes, the group's and doubled hyphens included.
fn a_long_group_and_volume_name_still_give_a_name(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let long = "a-very-long-name-for-a-volume-with-all-the-databases-of-the-second-largest-customer";
    run(&["lvrename", "-q", GROUP, "my-data", long]);
    let origin = format!("{GROUP}/{long}").parse().unwrap();
    let volume = lvm::volume(&origin).unwrap().unwrap();
    let id = new_run();
    let spec =
        snapshot::Spec::new(volume, lvm::group(&scratch.group()).unwrap(), &id, mysnap::sys::units::Bytes(16 << 20));
    let snapshot = take(spec).unwrap();
    snapshot::remove(&snapshot.uuid, &id).unwrap();
    assert_eq!(scratch.names(), [long]);
    run(&["lvrename", "-q", GROUP, long, "my-data"]);
}
