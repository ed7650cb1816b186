//! How a snapshot is mounted: seen by nobody else, and taken as it is (M2, M3).

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::host::{self, mysnap_ok, run};
use crate::live::{Live, Undo, expect, local};

/// A mount namespace that keeps a copy of the host's mounts, as a container's may.
struct Container(Child);

impl Container {
    #[expect(clippy::disallowed_methods, reason = "a process that the test ends")]
    fn start() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private", "sleep", "600"]);
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn mounts(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/mountinfo", self.0.id())).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Where the run has mounted its snapshot.
fn mount_point(run: &Live) -> String {
    let mounts = run.mounts();
    let ours = mounts.lines().find(|line| line.contains("/run/mysnap/")).unwrap();
    ours.split(' ').nth(4).unwrap().to_owned()
}

#[test]
fn containers_that_start_before_and_during_a_run_neither_see_its_mount_nor_keep_it() {
    let before = Container::start();
    let mut backup = Live::backup(&local("containers", "bandwidth_limit = \"16MiB\"\n"));
    backup.wait_for("copy");
    let during = Container::start();
    let at = mount_point(&backup);
    for directory in Path::new(&at).ancestors().take(2) {
        let mode = directory.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", directory.display());
    }
    for container in [&before, &during] {
        assert!(!container.mounts().contains("/run/mysnap/"), "{}", container.mounts());
    }
    expect(&backup.finish(), 0, &[]);
    assert!(!Path::new(&at).exists(), "{at} is left");
    // The containers still live.
    host::assert_nothing_left();
}

/// X1. Whoever went into the run's mount namespace, to look, keeps what is mounted there.
#[test]
fn a_mount_that_somebody_uses_costs_the_cleanup_and_not_the_backup() {
    let config = local("busy-mount", "bandwidth_limit = \"16MiB\"\n");
    let mut backup = Live::backup(&config);
    backup.wait_for("copy");
    let (at, pid) = (mount_point(&backup), backup.pid());
    let shell = format!("cd {at} && exec setsid -f sleep 611 >/dev/null 2>&1 </dev/null");
    run(&["nsenter", "-t", &pid.to_string(), "-m", "sh", "-c", &shell]);
    let gone = Undo::with("pkill -x sleep");
    let ran = backup.finish();
    expect(&ran, 9, &["cannot unmount", "it is used by", "sleep", "mysnap recover"]);
    drop(gone);
    mysnap_ok(&["--config", &config, "verify", "latest"]);
    mysnap_ok(&["recover"]);
    host::assert_nothing_left();
}

/// A check that repairs would write to the snapshot, and trust what it finds there.
#[test]
fn no_file_system_check_is_run_on_a_snapshot() {
    let tools = ["fsck", "e2fsck", "fsck.ext4", "fsck.xfs", "xfs_repair"];
    let _gone = Undo::with(&format!("cd /usr/local/sbin && rm -f {} /run/mysnap-test-fsck", tools.join(" ")));
    for tool in tools {
        let path = format!("/usr/local/sbin/{tool}");
        run(&["sh", "-c", &format!("printf '#!/bin/sh\\necho {tool} \"$@\" >> /run/mysnap-test-fsck\\n' > {path}")]);
        run(&["chmod", "0755", &path]);
    }
    expect(&host::mysnap(&["--config", &local("fsck", ""), "backup", "local"]), 0, &["is good"]);
    assert!(!Path::new("/run/mysnap-test-fsck").exists(), "{}", run(&["cat", "/run/mysnap-test-fsck"]));
}
