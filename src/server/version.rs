//! Which server, and which release of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The family that a server belongs to: families differ in locks, positions and settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// MariaDB.
    MariaDb,
    /// Oracle's MySQL.
    MySql,
    /// Percona Server, which speaks MySQL's dialect.
    Percona,
}

impl Flavour {
    /// Told by the version's text and its comment.
    pub fn detect(version: &str, comment: &str) -> Self {
        let has = |word| version.to_lowercase().contains(word) || comment.to_lowercase().contains(word);
        if has("mariadb") {
            Self::MariaDb
        } else if has("percona") {
            Self::Percona
        } else {
            Self::MySql
        }
    }

    /// Whether this is MariaDB; the others speak MySQL's dialect.
    pub fn is_mariadb(self) -> bool {
        self == Self::MariaDb
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
            Self::Percona => "Percona Server",
        })
    }
}

/// A release such as 10.11.19; releases compare as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads the number at the start of what a server says about itself. Old MariaDB servers put
    /// `5.5.5-` before it for the sake of old replicas.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("5.5.5-").filter(|rest| rest.starts_with('1')).unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text.get(..end)?.split('.').map(str::parse::<u32>);
        let mut next = || numbers.next()?.ok();
        Some(Self(next()?, next()?, next().unwrap_or(0)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not a version"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_name_themselves_in_many_ways() {
        for (text, comment, flavour, version) in [
            ("10.11.19-MariaDB-0+deb12u1", "Debian 12", Flavour::MariaDb, Version(10, 11, 19)),
            ("5.5.5-10.5.8-MariaDB", "", Flavour::MariaDb, Version(10, 5, 8)),
            ("11.8.6-log", "mariadb.org binary distribution", Flavour::MariaDb, Version(11, 8, 6)),
            ("9.7.4-1", "(Debian)", Flavour::MySql, Version(9, 7, 4)),
            ("5.6.24", "MySQL Community Server (GPL)", Flavour::MySql, Version(5, 6, 24)),
            ("5.5.5-m3", "Source distribution", Flavour::MySql, Version(5, 5, 5)),
            ("8.0.36-28", "Percona Server (GPL), Release 28", Flavour::Percona, Version(8, 0, 36)),
        ] {
            assert_eq!(Flavour::detect(text, comment), flavour, "{text}");
            assert_eq!(Version::parse(text), Some(version), "{text}");
        }
        assert!(Version(10, 11, 0) > Version(10, 5, 29));
        assert_eq!(Version::parse("unknown"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = Version::parse(&text);
        }
        #[test]
        fn a_version_is_read_back(a in 0_u32.., b in 0_u32.., c in 0_u32..) {
            let version = Version(a, b, c);
            proptest::prop_assert_eq!(Version::parse(&version.to_string()), Some(version));
        }
    }
}
