//! Names that are safe everywhere: of a run, which is also that of the backup that it publishes,
//! of a job, and of a clone.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::sys::clock;

/// `20261121T092233Z-4f2a`: when the run began, in UTC, and four random hexadecimal digits.
/// Sorting by text sorts by time. Safe in file names, volume names and LVM tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// A new identifier for a run that begins at `begin`.
    pub fn new(begin: Timestamp) -> Self {
        // RandomState is seeded from the operating system: no dependency for two random bytes.
        let random = RandomState::new().build_hasher().finish() & 0xffff;
        Self(format!("{}-{random:04x}", clock::compact(begin)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When the run began, to the second.
    pub fn begin(&self) -> Option<Timestamp> {
        let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", self.0.get(..16)?).ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl TryFrom<String> for RunId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for RunId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = Self(text.to_owned());
        let random = text.get(16..).and_then(|t| t.strip_prefix('-')).unwrap_or_default();
        let hexadecimal = random.len() == 4 && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hexadecimal && id.begin().is_some() {
            return Ok(id);
        }
        Err(format!("{text:?} is not a backup id; it looks like \"20261121T092233Z-4f2a\""))
    }
}

/// The name of a job, which is also the directory of its backups at a destination: letters, digits,
/// `-`, `_` and `.`, at most 64, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobName(String);

impl JobName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<JobName> for String {
    fn from(name: JobName) -> Self {
        name.0
    }
}

impl TryFrom<String> for JobName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for JobName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        plain(text, "job").map(Self)
    }
}

/// The name of a clone, by the same rule: its unit and its directory are called by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneName(String);

impl CloneName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CloneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CloneName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        plain(text, "clone").map(Self)
    }
}

fn plain(text: &str, what: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && text.len() <= 64 && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not a {what} name; allowed: at most 64 letters, digits, '-', '_' and '.'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_name_is_one_plain_directory_name() {
        assert!("nightly-2.x_B".parse::<JobName>().is_ok());
        for text in ["", ".", "..", ".hidden", "-rf", "a/b", "a b", "naïve", &"x".repeat(65)] {
            assert!(text.parse::<JobName>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_identifier_is_read_back_with_its_time() {
        let begin: Timestamp = "2026-11-21T09:22:33Z".parse().unwrap();
        let id = RunId::new(begin);
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.begin(), Some(begin));
    }

    #[test]
    fn paths_and_other_text_are_refused() {
        for text in ["", "../../etc", "20261121T092233Z-4F2A", "20261321T092233Z-4f2a", "20261121T092233Z-4f2a/x", "é"]
        {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
