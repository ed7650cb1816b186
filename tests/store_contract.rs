//! One contract for every store: a directory on this host, and one behind ssh on a loopback port.

#[cfg(test)]
#[path = "store/publish.rs"]
mod publish;
#[cfg(test)]
#[path = "store/sshd.rs"]
mod sshd;
#[cfg(test)]
#[path = "store/suite.rs"]
mod suite;

use mysnap::fault::{Kind, hints_of, kind_of};
use mysnap::store::{SshOptions, open};
use mysnap::sys::cancel::Cancel;
use sshd::Sshd;
use suite::Bench;

#[test]
fn a_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    Bench::here(&directory.path().canonicalize().unwrap()).run_all();
}

#[test]
fn another_node_keeps_the_contract() {
    let (sshd, directory) = (Sshd::start(), tempfile::tempdir().unwrap());
    let here = Bench::here(&directory.path().canonicalize().unwrap());
    Bench { prefix: Sshd::prefix(), ssh: sshd.options("known", "user"), ..here }.run_all();
}

#[test]
fn keys_are_checked_and_never_learned() {
    let sshd = Sshd::start();
    let destination = format!("{}{}", Sshd::prefix(), sshd.path().join("b").display()).parse().unwrap();
    let probe = |options: &SshOptions| open(&destination, options, &Cancel::new()).unwrap().probe();
    probe(&sshd.options("known", "user")).unwrap();

    let changed = probe(&sshd.options("wrong", "user")).unwrap_err();
    assert_eq!(kind_of(&changed), Some(Kind::Refused));
    assert!(changed.to_string().contains("another one than before"), "{changed:#}");
    assert_eq!(
        hints_of(&changed).join(" ").matches("SHA256:").count(),
        2,
        "both fingerprints: {:?}",
        hints_of(&changed)
    );

    let unknown = probe(&sshd.options("nothing", "user")).unwrap_err();
    assert_eq!(kind_of(&unknown), Some(Kind::Refused));
    assert!(unknown.to_string().contains("is not known"), "{unknown:#}");
    assert!(hints_of(&unknown).join(" ").contains("offered now: SHA256:"), "{:?}", hints_of(&unknown));
    assert!(!sshd.path().join("nothing").exists(), "nothing was learned");

    let refused = probe(&sshd.options("known", "other")).unwrap_err();
    assert_eq!(kind_of(&refused), Some(Kind::Config), "{refused:#}");

    let nobody = SshOptions { port: Some(1), ..sshd.options("known", "user") };
    assert_eq!(kind_of(&probe(&nobody).unwrap_err()), Some(Kind::Copy));
}
