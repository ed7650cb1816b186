//! The place where a run works on files that it throws away.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::fault::{Fault, Kind};
use crate::store::Manifest;
use crate::sys::durable;

/// Refuses what the second server could not reach, and what would take room from the live server.
pub fn refuse_unfit(scratch: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    const HINT: &str = "name another directory with --scratch";
    refuse_unreachable(scratch, HINT)?;
    match live_places(manifest).find(|live| shares_room(scratch, live)) {
        Some(live) => Err(would_fill(scratch, live).hint(HINT).into()),
        None => Ok(()),
    }
}

/// Where the files of the backup are on the live server. That of a dump holds nothing of the server's, and lies nowhere.
fn live_places(manifest: &Manifest) -> impl Iterator<Item = &Path> {
    manifest.roots.iter().filter(|root| !root.kinds.is_empty()).map(|root| root.live_path.as_path())
}

/// Of the places where the live server writes the one that would be left without room by what fills `place`: a full file
/// system of its redo log or of its binary log stops it as one of its data does.
pub fn would_leave_without_room<'a>(place: &Path, manifest: &'a Manifest) -> Option<&'a Path> {
    // A dump says nothing of the server's places.
    let server = &manifest.server;
    let log = server.binary_log.as_ref().and_then(|log| log.basename.parent());
    live_places(manifest).chain([server.datadir.as_path()]).chain(log).find(|live| shares_room(place, live))
}

/// Whether what fills the one directory leaves no room in the other; where one can't be looked at it does not.
fn shares_room(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev());
    device(one).is_ok_and(|one| device(other).is_ok_and(|other| one == other))
}

/// What is said of a place that shares its room with the live server's `live`.
pub fn would_fill(place: &Path, live: &Path) -> Fault {
    let (place, live) = (place.display(), live.display());
    let why = format!("{place} lies on the live server's file system, that of {live}, which must not be filled");
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
    fn the_file_system_of_any_place_of_the_server_is_not_filled() {
        let mut manifest = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap();
        let [data, place] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        for root in &mut manifest.roots {
            root.live_path = "/nonexistent".into();
        }
        manifest.server.datadir = "/nonexistent".into();
        manifest.server.binary_log = None;
        assert!(refuse_unfit(place.path(), &manifest).is_ok());
        assert_eq!(would_leave_without_room(place.path(), &manifest), None);
        // The last root is one of logs.
        manifest.roots.last_mut().unwrap().live_path = data.path().to_owned();
        let refused = refuse_unfit(place.path(), &manifest);
        let kinds = std::mem::take(&mut manifest.roots.last_mut().unwrap().kinds);
        assert!(refuse_unfit(place.path(), &manifest).is_ok(), "the root of a dump lies nowhere");
        manifest.roots.last_mut().unwrap().kinds = kinds;
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("lies on the live server's file system") && said.contains(data.path().to_str().unwrap()));
        assert_eq!(would_leave_without_room(place.path(), &manifest), Some(data.path()));
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
