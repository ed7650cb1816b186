//! The systemd units: what they forbid must be nothing that a run needs.

use nix::sys::signal::Signal;

use crate::host::{self, mysnap_ok, on_node2, run, try_run};
use crate::live::{Halt, LOCAL, Live, Undo, forget_stored, local, stored, until};

const UNITS: [(&str, &str); 2] = [
    ("mysnap@.service", include_str!("../../packaging/mysnap@.service")),
    ("mysnap-recover.service", include_str!("../../packaging/mysnap-recover.service")),
];

/// Installs the units, and a configuration with a job for here and one for the second node.
fn installed() -> Undo {
    let node = format!("[job.node]\nto = \"root@{}:/srv/unit\"\nretries = 1\n", host::node2());
    on_node2("rm -rf /srv/unit && mkdir -p -m 0700 /srv/unit");
    run(&["mkdir", "-p", "-m", "0700", LOCAL]);
    let proved = format!("[job.proved]\nto = \"{LOCAL}\"\nretries = 1\nprove = \"start\"\nprepared = true\n");
    host::configure("mysnap", &format!("[job.local]\nto = \"{LOCAL}\"\nretries = 1\n{node}{proved}"));
    run(&["ln", "-sf", "/usr/local/bin/mysnap", "/usr/local/sbin/mysnap"]);
    for (name, text) in UNITS {
        let path = format!("/etc/systemd/system/{name}");
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&path, text).unwrap();
        run(&["systemd-analyze", "verify", &path]);
    }
    run(&["systemctl", "daemon-reload"]);
    Undo::with(
        "rm -f /etc/systemd/system/mysnap@.service /etc/systemd/system/mysnap-recover.service /etc/mysnap/mysnap.toml \
         /usr/local/sbin/mysnap; systemctl daemon-reload; systemctl reset-failed",
    )
}

/// Starts a unit and waits for its end; what it logged where it failed.
fn start(unit: &str) {
    let ended = try_run(&["systemctl", "start", unit]);
    assert!(ended.status.success(), "{}", run(&["journalctl", "-u", unit, "-n", "30", "--no-pager", "-o", "cat"]));
}

#[test]
fn backups_here_and_to_another_node_are_made_under_what_the_unit_forbids() {
    let _installed = installed();
    let before = stored().len();
    start("mysnap@local.service");
    assert_eq!(stored().len(), before + 1);
    start("mysnap@node.service");
    start("mysnap@proved.service");
    mysnap_ok(&["verify", "latest", "--job", "local"]);
    mysnap_ok(&["verify", "latest", "--job", "node"]);
    host::assert_nothing_left();
}

#[test]
fn what_a_run_leaves_that_is_killed_in_its_unit_is_removed_when_it_ends() {
    let _installed = installed();
    let before = stored();
    run(&["systemctl", "start", "--no-block", "mysnap@local.service"]);
    until("a mounted snapshot", copies);
    run(&["systemctl", "kill", "--kill-whom=main", "--signal=SIGKILL", "mysnap@local.service"]);
    until("the end of the unit", || try_run(&["systemctl", "is-failed", "mysnap@local.service"]).status.success());
    assert_eq!(stored(), before);
    host::assert_nothing_left();
}

#[test]
fn the_boot_unit_removes_what_died_with_the_host() {
    let config = local("leftover", "");
    let mut live = Live::backup(&config);
    live.wait_for("copy");
    live.signal(Signal::SIGKILL);
    drop(live.finish());
    assert!(host::volumes().iter().any(|name| name.contains("_mysnap_")));
    let _installed = installed();
    start("mysnap-recover.service");
    host::assert_nothing_left();
}

/// Whether a run of a unit copies from its snapshot.
fn copies() -> bool {
    try_run(&["pgrep", "-f", "rsync .*/run/mysnap"]).status.success()
}

/// Stops `unit`, whose run has come to where it should be, perhaps to a `halt`; nothing is left, and its status says why
/// it ended.
fn stop(unit: &str, halt: Option<Halt>) {
    run(&["systemctl", "stop", "--no-block", unit]);
    std::thread::sleep(std::time::Duration::from_secs(1));
    // LVM's commands are waited for.
    drop(halt);
    run(&["systemctl", "stop", unit]);
    let shown = run(&["systemctl", "show", "-p", "ActiveState,ExecMainCode,ExecMainStatus", unit]);
    // 1 is "exited": it was not killed.
    for line in ["ExecMainCode=1", "ExecMainStatus=143"] {
        assert!(shown.contains(line), "{unit}: {shown}");
    }
    assert!(stored().is_empty(), "{unit}");
    host::assert_nothing_left();
    assert!(!copies(), "{unit}");
}

/// D1: as a host that shuts down or is upgraded does.
#[test]
fn a_backup_whose_unit_is_stopped_ends_in_order_and_leaves_nothing() {
    let _installed = installed();
    forget_stored();
    let begin = || drop(run(&["systemctl", "start", "--no-block", "mysnap@local.service"]));
    begin();
    until("a mounted snapshot", copies);
    stop("mysnap@local.service", None);
    let halt = Halt::new();
    begin();
    halt.reached();
    stop("mysnap@local.service", Some(halt));
}

/// As `systemd-run` makes it: every process of the run gets SIGTERM at once, LVM's commands too, and SIGKILL when the
/// time is up.
#[test]
fn a_backup_in_a_unit_of_defaults_that_is_stopped_leaves_nothing() {
    let _installed = installed();
    forget_stored();
    let _reset = Undo::with("systemctl reset-failed 'mysnap-test-*' 2>/dev/null || true");
    let begin = |unit: &str| {
        let unit = format!("--unit={unit}");
        run(&["systemd-run", "-q", "--no-block", "-r", &unit, "/usr/local/bin/mysnap", "backup", "local"]);
    };
    begin("mysnap-test-copy");
    until("a mounted snapshot", copies);
    stop("mysnap-test-copy", None);
    let halt = Halt::new();
    begin("mysnap-test-hold");
    halt.reached();
    stop("mysnap-test-hold", Some(halt));
}
