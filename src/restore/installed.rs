//! Whether the server that is installed here can start on the files.

use crate::fault::{Fault, Kind};
use crate::server::{Facts, Flavour, Version};
use crate::sys::cmd::Call;

/// The server that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(super) flavour: Flavour,
    pub(super) version: Version,
}

/// The server that is installed here, where it can be told.
pub(super) fn server() -> Option<Installed> {
    ["mariadbd", "mysqld"].iter().find_map(|program| parse(&Call::new(program).arg("--version").stdout().ok()?))
}

/// `mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)`.
pub(crate) fn parse(line: &str) -> Option<Installed> {
    let (_, rest) = line.split_once("Ver ")?;
    let (version, comment) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(Installed { flavour: Flavour::detect(version, comment), version: Version::parse(version)? })
}

/// A warning, where there is something to say; an error where the server could not start, unless
/// `any` release was allowed. The files are those of a server that was running: their redo log is
/// needed, and no server reads that of another series.
pub(super) fn judge(backup: &Facts, installed: Option<&Installed>, any: bool) -> anyhow::Result<Option<String>> {
    let what = format!("{} {}", backup.flavour, backup.version);
    let Some(found) = installed else {
        return Ok(Some(format!("no installed server was found; these files need {what}")));
    };
    let here = format!("{} {}", found.flavour, found.version);
    let family = found.flavour.is_mariadb() == backup.flavour.is_mariadb();
    let series = (found.version.0, found.version.1) == (backup.version.0, backup.version.1);
    if family && series {
        let older = found.version < backup.version || found.flavour != backup.flavour;
        return Ok(older.then(|| format!("the backup is of {what}, installed is {here}")));
    }
    let message = format!("the backup is of {what}, but {here} is installed and cannot recover its files");
    if any {
        return Ok(Some(message));
    }
    let fault = Fault::new(Kind::Refused, message);
    Err(fault.hint(format!("install {what}; or --any-version, to start another server on the files yourself")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn another_family_or_series_is_refused_unless_allowed() {
        let mut backup = crate::restore::plan::tests::backup().manifest.server;
        backup.flavour = Flavour::MySql;
        backup.version = Version(8, 0, 36);
        let installed = |flavour, version| Some(Installed { flavour, version });
        let judged = |installed: Option<Installed>, any| judge(&backup, installed.as_ref(), any);
        assert_eq!(judged(installed(Flavour::MySql, Version(8, 0, 46)), false).unwrap(), None);
        assert!(judged(installed(Flavour::MySql, Version(8, 0, 35)), false).unwrap().is_some());
        assert!(judged(installed(Flavour::Percona, Version(8, 0, 36)), false).unwrap().is_some());
        assert!(judged(installed(Flavour::MySql, Version(8, 4, 0)), false).is_err());
        assert!(judged(installed(Flavour::MariaDb, Version(8, 0, 36)), false).is_err());
        assert!(judged(installed(Flavour::MariaDb, Version(10, 11, 0)), true).unwrap().is_some());
        assert!(judged(None, false).unwrap().is_some());
    }
}
