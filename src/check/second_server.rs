//! Whether a second server can work on the snapshot, where the job asks for one.

use super::{Findings, Request};
use crate::fault::{Fault, Kind};
use crate::instance;
use crate::server::{Facts, Place};
use crate::sys::cmd::Call;

const WITHOUT: &str = "set prove = \"checksum\" and prepared = false";

pub(super) fn look_at(request: &Request, facts: &Facts, places: &[Place], findings: &mut Findings) {
    if !request.starts_a_server() {
        return;
    }
    for tool in ["setpriv", "choom", "nice"].into_iter().filter(|tool| !Call::is_installed(tool)) {
        findings.refuse("prove", format!("{tool} is not installed"), "install util-linux and coreutils");
    }
    if let Some(program) = findings.attempt("prove", fitting_program(request, facts)) {
        findings.good("prove", format!("{program} is started a second time, on the snapshot"));
    }
    if let Some(keyring) = places.iter().find(|place| !place.must_be_covered()) {
        let text =
            format!("a second server has no keyring ({}), and can't read what is encrypted", keyring.path.display());
        findings.refuse("prove", text, WITHOUT);
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
    let program = instance::program(facts)?;
    let live = format!("{} {}", facts.flavour, facts.version);
    let refused =
        |why: String| Fault::new(Kind::Refused, why).hint(format!("restart the server after an upgrade, or {WITHOUT}"));
    let Some(found) = instance::installed::of(program) else {
        return Err(refused(format!("{program} does not say which release it is")).into());
    };
    let here = format!("{} {}", found.flavour, found.version);
    if !found.reads_files_of(facts) {
        return Err(refused(format!("{program} is {here}, which can't recover files of {live}")).into());
    }
    if request.prepared && found.version != facts.version {
        return Err(refused(format!("{program} is {here}, which would upgrade files of {live}")).into());
    }
    Ok(program)
}
