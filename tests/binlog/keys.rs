//! Servers that encrypt their binary logs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mysnap::sys::durable;

use crate::server::{IS_MARIADB, Server};

/// MariaDB is told by options where its keys are. MySQL looks beside its program which component keeps them, and where
/// its plugins are for how it does: the copy of a program has both of its own.
pub struct Keys(tempfile::TempDir);

impl Keys {
    pub fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        let file = keys.file();
        keys.kept_in(&file)
    }

    /// The file with the keys.
    pub fn file(&self) -> PathBuf {
        self.at("keys")
    }

    /// MySQL's keys are in `file`.
    pub fn kept_in(self, file: &Path) -> Self {
        let keys = self;
        if *IS_MARIADB {
            durable::write(&keys.at("keys"), b"1;770A8A65DA156D24EE2A093277530142\n").unwrap();
            // The account of a second server reads it, as that of a package's server would.
            for (path, mode) in [(keys.0.path().to_owned(), 0o711), (keys.at("keys"), 0o644)] {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
        } else {
            fs::copy("/usr/sbin/mysqld", keys.at("mysqld")).unwrap();
            durable::write(&keys.at("mysqld.my"), br#"{"components": "file://component_keyring_file"}"#).unwrap();
            let component = "component_keyring_file";
            let library = format!("/usr/lib/mysql/plugin/{component}.so");
            fs::copy(&library, keys.at("component_keyring_file.so")).expect(&library);
            let kept = format!(r#"{{"path": {file:?}, "read_only": false}}"#);
            durable::write(&keys.at("component_keyring_file.cnf"), kept.as_bytes()).unwrap();
        }
        keys
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What MariaDB must be told so that it reads what is encrypted.
    pub fn reading(&self) -> Vec<String> {
        let file = || format!("--file-key-management-filename={}", self.at("keys").display());
        if *IS_MARIADB { vec!["--plugin-load-add=file_key_management".to_owned(), file()] } else { Vec::new() }
    }

    /// A server that encrypts its log, with more options.
    pub fn server(&self, options: &[&str]) -> Server {
        if *IS_MARIADB {
            let reading = self.reading();
            let own = ["--encrypt-binlog=1"].into_iter().chain(reading.iter().map(String::as_str));
            return Server::start_with(&own.chain(options.iter().copied()).collect::<Vec<_>>());
        }
        let own = self.found();
        let own: Vec<&str> = own.iter().map(String::as_str).chain(["--binlog-encryption=ON"]).collect();
        Server::start_by(&self.program(), &[&own, options].concat())
    }

    /// What MySQL's program finds by its place.
    pub fn found(&self) -> Vec<String> {
        let share = ["--lc-messages-dir=/usr/share/mysql", "--character-sets-dir=/usr/share/mysql/charsets"];
        let plugins = format!("--plugin-dir={}", self.0.path().display());
        share.map(str::to_owned).into_iter().chain([plugins]).collect()
    }

    /// MySQL's program that finds the keys.
    pub fn program(&self) -> PathBuf {
        self.at("mysqld")
    }
}
