//! LVM's commands under strace, killed or stopped at each of their device-mapper calls.
//!
//! `MYSNAP_SWEEP=whole` takes every call, `whole:N-M` those from the Nth to the Mth, otherwise some of each command, and
//! SIGKILL behind each that suspends or resumes: there a device is suspended, or maps onto one that is not started yet.
//! And at each message to a pool: behind it the pool has done what LVM does not know of.

use std::time::{Duration, Instant};

use mysnap::lvm;
use mysnap::recover;
use mysnap::run::events::Silent;

use super::scratch::Scratch;
use crate::host::{run, try_run};
use crate::sweep::tell;

const TRACE: &str = "/run/mysnap-strace";
const HIT: &str = "/run/mysnap-strace-hit";
const SIGNALS: [&str; 3] = ["KILL", "TERM", "STOP"];
/// How many points of a command belong before a merge, besides those behind its switches.
pub const SHORT: usize = 9;
/// The same of a command whose points take long, or that matters less.
pub const SHORTER: usize = 4;
/// How long a command that is not stopped may take in an emulated guest.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How soon the origin must be writable after `recover` was started.
pub const BACK: Duration = Duration::from_secs(5);

/// A tool of LVM's that does something else, or something more; LVM's own again when this is dropped.
pub struct Replaced(String);

impl Replaced {
    /// The shell lines `script` are done in its place.
    pub fn by(tool: &str, script: &str) -> Self {
        let path = format!("/usr/local/sbin/{tool}");
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        run(&["chmod", "0755", &path]);
        Self(path)
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        run(&["rm", "-f", &self.0]);
    }
}

/// LVM's tool, traced; gone when this is dropped.
pub struct Traced {
    _tool: Replaced,
}

impl Traced {
    pub fn new(tool: &str, inject: &str) -> Self {
        Self::with(tool, inject, "")
    }

    /// Hits the first command alone.
    pub fn once(tool: &str, inject: &str) -> Self {
        run(&["rm", "-f", HIT]);
        Self::with(tool, inject, &format!("[ ! -e {HIT} ] || exec /usr/sbin/{tool} \"$@\"\n: >{HIT}\n"))
    }

    fn with(tool: &str, inject: &str, before: &str) -> Self {
        let strace = format!("strace -f -qq -o {TRACE} -P /dev/mapper/control -e trace=ioctl {inject}");
        Self { _tool: Replaced::by(tool, &format!("{before}exec {strace} /usr/sbin/{tool} \"$@\"")) }
    }

    /// The device-mapper calls that it made.
    pub fn calls() -> Vec<String> {
        let text = std::fs::read_to_string(TRACE).unwrap();
        text.lines().filter(|line| line.contains("ioctl(")).map(str::to_owned).collect()
    }
}

/// How strace is told to send `signal` at a call.
pub fn at(call: usize, signal: &str) -> String {
    format!("-e inject=ioctl:signal={signal}:when={call}")
}

/// Until it has ended or is stopped.
pub fn wait_until_still(mut has_ended: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !has_ended() && !is_stopped() {
        assert!(Instant::now() < end, "the command neither ends nor stops");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_stopped() -> bool {
    let tools = "lvm,lvchange,lvconvert,lvcreate,lvextend,lvremove";
    let states = try_run(&["ps", "-C", tools, "-o", "state="]).stdout;
    String::from_utf8_lossy(&states).lines().any(|state| matches!(state.trim(), "T" | "t"))
        && run(&["tail", "-n", "1", TRACE]).contains("stopped by SIGSTOP")
}

/// What must hold after `recover`; whether the origin was suspended before.
pub fn assert_recovered(scratch: &Scratch, point: &str) -> bool {
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
pub fn behind_switches(calls: &[String]) -> impl Iterator<Item = usize> {
    calls.iter().zip(2..=calls.len()).filter(|(call, _)| call.contains("DM_DEV_SUSPEND")).map(|(_, next)| next)
}

/// The calls that tell a pool to do something.
fn messages(calls: &[String]) -> impl Iterator<Item = usize> {
    calls.iter().zip(1..).filter(|(call, _)| call.contains("DM_TARGET_MSG")).map(|(_, number)| number)
}

/// Those behind the first `before`; about `short` of them where not all are asked for.
fn points(calls: &[String], before: usize, short: usize) -> Vec<(usize, &'static str)> {
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
    let stride = (all.len() / short).max(1);
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

/// Has `hit` run the command again and again, each time with what strace is to do to it, and `recovered` look at what is
/// left: whether the origin was suspended. `hit` says how many calls came too early to be of interest.
pub fn sweep(what: &str, short: usize, hit: impl Fn(&str) -> usize, recovered: impl Fn(&str) -> bool) {
    let before = hit("");
    let calls = Traced::calls();
    let count = calls.len();
    assert!(count > before + 5, "{what} makes {count} calls, {before} of them too early");
    recovered(&format!("{what}, untouched"));
    let points = points(&calls, before, short);
    let mut table = Table { what, points: points.len(), passed: 0, suspended: 0 };
    for (call, signal) in &points {
        hit(&at(*call, signal));
        let suspended = recovered(&format!("{what}, {signal} at call {call} of {count}"));
        table.passed += 1;
        table.suspended += usize::from(suspended);
    }
}
