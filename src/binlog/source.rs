//! The server's own files: the list of them, and which server it is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::index::{Identity, is_plain};
use crate::fault::{Fault, Kind};
use crate::server::Session;
use crate::sys::cancel::Cancel;

/// MariaDB moves the lines of its list in place when it purges, MySQL removes the list and renames another one: for so
/// long a list that can't be or is not there is read again.
const SETTLES: Duration = Duration::from_millis(50);
const LOOKS: u32 = 20;

/// Where a server keeps its binary logs, and which server it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The list.
    index: PathBuf,
    /// From where relative paths in it go.
    datadir: PathBuf,
    /// The server.
    pub identity: Identity,
}

/// A file of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name without a directory.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Source {
    /// One with its list and its files in `directory`.
    #[cfg(test)]
    pub(super) fn at(directory: &Path, identity: Identity) -> Self {
        Self { index: directory.join("b.index"), datadir: directory.to_owned(), identity }
    }

    /// The files of the server of `session`, which must run on this host and not encrypt its log.
    pub fn of(session: &Session) -> anyhow::Result<Self> {
        session.prove_local()?;
        let facts = session.facts();
        let Some(log) = &facts.binary_log else { return Err(is_off()) };
        if let Some(setting) = session.log_encryption() {
            return Err(encrypted(setting));
        }
        Ok(Self { index: log.index.clone(), datadir: facts.datadir.clone(), identity: Identity::of(facts) })
    }

    /// The directory of the files.
    pub fn directory(&self) -> &Path {
        self.index.parent().unwrap_or(&self.datadir)
    }

    /// The files that there are, oldest first; their numbers have no hole.
    pub fn files(&self, cancel: &Cancel) -> anyhow::Result<Vec<Listed>> {
        let mut looks = 0;
        loop {
            looks += 1;
            let found = match std::fs::read(&self.index) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && looks < LOOKS => Err("is gone".to_owned()),
                text => {
                    let text = text.with_context(|| format!("cannot read {}", self.index.display()))?;
                    listed(&text, &self.datadir)
                }
            };
            match found {
                Ok(files) => return Ok(files),
                Err(why) if looks == LOOKS => {
                    let message = format!("the server's list of binary logs {} {why}", self.index.display());
                    return Err(Fault::new(Kind::Gap, message)
                        .hint("did somebody edit it, or remove files by hand?")
                        .into());
                }
                Err(_) => cancel.sleep(SETTLES)?,
            }
        }
    }
}

pub(super) fn is_off() -> anyhow::Error {
    let hint = "set log_bin in its configuration; that takes a restart";
    Fault::new(Kind::Refused, "the server's binary log is off").hint(hint).into()
}

fn encrypted(variable: &str) -> anyhow::Error {
    let message = format!("the server encrypts its binary log ({variable} is on): its files can't be read");
    Fault::new(Kind::Refused, message).hint("engine = \"tool\" or \"auto\" lets the server decrypt it").into()
}

/// The files in the text of a list; what is wrong with it otherwise. A line without an end is being written.
pub(super) fn listed(text: &[u8], datadir: &Path) -> Result<Vec<Listed>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "is no text".to_owned())?;
    let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let files: Vec<Listed> = lines.map(|line| entry(line, datadir)).collect::<Result<_, _>>()?;
    if files.is_empty() {
        return Err("is empty".to_owned());
    }
    match files.iter().zip(files.iter().skip(1)).find(|(one, next)| !follows(&one.name, &next.name)) {
        Some((one, next)) => Err(format!("has a hole between {} and {}", one.name, next.name)),
        None => Ok(files),
    }
}

fn entry(line: &str, datadir: &Path) -> Result<Listed, String> {
    let path: PathBuf = datadir.join(line).components().collect();
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| number(name).is_some() && is_plain(name));
    let name = name.ok_or_else(|| format!("has the line {line:?}, which is no name of a binary log"))?.to_owned();
    Ok(Listed { name, path })
}

/// A file's name without its number, and the number.
pub fn number(name: &str) -> Option<(&str, u64)> {
    let (stem, digits) = name.rsplit_once('.')?;
    Some((stem, digits.parse().ok()?))
}

/// Whether `next` is the file after `name`.
pub fn follows(name: &str, next: &str) -> bool {
    match (number(name), number(next)) {
        (Some((stem, number)), Some((other, next))) => stem == other && number.checked_add(1) == Some(next),
        _ => false,
    }
}

impl Listed {
    /// Opens it; none where it was purged.
    pub fn open(&self) -> anyhow::Result<Option<File>> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot open {}", self.path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_gone_for_a_moment_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let index = directory.path().join("b.index");
        let identity = Identity { key: "a".into(), flavour: crate::server::Flavour::MySql, server_id: 7 };
        let source = Source::at(directory.path(), identity);
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(3 * SETTLES);
                crate::sys::durable::write(&index, b"./b.000001\n").unwrap();
            });
            assert_eq!(source.files(&cancel).unwrap().len(), 1);
        });
        std::fs::remove_file(&index).unwrap();
        assert!(format!("{:#}", source.files(&cancel).unwrap_err()).contains("cannot read"));
    }

    #[test]
    fn the_list_is_read_with_relative_and_absolute_paths() {
        let read = |text: &str| listed(text.as_bytes(), Path::new("/data"));
        let files = read("./b.000009\n/data/b.000010\nb.0000").unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/data/b.000009", "/data/b.000010"]);
        assert!(follows("b.999999", "b.1000000") && !follows("b.1", "c.2") && !follows("b.1", "b.1"));
        for (text, why) in [
            ("", "is empty"),
            ("b.000001", "is empty"),
            ("./b.000001\n./b.000003\n", "has a hole between b.000001 and b.000003"),
            ("./b.000001\n./b.000001\n", "has a hole"),
            ("nothing\n", "is no name"),
            ("./b .000001\n", "is no name"),
        ] {
            assert!(read(text).unwrap_err().contains(why), "{text}");
        }
    }
}
