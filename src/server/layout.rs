//! Every place that holds data.
//!
//! Asked of the server, and then looked for in the data directory itself: a database may be a
//! symlink or a mount point, a table may be one, and `.isl` files point elsewhere. The list is the
//! smallest that a snapshot must cover: what lies inside the data directory, on the same file system
//! and without a link in between, is covered with it and not listed again.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::access::Endpoint;
use super::facts::Variables;
use super::running;
use super::session::Session;
use crate::fault::{Fault, Kind};

/// What a place holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceKind {
    /// The data directory.
    DataDirectory,
    /// A file of the system tablespace.
    SystemTablespace,
    /// The directory of the redo log.
    RedoLog,
    /// The directory of the undo logs, or an undo tablespace elsewhere.
    Undo,
    /// A database, table or general tablespace outside the data directory.
    Tablespace,
    /// The directory of the doublewrite files.
    Doublewrite,
    /// The directory of the binary logs.
    BinaryLog,
    /// The list of the binary logs.
    BinaryLogIndex,
    /// The directory of the relay logs.
    RelayLog,
    /// The directory of Aria's log.
    AriaLog,
    /// A directory of RocksDB.
    RocksDb,
    /// Encryption keys: needed to read the data, never copied beside it unasked.
    Keyring,
}

impl std::fmt::Display for PlaceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DataDirectory => "data directory",
            Self::SystemTablespace => "system tablespace",
            Self::RedoLog => "redo log",
            Self::Undo => "undo log",
            Self::Tablespace => "tablespace",
            Self::Doublewrite => "doublewrite file",
            Self::BinaryLog => "binary log",
            Self::BinaryLogIndex => "binary log index",
            Self::RelayLog => "relay log",
            Self::AriaLog => "Aria log",
            Self::RocksDb => "RocksDB",
            Self::Keyring => "keyring",
        })
    }
}

/// A file or directory that holds data of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What it holds.
    pub kind: PlaceKind,
    /// The path as the server, or a link in the data directory, names it.
    pub path: PathBuf,
    /// The same with symlinks followed.
    pub real: PathBuf,
}

impl Place {
    /// Whether a snapshot without this place is no backup. A keyring is needed too, but it is
    /// named to the operator instead: keys don't belong beside the data that they protect.
    pub fn must_be_covered(&self) -> bool {
        self.kind != PlaceKind::Keyring
    }
}

impl Session {
    /// An error unless the server runs on this host, in the data directory that it names: a socket
    /// may lead into a container, or to another instance, whose `/var/lib/mysql` is not ours.
    pub fn prove_local(&self) -> anyhow::Result<()> {
        let facts = self.facts();
        let is_local = match &self.address.endpoint {
            Endpoint::Socket(path) => running::listens_from(path, &facts.datadir)?,
            Endpoint::Tcp { .. } => running::works_in(&facts.pid_file, &facts.datadir),
        };
        if is_local {
            return Ok(());
        }
        let (endpoint, datadir) = (&self.address.endpoint, facts.datadir.display());
        Err(Fault::new(Kind::Refused, format!("the server at {endpoint} does not run in {datadir} on this host"))
            .hint("is this the socket of another instance, or of a container?")
            .into())
    }

    /// Every place that holds data, the data directory first.
    pub fn layout(&mut self) -> anyhow::Result<Vec<Place>> {
        let query = self.dialect().tablespace_files;
        let tablespaces = self.connection.list(query)?;
        let mut places = Places::new(&self.facts().datadir)?;
        for (kind, path) in configured(&self.variables, self.facts().replica) {
            places.add(kind, path);
        }
        for path in tablespaces {
            places.add(PlaceKind::Tablespace, self.variables.absolute(Path::new(&path)));
        }
        places.walk()?;
        let component = self.facts().keyring.as_ref().and_then(|keyring| keyring.file.clone());
        for path in keyrings(&self.variables, component) {
            places.name(PlaceKind::Keyring, path);
        }
        Ok(places.found)
    }
}

/// Whether `datadir` has a user's table of an engine without transactions: MyISAM, Aria, CSV or
/// ARCHIVE. Schemas of the server itself don't count.
pub fn has_tables_without_transactions(datadir: &Path) -> bool {
    const SYSTEM: [&str; 4] = ["mysql", "sys", "performance_schema", "information_schema"];
    const DATA: [&str; 4] = ["MYD", "MAD", "CSV", "ARZ"];
    let entries = |directory: &Path| directory.read_dir().into_iter().flatten().flatten();
    entries(datadir)
        .filter(|schema| !SYSTEM.iter().any(|name| schema.file_name() == *name))
        .any(|schema| entries(&schema.path()).any(|table| has_extension(&table.path(), &DATA)))
}

/// What the server's variables name.
pub(super) fn configured(variables: &Variables, replica: bool) -> Vec<(PlaceKind, PathBuf)> {
    use PlaceKind::{AriaLog, BinaryLog, BinaryLogIndex, Doublewrite, RedoLog, RelayLog, RocksDb, Undo};
    let mut places = system_tablespace(variables);
    for (kind, name) in [
        (RedoLog, "innodb_log_group_home_dir"),
        (Undo, "innodb_undo_directory"),
        (Doublewrite, "innodb_doublewrite_dir"),
        (AriaLog, "aria_log_dir_path"),
        (RocksDb, "rocksdb_datadir"),
        (RocksDb, "rocksdb_wal_dir"),
    ] {
        places.extend(variables.path(name).map(|path| (kind, path)));
    }
    let directory = |name| Some(variables.path(name)?.parent()?.to_owned());
    if variables.is_on("log_bin") {
        places.extend(directory("log_bin_basename").map(|path| (BinaryLog, path)));
        places.extend(variables.path("log_bin_index").map(|path| (BinaryLogIndex, path)));
    }
    if replica {
        places.extend(directory("relay_log_basename").map(|path| (RelayLog, path)));
        places.extend(directory("relay_log_index").map(|path| (RelayLog, path)));
    }
    places
}

/// The files of `innodb_data_file_path`: `ibdata1:12M;/disk2/ibdata2:50M:autoextend`.
fn system_tablespace(variables: &Variables) -> Vec<(PlaceKind, PathBuf)> {
    let home = variables.path("innodb_data_home_dir").unwrap_or_else(|| variables.absolute(Path::new("")));
    let files = variables.text("innodb_data_file_path").unwrap_or_default().split(';');
    let names = files.filter_map(|file| file.split(':').next()).map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| (PlaceKind::SystemTablespace, home.join(name))).collect()
}

/// Where encryption keys lie: what MariaDB's plugin is told, and what MySQL's keyring is.
fn keyrings(variables: &Variables, component: Option<PathBuf>) -> Vec<PathBuf> {
    const NAMES: [&str; 2] = ["file_key_management_filename", "file_key_management_filekey"];
    let file_prefix = |path: PathBuf| path.to_str().and_then(|p| Some(p.split_once("FILE:")?.1.into())).unwrap_or(path);
    let named = NAMES.iter().filter_map(|name| variables.path(name)).map(file_prefix);
    named.chain(component).filter(|path| path.exists()).collect()
}

/// The places found so far.
struct Places {
    found: Vec<Place>,
}

impl Places {
    fn new(datadir: &Path) -> anyhow::Result<Self> {
        let real = datadir.canonicalize().map_err(|error| {
            Fault::new(Kind::Refused, format!("cannot look into the data directory {}", datadir.display()))
                .hint("mysnap must run as root on the server's own host")
                .caused_by(error)
        })?;
        let first = Place { kind: PlaceKind::DataDirectory, path: datadir.to_owned(), real };
        Ok(Self { found: vec![first] })
    }

    /// Lists `path` unless it is covered with a place that is listed already, or not there: a server
    /// names places that it has not made yet.
    fn add(&mut self, kind: PlaceKind, path: PathBuf) {
        if path.canonicalize().is_ok_and(|real| !self.covers(&real)) {
            self.name(kind, path);
        }
    }

    /// Lists `path` wherever it lies.
    fn name(&mut self, kind: PlaceKind, path: PathBuf) {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        self.found.push(Place { kind, path, real });
    }

    fn covers(&self, real: &Path) -> bool {
        let same_device = |place: &Path| device(real).is_some_and(|d| device(place) == Some(d));
        self.found.iter().any(|place| real.starts_with(&place.real) && same_device(&place.real))
    }

    /// Follows links and mount points below the data directory, and links below those.
    fn walk(&mut self) -> anyhow::Result<()> {
        let mut directories: Vec<PathBuf> = self.found.first().map(|place| place.real.clone()).into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(directory) = directories.pop() {
            let own = device(&directory);
            if !seen.insert(directory.clone()) {
                continue;
            }
            for path in entries(&directory)? {
                // What the server removed meanwhile is no place, nor is a link to nothing.
                let Some(metadata) = unless_gone(&path, path.metadata())? else { continue };
                if path.is_symlink() && holds_data(&path, &metadata) || Some(metadata.dev()) != own {
                    self.add(PlaceKind::Tablespace, path.clone());
                }
                if metadata.is_dir() {
                    directories.extend(path.canonicalize());
                } else if has_extension(&path, &["isl", "sym"]) {
                    let target = std::fs::read_to_string(&path).unwrap_or_default();
                    self.add(PlaceKind::Tablespace, directory.join(target.trim()));
                }
            }
        }
        Ok(())
    }
}

/// What `directory` holds; nothing where it was removed meanwhile.
fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let Some(entries) = unless_gone(directory, directory.read_dir())? else { return Ok(Vec::new()) };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    Ok(unless_gone(directory, paths)?.unwrap_or_default())
}

/// The answer of the file system about `path`; none where there is no such thing, or a link to none.
fn unless_gone<T>(path: &Path, answer: io::Result<T>) -> anyhow::Result<Option<T>> {
    match answer.map_err(|error| (error.raw_os_error().map(Errno::from_raw), error)) {
        Ok(answer) => Ok(Some(answer)),
        Err((Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP), _)) => Ok(None),
        Err((_, error)) => Err(Fault::new(Kind::Refused, format!("cannot read {}", path.display()))
            .hint("look at its file system and disk: `dmesg` tells of errors")
            .caused_by(error)
            .into()),
    }
}

fn device(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|metadata| metadata.dev())
}

/// Certificates and sockets are no data, wherever a link puts them.
fn holds_data(path: &Path, metadata: &Metadata) -> bool {
    metadata.is_dir() || metadata.is_file() && !has_extension(path, &["pem", "pid", "flag"])
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|own| extensions.iter().any(|extension| own.eq_ignore_ascii_case(extension)))
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::variables;
    use super::*;
    use std::fs::{create_dir, create_dir_all};
    use std::os::unix::fs::symlink;

    fn touch(path: &Path, text: &str) {
        crate::sys::durable::write(path, text.as_bytes()).unwrap();
    }

    #[test]
    fn links_out_of_the_data_directory_are_places() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().canonicalize().unwrap().join(path);
        for directory in ["data/plain", "elsewhere/linked_db", "tables", "inner"] {
            create_dir_all(at(directory)).unwrap();
        }
        touch(&at("tables/a.ibd"), "");
        touch(&at("tables/b.MYD"), "");
        touch(&at("tables/server.pem"), "");
        touch(&at("data/plain/x.ibd"), "");
        symlink(at("elsewhere/linked_db"), at("data/linked_db")).unwrap();
        symlink(at("data/plain"), at("data/inside")).unwrap();
        symlink(at("data"), at("data/plain/loop")).unwrap();
        symlink(at("nothing"), at("data/dangling")).unwrap();
        symlink(at("tables/server.pem"), at("data/server.pem")).unwrap();
        // A link below a linked database.
        symlink(at("tables/b.MYD"), at("elsewhere/linked_db/b.MYD")).unwrap();
        touch(&at("data/plain/a.isl"), &format!("{}\n", at("tables/a.ibd").display()));
        let mut places = Places::new(&at("data")).unwrap();
        places.walk().unwrap();
        let mut real: Vec<PathBuf> = places.found.iter().skip(1).map(|place| place.real.clone()).collect();
        real.sort();
        assert_eq!(real, [at("elsewhere/linked_db"), at("tables/a.ibd"), at("tables/b.MYD")]);
    }

    #[test]
    fn what_the_variables_name_is_listed_unless_covered() {
        use PlaceKind::{BinaryLog, DataDirectory, RedoLog, RelayLog, SystemTablespace};
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().canonicalize().unwrap().join(path);
        for directory in ["data", "redo", "log", "relay"] {
            create_dir(at(directory)).unwrap();
        }
        touch(&at("ibdata2"), "");
        let text = |path: &str| at(path).to_string_lossy().into_owned();
        let variables = variables(&[
            ("datadir", &text("data")),
            ("innodb_log_group_home_dir", &text("redo")),
            ("innodb_undo_directory", "./"),
            ("innodb_data_file_path", &format!("ibdata1:12M;{}:50M:autoextend", text("ibdata2"))),
            ("log_bin", "ON"),
            ("log_bin_basename", &text("log/binlog")),
            ("log_bin_index", &text("log/binlog.index")),
            ("relay_log_basename", &text("relay/relay")),
        ]);
        let list = |replica| {
            let mut places = Places::new(&at("data")).unwrap();
            for (kind, path) in configured(&variables, replica) {
                places.add(kind, path);
            }
            places.found.into_iter().map(|place| place.kind).collect::<Vec<_>>()
        };
        assert_eq!(list(false), [DataDirectory, SystemTablespace, RedoLog, BinaryLog]);
        assert_eq!(list(true), [DataDirectory, SystemTablespace, RedoLog, BinaryLog, RelayLog]);
    }

    #[test]
    fn keyrings_are_named_wherever_they_lie() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().canonicalize().unwrap().join(path);
        for name in ["keyring", "keys", "component"] {
            touch(&at(name), "");
        }
        let text = |path: &str| at(path).to_string_lossy().into_owned();
        let variables = variables(&[
            ("file_key_management_filename", &text("keyring")),
            ("file_key_management_filekey", &format!("FILE:{}", text("keys"))),
        ]);
        let found = keyrings(&variables, Some(at("component")));
        assert_eq!(found, [at("keyring"), at("keys"), at("component")]);
        assert_eq!(keyrings(&variables, Some("/nonexistent/vault".into())).len(), 2);
    }

    #[test]
    fn only_users_tables_without_transactions_count() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        create_dir(at("mysql")).unwrap();
        create_dir(at("shop")).unwrap();
        touch(&at("mysql/db.MAD"), "");
        touch(&at("shop/orders.ibd"), "");
        assert!(!has_tables_without_transactions(root.path()));
        touch(&at("shop/old.MYD"), "");
        assert!(has_tables_without_transactions(root.path()));
    }
}
