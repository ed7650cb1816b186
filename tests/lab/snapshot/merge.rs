//! Back into the origin.

use std::fs::File;

use mysnap::fault::{Kind, kind_of};
use mysnap::lvm;
use mysnap::snapshot::{self, Snapshot, SnapshotKind};

use super::both_kinds;
use super::scratch::{Scratch, new_run};
use crate::host::run;

both_kinds!(a_merge_brings_the_origin_back, a_merge_accepted_while_open_is_not_one_yet);

/// An origin that has gone on since its snapshot.
fn gone_on(kind: SnapshotKind) -> (Scratch, Snapshot) {
    let scratch = Scratch::new(kind, "ext4");
    scratch.write("row", b"before");
    scratch.overwrite("table", 20, 1);
    let snapshot = scratch.snapshot(&new_run(), 48);
    scratch.write("row", b"after");
    scratch.overwrite("table", 20, 2);
    (scratch, snapshot)
}

fn assert_rolled_back(scratch: &Scratch) {
    scratch.mount_origin();
    assert_eq!(scratch.read("row"), b"before");
    assert!(scratch.read("table").iter().all(|byte| *byte == 1));
    scratch.assert_only_a_live_origin();
}

/// What names the origin stays the origin's: a later cleanup must never take it for a snapshot of
/// ours, and it must be activated at boot.
fn assert_still_the_origin(scratch: &Scratch, uuid: &str) {
    let volume = scratch.volume();
    assert_eq!(volume.tags, Vec::<String>::new(), "{volume:?}");
    assert!(!volume.attr.ends_with('k'), "{volume:?}");
    assert_eq!(volume.uuid, uuid, "{volume:?}");
}

fn a_merge_brings_the_origin_back(kind: SnapshotKind) {
    let (scratch, snapshot) = gone_on(kind);
    let uuid = scratch.volume().uuid;
    let volume = lvm::volume(&snapshot.spec.name).unwrap().unwrap();
    let refused = snapshot::start_merge(&scratch.origin, &volume).unwrap_err();
    assert_eq!(kind_of(&refused), Some(Kind::Busy), "{refused:#}");
    assert!(!scratch.volume().has_merging_snapshot());
    scratch.unmount_origin();
    let open = File::open(snapshot.spec.name.device()).unwrap();
    let refused = snapshot::start_merge(&scratch.origin, &volume).unwrap_err();
    assert_eq!(kind_of(&refused), Some(Kind::Busy), "{refused:#}");
    drop(open);

    snapshot::start_merge(&scratch.origin, &volume).unwrap();
    let mut seen = Vec::new();
    snapshot::finish_merge(&scratch.origin, &volume, |progress| seen.push(progress.left)).unwrap();
    println!("{kind:?}: left to be copied back: {seen:?}");
    assert_still_the_origin(&scratch, &uuid);
    assert_rolled_back(&scratch);
}

fn a_merge_accepted_while_open_is_not_one_yet(kind: SnapshotKind) {
    let (scratch, snapshot) = gone_on(kind);
    let volume = lvm::volume(&snapshot.spec.name).unwrap().unwrap();
    run(&["lvconvert", "-q", "--merge", "-b", &snapshot.spec.name.to_string()]);
    assert!(scratch.volume().has_merging_snapshot());
    assert_eq!(scratch.read("row"), b"after");
    let merging = lvm::volumes().unwrap().into_iter().find(|v| v.uuid == volume.uuid).unwrap();
    assert!(merging.merging, "{merging:?}");
    scratch.unmount_origin();
    snapshot::start_merge(&scratch.origin, &merging).unwrap();
    snapshot::finish_merge(&scratch.origin, &volume, |_| ()).unwrap();
    assert_rolled_back(&scratch);
}
