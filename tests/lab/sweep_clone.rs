//! The sweep of a clone, from its start to its end.

use crate::clone::{assert_no_clone_is_left, keep};
use crate::host::{self, Ran, mysnap_ok, run};
use crate::live::DEFAULT_STALL;
use crate::sweep::{Ready, kept, shrink_the_redo_log, sweep};

/// `clone` of a kept snapshot, without a unit; it is asked to end as soon as it has come up.
struct Clone {
    config: String,
}

impl Ready for Clone {
    fn kinds_at_least(&self) -> usize {
        12
    }

    fn arguments(&mut self) -> Vec<String> {
        // A thick snapshot takes one clone.
        if !host::is_thin() {
            for run in kept() {
                mysnap_ok(&["release", &run, "--yes"]);
            }
        }
        if kept().is_empty() {
            mysnap_ok(&["--config", &self.config, "backup", "local", "--keep-snapshot"]);
        }
        let (config, run) = (self.config.clone(), kept().remove(0));
        let told = ["clone", &run, "--name", "swept", "--foreground", "--yes"].map(str::to_owned);
        ["--config".to_owned(), config].into_iter().chain(told).collect()
    }

    fn runs_until(&self) -> Option<&'static str> {
        Some("--socket=")
    }

    fn objection(&mut self, _: &Ran) -> Option<String> {
        let left = run(&["find", "/run/mysnap", "-mindepth", "1", "-name", "clone-*"]);
        (!left.is_empty()).then(|| format!("left where people find a clone: {left}"))
    }
}

#[test]
fn whatever_goes_wrong_in_a_clone_nothing_of_it_is_left() {
    shrink_the_redo_log();
    let (config, _, _undo) = keep("sweep-clone", DEFAULT_STALL);
    sweep("clone", &mut Clone { config });
    assert_no_clone_is_left();
}
