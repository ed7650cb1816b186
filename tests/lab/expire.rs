//! Retention after real backups, here and on the second node.

use crate::host::{self, mysnap, mysnap_ok, on_node2};
use crate::live::expect;

/// The ids of a destination's good backups, newest first.
fn good(config: &str) -> Vec<String> {
    let listed: serde_json::Value = serde_json::from_str(&mysnap_ok(&["--config", config, "list", "--json"])).unwrap();
    let rows = listed.as_array().unwrap().iter().filter(|row| row["state"] == "good");
    rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn after_each_backup_to_the_second_node_those_go_that_no_rule_keeps() {
    on_node2("rm -rf /srv/backup && mkdir -p -m 0700 /srv/backup");
    let text = format!("[job.nightly]\nto = \"root@{}:/srv/backup\"\nkeep = {{ last = 2 }}\n", host::node2());
    let config = host::configure("expire", &text);
    on_node2("mkdir -p /srv/backup/nightly && touch /srv/backup/nightly/20200101T000000Z-0001");
    for count in [1, 2, 2] {
        let said = mysnap(&["--config", &config, "backup", "nightly"]);
        expect(&said, 0, &["expire: job nightly: "]);
        assert_eq!(good(&config).len(), count, "{}", said.stderr);
        host::assert_nothing_left();
    }
    // What is shared with those that went is whole.
    for id in good(&config) {
        mysnap_ok(&["--config", &config, "verify", &id]);
    }
    // A run that fails removes nothing, whatever the rules say by now.
    let before = good(&config);
    let strict = text.replace("last = 2", "within = \"1h\"");
    let config = host::configure("expire", &strict);
    on_node2("chattr +i /srv/backup/nightly");
    let failed = mysnap(&["--config", &config, "backup", "nightly"]);
    on_node2("chattr -i /srv/backup/nightly");
    assert_ne!(failed.status, 0, "{}", failed.stderr);
    assert_eq!(good(&config), before);
    on_node2("test -f /srv/backup/nightly/20200101T000000Z-0001");
    host::assert_nothing_left();
}
