//! S2, X2: LVM's own commands are killed or stopped at each of their device-mapper calls, with the run
//! that started them dead; `recover` brings the origin back at once and removes what is left.
//!
//! `MYSNAP_SWEEP=whole` takes every call, `whole:N-M` those from the Nth to the Mth, otherwise some of each command, and
//! SIGKILL behind each that suspends or resumes: there a device is suspended, or maps onto one that is not started yet.
//! And at each message to a pool: behind it the pool has done what LVM does not know of.

use std::time::{Duration, Instant};

use mysnap::id::RunId;
use mysnap::lvm::{self, Ready};
use mysnap::recover;
use mysnap::run::{Intent, Run, events::Silent};
use mysnap::snapshot::{self, SnapshotKind};
use mysnap::sys::cmd::Call;
use mysnap::sys::retry;

use super::both_kinds;
use super::hang::lvm_is_at_work;
use super::scratch::{Nobody, Scratch, new_run, take};
use crate::host::{run, try_run};
use crate::live::Undo;
use crate::sweep::tell;

both_kinds!(
    whatever_hits_the_command_that_makes_a_snapshot_the_origin_is_writable_after_recover,
    whatever_hits_the_command_that_removes_a_snapshot_the_origin_is_writable_after_recover,
    a_removal_that_is_killed_is_finished_by_its_own_run,
    an_origin_that_a_command_which_was_given_up_left_suspended_is_brought_back_by_its_own_run,
    an_origin_is_brought_back_before_programs_are_waited_for,
);

const TRACE: &str = "/run/mysnap-strace";
const HIT: &str = "/run/mysnap-strace-hit";
const SIGNALS: [&str; 3] = ["KILL", "TERM", "STOP"];
const SHORT_POINTS: usize = 9;
/// How long a command that is not stopped may take in an emulated guest.
const PATIENCE: Duration = Duration::from_secs(20);
/// How soon the origin must be writable after `recover` was started.
const BACK: Duration = Duration::from_secs(5);

/// LVM's tool, traced; gone when this is dropped.
struct Traced(String);

impl Traced {
    fn new(tool: &str, inject: &str) -> Self {
        Self::with(tool, inject, "")
    }

    /// Hits the first command alone.
    fn once(tool: &str, inject: &str) -> Self {
        run(&["rm", "-f", HIT]);
        Self::with(tool, inject, &format!("[ ! -e {HIT} ] || exec /usr/sbin/{tool} \"$@\"\n: >{HIT}\n"))
    }

    fn with(tool: &str, inject: &str, before: &str) -> Self {
        let path = format!("/usr/local/sbin/{tool}");
        let strace = format!("strace -f -qq -o {TRACE} -P /dev/mapper/control -e trace=ioctl {inject}");
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&path, format!("#!/bin/sh\n{before}exec {strace} /usr/sbin/{tool} \"$@\"\n")).unwrap();
        run(&["chmod", "0755", &path]);
        Self(path)
    }

    /// The device-mapper calls that it made.
    fn calls() -> Vec<String> {
        let text = std::fs::read_to_string(TRACE).unwrap();
        text.lines().filter(|line| line.contains("ioctl(")).map(str::to_owned).collect()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        run(&["rm", "-f", &self.0]);
    }
}

/// A run that is about to make a snapshot, with its record.
fn intending(scratch: &Scratch) -> Run {
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

/// Until it has ended or is stopped.
fn wait_until_still(mut has_ended: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !has_ended() && !is_stopped() {
        assert!(Instant::now() < end, "the command neither ends nor stops");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_stopped() -> bool {
    let states = try_run(&["ps", "-C", "lvm,lvconvert,lvcreate,lvremove", "-o", "state="]).stdout;
    String::from_utf8_lossy(&states).lines().any(|state| matches!(state.trim(), "T" | "t"))
        && run(&["tail", "-n", "1", TRACE]).contains("stopped by SIGSTOP")
}

/// What must hold after `recover`; whether the origin was suspended before.
fn assert_recovered(scratch: &Scratch, point: &str) -> bool {
    let suspended = lvm::is_suspended(scratch.volume().device.unwrap());
    let took = std::thread::scope(|scope| {
        let began = Instant::now();
        let writer = scope.spawn(move || {
            scratch.write("after", b"written");
            began.elapsed()
        });
        recover::recover(&Silent).unwrap_or_else(|error| panic!("{point}: {error:#}"));
        writer.join().unwrap()
    });
    tell(&format!("{point}: suspended {suspended}, writable after {took:.1?}"));
    assert!(took < BACK, "{point}: writable only after {took:?}");
    scratch.assert_only_a_live_origin();
    suspended
}

/// The calls behind those that suspend or resume.
fn behind_switches(calls: &[String]) -> impl Iterator<Item = usize> {
    calls.iter().zip(2..=calls.len()).filter(|(call, _)| call.contains("DM_DEV_SUSPEND")).map(|(_, next)| next)
}

/// The calls that tell a pool to do something.
fn messages(calls: &[String]) -> impl Iterator<Item = usize> {
    calls.iter().zip(1..).filter(|(call, _)| call.contains("DM_TARGET_MSG")).map(|(_, number)| number)
}

/// Those behind the first `before`.
fn points(calls: &[String], before: usize) -> Vec<(usize, &'static str)> {
    let all: Vec<_> = (before + 1..=calls.len()).flat_map(|call| SIGNALS.map(|signal| (call, signal))).collect();
    let how = std::env::var("MYSNAP_SWEEP").unwrap_or_default();
    if let Some(part) = how.strip_prefix("whole") {
        let number = |text: &str| text.parse::<usize>().unwrap();
        let taken = match part.strip_prefix(':').and_then(|part| part.split_once('-')) {
            Some((from, to)) => number(from)..=number(to),
            None => 1..=calls.len(),
        };
        return all.into_iter().filter(|(call, _)| taken.contains(call)).collect();
    }
    // Not a multiple of the number of signals, so that each comes up.
    let stride = (all.len() / SHORT_POINTS).max(1);
    let some = all.iter().copied().step_by(if stride % SIGNALS.len() == 0 { stride + 1 } else { stride });
    let dangerous = behind_switches(calls).chain(messages(calls));
    some.chain(dangerous.filter(|call| *call > before).map(|call| (call, "KILL"))).collect()
}

/// What came of the points; told when it is dropped, also by one that failed, behind which there is no other.
struct Table<'a> {
    what: &'a str,
    points: usize,
    passed: usize,
    suspended: usize,
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        let Self { what, points, passed, suspended } = self;
        let failed = usize::from(std::thread::panicking());
        tell(&format!(
            "table: {what}: {points} points, {passed} passed, {failed} failed, {suspended} left the origin suspended"
        ));
    }
}

fn sweep(scratch: &Scratch, what: &str, hit: impl Fn(&str) -> usize) {
    let before = hit("");
    let calls = Traced::calls();
    let count = calls.len();
    assert!(count > before + 5, "{what} makes {count} calls, {before} of them too early");
    assert_recovered(scratch, &format!("{what}, untouched"));
    let points = points(&calls, before);
    let mut table = Table { what, points: points.len(), passed: 0, suspended: 0 };
    for (call, signal) in &points {
        hit(&format!("-e inject=ioctl:signal={signal}:when={call}"));
        let suspended = assert_recovered(scratch, &format!("{what}, {signal} at call {call} of {count}"));
        table.passed += 1;
        table.suspended += usize::from(suspended);
    }
}

fn whatever_hits_the_command_that_makes_a_snapshot_the_origin_is_writable_after_recover(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    let tool = if kind == SnapshotKind::Thin { "lvcreate" } else { "lvconvert" };
    sweep(&scratch, &format!("{} {tool}", kind.name()), |inject| make_and_die(&scratch, inject));
}

fn whatever_hits_the_command_that_removes_a_snapshot_the_origin_is_writable_after_recover(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    sweep(&scratch, &format!("{} lvremove", kind.name()), |inject| remove_and_die(&scratch, inject));
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
        removed(&|| Traced::once("lvremove", &format!("-e inject=ioctl:signal=KILL:when={call}")));
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
        let _traced = Traced::new("lvm", &format!("-e inject=ioctl:signal=KILL:when={call}"));
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
    make_and_die(&scratch, &format!("-e inject=ioctl:signal=KILL:when={call}"));
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
