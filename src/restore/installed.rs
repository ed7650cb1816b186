//! Whether the server that is installed here can start on the files.

use crate::fault::{Fault, Kind};
use crate::instance::installed::Installed;
use crate::server::Facts;

/// A warning, where there is something to say; an error where the server could not start, unless
/// `any` release was allowed. The files are those of a server that was running: their redo log is
/// needed, and no server reads that of another series.
pub(super) fn judge(backup: &Facts, installed: Option<&Installed>, any: bool) -> anyhow::Result<Option<String>> {
    let what = format!("{} {}", backup.flavour, backup.version);
    let Some(found) = installed else {
        return Ok(Some(format!("no installed server was found; these files need {what}")));
    };
    let here = format!("{} {}", found.flavour, found.version);
    if found.reads_files_of(backup) {
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
    use crate::server::{Flavour, Version};

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
