//! S2, X2: LVM's own commands are killed or stopped at each of their device-mapper calls, with the run
//! that started them dead; `recover` brings the origin back at once and removes what is left.

use std::time::Instant;

use mysnap::id::RunId;
use mysnap::lvm::{self, Ready, TAG, run_tag};
use mysnap::recover;
use mysnap::run::{Intent, Run, events::Silent};
use mysnap::snapshot::{self, SnapshotKind};
use mysnap::sys::cmd::Call;
use mysnap::sys::retry;

use super::both_kinds;
use super::hang::lvm_is_at_work;
use super::scratch::{Nobody, Scratch, new_run, take};
use super::traced::{
    BACK, PATIENCE, SHORT, SHORTER, Traced, assert_recovered, at, behind_switches, sweep, wait_until_still,
};
use crate::host::run;
use crate::live::Undo;
use crate::sweep::tell;

both_kinds!(
    whatever_hits_the_command_that_makes_a_snapshot_the_origin_is_writable_after_recover,
    whatever_hits_the_command_that_activates_a_snapshot_the_origin_is_writable_after_recover,
    whatever_hits_the_command_that_removes_a_snapshot_the_origin_is_writable_after_recover,
    a_removal_that_is_killed_is_finished_by_its_own_run,
    an_origin_that_a_command_which_was_given_up_left_suspended_is_brought_back_by_its_own_run,
    an_origin_is_brought_back_before_programs_are_waited_for,
);

/// A run that is about to make a snapshot, with its record.
pub fn intending(scratch: &Scratch) -> Run {
    let origin = scratch.volume();
    let mut begun = Run::begin("backup", Some("scratch"), &scratch.at).unwrap();
    let spec = scratch.spec(begun.id(), 16);
    begun
        .intend(Intent::Snapshot {
            group: spec.name.vg.to_string(),
            name: spec.name.lv.to_string(),
            origin: origin.name.lv.to_string(),
            origin_uuid: origin.uuid,
        })
        .unwrap();
    begun
}

/// Makes a snapshot with a traced LVM, and dies; how many calls LVM had made before it was told to.
fn make_and_die(scratch: &Scratch, inject: &str) -> usize {
    let dying = intending(scratch);
    let spec = scratch.spec(dying.id(), 16);
    let provider = spec.kind.provider();
    provider.prepare(&spec).unwrap();
    let _traced = Traced::new("lvm", inject);
    let ready = Ready::start(&spec.name, &spec.group).expect("LVM waits for its command");
    let before = Traced::calls().len();
    let mut command = provider.start(&spec, Some(ready)).unwrap();
    wait_until_still(|| command.has_ended());
    before
}

/// Makes all of it but its device, has LVM make that, and dies: of a thick one the device of its store.
fn activate_and_die(scratch: &Scratch, inject: &str) -> usize {
    let dying = intending(scratch);
    let spec = scratch.spec(dying.id(), 16);
    let tags = [TAG.to_owned(), run_tag(dying.id())];
    match spec.kind {
        SnapshotKind::Thick => lvm::create_store(&spec.name, spec.size, &tags).unwrap(),
        SnapshotKind::Thin => {
            let making = spec.kind.provider().start(&spec, None).unwrap();
            making.wait().unwrap().succeeded("lvcreate").unwrap();
        }
    }
    let _traced = Traced::new("lvchange", inject);
    let mut command =
        Call::new("lvchange").args(["-q", "-y", "-ay", "-K", &spec.name.to_string()]).spared().start().unwrap();
    wait_until_still(|| command.has_ended());
    0
}

/// Removes a snapshot with the traced command, and dies; it makes no call before.
fn remove_and_die(scratch: &Scratch, inject: &str) -> usize {
    let dying = intending(scratch);
    let snapshot = take(scratch.spec(dying.id(), 16)).unwrap();
    let _traced = Traced::new("lvremove", inject);
    let name = snapshot.spec.name.to_string();
    let mut command = Call::new("lvremove").args(["-q", "-y", &name]).spared().start().unwrap();
    wait_until_still(|| command.has_ended());
    0
}

fn whatever_hits_the_command_that_makes_a_snapshot_the_origin_is_writable_after_recover(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let tool = if kind == SnapshotKind::Thin { "lvcreate" } else { "lvconvert" };
    let what = format!("{} {tool}", kind.name());
    sweep(&what, SHORT, |inject| make_and_die(&scratch, inject), |point| assert_recovered(&scratch, point));
}

fn whatever_hits_the_command_that_activates_a_snapshot_the_origin_is_writable_after_recover(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let what = format!("{} lvchange -ay", kind.name());
    sweep(&what, SHORTER, |inject| activate_and_die(&scratch, inject), |point| assert_recovered(&scratch, point));
}

fn whatever_hits_the_command_that_removes_a_snapshot_the_origin_is_writable_after_recover(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let what = format!("{} lvremove", kind.name());
    sweep(&what, SHORT, |inject| remove_and_die(&scratch, inject), |point| assert_recovered(&scratch, point));
}

/// The snapshot may be gone with the origin suspended: the run itself has to look.
fn a_removal_that_is_killed_is_finished_by_its_own_run(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let removed = |traced: &dyn Fn() -> Traced| {
        let id = new_run();
        take(scratch.spec(&id, 16)).unwrap();
        let _traced = traced();
        snapshot::remove_all_of(&id).unwrap();
        scratch.assert_only_a_live_origin();
    };
    removed(&|| Traced::new("lvremove", ""));
    let calls = Traced::calls();
    let hits: Vec<usize> = match kind {
        SnapshotKind::Thick => behind_switches(&calls).collect(),
        // Removing a thin one suspends nothing.
        SnapshotKind::Thin => (1..=calls.len()).step_by(calls.len() / 4).collect(),
    };
    assert!(hits.len() > 2, "{calls:?}");
    for call in hits {
        tell(&format!("{} lvremove in a living run, KILL at call {call}", kind.name()));
        removed(&|| Traced::once("lvremove", &at(call, "KILL")));
    }
}

/// The call behind the last suspend: killed there, LVM leaves the origin suspended.
fn call_that_leaves_it_suspended(scratch: &Scratch) -> usize {
    make_and_die(scratch, "");
    let last = Traced::calls().iter().rposition(|call| call.contains("DM_SUSPEND_FLAG")).unwrap();
    recover::recover(&Silent).unwrap();
    last + 2
}

fn an_origin_that_a_command_which_was_given_up_left_suspended_is_brought_back_by_its_own_run(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let call = call_that_leaves_it_suspended(&scratch);
    let id = new_run();
    {
        let _traced = Traced::new("lvm", &at(call, "KILL"));
        let prepared = scratch.spec(&id, 16).prepare().unwrap();
        snapshot::freeze(vec![prepared], &Nobody, Instant::now()).unwrap_err();
        retry::until(PATIENCE, || if lvm_is_at_work() { Err("LVM is at work") } else { Ok(()) }).unwrap();
    }
    let origin = scratch.volume();
    assert!(lvm::is_suspended(origin.device.unwrap()), "the command that was killed left it suspended");
    snapshot::abandon(&id, &[&origin.uuid]).unwrap();
    scratch.assert_only_a_live_origin();
}

/// By its name and its arguments it copies for a run that is `dead`, and it does not end when it is asked to, as where a disk hangs.
fn rsync_that_stays(dead: &RunId) -> Undo {
    let script = format!(
        "mkdir -p /srv/stays && cp /bin/bash /srv/stays/rsync && cd / && \
         setsid -f /srv/stays/rsync -c 'trap \"\" TERM; while :; do sleep 1; done' \
         /srv/x/.unfinished-{dead} >/dev/null 2>&1 </dev/null"
    );
    run(&["bash", "-c", &script]);
    Undo::with("pkill -KILL -x rsync; rm -rf /srv/stays")
}

fn an_origin_is_brought_back_before_programs_are_waited_for(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let call = call_that_leaves_it_suspended(&scratch);
    make_and_die(&scratch, &at(call, "KILL"));
    assert!(lvm::is_suspended(scratch.volume().device.unwrap()), "the command that was killed left it suspended");
    let dead = mysnap::run::record::all().unwrap().0.remove(0).id;
    let stays = rsync_that_stays(&dead);
    std::thread::scope(|scope| {
        let recovering = scope.spawn(|| recover::recover(&Silent));
        let began = Instant::now();
        scratch.write("after", b"written");
        let took = began.elapsed();
        assert!(took < BACK, "writable only after {took:?}");
        assert!(!recovering.is_finished(), "it waits for the program");
        drop(stays);
        recovering.join().unwrap().unwrap();
    });
    scratch.assert_only_a_live_origin();
}
