//! Which server is installed here.

use std::fmt;
use std::path::PathBuf;

use crate::fault::{Fault, Kind};
use crate::server::{Facts, Flavour, Version, keyring};
use crate::store::{Manifest, Method};
use crate::sys::cmd::Call;

/// The server that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its family.
    pub flavour: Flavour,
    /// Its release.
    pub version: Version,
}

/// The server that is installed here, where it can be told.
pub fn server() -> Option<Installed> {
    ["mariadbd", "mysqld"].into_iter().find_map(of)
}

/// The program that a second server on files of `facts` would be, and which one it is; an error with `hint`
/// where it can't recover them.
pub fn fitting(facts: &Facts, hint: &str) -> anyhow::Result<(&'static str, Installed)> {
    keys_are_here(facts)?;
    let program = super::program(facts)?;
    super::keyring::require_component(facts)?;
    let refused = |why: String| Fault::new(Kind::Refused, why).hint(hint);
    let found = of(program).ok_or_else(|| refused(format!("{program} does not say which release it is")))?;
    if !found.reads_files_of(facts) {
        let live = format!("{} {}", facts.flavour, facts.version);
        return Err(refused(format!("{program} is {found}, which can't recover files of {live}")).into());
    }
    Ok((program, found))
}

/// Whether the keys are here that a server on the files of a backup needs; a dump needs none.
pub fn has_keys_for(manifest: &Manifest) -> anyhow::Result<()> {
    if manifest.method == Method::Dump { Ok(()) } else { keys_are_here(&manifest.server) }
}

/// What is encrypted can't be read without the keys, which are no part of a backup. Those among the data are.
pub(super) fn keys_are_here(facts: &Facts) -> anyhow::Result<()> {
    let outside = |path: &PathBuf| path.is_absolute() && !path.starts_with(&facts.datadir);
    let keyring = facts.keyring_file().map(PathBuf::from).filter(outside);
    let files = facts.key_files().into_iter().filter(outside).chain(keyring.clone());
    let Some(missing) = files.into_iter().find(|path| !path.exists()) else {
        return keyring.map_or(Ok(()), |file| keyring::read(&file).map(drop));
    };
    let message = format!("the keys of the encrypted tables are not here: there is no {}", missing.display());
    Err(Fault::new(Kind::Refused, message)
        .hint(format!("they are no part of a backup: bring that file from {} or its safe place", facts.hostname))
        .into())
}

/// `error`, which a server met that makes encrypted tables again; where it had no keys for them, which ones.
pub fn or_missing_keys(facts: &Facts, error: anyhow::Error) -> anyhow::Error {
    let is_missing = |file: &&std::path::Path| !file.exists() && format!("{error:#}").contains("keyring");
    match facts.keyring_file().filter(is_missing) {
        Some(file) => {
            let message = format!("the keyring {} is not here, and there are encrypted tables", file.display());
            let hint = format!("it is no part of a backup: bring it from {} or its safe place", facts.hostname);
            Fault::new(Kind::Refused, message).hint(hint).caused_by(error).into()
        }
        None => error,
    }
}

/// What `program` says that it is.
pub fn of(program: &str) -> Option<Installed> {
    parse(&Call::new(program).arg("--version").stdout().ok()?)
}

/// `mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)`.
pub(crate) fn parse(line: &str) -> Option<Installed> {
    let (_, rest) = line.split_once("Ver ")?;
    let (version, comment) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(Installed { flavour: Flavour::detect(version, comment), version: Version::parse(version)? })
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.flavour, self.version)
    }
}

impl Installed {
    /// Whether it can recover files of a server that was running: their redo log is needed, and no server
    /// reads that of another series.
    pub fn reads_files_of(&self, facts: &Facts) -> bool {
        let series = |version: Version| (version.0, version.1);
        self.flavour.is_mariadb() == facts.flavour.is_mariadb() && series(self.version) == series(facts.version)
    }

    /// Whether it knows all that a dump of that server may ask for.
    pub fn takes_dumps_of(&self, facts: &Facts) -> bool {
        self.flavour.is_mariadb() == facts.flavour.is_mariadb() && self.version >= facts.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_not_here_are_named() {
        let home = tempfile::tempdir().unwrap();
        let facts = |file: &str| {
            let manifest = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap();
            let file = Some(home.path().join(file));
            let keyring = Some(keyring::Keyring { component: keyring::FILE_COMPONENT.to_owned(), file });
            Facts { datadir: home.path().join("data"), keyring, ..manifest.server }
        };
        let missing = keys_are_here(&facts("keys")).unwrap_err().to_string();
        assert!(missing.contains("there is no ") && missing.contains("/keys"), "{missing}");
        std::fs::create_dir(home.path().join("keys")).unwrap();
        assert!(keys_are_here(&facts("keys")).unwrap_err().to_string().contains("/keys is no file of keys"));
        assert!(keys_are_here(&facts("data/keys")).is_ok(), "it comes with the data");
        let met = |file: &str| or_missing_keys(&facts(file), anyhow::anyhow!("Can't find master key from keyring"));
        assert!(met("gone").to_string().contains("/gone is not here"));
        assert!(!met("keys").to_string().contains("is not here"));
    }

    #[test]
    fn installed_servers_tell_what_they_are() {
        let found = |line| parse(line).map(|i| (i.flavour, i.version));
        assert_eq!(
            found("mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)\n"),
            Some((Flavour::MariaDb, Version(10, 11, 19)))
        );
        assert_eq!(
            found("/usr/sbin/mysqld  Ver 9.7.4-1 for Linux on x86_64 ((Debian))\n"),
            Some((Flavour::MySql, Version(9, 7, 4)))
        );
        assert_eq!(found("usage: mysqld"), None);
    }
}
