//! A log that can't be written (N2): what a run comes to does not depend on it.

use crate::host::{self, mysnap_ok, run};
use crate::live::{LOCAL, Undo, forget_stored, local, stored};

const DISK: &str = "/run/test-of-logs";

/// A disk for logs with a few bytes left.
fn full_disk() -> Undo {
    let gone = Undo::with(&format!("umount {DISK}; rmdir {DISK}"));
    run(&["mkdir", "-p", DISK]);
    run(&["mount", "-t", "tmpfs", "-o", "size=64k", "none", DISK]);
    let filled =
        format!("head -c 8192 /dev/zero >{DISK}/left; head -c 1m /dev/zero >{DISK}/filler; rm {DISK}/left; true");
    run(&["sh", "-c", &filled]);
    gone
}

#[test]
fn a_log_whose_disk_fills_up_changes_nothing_about_a_backup() {
    let _gone = full_disk();
    forget_stored();
    let config = local("logging", "");
    let line = |redirected: &str| {
        format!("MYSNAP_LOG=trace mysnap --events json --config {config} backup local {redirected}; echo $?")
    };
    // The disk fills up in the middle, then nothing of it can be written.
    for redirected in [format!(">{DISK}/log 2>&1"), format!(">>{DISK}/log 2>&1"), ">/dev/full 2>&1".to_owned()] {
        let before = stored().len();
        assert_eq!(run(&["sh", "-c", &line(&redirected)]).trim(), "0", "{redirected}");
        assert_eq!(stored().len(), before + 1, "{redirected}");
        host::assert_nothing_left();
    }
    let log = std::fs::metadata(format!("{DISK}/log")).unwrap().len();
    assert!((1..=8192).contains(&log), "the disk filled up: {log}");
    mysnap_ok(&["verify", "latest", "--from", LOCAL]);
}
