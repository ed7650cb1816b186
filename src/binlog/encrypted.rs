//! Files that a server has encrypted: which they are, and that none is taken for a damaged one.
//!
//! MySQL begins to encrypt its log, and ends it, while it runs; MariaDB needs a restart for that. A stream that reads the
//! files meets the first encrypted one at any time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::home::Home;
use super::logs::{Log, Logs};
use super::source::{Listed, Source, number};
use super::walk::{Broken, Step, Walker};
use crate::fault::{Fault, Kind};
use crate::sys::cancel::Cancel;

/// The newest file may be one that is being begun: for so long its beginning is waited for.
const SETTLES: Duration = Duration::from_millis(50);
const LOOKS: u32 = 4;

/// A server's files for as long as they can be read. The first that can't ends that with an error before the archive
/// hears of it: the server has to be asked anew how they are read then.
#[derive(Debug)]
pub(super) struct Readable {
    source: Source,
    home: Option<Home>,
    /// The newest file that was looked at.
    seen: RefCell<Option<String>>,
}

impl Readable {
    /// Those of `source` that the archive in `home` has not. Without a home they can be read in no other way: then it
    /// is the archive that names those that were there before.
    pub(super) fn new(source: &Source, home: Option<Home>) -> Self {
        Self { source: source.clone(), home, seen: RefCell::default() }
    }

    /// The first encrypted file behind what was looked at; of all, where that is not listed.
    fn encrypted(&self, files: &[Listed]) -> anyhow::Result<Option<String>> {
        let seen = self.seen.borrow();
        let Some(at) = files.iter().position(|file| Some(&file.name) == seen.as_ref()) else {
            return self.home.as_ref().map_or(Ok(None), |home| still_encrypted(files, home));
        };
        for file in files.iter().skip(at + 1) {
            if is_encrypted(file)? == Some(true) {
                return Ok(Some(file.name.clone()));
            }
        }
        Ok(None)
    }
}

impl Logs for Readable {
    fn files(&self, cancel: &Cancel) -> anyhow::Result<Vec<Listed>> {
        let files = self.source.files(cancel)?;
        let Some(last) = files.last().filter(|last| Some(&last.name) != self.seen.borrow().as_ref()) else {
            return Ok(files);
        };
        let mut looks = 1;
        while is_encrypted(last)?.is_none() && looks < LOOKS {
            cancel.sleep(SETTLES)?;
            looks += 1;
        }
        if let Some(name) = self.encrypted(&files)? {
            let message = format!("the server encrypts {name}, which can't be read as a file");
            return Err(Fault::new(Kind::Refused, message).hint("the next try asks the server how to read it").into());
        }
        if looks < LOOKS {
            *self.seen.borrow_mut() = Some(last.name.clone());
        }
        Ok(files)
    }

    fn open(&self, listed: &Listed) -> anyhow::Result<Option<Rc<dyn Log>>> {
        Logs::open(&self.source, listed)
    }
}

/// The newest of `files` that is encrypted, where the archive is not beyond it: a server that encrypts no more leaves
/// the old ones as they are, and the one in which the archive ends is taken up again.
pub(super) fn still_encrypted(files: &[Listed], home: &Home) -> anyhow::Result<Option<String>> {
    let mut newest = None;
    for file in files.iter().rev() {
        if is_encrypted(file)? == Some(true) {
            newest = Some(file);
            break;
        }
    }
    let Some(newest) = newest else { return Ok(None) };
    let index = home.read_index()?;
    let end = index.as_ref().and_then(|index| index.timelines.last()?.files.last());
    let is_beyond = end.is_some_and(|end| match (number(&end.name), number(&newest.name)) {
        (Some((stem, end)), Some((other, newest))) => stem == other && end > newest,
        _ => false,
    });
    Ok((!is_beyond).then(|| newest.name.clone()))
}

/// Whether it begins as the encrypted files of either family do; none where that much is not there.
fn is_encrypted(file: &Listed) -> anyhow::Result<Option<bool>> {
    let Some(file) = file.open()? else { return Ok(None) };
    let mut walker = Walker::new(file);
    // MariaDB says so in the second event.
    for _ in 0..2 {
        match walker.step()? {
            Step::Event(_) => {}
            Step::Broken(_, Broken::Encrypted) => return Ok(Some(true)),
            Step::Broken(..) => return Ok(Some(false)),
            Step::End | Step::Torn(_) => return Ok(None),
        }
    }
    Ok(Some(false))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::event::{ENCRYPTED_MAGIC, Kind};
    use super::super::index::Identity;
    use super::super::summary::tests::{beginning, event};
    use super::*;
    use crate::server::Flavour;
    use crate::sys::durable;

    /// A server's directory with these files.
    fn has(directory: &Path, files: &[&[u8]]) {
        let names: Vec<String> = (1..=files.len()).map(|n| format!("b.{n:06}")).collect();
        for (name, bytes) in names.iter().zip(files) {
            durable::write(&directory.join(name), bytes).unwrap();
        }
        durable::write(&directory.join("b.index"), format!("./{}\n", names.join("\n./")).as_bytes()).unwrap();
    }

    fn readable(directory: &Path, home: Option<&Path>) -> Readable {
        let identity = Identity { key: "a".into(), flavour: Flavour::MySql, server_id: 7 };
        Readable::new(&Source::at(directory, identity), home.map(Home::new))
    }

    #[test]
    fn the_first_file_that_cannot_be_read_ends_it_even_where_it_is_only_begun() {
        let (directory, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (directory, plain) = (directory.path(), [beginning(), event(Kind::PREVIOUS_GTIDS, 1, &[0; 8])].concat());
        let looked = |readable: &Readable| readable.files(&Cancel::new()).map(|files| files.len());
        let by_any = readable(directory, Some(archive.path()));
        has(directory, &[&plain]);
        assert_eq!(looked(&by_any).unwrap(), 1);
        // As MariaDB's, whose second event tells.
        for begun in [&b""[..], &plain[..7], &beginning()] {
            has(directory, &[&plain, begun]);
            assert_eq!(looked(&by_any).unwrap(), 2);
        }
        let mariadb = [beginning(), event(Kind::START_ENCRYPTION, 1, &[1; 17])].concat();
        for encrypted in [&mariadb[..], &ENCRYPTED_MAGIC] {
            has(directory, &[&plain, encrypted]);
            let error = looked(&by_any).unwrap_err().to_string();
            assert!(error.contains("encrypts b.000002"), "{error}");
            has(directory, &[&plain, encrypted, &plain]);
            assert!(looked(&by_any).is_err() && looked(&readable(directory, Some(archive.path()))).is_err());
            // What was there before is for the archive to name.
            assert_eq!(looked(&readable(directory, None)).unwrap(), 3);
        }
    }
}
