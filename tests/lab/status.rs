//! `mysnap status`, as monitoring and a person read it, through a day on which much goes wrong.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::host::{self, Ran, mysnap, mysnap_ok, run};
use crate::live::{Live, Undo, expect, forget_stored, local};

fn status(config: &str) -> Ran {
    mysnap(&["--config", config, "status"])
}

#[test]
fn status_tells_of_age_of_runs_of_leftovers_and_of_what_cannot_be_known() {
    forget_stored();
    let config = local("status", "bandwidth_limit = \"4MiB\"\nmax_age = \"10min\"\n");
    expect(&status(&config), 2, &["mysnap CRITICAL: job local: no good backup in", "-> mysnap backup local"]);

    let mut live = Live::backup(&config);
    live.wait_for("copy");
    let at_work = status(&config);
    expect(&at_work, 2, &["is at work", "snapshot vg0/data_mysnap_", "of a run"]);
    assert!(!at_work.stdout.contains("leftover"), "{}", at_work.stdout);
    live.signal(Signal::SIGKILL);
    live.finish();
    expect(&status(&config), 2, &["leftover", "of a dead run: remove snapshot vg0/data_mysnap_", "-> mysnap recover"]);

    mysnap_ok(&["--config", &config, "backup", "local"]);
    let well = status(&config);
    expect(&well, 0, &["mysnap OK: 1 job with a good backup in time, nothing left behind"]);
    assert_eq!(well.stdout.contains("pool vg0/pool"), host::is_thin(), "{}", well.stdout);
    let json: serde_json::Value = serde_json::from_str(&mysnap_ok(&["--config", &config, "status", "--json"])).unwrap();
    assert_eq!(json["level"], "ok");
    assert!(json["lines"][0]["age_seconds"].as_u64().is_some_and(|age| age < 600), "{json}");

    let old = local("status-old", "max_age = \"1s\"\n");
    expect(&status(&old), 2, &["CRITICAL", "max_age is 1", "why did no later run end well?"]);
    let nowhere = host::configure("status-nowhere", "[job.local]\nto = \"root@no-such-host.invalid:/srv\"\n");
    expect(&status(&nowhere), 3, &["mysnap UNKNOWN: job local:", "no-such-host.invalid"]);
    let _back = Undo::with("mv /etc/mysnap/moved.toml /etc/mysnap/status.toml");
    run(&["mv", "/etc/mysnap/status.toml", "/etc/mysnap/moved.toml"]);
    expect(&status(&config), 3, &["mysnap UNKNOWN: the configuration can't be used"]);
    host::assert_nothing_left();
}

#[test]
fn a_suspended_volume_of_which_no_run_knows_is_critical_and_not_waited_for() {
    forget_stored();
    let good = local("status-good", "");
    mysnap_ok(&["--config", &good, "backup", "local"]);
    // What would wait: backups on that volume, the server's files.
    let there = "[job.inside]\nto = \"/var/lib/mysql/inside\"\n[binlog.lab]\nto = \"/srv/local\"\n";
    let config = local("status-stuck", there);
    let resume = Undo::with("dmsetup resume /dev/vg0/data");
    run(&["dmsetup", "suspend", "/dev/vg0/data"]);
    let began = Instant::now();
    let stuck = status(&config);
    let json = mysnap(&["--config", &config, "status", "--json"]);
    let took = began.elapsed();
    drop(resume);

    let told = "mysnap CRITICAL: volume vg0/data: is suspended: whoever reads or writes below /var/lib/mysql waits, \
                the data of local too";
    let inside = "UNKNOWN  job inside: /var/lib/mysql/inside lies on /dev/mapper/vg0-data, which is suspended";
    let archive = "UNKNOWN  archive lab: /dev/mapper/vg0-data is suspended";
    expect(&stuck, 2, &[told, "`dmsetup resume /dev/mapper/vg0-data`", inside, archive, "OK  job local:"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["level"], &json["lines"][0]["what"]), (&"critical".into(), &"volume".into()), "{json}");
    assert!(took < Duration::from_secs(90), "{took:?}");
    expect(&status(&good), 0, &["mysnap OK: 1 job with a good backup in time, nothing left behind"]);
    host::assert_nothing_left();
}
