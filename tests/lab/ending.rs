//! How soon a run ends that is asked to (B8).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::Signal;

use crate::host;
use crate::live::{Live, local, stored};

/// From the signal to the end.
const TEARDOWN: Duration = Duration::from_secs(10);
/// What of it may be our own, LVM's commands aside: on a busy machine one `lvremove` in an emulated
/// guest takes as long as all of it on real hardware.
const OWN_SHARE: Duration = Duration::from_secs(3);
/// Even then.
const AT_MOST: Duration = Duration::from_secs(25);

#[test]
fn sigterm_ends_each_phase_soon_and_leaves_nothing() {
    let config = local("term", "");
    for phase in ["check", "hold", "mount", "copy", "prove", "release", "publish"] {
        let before = stored();
        let mut run = Live::start_logging("debug", &config, &["backup", "local"]);
        run.wait_for(phase);
        let (asked, since) = (Instant::now(), Timestamp::now());
        run.signal(Signal::SIGTERM);
        let ran = run.finish();
        let took = asked.elapsed();
        // What is read and proved may be finished: then it is a backup, and says so.
        let finished = ran.status == 0 && ["release", "publish"].contains(&phase);
        assert!(ran.status == 143 || finished, "{phase}: {} {}", ran.status, ran.stderr);
        let lvm = time_of_lvm(&ran.stderr, since);
        let own = took.saturating_sub(lvm);
        println!("{phase}: {took:?}, {own:?} of it our own");
        let is_soon = took < TEARDOWN || own < OWN_SHARE && took < AT_MOST;
        assert!(is_soon, "{phase} took {took:?}, {own:?} of it our own:\n{}", ran.stderr);
        assert_eq!(stored().len(), before.len() + usize::from(finished), "{phase}");
        host::assert_nothing_left();
    }
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
