//! Room: what is refused, what overflows, what is grown, and that the origin never pays for it.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};

use mysnap::fault::{Fault, Kind, hints_of, kind_of};
use mysnap::lvm::{self, LvRef, Volume};
use mysnap::snapshot::{self, Action, Health, Limits, Plan, PoolRoom, SnapshotKind, Spec, StoreSize, WriteRate};
use mysnap::sys::cmd::CommandError;
use mysnap::sys::units::{Bytes, Percent};

use super::scratch::{GROUP, MIB, Scratch, new_run, take};
use crate::host::run;

const POOLS: PoolRoom = PoolRoom { data: Percent(80), metadata: Percent(70) };

fn plan_of(scratch: &Scratch, asked: StoreSize) -> Result<Plan, Fault> {
    let volume = scratch.volume();
    let pool = volume.pool.as_ref().map(|lv| LvRef { vg: scratch.group(), lv: lv.clone() });
    let pool = pool.and_then(|name| lvm::volume(&name).unwrap());
    let group = lvm::group(&scratch.group()).unwrap();
    snapshot::plan(&[(volume, group, pool)], asked, WriteRate::default(), POOLS)
}

/// P1.
#[test]
fn a_group_without_room_is_refused_and_lvm_refuses_it_too() {
    let scratch = Scratch::new(SnapshotKind::Thick, "ext4");
    run(&["lvcreate", "-q", "-y", "-Wn", "-n", "filler", "-l", "100%FREE", GROUP]);
    run(&["lvreduce", "-q", "-y", "-l", "-2", &format!("{GROUP}/filler")]);
    let refused = plan_of(&scratch, StoreSize::Auto).unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    assert!(refused.to_string().contains("8.00 MiB free"), "{refused}");

    let id = new_run();
    let error = take(scratch.spec(&id, 64)).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Snapshot), "{error:#}");
    let code = error.chain().find_map(|e| e.downcast_ref::<CommandError>()).and_then(CommandError::code);
    assert_eq!(code, Some(5), "{error:#}");
    assert!(hints_of(&error).iter().any(|hint| hint.contains("no room")), "{error:#}");
    assert!(snapshot::remove_all_of(&id).unwrap().is_empty());
    assert_eq!(scratch.names(), ["filler", "my-data"]);
    scratch.assert_unharmed();
}

/// B1: the backup is lost, production goes on.
#[test]
fn a_store_that_overflows_is_noticed_and_the_origin_goes_on() {
    let scratch = Scratch::new(SnapshotKind::Thick, "ext4");
    scratch.overwrite("table", 40, 1);
    let id = new_run();
    let snapshot = scratch.snapshot(&id, 12);
    scratch.overwrite("table", 40, 2);
    let sample = snapshot::sample(&snapshot).unwrap();
    assert_eq!(sample.health, Health::Overflowed);
    assert!(matches!(snapshot::decide(&sample, &Limits::default()), Action::GiveUp(_)));
    let mut device = OpenOptions::new().read(true).open(snapshot.spec.name.device()).unwrap();
    assert!(device.read(&mut [0; 4096]).is_err(), "an overflowed snapshot must not read as if it were one");
    drop(device);
    snapshot::remove(&snapshot.uuid, &id).unwrap();
    scratch.assert_only_a_live_origin();
}

#[test]
fn a_store_is_grown_and_keeps_what_it_held() {
    let scratch = Scratch::new(SnapshotKind::Thick, "ext4");
    scratch.overwrite("table", 40, 1);
    let id = new_run();
    let snapshot = scratch.snapshot(&id, 12);
    // Something in the way, so that the store continues elsewhere and is reported in two segments.
    run(&["lvcreate", "-q", "-y", "-Wn", "-L", "4m", "-n", "in-the-way", GROUP]);
    for mib in [10, 14, 17] {
        scratch.overwrite("table", mib, 2);
        let sample = snapshot::sample(&snapshot).unwrap();
        let Action::Grow(by) = snapshot::decide(&sample, &Limits::default()) else { panic!("{sample:?}") };
        lvm::extend(&snapshot.spec.name, by).unwrap();
        let grown = snapshot::sample(&snapshot).unwrap();
        assert!(grown.size >= Bytes(sample.size.0 + by.0), "{sample:?} became {grown:?}");
    }
    let used = match snapshot.health().unwrap() {
        Health::Good { used } => used,
        other => panic!("{other:?}"),
    };
    assert!(used < 80.0, "{used}");
    let reported: Vec<Volume> = lvm::volumes_of_ours().unwrap();
    assert_eq!(reported.len(), 1, "{reported:?}");
    let first = scratch.looking_into(&snapshot, |at| std::fs::read(at.join("table")).unwrap());
    assert!(first.iter().all(|byte| *byte == 1));
    snapshot::remove(&snapshot.uuid, &id).unwrap();
    scratch.assert_unharmed();
}

/// The store that `auto` takes where there is room: everything rewritten twice fits, and a full
/// store that cannot overflow is no reason to give up.
#[test]
fn the_store_of_auto_cannot_overflow() {
    let scratch = Scratch::new(SnapshotKind::Thick, "ext4");
    let planned = plan_of(&scratch, StoreSize::Auto).unwrap().snapshots.remove(0);
    assert!(planned.cannot_overflow);
    let id = new_run();
    let snapshot = take(Spec::new(planned.origin, planned.group, &id, planned.size)).unwrap();
    // As a clone does; what is not written to here is copied here when it changes there.
    let mut device = OpenOptions::new().write(true).open(snapshot.spec.name.device()).unwrap();
    for _ in 0..scratch.volume().size.0 / MIB / 2 {
        device.write_all(&vec![2; 1 << 20]).unwrap();
    }
    device.sync_all().unwrap();
    drop(device);
    scratch.unmount_origin();
    let mut device = OpenOptions::new().write(true).open(scratch.origin.device()).unwrap();
    for byte in [3, 4] {
        std::io::Seek::rewind(&mut device).unwrap();
        for _ in 0..scratch.volume().size.0 / MIB {
            device.write_all(&vec![byte; 1 << 20]).unwrap();
        }
        device.sync_all().unwrap();
    }
    drop(device);
    let sample = snapshot::sample(&snapshot).unwrap();
    println!("everything rewritten twice: {sample:?}");
    assert!(matches!(sample.health, Health::Good { .. }));
    assert_eq!(snapshot::decide(&sample, &Limits::default()), Action::Continue, "{sample:?}");
    snapshot::remove(&snapshot.uuid, &id).unwrap();
    assert_eq!(scratch.names(), ["my-data"]);
}

/// P3 and B2: no snapshot of a pool that is nearly full, and ours goes before the pool is.
#[test]
fn a_pool_that_fills_up_costs_our_snapshot_and_not_a_write() {
    let scratch = Scratch::new(SnapshotKind::Thin, "ext4");
    scratch.overwrite("table", 72, 1);
    assert!(plan_of(&scratch, StoreSize::Auto).is_ok());
    let id = new_run();
    let snapshot = scratch.snapshot(&id, 0);
    assert_eq!(snapshot::decide(&snapshot::sample(&snapshot).unwrap(), &Limits::default()), Action::Continue);

    scratch.overwrite("table", 60, 2);
    let refused = plan_of(&scratch, StoreSize::Auto).unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    assert!(refused.to_string().contains("scratch-vg/pool"), "{refused}");

    scratch.overwrite("table", 70, 3);
    let sample = snapshot::sample(&snapshot).unwrap();
    assert!(matches!(snapshot::decide(&sample, &Limits::default()), Action::GiveUp(_)), "{sample:?}");
    snapshot::remove(&snapshot.uuid, &id).unwrap();
    scratch.overwrite("table", 72, 4);
    scratch.assert_only_a_live_origin();
    assert!(plan_of(&scratch, StoreSize::Auto).is_ok());
}

/// S4: the flag that keeps a leftover from being activated at boot does not keep us from it.
#[test]
fn a_thin_snapshot_is_active_now_and_not_after_a_reboot() {
    let scratch = Scratch::new(SnapshotKind::Thin, "ext4");
    let id = new_run();
    let snapshot = scratch.snapshot(&id, 0);
    let volume = || lvm::volume(&snapshot.spec.name).unwrap().unwrap();
    assert!(volume().is_active() && volume().attr.ends_with('k'), "{:?}", volume());
    run(&["lvchange", "-q", "-an", &snapshot.spec.name.to_string()]);
    run(&["vgchange", "-q", "-aay", GROUP]);
    assert!(!volume().is_active(), "{:?}", volume());
    snapshot::remove(&snapshot.uuid, &id).unwrap();
    scratch.assert_only_a_live_origin();
}
