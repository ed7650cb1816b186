//! Servers that encrypt their binary logs.

use std::fs;
use std::path::PathBuf;

use mysnap::sys::durable;

use crate::server::{IS_MARIADB, Server};

/// MariaDB is told by options where its keys are. MySQL looks beside its program which component keeps them, and where
/// its plugins are for how it does: the copy of a program has both of its own.
pub struct Keys(tempfile::TempDir);

impl Keys {
    pub fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        if *IS_MARIADB {
            durable::write(&keys.at("keys"), b"1;770A8A65DA156D24EE2A093277530142\n").unwrap();
        } else {
            fs::copy("/usr/sbin/mysqld", keys.at("mysqld")).unwrap();
            durable::write(&keys.at("mysqld.my"), br#"{"components": "file://component_keyring_file"}"#).unwrap();
            let component = "component_keyring_file";
            let library = format!("/usr/lib/mysql/plugin/{component}.so");
            fs::copy(&library, keys.at("component_keyring_file.so")).expect(&library);
            let kept = format!(r#"{{"path": {:?}, "read_only": false}}"#, keys.at("keys"));
            durable::write(&keys.at("component_keyring_file.cnf"), kept.as_bytes()).unwrap();
        }
        keys
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A server that encrypts its log, with more options.
    pub fn server(&self, options: &[&str]) -> Server {
        let at = |option: &str, path: PathBuf| format!("--{option}={}", path.display());
        if *IS_MARIADB {
            let file = at("file-key-management-filename", self.at("keys"));
            let own = ["--plugin-load-add=file_key_management", &file, "--encrypt-binlog=1"];
            return Server::start_with(&[&own, options].concat());
        }
        // What it finds by the place of its program.
        let share = ["--lc-messages-dir=/usr/share/mysql", "--character-sets-dir=/usr/share/mysql/charsets"];
        let plugins = at("plugin-dir", self.0.path().to_owned());
        let own = [&share[..], &[&plugins, "--binlog-encryption=ON"]].concat();
        Server::start_by(&self.at("mysqld"), &[&own, options].concat())
    }
}
