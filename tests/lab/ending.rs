//! How soon a run ends that is asked to (B8).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::Signal;

use crate::host;
use crate::live::{Live, expect, local, stored};

/// From the signal to the end.
const TEARDOWN: Duration = Duration::from_secs(10);
/// What of it may be our own, LVM's commands aside: on a busy machine one `lvremove` in an emulated
/// guest takes as long as all of it on real hardware.
const OWN_SHARE: Duration = Duration::from_secs(3);
/// Even then.
const AT_MOST: Duration = Duration::from_secs(25);

#[test]
fn sigterm_ends_each_phase_soon_and_leaves_nothing() {
    for phase in ["check", "hold", "mount", "copy", "prove", "release", "publish"] {
        assert_ends_soon(Signal::SIGTERM, phase);
    }
}

/// What a person at a terminal sends: with Ctrl-C, and when the terminal is closed.
#[test]
fn ctrl_c_and_a_terminal_that_closes_end_a_run_soon_and_leave_nothing() {
    for phase in ["hold", "copy", "publish"] {
        for signal in [Signal::SIGINT, Signal::SIGHUP] {
            assert_ends_soon(signal, phase);
        }
    }
}

/// `nohup`, and the `&` of a script, are how a person says so.
#[test]
fn a_signal_that_is_ignored_from_the_start_ends_nothing() {
    let config = local("ignored", "bandwidth_limit = \"16MiB\"\n");
    let mut run = Live::start_by("trap '' HUP INT", &config, &["backup", "local"]);
    for (phase, signal) in [("copy", Signal::SIGHUP), ("publish", Signal::SIGINT)] {
        run.wait_for(phase);
        run.signal(signal);
    }
    expect(&run.finish(), 0, &[]);
    let mut run = Live::start_by("trap '' HUP INT", &config, &["backup", "local"]);
    run.wait_for("copy");
    run.signal(Signal::SIGTERM);
    expect(&run.finish(), 143, &[]);
    host::assert_nothing_left();
}

/// A backup that is sent `signal` when `phase` begins.
fn assert_ends_soon(signal: Signal, phase: &str) {
    let before = stored();
    let mut run = Live::start_logging("debug", &local("ending", ""), &["backup", "local"]);
    run.wait_for(phase);
    let (asked, since) = (Instant::now(), Timestamp::now());
    run.signal(signal);
    let ran = run.finish();
    let took = asked.elapsed();
    // What is read and proved may be finished: then it is a backup, and says so.
    let finished = ran.status == 0 && ["release", "publish"].contains(&phase);
    assert!(ran.status == 128 + signal as i32 || finished, "{signal}, {phase}: {} {}", ran.status, ran.stderr);
    let lvm = time_of_lvm(&ran.stderr, since);
    let own = took.saturating_sub(lvm);
    println!("{signal}, {phase}: {took:?}, {own:?} of it our own");
    let is_soon = took < TEARDOWN || own < OWN_SHARE && took < AT_MOST;
    assert!(is_soon, "{signal}, {phase} took {took:?}, {own:?} of it our own:\n{}", ran.stderr);
    assert_eq!(stored().len(), before.len() + usize::from(finished), "{signal}, {phase}");
    host::assert_nothing_left();
}

/// For how long at least one command of LVM was at work after `since`, by the log of the run.
fn time_of_lvm(log: &str, since: Timestamp) -> Duration {
    let mut running: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let (mut sum, mut counted_to) = (Duration::ZERO, since);
    for (at, is_start, argv) in log.lines().filter_map(command) {
        if is_start {
            running.insert(argv, at);
        } else if let Some(began) = running.remove(argv) {
            let from = began.max(counted_to);
            sum += Duration::try_from(at.duration_since(from)).unwrap_or_default();
            counted_to = counted_to.max(at);
        }
    }
    sum
}

/// A line of the log that tells of the start or the end of a command of LVM.
fn command(line: &str) -> Option<(Timestamp, bool, &str)> {
    let (at, rest) = line.split_once(" DEBUG mysnap::sys::cmd: ")?;
    let (what, rest) = rest.split_once(" argv=\"")?;
    let argv = rest.split("\" status=").next()?.trim_end_matches('"');
    let is_lvm = ["lv", "vg", "pv", "dmsetup"].iter().any(|tool| argv.starts_with(tool));
    (is_lvm && ["start", "ended"].contains(&what)).then_some(())?;
    Some((at.parse().ok()?, what == "start", argv))
}
