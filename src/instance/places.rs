//! The places over which a second server's files are bound.

use std::path::Path;

use crate::fault::{Fault, Kind};
use crate::store::Root;

/// Whether a part of that kind can be bound over `live`.
pub fn is_live_place(live: &Path, is_file: bool) -> bool {
    live.symlink_metadata().is_ok_and(|found| found.is_file() == is_file && !found.is_symlink())
}

/// The data holds absolute paths (in the binary log's index, in tablespaces): they lead to the files where
/// those can be bound over them. A refusal with what to make there, otherwise.
pub fn require_place(live: &Path, is_file: bool) -> anyhow::Result<()> {
    if is_live_place(live, is_file) {
        return Ok(());
    }
    let (what, make) = if is_file { ("file", "touch") } else { ("directory", "mkdir -p") };
    let live = live.display();
    let fault = Fault::new(Kind::Refused, format!("there is no {what} {live}, where the data has to be seen"));
    Err(fault.hint(format!("`{make} {live}`: it stays empty, and whoever runs a server may pass through to it")).into())
}

/// The same for all that a backup has besides the data directory. Without that one's place a server is told where it is;
/// what leads out of it has to be where it leads.
pub fn require_places(roots: &[Root]) -> anyhow::Result<()> {
    let mut others = roots.iter().filter(|root| !root.is_datadir());
    others.try_for_each(|root| require_place(&root.live_path, root.is_file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;
    use crate::server::PlaceKind;

    #[test]
    fn what_lies_outside_of_the_data_directory_needs_its_place() {
        let home = tempfile::tempdir().unwrap();
        let root = |path: &Path, kind| Root {
            name: "some".parse().unwrap(),
            live_path: path.to_owned(),
            kinds: vec![kind],
            is_file: false,
            volume: String::new(),
        };
        let log = home.path().join("binlog");
        let roots = [root(&home.path().join("data"), PlaceKind::DataDirectory), root(&log, PlaceKind::BinaryLog)];
        let error = require_places(&roots).unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Refused));
        assert!(error.to_string().contains(&format!("there is no directory {}", log.display())), "{error:#}");
        std::fs::create_dir(&log).unwrap();
        require_places(&roots).unwrap();
        assert!(require_place(&log, true).is_err());
    }
}
