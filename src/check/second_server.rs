//! Whether a second server can work on the snapshot, where the job asks for one.

use super::{Findings, Request};
use crate::fault::{Fault, Kind};
use crate::instance::{self, installed};
use crate::server::{Facts, Place};

const WITHOUT: &str = "set prove = \"checksum\" and prepared = false";

pub(super) fn look_at(request: &Request, facts: &Facts, places: &[Place], findings: &mut Findings) {
    let keys = facts.key_files();
    let keyring = places.iter().find(|place| !place.must_be_covered() && !keys.contains(&place.path));
    if let Some(keyring) = keyring.filter(|_| request.starts_a_server() || request.asks_the_node()) {
        let text =
            format!("a second server has no keyring ({}), and can't read what is encrypted", keyring.path.display());
        findings.refuse("prove", text, WITHOUT);
    }
    if request.starts_a_server() {
        here(request, facts, findings);
    }
}

fn here(request: &Request, facts: &Facts, findings: &mut Findings) {
    if let Some(tool) = instance::missing_tool() {
        findings.refuse("prove", format!("{tool} is not installed"), "install util-linux and coreutils");
    }
    if let Some(program) = findings.attempt("prove", fitting_program(request, facts)) {
        findings.good("prove", format!("{program} is started a second time, on the snapshot"));
    }
    if request.prepared && facts.replica {
        let text = "the second server of a replica would leave relay logs of its own in what is stored";
        findings.refuse("prepared", text, "set prepared = false on a replica");
    }
    if request.keep_snapshot {
        let text = "a snapshot on which a server was started is not what was frozen, so that it can't be kept";
        let hint = format!("{WITHOUT}, or don't keep the snapshot; `mysnap drill` proves later");
        findings.refuse("prove", text, hint);
    }
}

/// The server's program, of a release that can recover its files; to prepare them, of the very same.
fn fitting_program(request: &Request, facts: &Facts) -> anyhow::Result<&'static str> {
    let hint = format!("restart the server after an upgrade, or {WITHOUT}");
    let (program, found) = installed::fitting(facts, &hint)?;
    if request.prepared && found.version != facts.version {
        let live = format!("{} {}", facts.flavour, facts.version);
        let why = format!("{program} is {found}, which would upgrade files of {live}");
        return Err(Fault::new(Kind::Refused, why).hint(hint).into());
    }
    Ok(program)
}
