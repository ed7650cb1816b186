//! The other node fails in the middle of a copy: earlier generations stay whole, and the next run
//! takes over what arrived.

use crate::host::{self, Ran, mysnap_ok, node2, on_node2, run};
use crate::live::{Live, Undo, expect, until};

const AT: &str = "/srv/remote";
/// What changes between two backups, in bytes.
const CHANGED: u64 = 48 << 20;

/// What is at the other node: backups and what is unfinished.
fn there() -> Vec<String> {
    on_node2(&format!("ls -A {AT}/local")).lines().map(str::to_owned).collect()
}

/// How many bytes this host has sent, to whomever.
fn sent() -> u64 {
    let counters = run(&["sh", "-c", "cat /sys/class/net/eth*/statistics/tx_bytes"]);
    counters.lines().map(|line| line.parse::<u64>().unwrap()).sum()
}

/// A backup during whose copy `fault` succeeds once.
fn hit(config: &str, fault: &[&str]) -> Ran {
    let mut live = Live::backup(config);
    live.wait_for("copy");
    until("the fault", || host::try_run(fault).status.success());
    live.finish()
}

#[test]
fn another_node_that_fails_in_the_middle_of_a_copy_costs_that_run_alone() {
    on_node2(&format!("umount -q {AT}; mkdir -p {AT} && mount -t tmpfs -o size=300m,mode=0700 none {AT}"));
    let _gone = Undo::with(&format!("ssh {} umount {AT}", node2()));
    let slow = "bandwidth_limit = \"4MiB\"\n";
    let job = |more: &str| format!("[job.local]\nto = \"root@{}:{AT}\"\nretries = 1\n{more}", node2());
    let config = host::configure("remote", &job(slow));

    let ran = hit(&config, &["ssh", &node2(), "pkill -KILL -x rsync"]);
    expect(&ran, 7, &["left: nothing"]);
    assert!(there().iter().all(|name| name.starts_with(".unfinished-")), "{:?}", there());
    host::assert_nothing_left();

    let quick = host::configure("remote-quick", &job(""));
    mysnap_ok(&["--config", &quick, "backup", "local"]);
    let good = there();
    assert!(good.len() == 1 && !good[0].starts_with('.'), "what arrived before is taken over: {good:?}");

    // Everything changes, or there would be little to copy.
    let megabytes = CHANGED >> 20;
    let fill = format!("dd if=/dev/urandom of=/var/lib/mysql/changed bs=1M count={megabytes} conv=fsync 2>&1");
    let change = || run(&["sh", "-c", &fill]);
    change();
    let _small = Undo::with("rm -f /var/lib/mysql/changed");
    let ran = hit(&config, &["ssh", &node2(), &format!("dd if=/dev/zero of={AT}/other bs=1M || true")]);
    expect(&ran, 7, &["make room there"]);
    on_node2(&format!("rm {AT}/other"));
    change();
    let mut live = Live::backup(&config);
    live.wait_for("copy");
    let before = sent();
    until("half of it to arrive", || sent() - before > CHANGED / 2);
    run(&["pkill", "-KILL", "-x", "ssh"]);
    expect(&live.finish(), 7, &["left: nothing"]);
    host::assert_nothing_left();

    mysnap_ok(&["--config", &quick, "verify", &good[0]]);
    let before = sent();
    mysnap_ok(&["--config", &quick, "backup", "local"]);
    let again = sent() - before;
    println!("of {megabytes} MiB that had changed, half of which had arrived, {} MiB were sent", again >> 20);
    assert!(again < CHANGED * 3 / 4, "{again} bytes: what had arrived was sent again");
    let names = there();
    assert!(names.len() == 2 && names.contains(&good[0]) && !names.iter().any(|n| n.starts_with('.')), "{names:?}");
    mysnap_ok(&["--config", &quick, "verify", "latest"]);
}
