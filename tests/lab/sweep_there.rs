//! Each command of a backup to another node goes wrong, one at a time: whole or absent there, and nothing is left here.

use std::collections::BTreeSet;

use crate::host::{self, Ran, mysnap, mysnap_ok, node2, on_node2};
use crate::live::until;
use crate::sweep::{Ready, made_by, shrink_the_redo_log, sweep};

const AT: &str = "/srv/swept";

fn from() -> String {
    format!("root@{}:{AT}", node2())
}

/// What is listed there.
fn listed() -> BTreeSet<String> {
    let rows: serde_json::Value = serde_json::from_str(&mysnap_ok(&["list", "--from", &from(), "--json"])).unwrap();
    rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// `backup` of a job whose destination is on the other node.
struct There {
    config: String,
    before: BTreeSet<String>,
}

impl Ready for There {
    fn kinds_at_least(&self) -> usize {
        4
    }

    fn concerns(&self, step: &str) -> bool {
        ["main run ssh", "main run rsync", "main run ionice"].iter().any(|command| step.starts_with(command))
    }

    fn takes_each_step(&self) -> bool {
        true
    }

    fn arguments(&mut self) -> Vec<String> {
        self.before = listed();
        ["--config", &self.config, "backup", "local"].map(str::to_owned).to_vec()
    }

    /// A connection outlives a run that was killed for as long as it waits for another command.
    fn do_as_told(&self) {
        let sockets = || {
            std::fs::read_dir("/run/mysnap").unwrap().filter(|entry| {
                entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("ssh-"))
            })
        };
        until("the end of the connection", || sockets().next().is_none());
    }

    /// Nothing is published that was not told, and nothing told that was not published.
    fn objection(&mut self, ran: &Ran) -> Option<String> {
        let new: Vec<String> = listed().difference(&self.before).cloned().collect();
        let id = match made_by(ran, &new) {
            Ok(made) => made?,
            Err(objection) => return Some(objection),
        };
        let verified = mysnap(&["verify", id, "--from", &from()]);
        // Only the first stays, to be looked at in the end.
        on_node2(&format!("rm -rf {AT}/local/{id}"));
        (verified.status != 0).then(|| format!("backup {id} is not whole: {}", verified.stderr))
    }
}

#[test]
fn whatever_goes_wrong_on_the_way_to_another_node_a_backup_is_whole_or_absent_there() {
    shrink_the_redo_log();
    on_node2(&format!("rm -rf {AT} && mkdir -m 0700 {AT}"));
    let config = host::configure("there", &format!("[job.local]\nto = {:?}\nretries = 1\n", from()));
    mysnap_ok(&["--config", &config, "backup", "local"]);
    let first = listed();
    sweep("backup to another node", &mut There { config, before: BTreeSet::new() });
    assert_eq!(listed(), first);
    mysnap_ok(&["verify", "latest", "--from", &from()]);
    on_node2(&format!("rm -rf {AT}"));
}
