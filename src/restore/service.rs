//! Starting the service on restored files.

use std::path::Path;
use std::time::Duration;

use crate::fault::{Fault, Kind};
use crate::server::{Access, Facts, Flavour, running};
use crate::sys::cancel::Cancel;
use crate::sys::cmd::Call;

/// Crash recovery of a large server takes its time.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The names that the service has on various systems.
pub(super) fn candidates(flavour: Flavour) -> &'static [&'static str] {
    if flavour.is_mariadb() { &["mariadb", "mysql", "mysqld"] } else { &["mysql", "mysqld"] }
}

/// Starts the service that fits the server and waits until it answers, and answers from `to`.
pub(super) fn start(server: &Facts, to: &Path, cancel: &Cancel) -> anyhow::Result<()> {
    let known = |unit: &&&str| Call::new("systemctl").args(["cat", unit]).cancel(cancel).run().is_ok();
    let Some(unit) = candidates(server.flavour).iter().find(known) else {
        let fault = Fault::new(Kind::Refused, format!("no service of {} was found", server.flavour));
        return Err(fault.hint(format!("the files are in place in {}; start the server by hand", to.display())).into());
    };
    Call::new("systemctl").args(["start", unit]).deadline(PATIENCE).cancel(cancel).run().map_err(|error| {
        let fault = Fault::new(Kind::Verify, format!("the service {unit} did not start")).caused_by(error);
        fault.hint(format!("see its log: journalctl -u {unit}, and the error log of the server"))
    })?;
    Access::default().wait_until_answering(PATIENCE, cancel)?;
    if running::users_of(to)?.is_empty() {
        let fault = Fault::new(Kind::Refused, format!("the service {unit} runs, but not on {}", to.display()));
        return Err(fault.hint("set datadir in the server's option file").into());
    }
    Ok(())
}
