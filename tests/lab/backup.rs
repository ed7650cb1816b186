//! The main job, end to end: backup under write load to the second node, and the way back.

use std::time::Instant;

use crate::host::{self, mysnap_ok, on_node2, run};
use crate::live::Live;
use crate::sweep::{STALL, noise};
use crate::witness::{Row, Witness};

/// The configuration with the second node as destination; its path.
fn configured(extra: &str) -> String {
    host::configure("nightly", &format!("[job.nightly]\nto = \"root@{}:/srv/backup\"\n{extra}", host::node2()))
}

fn fresh_destination() {
    on_node2("rm -rf /srv/backup && mkdir -p -m 0700 /srv/backup");
}

fn shown(config: &str, id: &str) -> serde_json::Value {
    serde_json::from_str(&mysnap_ok(&["--config", config, "show", id, "--json"])).unwrap()
}

/// The witness rows of the server on the second node.
fn rows_on_node2() -> std::collections::BTreeSet<Row> {
    let text = on_node2(&format!("{} -N -e 'SELECT writer, n FROM witness.ledger'", host::client()));
    let number = |field: Option<&str>| field.and_then(|f| f.parse().ok()).unwrap();
    text.lines().map(|l| l.split_whitespace()).map(|mut f| (number(f.next()), number(f.next()))).collect()
}

#[test]
fn a_backup_under_load_restores_exactly_the_recorded_position() {
    fresh_destination();
    let config = configured("");
    let witness = Witness::start(4);
    let began = Instant::now();
    let mut live = Live::start(&config, &["backup", "nightly"]);
    live.wait_for("copy");
    witness.ease();
    let result = live.finish();
    let testimony = witness.stop();
    assert_eq!(result.status, 0, "{}", result.stderr);
    assert_eq!(testimony.failed, 0, "a writer met an error");
    assert!(testimony.longest_gap < STALL + noise(), "writers waited {:?}", testimony.longest_gap);
    host::assert_nothing_left();

    let manifest = shown(&config, "latest");
    let file = manifest["position"]["binlog"]["file"].as_str().unwrap();
    let offset = manifest["position"]["binlog"]["offset"].as_u64().unwrap();
    let promised = testimony.rows_up_to(file, offset);
    assert!(promised.is_superset(&testimony.before(began)), "rows from before the backup are missing in the log");

    mysnap_ok(&["--config", &config, "verify", "latest"]);
    run(&["scp", "-q", "/usr/local/bin/mysnap", &format!("{}:/usr/local/bin/mysnap", host::node2())]);
    on_node2(&format!("systemctl stop {}", host::service()));
    let restored = on_node2(
        "mysnap restore latest --from /srv/backup --to /var/lib/mysql --replace --start --yes 2>&1 || echo status $?",
    );
    assert!(!restored.contains("status"), "{restored}");
    let found = rows_on_node2();
    assert_eq!(found.len(), promised.len(), "rows in the restored server, rows up to {file}:{offset}");
    assert_eq!(found, promised);
    let check = on_node2(&format!("{} -N -e 'CHECK TABLE witness.ledger'", host::client()));
    assert!(!check.to_lowercase().contains("corrupt"), "{check}");
    on_node2(&format!("systemctl stop {}", host::service()));
}

#[test]
fn a_second_generation_links_what_has_not_changed_and_both_verify() {
    fresh_destination();
    let config = configured("");
    mysnap_ok(&["--config", &config, "backup", "nightly"]);
    let ran = host::mysnap(&["--config", &config, "--quiet", "backup", "nightly"]);
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""), "a quiet success says nothing");
    let linked = on_node2("find /srv/backup/nightly -type f -links +1 -path '*/datadir/*' | wc -l");
    assert!(linked.trim().parse::<u32>().unwrap() > 10, "only {linked} files are shared");
    let listed: serde_json::Value = serde_json::from_str(&mysnap_ok(&["--config", &config, "list", "--json"])).unwrap();
    for row in listed.as_array().unwrap() {
        mysnap_ok(&["--config", &config, "verify", row["id"].as_str().unwrap()]);
    }
    assert_eq!(listed.as_array().unwrap().len(), 2);
}

#[test]
fn check_and_dry_run_change_nothing() {
    let config = configured("");
    let before = (host::volumes(), on_node2("find /srv/backup | sort"));
    let checked = mysnap_ok(&["--config", &config, "check", "nightly"]);
    assert!(checked.contains("vg0/data"), "{checked}");
    let plan = mysnap_ok(&["--config", &config, "backup", "nightly", "--dry-run"]);
    assert!(plan.contains("take a ") && plan.contains("write the manifest: now it is a backup"), "{plan}");
    assert_eq!((host::volumes(), on_node2("find /srv/backup | sort")), before);
    host::assert_nothing_left();
}
