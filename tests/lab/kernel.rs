//! A kernel that cannot make snapshots (S4): refused before anything is made, by the module's name.

use crate::host::{self, mysnap, run, try_run};
use crate::live::{Undo, expect, fails, local};

const CONFIGURATION: &str = "/etc/modprobe.d/mysnap-test.conf";

#[test]
fn a_kernel_without_the_snapshot_target_is_refused_by_the_modules_name() {
    if host::is_thin() {
        return; // The server's own volume needs the module of thin ones.
    }
    let lines = "blacklist dm_snapshot\\ninstall dm_snapshot /bin/false\\n";
    run(&["sh", "-c", &format!("printf '{lines}' > {CONFIGURATION}")]);
    let _back = Undo::with(&format!("rm {CONFIGURATION} && modprobe dm_snapshot"));
    // It may not be loaded yet.
    drop(try_run(&["rmmod", "dm_snapshot"]));
    let loaded = std::fs::read_to_string("/proc/modules").unwrap();
    assert!(!loaded.contains("dm_snapshot"), "the module must be gone: {loaded}");

    let config = local("kernel", "");
    let volumes = host::volumes();
    let words = ["the kernel has no device-mapper target snapshot", "install the kernel module dm-snapshot"];
    let checked = mysnap(&["--config", &config, "check", "local"]);
    expect(&checked, 3, &words);
    fails(&config, 3, &words);
    assert_eq!(host::volumes(), volumes);
}
