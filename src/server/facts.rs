//! What the server says about itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::keyring::Keyring;
use super::keys;
use super::version::{Flavour, Version};
use crate::fault::{Fault, Kind};

/// Settings that a second server on the same files must be given too, or that decide whether it can
/// read them: with another page size or data file path it aborts, with another
/// lower_case_table_names MariaDB starts and its tables seem to be gone.
const MUST_MATCH: [&str; 20] = [
    "innodb_page_size",
    "innodb_data_file_path",
    "innodb_data_home_dir",
    "innodb_undo_tablespaces",
    "innodb_undo_directory",
    "innodb_log_group_home_dir",
    "innodb_log_files_in_group",
    "innodb_doublewrite_dir",
    "innodb_directories",
    "innodb_checksum_algorithm",
    "innodb_encrypt_log",
    "lower_case_table_names",
    "gtid_mode",
    "enforce_gtid_consistency",
    "binlog_encryption",
    "encrypt_binlog",
    "character_set_server",
    "collation_server",
    "aria_log_dir_path",
    "sql_mode",
];

/// What the server says about itself: read once for each session, kept in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The family.
    pub flavour: Flavour,
    /// The release.
    pub version: Version,
    /// The version as the server writes it, with its comment.
    pub version_text: String,
    /// `server_uuid`; MariaDB has none.
    pub uuid: Option<String>,
    /// `server_id`.
    pub server_id: u32,
    /// The host's name as the server knows it.
    pub hostname: String,
    /// The TCP port, 0 without networking.
    pub port: u16,
    /// The server's own socket.
    pub socket: PathBuf,
    /// The file with its process id.
    pub pid_file: PathBuf,
    /// The data directory, symlinks followed where it lies on this host.
    pub datadir: PathBuf,
    /// The binary log, where it is on.
    pub binary_log: Option<BinaryLog>,
    /// `gtid_mode`; MariaDB's GTIDs are always on and have no mode.
    pub gtid_mode: Option<String>,
    /// How durable a commit is.
    pub flush: FlushSettings,
    /// `read_only` or `super_read_only`.
    pub read_only: bool,
    /// Whether it replicates from another server.
    pub replica: bool,
    /// The seconds since its start, when the facts were read.
    pub uptime: u64,
    /// How far its clock is ahead of UTC, in seconds; what its times without a zone mean.
    #[serde(default)]
    pub utc_offset: Option<i32>,
    /// The time zone of its process, where that was on the host that asked: what it calls SYSTEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_zone: Option<String>,
    /// The libraries of its storage engines that are not built in: a second server does not know the tables of one that
    /// an option file loads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engine_libraries: Vec<String>,
    /// What keeps the keys of MySQL's encrypted tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<Keyring>,
    /// Settings that a second server on the same files must be given too.
    pub must_match: BTreeMap<String, String>,
}

/// Where the binary log lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinaryLog {
    /// The files' common name without their number.
    pub basename: PathBuf,
    /// The list of the files.
    pub index: PathBuf,
}

/// How durable a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushSettings {
    /// `innodb_flush_log_at_trx_commit`.
    pub redo_at_commit: u8,
    /// `sync_binlog`.
    pub sync_binlog: u64,
}

impl Facts {
    pub(super) fn from_variables(variables: &Variables, uptime: u64) -> anyhow::Result<Self> {
        let version_text = variables.text("version").unwrap_or_default();
        let comment = variables.text("version_comment").unwrap_or_default().trim_matches(['(', ')']);
        let unknown = || {
            Fault::new(Kind::Refused, format!("the server calls itself {version_text:?}, which is no version we know"))
        };
        let base = variables.path("datadir").ok_or_else(unknown)?;
        Ok(Self {
            flavour: Flavour::detect(version_text, comment),
            version: Version::parse(version_text).ok_or_else(unknown)?,
            version_text: format!("{version_text} ({comment})"),
            uuid: variables.text("server_uuid").map(str::to_owned),
            server_id: variables.number("server_id").unwrap_or(0),
            hostname: variables.text("hostname").unwrap_or_default().to_owned(),
            port: if variables.is_on("skip_networking") { 0 } else { variables.number("port").unwrap_or(0) },
            socket: variables.path("socket").unwrap_or_default(),
            pid_file: variables.path("pid_file").unwrap_or_default(),
            datadir: base.canonicalize().unwrap_or(base),
            binary_log: BinaryLog::from_variables(variables),
            gtid_mode: variables.text("gtid_mode").map(str::to_owned),
            flush: FlushSettings {
                redo_at_commit: variables.number("innodb_flush_log_at_trx_commit").unwrap_or(1),
                sync_binlog: variables.number("sync_binlog").unwrap_or(0),
            },
            read_only: variables.is_on("read_only") || variables.is_on("super_read_only"),
            replica: false,
            uptime,
            utc_offset: None,
            system_zone: None,
            engine_libraries: Vec::new(),
            keyring: None,
            must_match: variables.some_of(&MUST_MATCH).into_iter().chain(keys::settings(variables)).collect(),
        })
    }
}

impl BinaryLog {
    fn from_variables(variables: &Variables) -> Option<Self> {
        if !variables.is_on("log_bin") {
            return None;
        }
        Some(Self { basename: variables.path("log_bin_basename")?, index: variables.path("log_bin_index")? })
    }
}

/// The server's global variables.
pub(super) struct Variables(BTreeMap<String, String>);

impl Variables {
    pub(super) fn new(values: BTreeMap<String, String>) -> Self {
        Self(values)
    }

    /// The value of `name`; none where the server has no such variable or it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| ["ON", "1", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str()))
    }

    /// The path in `name`; the server's relative paths start from its data directory.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.absolute(Path::new(self.text(name)?)))
    }

    /// `path`, from the data directory on where it is relative.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        let joined = Path::new(self.text("datadir").unwrap_or("/")).join(path);
        // Drops the `.` that servers like to put in front.
        joined.components().collect()
    }

    pub(super) fn some_of(&self, names: &[&str]) -> BTreeMap<String, String> {
        let known = |name: &&str| Some(((*name).to_owned(), self.0.get(*name)?.clone()));
        names.iter().filter_map(known).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn variables(extra: &[(&str, &str)]) -> Variables {
        let usual = [("datadir", "/nonexistent/mysql/"), ("version", "10.11.19-MariaDB"), ("server_id", "7")];
        Variables::new(usual.iter().chain(extra).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn facts_are_read_from_the_variables() {
        let variables = variables(&[
            ("log_bin", "ON"),
            ("log_bin_basename", "/var/log/mysql/binlog"),
            ("log_bin_index", "./binlog.index"),
            ("innodb_flush_log_at_trx_commit", "0"),
            ("read_only", "OFF"),
            ("innodb_page_size", "16384"),
            ("innodb_data_home_dir", ""),
        ]);
        let facts = Facts::from_variables(&variables, 60).unwrap();
        assert_eq!((facts.flavour, facts.version), (Flavour::MariaDb, Version(10, 11, 19)));
        let log = facts.binary_log.as_ref().unwrap();
        assert_eq!(log.index, Path::new("/nonexistent/mysql/binlog.index"));
        assert_eq!(facts.flush.redo_at_commit, 0);
        assert!(!facts.read_only && facts.uuid.is_none());
        assert_eq!(facts.must_match.len(), 2);
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<Facts>(&json).unwrap(), facts);
    }

    #[test]
    fn with_the_binary_log_off_there_is_none() {
        let facts = Facts::from_variables(&variables(&[("log_bin", "OFF")]), 0).unwrap();
        assert_eq!(facts.binary_log, None);
    }
}
