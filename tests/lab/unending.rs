//! Programs of the end of a run that never end by themselves (X1, X2): the backup is made by then, and nothing that is
//! left of the run may keep it, or the server's writers, for good.
//!
//! A run gives an LVM command that does not end up after its deadline of a minute, so that each of these takes longer.

use std::time::{Duration, Instant};

use crate::host::{self, mysnap, mysnap_ok, run, try_run};
use crate::live::{Live, Undo, expect, local, until};
use crate::pulse::Pulse;
use crate::snapshot::traced::{Traced, at, behind_switches};
use crate::sweep::{STALL, noise, tell};

/// From the end of the copy to that of the run: LVM's deadline, a look at what is left, and a slow guest.
const AT_MOST: Duration = Duration::from_secs(150);

/// udev does nothing any more: whatever LVM then waits for does not come.
fn stop_udev() -> Undo {
    let signal = |name: &str| format!("systemctl kill --signal={name} systemd-udevd.service");
    run(&["sh", "-c", &signal("STOP")]);
    Undo::with(&signal("CONT"))
}

/// The numbers of the removals at work.
fn removals() -> String {
    String::from_utf8_lossy(&try_run(&["pgrep", "-x", "lvremove"]).stdout).trim().to_owned()
}

/// A removal that waits for udev, as LVM does without an end.
#[test]
fn a_removal_that_never_ends_costs_the_cleanup_and_not_the_backup() {
    let config = local("unending", "bandwidth_limit = \"16MiB\"\n");
    let pulse = Pulse::start();
    let mut backup = Live::backup(&config);
    backup.wait_for("copy");
    let udev = stop_udev();
    backup.wait_for("release");
    let began = Instant::now();
    let ran = backup.finish();
    let (took, longest) = (began.elapsed(), pulse.longest());
    tell(&format!("table: a removal that never ends: {took:.1?} to the end of the run, writers waited {longest:?}"));
    let at_work = removals();
    drop(pulse);
    host::assert_writable();
    tell(&ran.stderr);
    expect(&ran, 9, &["vg0/data_mysnap_", "lvremove", "still runs", "mysnap recover"]);
    assert!(took < AT_MOST, "{took:?}");
    assert!(longest < STALL + noise(), "writers waited {longest:?}");
    assert_ne!(at_work, "", "LVM's command must be left to end by itself");
    mysnap_ok(&["--config", &config, "verify", "latest"]);
    drop(udev);
    until("the end of the removal", || removals().is_empty());
    mysnap_ok(&["recover"]);
    host::assert_nothing_left();
}

/// A removal that somebody has stopped, where it has suspended the origin.
#[test]
fn a_removal_that_is_stopped_goes_on() {
    let config = local("stopped", "bandwidth_limit = \"16MiB\"\n");
    let traced = Traced::new("lvremove", "");
    mysnap_ok(&["--config", &config, "backup", "local"]);
    let calls = Traced::calls();
    drop(traced);
    let call = behind_switches(&calls).next().unwrap_or(calls.len() / 2);
    let _traced = Traced::once("lvremove", &at(call, "STOP"));
    let pulse = Pulse::start();
    let began = Instant::now();
    let ran = mysnap(&["--config", &config, "backup", "local"]);
    let (took, longest) = (began.elapsed(), pulse.longest());
    tell(&format!("table: a removal that is stopped: {took:.1?} for the run, writers waited {longest:?}"));
    tell(&ran.stderr);
    host::assert_writable();
    expect(&ran, 0, &["is good"]);
    assert_eq!(removals(), "", "the removal has ended before its run");
    assert!(longest < STALL + noise(), "writers waited {longest:?}");
    host::assert_nothing_left();
}
