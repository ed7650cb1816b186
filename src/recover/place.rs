//! The place where a run works on files that it throws away.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::fault::{Fault, Kind};
use crate::store::{Manifest, Root};
use crate::sys::durable;

/// Refuses what the second server could not reach, and what would take room from the live server.
pub fn refuse_unfit(scratch: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    const HINT: &str = "name another directory with --scratch";
    refuse_unreachable(scratch, HINT)?;
    let live = manifest.roots.iter().find(|root| Root::is_datadir(root)).map(|root| root.live_path.as_path());
    if live.is_some_and(|live| shares_room(scratch, live)) {
        return Err(would_fill(scratch).hint(HINT).into());
    }
    Ok(())
}

/// Whether what fills the one directory leaves no room in the other; where one can't be looked at it does not.
pub fn shares_room(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev());
    device(one).is_ok_and(|one| device(other).is_ok_and(|other| one == other))
}

/// What is said of a place that shares its room with the live server.
pub fn would_fill(place: &Path) -> Fault {
    let why = format!("{} lies on the live server's file system, which must not be filled", place.display());
    Fault::new(Kind::Refused, why)
}

/// Refuses, with `hint`, what the second server could not reach, and where nothing would be cleaned up.
pub fn refuse_unreachable(scratch: &Path, hint: &str) -> anyhow::Result<Metadata> {
    let unfit = |why: String| Fault::new(Kind::Refused, why).hint(hint);
    let shown = scratch.display();
    if !scratch.is_absolute() {
        return Err(unfit(format!("{shown} is not an absolute path")).into());
    }
    let found = scratch.metadata().map_err(|error| unfit(format!("cannot look at {shown}")).caused_by(error))?;
    if !found.is_dir() {
        return Err(unfit(format!("{shown} is not a directory")).into());
    }
    let closed = |path: &&Path| path.metadata().is_ok_and(|m| m.permissions().mode() & 0o001 == 0);
    if let Some(closed) = scratch.ancestors().find(closed) {
        let why = format!("the server runs as the data's owner, who can't pass through {}", closed.display());
        return Err(unfit(why).into());
    }
    // Where a link leads counts.
    if let Some(above) = hidden(&scratch.canonicalize().unwrap_or_else(|_| scratch.to_owned())) {
        let why =
            format!("{shown} is below {above}, where the units that clean up after a crash can't remove anything");
        return Err(unfit(why).into());
    }
    Ok(found)
}

/// What `ProtectHome=` hides or write-protects in the units of `packaging/`: what a run left there would be taken for
/// gone at the next boot, and stay (systemd.exec(5)).
fn hidden(path: &Path) -> Option<&'static str> {
    ["/home", "/root", "/run/user"].into_iter().find(|above| path.starts_with(above))
}

/// The server passes through to its files; nobody else sees what is there.
pub fn make_scratch(home: &Path) -> anyhow::Result<()> {
    durable::create_private_directory(home)?;
    durable::make_passable(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_units_do_not_see_is_known() {
        assert_eq!(hidden(Path::new("/home/backup/scratch")), Some("/home"));
        assert_eq!(hidden(Path::new("/run/user/1000")), Some("/run/user"));
        for seen in ["/homework", "/srv/home", "/var/tmp", "/run/mysnap"] {
            assert_eq!(hidden(Path::new(seen)), None, "{seen}");
        }
        assert!(refuse_unreachable(Path::new("/home"), "").unwrap_err().to_string().contains("is below /home, where"));
    }

    #[test]
    fn a_place_that_would_not_do_is_refused() {
        let manifest = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap();
        let says =
            |path: &Path| refuse_unfit(path, &manifest).map_or_else(|error| format!("{error:#}"), |()| String::new());
        assert!(says(Path::new("tmp")).contains("not an absolute path"));
        assert!(says(Path::new("/proc/version")).contains("not a directory"));
        assert!(says(Path::new("/nonexistent/x")).contains("cannot look at"));
        let closed = tempfile::tempdir().unwrap();
        std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(says(closed.path()).contains("can't pass through"), "{}", says(closed.path()));
    }
}
