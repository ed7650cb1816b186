//! MySQL's keyring: what the server says that keeps its keys, and what of that a second server can be given.
//!
//! Only what `component_keyring_file` keeps can be copied: a file. The other components and the plugins of before ask
//! somebody else for the keys, or encrypt them with a password that is not for us to know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::facts::{Facts, Variables};
use super::session::Connection;
use super::sql;
use crate::fault::{Fault, Kind};
use crate::sys::retry;

/// The one that keeps keys in a file of their own.
pub const FILE_COMPONENT: &str = "component_keyring_file";
/// How the configuration of a component is called, in the directory of the plugins or of the data.
const CONFIGURATIONS: (&str, &str) = ("component_keyring_", ".cnf");
/// The plugins of before, each by a setting that there is while it is loaded, and that names a file or a directory.
const PLUGINS: [(&str, &str); 5] = [
    ("keyring_file_data", "keyring_file"),
    ("keyring_encrypted_file_data", "keyring_encrypted_file"),
    ("keyring_okv_conf_dir", "keyring_okv"),
    ("keyring_aws_data_file", "keyring_aws"),
    ("keyring_vault_config", "keyring_vault"),
];
/// A server that writes the file takes a moment for it.
const WRITTEN: Duration = Duration::from_secs(3);
/// Every keyring is smaller: a key takes some hundred bytes.
const LIMIT: u64 = 64 << 20;

/// What keeps a MySQL server's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    /// The component, or the plugin.
    pub component: String,
    /// The file with the keys, or what leads to them, where the server tells.
    pub file: Option<PathBuf>,
}

impl Keyring {
    /// The file that a second server can have a copy of; none of any other keyring.
    pub fn copied(&self) -> Option<&Path> {
        self.file.as_deref().filter(|_| self.component == FILE_COMPONENT)
    }
}

impl Facts {
    /// A keyring that nothing can be copied of.
    pub fn foreign_keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref().filter(|keyring| keyring.copied().is_none())
    }

    /// Without the file, all works that asks for no key.
    pub fn forget_missing_keyring(&mut self) {
        self.keyring = self.keyring.take().filter(|keyring| keyring.copied().is_some_and(Path::exists));
    }

    /// The file with a MySQL server's keys that a second server is given a copy of.
    pub fn keyring_file(&self) -> Option<&Path> {
        self.keyring.as_ref()?.copied()
    }
}

/// What keeps the keys of the server behind `connection`; none where it has no keyring.
///
/// A server without a component writes a warning each time that it is asked for one. So it is asked only where there is
/// a configuration of one, without which none works.
pub(super) fn find(variables: &Variables, connection: &mut Connection) -> anyhow::Result<Option<Keyring>> {
    if let Some(keyring) = plugin(variables) {
        return Ok(Some(keyring));
    }
    let configured = configured(variables);
    if configured.is_empty() {
        return Ok(None);
    }
    let told = connection.try_allowed_pairs(sql::KEYRING_COMPONENT)?;
    Ok(told.map_or_else(|| guessed(configured), |told| told_of(&told, variables)))
}

fn plugin(variables: &Variables) -> Option<Keyring> {
    let named = |(setting, plugin): &(&str, &str)| {
        Some(Keyring { component: format!("the plugin {plugin}"), file: Some(variables.path(setting)?) })
    };
    PLUGINS.iter().find_map(named)
}

/// From the server's own answer.
fn told_of(told: &BTreeMap<String, String>, variables: &Variables) -> Option<Keyring> {
    // One that is not active gives the live server no keys either.
    told.get("component_status").filter(|status| status.eq_ignore_ascii_case("active"))?;
    let file = told.get("data_file").filter(|file| !file.is_empty()).map(|file| variables.absolute(Path::new(file)));
    Some(Keyring { component: told.get("component_name")?.clone(), file })
}

/// Where the account may not ask: the only one that is configured, whose file may have been lost, or of several the one
/// that has its file.
fn guessed(mut configured: Vec<Keyring>) -> Option<Keyring> {
    if configured.len() < 2 {
        return configured.pop();
    }
    let mut there: Vec<Keyring> =
        configured.into_iter().filter(|one| one.file.as_ref().is_none_or(|file| file.exists())).collect();
    if there.len() < 2 {
        return there.pop();
    }
    let names: Vec<String> = there.into_iter().map(|one| one.component).collect();
    Some(Keyring { component: names.join(" or "), file: None })
}

/// Every component of which there is a configuration. One in the data directory is read where that of the plugins says
/// so, which then has no path.
fn configured(variables: &Variables) -> Vec<Keyring> {
    let Some(plugins) = variables.path("plugin_dir") else { return Vec::new() };
    let entries = plugins.read_dir().into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let keyring = |name: &String| {
        let component = name.strip_suffix(CONFIGURATIONS.1).filter(|name| name.starts_with(CONFIGURATIONS.0))?;
        let path = path_in(&plugins.join(name)).or_else(|| path_in(&variables.absolute(Path::new(name))));
        Some(Keyring { component: component.to_owned(), file: path.map(|path| variables.absolute(&path)) })
    };
    names.iter().filter_map(keyring).collect()
}

fn path_in(configuration: &Path) -> Option<PathBuf> {
    path_of(&std::fs::read_to_string(configuration).ok()?)
}

/// The file of keys that the configuration of a component names.
pub(super) fn path_of(configuration: &str) -> Option<PathBuf> {
    let json: serde_json::Value = serde_json::from_str(configuration).ok()?;
    Some(json.get("path")?.as_str()?.into())
}

/// What is in the keyring at `path`, whole: it may be written to at this moment. An error with its name where it can't
/// be had, or is none.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let refused = |why: String| Fault::new(Kind::Refused, format!("the keyring {} {why}", path.display()));
    let size = path.metadata().map_err(|error| refused("is not here".to_owned()).caused_by(error))?;
    if !size.is_file() || size.len() > LIMIT {
        return Err(refused("is no file of keys".to_owned()).into());
    }
    // What a server could not write to its end lies beside.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".backup");
    let whole = || -> Result<Vec<u8>, Option<std::io::Error>> {
        let bytes = std::fs::read(path).map_err(Some)?;
        // One without keys is empty.
        let is_whole = match serde_json::from_slice::<IgnoredAny>(&bytes) {
            Ok(_) => true,
            Err(_) => bytes.is_empty() && !Path::new(&beside).exists(),
        };
        if is_whole { Ok(bytes) } else { Err(None) }
    };
    retry::until(WRITTEN, whole).map_err(|error| match error {
        Some(error) => refused("can't be read".to_owned()).caused_by(error).into(),
        None => refused("is not whole".to_owned())
            .hint(format!("{FILE_COMPONENT} writes JSON; does the live server start with it?"))
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::variables;
    use super::*;
    use crate::sys::durable;

    fn keyring(component: &str, file: Option<&str>) -> Keyring {
        Keyring { component: component.to_owned(), file: file.map(PathBuf::from) }
    }

    #[test]
    fn the_servers_own_answer_names_component_and_file() {
        let told = |extra: &[(&str, &str)]| {
            let all = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            told_of(&all.collect(), &variables(&[]))
        };
        let file = [
            ("component_name", "component_keyring_file"),
            ("component_status", "Active"),
            ("data_file", "/var/lib/mysql-keyring/keys"),
            ("read_only", "No"),
        ];
        let found = told(&file).unwrap();
        assert_eq!(found, keyring(FILE_COMPONENT, Some("/var/lib/mysql-keyring/keys")));
        assert_eq!(found.copied(), Some(Path::new("/var/lib/mysql-keyring/keys")));
        let other = [("component_name", "component_keyring_kmip"), ("component_status", "Active")];
        assert_eq!(told(&other).unwrap().copied(), None);
        assert_eq!(told(&[("component_name", FILE_COMPONENT), ("component_status", "Disabled")]), None);
        assert_eq!(told(&[]), None);
    }

    #[test]
    fn plugins_are_told_by_their_settings() {
        let found = plugin(&variables(&[("keyring_encrypted_file_data", "/k/keys")])).unwrap();
        assert_eq!(found, keyring("the plugin keyring_encrypted_file", Some("/k/keys")));
        assert_eq!(found.copied(), None, "it takes a password");
        assert_eq!(plugin(&variables(&[("keyring_file_data", "")])), None);
    }

    #[test]
    fn without_an_answer_configurations_are_taken() {
        let root = tempfile::tempdir().unwrap();
        let [plugins, data] = ["plugins", "data"].map(|name| root.path().join(name));
        for (directory, name, text) in [
            (&plugins, "component_keyring_file.cnf", r#"{"read_local_config": true}"#.to_owned()),
            (&data, "component_keyring_file.cnf", r#"{"path": "keys", "read_only": false}"#.to_owned()),
            (&plugins, "component_validate.cnf", String::new()),
        ] {
            std::fs::create_dir_all(directory).unwrap();
            durable::write(&directory.join(name), text.as_bytes()).unwrap();
        }
        let [plugin_dir, datadir] = [&plugins, &data].map(|path| path.display().to_string());
        let variables = variables(&[("plugin_dir", &plugin_dir), ("datadir", &datadir)]);
        let keys = data.join("keys");
        assert_eq!(configured(&variables), [keyring(FILE_COMPONENT, keys.to_str())]);
        assert_eq!(guessed(configured(&variables)).unwrap().copied(), Some(keys.as_path()), "it may have been lost");
        durable::write(&keys, b"").unwrap();
        assert_eq!(guessed(configured(&variables)).unwrap().copied(), Some(keys.as_path()));
        durable::write(&plugins.join("component_keyring_kmip.cnf"), b"{}").unwrap();
        let both = guessed(configured(&variables)).unwrap();
        assert_eq!(both, keyring("component_keyring_file or component_keyring_kmip", None));
    }

    #[test]
    fn a_keyring_is_whole_or_refused_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("keys");
        let fails = |words: &str| {
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains(words) && error.contains(path.to_str().unwrap()), "{error}");
        };
        fails("is not here");
        for text in ["", r#"{"version":"1.0","elements":[]}"#] {
            durable::write(&path, text.as_bytes()).unwrap();
            assert_eq!(read(&path).unwrap(), text.as_bytes());
        }
        durable::write(&path, br#"{"version":"1.0","ele"#).unwrap();
        fails("is not whole");
        durable::write(&path, b"").unwrap();
        durable::write(&root.path().join("keys.backup"), b"{}").unwrap();
        fails("is not whole");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        fails("is no file of keys");
    }
}
