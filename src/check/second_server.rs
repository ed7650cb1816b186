//! Whether a second server can work on the snapshot, where the job asks for one.

use std::path::PathBuf;

use super::{Findings, Request};
use crate::fault::{Fault, Kind};
use crate::instance::{self, installed};
use crate::server::{Facts, Place};

const WITHOUT: &str = "set prove = \"checksum\" and prepared = false";

pub(super) fn look_at(request: &Request, facts: &Facts, places: &[Place], findings: &mut Findings) {
    if request.starts_a_server() || request.asks_the_node() {
        foreign_keys(facts, places, findings);
    }
    if request.starts_a_server() {
        here(request, facts, findings);
    }
}

/// Keys that nothing can be copied of: of another keyring than a file, or of a plugin with a password.
fn foreign_keys(facts: &Facts, places: &[Place], findings: &mut Findings) {
    if let Some(keyring) = facts.foreign_keyring() {
        let text = format!("a second server has no keys of {}, and can't read what is encrypted", keyring.component);
        findings.refuse("prove", text, WITHOUT);
        return;
    }
    let known: Vec<PathBuf> = facts.key_files().into_iter().chain(facts.keyring_file().map(PathBuf::from)).collect();
    if let Some(place) = places.iter().find(|place| !place.must_be_covered() && !known.contains(&place.path)) {
        let text = format!("a second server has no keys ({}), and can't read what is encrypted", place.path.display());
        findings.refuse("prove", text, WITHOUT);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::PlaceKind;
    use crate::server::keyring::{FILE_COMPONENT, Keyring};
    use crate::store::Manifest;

    #[test]
    fn keys_that_can_not_be_copied_are_refused_by_the_name_of_their_keyring() {
        let said = |component: &str, file: Option<&str>| {
            let manifest = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap();
            let keyring = Keyring { component: component.to_owned(), file: file.map(PathBuf::from) };
            let facts = Facts { keyring: Some(keyring), ..manifest.server };
            let named = file.map(|file| Place { kind: PlaceKind::Keyring, path: file.into(), real: file.into() });
            let mut findings = Findings::default();
            foreign_keys(&facts, named.as_slice(), &mut findings);
            findings.iter().map(|finding| finding.text.clone()).collect::<Vec<_>>()
        };
        assert!(said(FILE_COMPONENT, Some("/k/keys")).is_empty());
        for (component, file) in [
            ("component_keyring_encrypted_file", Some("/k/keys")),
            ("component_keyring_kmip", None),
            ("component_keyring_oci", None),
            ("the plugin keyring_file", Some("/k/keys")),
        ] {
            let said = said(component, file);
            assert!(said.len() == 1 && said[0].contains(component), "{said:?}");
        }
    }
}
