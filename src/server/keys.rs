//! MariaDB's key file: what a second server is told so that it reads, and writes, what is encrypted.
//!
//! Only the plugin `file_key_management` lets a second server have the keys without asking anybody and without a word of
//! them in our hands: it opens the live server's file by itself, as the same account. MySQL's keyrings are written to by
//! whoever uses them: see [`super::keyring`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::facts::{Facts, Variables};

/// The plugin's name.
const PLUGIN: &str = "file_key_management";
/// The file with the keys; every setting of the plugin begins like it.
const FILE: &str = "file_key_management_filename";
/// What the file itself is encrypted with: a file's name behind this, or the password, which is not for us to tell.
const FILE_KEY: &str = "file_key_management_filekey";
const IN_A_FILE: &str = "FILE:";
/// How a server with the keys is to use them.
const USE: [&str; 5] = [
    "file_key_management_encryption_algorithm",
    "file_key_management_digest",
    "file_key_management_use_pbkdf2",
    "innodb_encrypt_tables",
    "aria_encrypt_tables",
];

/// Where a setting names a file, which a second server may see elsewhere: what stands before the name, and the name.
pub fn file_in<'a>(name: &str, value: &'a str) -> Option<(&'static str, &'a str)> {
    match name {
        FILE => Some(("", value)),
        FILE_KEY => value.strip_prefix(IN_A_FILE).map(|path| (IN_A_FILE, path)),
        _ => None,
    }
}

/// The settings that a second server needs for them; none where it can't have them.
pub(super) fn settings(variables: &Variables) -> BTreeMap<String, String> {
    let with_a_password = variables.text(FILE_KEY).is_some_and(|value| file_in(FILE_KEY, value).is_none());
    if variables.text(FILE).is_none() || with_a_password {
        return BTreeMap::new();
    }
    let names: Vec<&str> = USE.iter().copied().chain([FILE, FILE_KEY]).collect();
    let mut settings = variables.some_of(&names);
    settings.retain(|_, value| !value.is_empty());
    settings
}

impl Facts {
    /// The plugin that a second server must load before it reads what is encrypted; none where it has no keys.
    pub fn key_plugin(&self) -> Option<&'static str> {
        self.must_match.contains_key(FILE).then_some(PLUGIN)
    }

    /// The files that a second server needs for the keys.
    pub fn key_files(&self) -> Vec<PathBuf> {
        self.must_match.iter().filter_map(|(name, value)| file_in(name, value)).map(|(_, path)| path.into()).collect()
    }

    /// Whether `name` is a setting that makes sense with the keys alone.
    pub fn is_about_keys(name: &str) -> bool {
        [FILE, FILE_KEY].contains(&name) || USE.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::variables;
    use super::*;

    fn names(extra: &[(&str, &str)]) -> Vec<String> {
        settings(&variables(extra)).into_keys().collect()
    }

    #[test]
    fn a_key_file_is_told_and_a_password_never() {
        let file = ("file_key_management_filename", "/etc/mysql/keys");
        let more = [file, ("file_key_management_filekey", "FILE:/etc/mysql/pass"), ("innodb_encrypt_tables", "ON")];
        assert_eq!(
            names(&more),
            ["file_key_management_filekey", "file_key_management_filename", "innodb_encrypt_tables"]
        );
        assert_eq!(names(&[file, ("file_key_management_filekey", "")]), ["file_key_management_filename"]);
        assert_eq!(names(&[file, ("file_key_management_filekey", "secret")]), Vec::<String>::new());
        assert_eq!(names(&[("innodb_encrypt_tables", "OFF")]), Vec::<String>::new());
    }

    #[test]
    fn the_files_that_it_takes_are_known() {
        let extra = [
            ("file_key_management_filename", "/etc/mysql/keys"),
            ("file_key_management_filekey", "FILE:/etc/mysql/pass"),
        ];
        let facts = Facts::from_variables(&variables(&extra), 0).unwrap();
        assert_eq!(facts.key_files(), [PathBuf::from("/etc/mysql/pass"), PathBuf::from("/etc/mysql/keys")]);
        assert_eq!(facts.key_plugin(), Some("file_key_management"));
        assert_eq!(Facts::from_variables(&variables(&[]), 0).unwrap().key_plugin(), None);
    }
}
