//! Removing: what is ours and nothing else (X4), also where somebody uses it or was faster (X2).

use std::time::{Duration, Instant};

use mysnap::fault::{Kind, kind_of};
use mysnap::lvm::{self, Volume, run_tag};
use mysnap::recover;
use mysnap::run::{Intent, Run, events::Silent};
use mysnap::snapshot::{self, Action, Health, Limits, SnapshotKind};

use super::both_kinds;
use super::scratch::{GROUP, Scratch, make_foreign, new_run};
use super::traced::Replaced;
use crate::host::{self, run, try_run};
use crate::live::Undo;

both_kinds!(
    only_what_carries_our_tags_is_removed,
    a_snapshot_of_our_snapshot_is_not_removed_with_it,
    what_somebody_else_removed_is_gone_and_that_is_success,
    another_volume_under_the_snapshots_name_is_not_mounted,
    a_name_that_another_volume_takes_just_before_the_removal_costs_that_volume_nothing,
    a_busy_snapshot_names_its_holder_and_goes_later,
    a_suspended_origin_comes_back_and_the_leftover_goes,
);

fn only_what_carries_our_tags_is_removed(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let (id, other) = (new_run(), new_run());
    let ours = scratch.snapshot(&id, 16);
    let (mine, theirs) = (run_tag(&id), run_tag(&other));
    let look_alikes = [
        make_foreign(&format!("my-data_mysnap_{other}"), &[]),
        make_foreign("only-one-tag", &["mysnap"]),
        make_foreign("only-the-run", &[&mine]),
        make_foreign("another-run", &["mysnap", &theirs]),
    ];
    for volume in look_alikes.iter().chain([&scratch.volume()]) {
        let began = Instant::now();
        let error = snapshot::remove(&volume.uuid, &id).unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Refused), "{error:#}");
        assert!(began.elapsed() < Duration::from_secs(5), "a refusal does not change by trying again");
    }
    // Even with our tags, what is mounted and is no snapshot stays.
    run(&["lvchange", "-q", "--addtag", "mysnap", "--addtag", &mine, &scratch.origin.to_string()]);
    assert!(snapshot::remove(&scratch.volume().uuid, &id).is_err());
    run(&["lvchange", "-q", "--deltag", "mysnap", "--deltag", &mine, &scratch.origin.to_string()]);

    assert_eq!(snapshot::remove_all_of(&id).unwrap(), [ours.spec.name.to_string()]);
    let left: Vec<Volume> = lvm::volumes().unwrap();
    assert!(look_alikes.iter().all(|v| left.iter().any(|l| l.uuid == v.uuid)));
    scratch.assert_unharmed();
}

/// `lvremove -y` would take the snapshots of what it removes with it.
fn a_snapshot_of_our_snapshot_is_not_removed_with_it(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let id = new_run();
    let ours = scratch.snapshot(&id, 16);
    let name = ours.spec.name.to_string();
    let made = try_run(&["lvcreate", "-q", "-y", "-s", "-L", "8m", "-n", "theirs", &name]);
    if kind == SnapshotKind::Thick {
        assert!(!made.status.success(), "LVM makes no thick snapshot of a thick snapshot");
        return;
    }
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let began = Instant::now();
    let error = snapshot::remove(&ours.uuid, &id).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Refused), "{error:#}");
    assert!(began.elapsed() < Duration::from_secs(5));
    run(&["lvremove", "-q", "-y", &format!("{GROUP}/theirs")]);
    snapshot::remove(&ours.uuid, &id).unwrap();
    scratch.assert_only_a_live_origin();
}

fn what_somebody_else_removed_is_gone_and_that_is_success(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let id = new_run();
    let ours = scratch.snapshot(&id, 16);
    run(&["lvremove", "-q", "-y", &ours.spec.name.to_string()]);
    let sample = snapshot::sample(&ours).unwrap();
    assert_eq!(sample.health, Health::Gone);
    assert!(matches!(snapshot::decide(&sample, &Limits::default()), Action::GiveUp(_)));
    assert_eq!(ours.device().unwrap(), None);
    snapshot::remove(&ours.uuid, &id).unwrap();
    scratch.assert_only_a_live_origin();
}

fn another_volume_under_the_snapshots_name_is_not_mounted(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let id = new_run();
    let ours = scratch.snapshot(&id, 16);
    let name = ours.spec.name.clone();
    run(&["lvrename", "-q", "-y", &name.vg.to_string(), name.lv.as_str(), "renamed"]);
    let at = host::scratch("/srv");
    // First nothing has the name, then another volume.
    for other in [None, Some(name.lv.as_str())] {
        if let Some(other) = other {
            make_foreign(other, &[]);
            run(&["mkfs.ext4", "-q", &name.device().to_string_lossy()]);
        }
        let error = snapshot::mount(&ours, "ext4", at.path()).unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Snapshot), "{error:#}");
        assert!(error.to_string().contains("is not the snapshot"), "{error:#}");
    }
    assert_eq!(run(&["blockdev", "--getro", &name.device().to_string_lossy()]).trim(), "0");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(at.path().to_str().unwrap()), "{mounts}");
    snapshot::remove(&ours.uuid, &id).unwrap();
    assert_eq!(scratch.names(), ["my-data", name.lv.as_str()]);
    scratch.assert_unharmed();
}

/// LVM's command takes names, and ours has been looked up by then.
fn a_name_that_another_volume_takes_just_before_the_removal_costs_that_volume_nothing(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let id = new_run();
    let ours = scratch.snapshot(&id, 16);
    let foreign = make_foreign("foreign", &[]);
    let (name, once) = (ours.spec.name.lv.to_string(), "/run/mysnap-test-renamed");
    let _forgotten = Undo::with(&format!("rm -f {once}"));
    let rename = |from: &str, to: &str| format!("lvrename -q -y {GROUP} {from} {to} >&2");
    let (aside, instead) = (rename(&name, "aside"), rename("foreign", &name));
    let script = format!("[ -e {once} ] || {{ : >{once}; {aside}; {instead}; }}\nexec /usr/sbin/lvremove \"$@\"");
    let _races = Replaced::by("lvremove", &script);
    snapshot::remove(&ours.uuid, &id).unwrap();
    assert!(std::path::Path::new(once).exists(), "nobody was faster");
    assert_eq!(scratch.names(), ["my-data", &name], "ours has gone under its new name");
    assert_eq!(lvm::volume(&ours.spec.name).unwrap().unwrap().uuid, foreign.uuid);
    scratch.assert_unharmed();
}

fn a_busy_snapshot_names_its_holder_and_goes_later(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let id = new_run();
    let ours = scratch.snapshot(&id, 16);
    let device = ours.spec.name.device();
    let holder = {
        let line = format!("exec 3<{}; exec sleep 600", device.display());
        std::thread::spawn(move || try_run(&["sh", "-c", &line]))
    };
    std::thread::sleep(Duration::from_millis(500));
    let error = format!("{:#}", snapshot::remove(&ours.uuid, &id).unwrap_err());
    run(&["pkill", "-x", "sleep"]);
    assert!(!holder.join().unwrap().status.success());
    println!("{error}");
    assert!(error.contains(&ours.spec.name.to_string()) && error.contains("sleep"), "{error}");
    snapshot::remove(&ours.uuid, &id).unwrap();
    scratch.assert_only_a_live_origin();
}

/// P5, S2: what SIGKILL between LVM's suspend and resume leaves.
fn a_suspended_origin_comes_back_and_the_leftover_goes(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let origin = scratch.volume();
    let mut dead = Run::begin("backup", Some("scratch"), &scratch.at).unwrap();
    let id = dead.id().clone();
    let spec = scratch.spec(&id, 16);
    dead.intend(Intent::Snapshot {
        group: spec.name.vg.to_string(),
        name: spec.name.lv.to_string(),
        origin: origin.name.lv.to_string(),
        origin_uuid: origin.uuid.clone(),
    })
    .unwrap();
    let foreign = make_foreign("foreign", &[]);
    let snapshot = scratch.snapshot(&id, 16);
    assert!(recover::plan().unwrap().is_empty(), "the run still lives");
    // Its locks end with it, its record stays.
    drop(dead);
    run(&["dmsetup", "suspend", &scratch.origin.device().to_string_lossy()]);
    assert!(lvm::is_suspended(origin.device.unwrap()));

    let plan = recover::plan().unwrap();
    let steps: Vec<String> = plan.steps.iter().map(recover::Step::describe).collect();
    assert!(steps[0].contains("bring back scratch-vg/my-data"), "{steps:?}");
    assert!(steps[1].contains(&snapshot.spec.name.to_string()), "{steps:?}");
    plan.execute(&Silent).unwrap();
    assert!(recover::plan().unwrap().is_empty());
    assert_eq!(scratch.names(), ["foreign", "my-data"]);
    assert_eq!(lvm::volume(&foreign.name).unwrap().unwrap().uuid, foreign.uuid);
    scratch.assert_unharmed();
}
