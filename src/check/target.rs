//! Whether the destination can be reached and has room.

use super::Request;
use super::finding::Findings;
use super::ground::{Covered, Target};
use crate::fault::{Fault, Kind};
use crate::server::Facts;
use crate::store::{self, Catalog, Manifest, Store, Totals};
use crate::sys::cancel::Cancel;
use crate::sys::process;
use crate::sys::units::Bytes;

/// A tenth more than there is: a data directory grows while it is copied (Holland's factor).
const MARGIN_PERCENT: u64 = 110;

pub(super) fn look_at(
    request: &Request,
    server: &Facts,
    covered: &Covered,
    source: Totals,
    cancel: &Cancel,
    findings: &mut Findings,
) -> Option<Target> {
    let store = findings.attempt("destination", store::open(&request.to, &request.ssh, cancel))?;
    let tools = findings.attempt("destination", store.probe())?;
    findings.attempt("destination", refuse_origin(&*store, covered));
    let catalog = findings.attempt("destination", Catalog::read_if_there(&*store, &request.job))?;
    if !request.new_server {
        findings.attempt("destination", refuse_another_servers(&*store, &catalog, server));
    }
    if let Some(text) = findings.attempt("destination", room(&*store, &catalog, source)) {
        findings.good("destination", text);
    }
    Some(Target { store, tools })
}

/// A backup on the volume that it protects goes down with it, and its writes fill the snapshot.
fn refuse_origin(store: &dyn Store, covered: &Covered) -> anyhow::Result<()> {
    let Some(device) = store.device()? else { return Ok(()) };
    let device = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let same = |o: &&super::Origin| (u64::from(o.mount.device.0), u64::from(o.mount.device.1)) == device;
    match covered.origins.iter().find(same) {
        None => Ok(()),
        Some(origin) => {
            let message = format!("{} lies on {}, the volume to be backed up", store.destination(), origin.volume.name);
            Err(Fault::new(Kind::Refused, message).hint("choose another disk or another node").into())
        }
    }
}

/// Two servers in one place: `restore latest` would bring back whichever was backed up last.
fn refuse_another_servers(store: &dyn Store, catalog: &Catalog, server: &Facts) -> anyhow::Result<()> {
    let Some(last) = catalog.good().next().map(|backup| &backup.manifest) else { return Ok(()) };
    if is_same_server(last, server, &process::host_name()?) {
        return Ok(());
    }
    let uuid = last.server.uuid.as_ref().map(|uuid| format!(", server_uuid {uuid}")).unwrap_or_default();
    let message = format!(
        "the backups of job {} at {} are of another server: {} on {}{uuid}",
        last.job,
        store.destination(),
        last.server.flavour,
        last.host,
    );
    let hint = "give each server a `to` of its own; where this one has taken the other's place, \
                say so once: `mysnap backup JOB --new-server`";
    Err(Fault::new(Kind::Refused, message).hint(hint).into())
}

/// By the server's uuid; MariaDB has none, there the host must do.
fn is_same_server(last: &Manifest, server: &Facts, host: &str) -> bool {
    match (&last.server.uuid, &server.uuid) {
        (Some(before), Some(now)) => before == now,
        (None, None) => last.host == host,
        _ => false,
    }
}

fn room(store: &dyn Store, catalog: &Catalog, source: Totals) -> anyhow::Result<String> {
    let room = store.room()?;
    let needed = needed(catalog, source);
    let to = store.destination();
    if room.bytes < needed {
        let message = format!("{to} has {} free, the backup needs about {needed}", room.bytes);
        return Err(Fault::new(Kind::Refused, message).hint("make room there; nothing is ever removed for it").into());
    }
    if room.files.is_some_and(|files| files < source.files + source.directories) {
        let message = format!("{to} has no room for {} more files (inodes)", source.files);
        return Err(Fault::new(Kind::Refused, message).hint("remove files there").into());
    }
    Ok(format!("{to}, {} free, the backup needs at most about {needed}", room.bytes))
}

/// Every byte, though most may be linked: what is unchanged is not known before it was compared.
fn needed(catalog: &Catalog, source: Totals) -> Bytes {
    let last = catalog.good().next().map_or(0, |backup| backup.manifest.files.totals.bytes);
    with_margin(source.bytes.max(last))
}

/// A bit more than `bytes`.
pub(super) fn with_margin(bytes: u64) -> Bytes {
    Bytes(bytes.saturating_mul(MARGIN_PERCENT) / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_the_same_by_its_uuid_or_else_by_its_host() {
        let mut last = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap();
        let mut now = last.server.clone();
        assert!(is_same_server(&last, &now, "another"));
        now.uuid = Some("5f0f2d0a-c6b5-11f1-9c0e-525400123456".to_owned());
        assert!(!is_same_server(&last, &now, "db1"));
        now.uuid = None;
        assert!(!is_same_server(&last, &now, "db1"), "another flavour");
        last.server.uuid = None;
        assert!(is_same_server(&last, &now, "db1"));
        assert!(!is_same_server(&last, &now, "db2"));
    }
}
