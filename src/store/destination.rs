//! Where backups go: a directory here, or one on another node.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::JobName;

/// Where backups go: `/srv/backup`, `root@node2:/srv/backup`, `root@[fd00::2]:/srv/backup`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// A directory on this host.
    Local(PathBuf),
    /// A directory on another node, reached by ssh.
    Ssh {
        /// The account there; ssh's own choice where none is named.
        user: Option<String>,
        /// Name or address, without brackets.
        host: String,
        /// The directory there.
        path: PathBuf,
    },
}

impl Destination {
    /// The directory, here or there.
    pub fn path(&self) -> &Path {
        match self {
            Self::Local(path) | Self::Ssh { path, .. } => path,
        }
    }

    /// Another directory in the same place.
    #[must_use]
    pub fn at(&self, path: &Path) -> Self {
        match self {
            Self::Local(_) => Self::Local(path.to_owned()),
            Self::Ssh { user, host, .. } => Self::Ssh { user: user.clone(), host: host.clone(), path: path.to_owned() },
        }
    }

    /// Where the backups of `job` are, as a name for locks of this host.
    pub fn place_of(&self, job: &JobName) -> PathBuf {
        Path::new(&self.to_string()).join(job.as_str())
    }

    /// Whether the directory is on another node.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Ssh { .. })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Ssh { user, host, .. } = self {
            if let Some(user) = user {
                write!(f, "{user}@")?;
            }
            if host.contains(':') { write!(f, "[{host}]:")? } else { write!(f, "{host}:")? }
        }
        write!(f, "{}", self.path().display())
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

impl TryFrom<String> for Destination {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).map_err(|reason| {
            format!(
                "{text:?} is not a destination: {reason}; allowed: \"/path\", \"user@host:/path\", \"user@[::1]:/path\""
            )
        })
    }
}

fn parse(text: &str) -> Result<Destination, &'static str> {
    if text.starts_with('/') {
        return Ok(Destination::Local(absolute(text)?));
    }
    let (user, rest) = match text.split_once('@') {
        Some((user, rest)) => (Some(account(user)?), rest),
        None => (None, text),
    };
    let (host, path) = match rest.strip_prefix('[') {
        Some(rest) => address(rest)?,
        None => rest.split_once(':').ok_or("the path is not absolute")?,
    };
    Ok(Destination::Ssh { user, host: host_name(host)?, path: absolute(path)? })
}

fn address(rest: &str) -> Result<(&str, &str), &'static str> {
    let (host, path) = rest.split_once("]:").ok_or("the bracket is not closed with \"]:\"")?;
    host.parse::<Ipv6Addr>().map_err(|_| "what stands in brackets is not an IPv6 address")?;
    Ok((host, path))
}

fn host_name(host: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    // A leading dash would be an option to ssh.
    if host.is_empty() || host.starts_with('-') || !host.bytes().all(allowed) {
        return Err("the host is not a name or address");
    }
    Ok(host.to_owned())
}

fn account(user: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if user.is_empty() || user.starts_with('-') || !user.bytes().all(allowed) {
        return Err("the account has characters that are not allowed");
    }
    Ok(user.to_owned())
}

fn absolute(path: &str) -> Result<PathBuf, &'static str> {
    if !path.starts_with('/') {
        return Err("the path is not absolute");
    }
    if path.chars().any(char::is_control) {
        return Err("the path has control characters");
    }
    if path.split('/').any(|part| part == "..") {
        return Err("the path goes up with \"..\"");
    }
    // `components` drops doubled and trailing slashes, so that equal places compare equal.
    Ok(Path::new(path).components().collect())
}

/// Where something is done: on one side of the way to a destination or on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// On the database host.
    #[default]
    Host,
    /// On the node that keeps the backups.
    Node,
}

/// How to reach another node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SshOptions {
    /// Its ssh port; ssh's own choice where none is named.
    pub port: Option<u16>,
    /// The private key to use, and no other.
    pub key: Option<PathBuf>,
    /// The file of known host keys; else ssh's own.
    pub known_hosts: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_and_written() {
        for text in ["/srv/backup", "root@node2:/srv/backup", "node-2.example.org:/b", "root@[fd00::2]:/srv/back up"] {
            let destination: Destination = text.parse().unwrap();
            assert_eq!(destination.to_string(), text);
        }
        assert_eq!("/srv//backup/".parse(), Ok(Destination::Local("/srv/backup".into())));
    }

    #[test]
    fn what_could_be_an_option_or_leave_the_directory_is_refused() {
        for text in [
            "",
            "backup",
            "./backup",
            "root@node2:backup",
            "root@-oProxyCommand=x:/b",
            "-x@node2:/b",
            "@node2:/b",
            "root@:/b",
            "/srv/../etc",
            "root@[node2]:/b",
            "root@[::1:/b",
            "ro ot@node2:/b",
            "/srv/a\nb",
            "root@no$de:/b",
        ] {
            let error = text.parse::<Destination>().unwrap_err();
            assert!(error.contains("allowed: "), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_is_read_back(text in "([a-z]{0,3}@)?[a-z\\[\\]:-]{0,6}:?/[ -~]{0,12}") {
            if let Ok(destination) = text.parse::<Destination>() {
                proptest::prop_assert_eq!(destination.to_string().parse(), Ok(destination));
            }
        }
    }
}
