//! Names of files inside a backup: bytes, never trusted, never absolute.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A path below a root, as bytes. It is relative, has no `.` or `..` and no empty part, so that
/// joining it to a directory stays below that directory. The empty path is the root itself.
///
/// Written percent-encoded, so that control characters and bytes that are not UTF-8 survive;
/// the root itself is written `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoredPath(Vec<u8>);

impl StoredPath {
    /// The root itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks `bytes`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, String> {
        let path = Self(bytes.into());
        let good = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
        if path.is_root() || path.0.split(|b| *b == b'/').all(good) {
            return Ok(path);
        }
        Err(format!("\"{path}\" is not a path below a directory"))
    }

    /// The path of `name` in this directory; `name` is as a directory lists it.
    #[must_use]
    pub fn join(&self, name: &OsStr) -> Self {
        let mut bytes = self.0.clone();
        if !self.is_root() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.as_bytes());
        Self(bytes)
    }

    /// The path of `path`, which lies below this directory.
    #[must_use]
    pub fn below(&self, path: &Self) -> Self {
        if path.is_root() { self.clone() } else { self.join(OsStr::from_bytes(&path.0)) }
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes; empty for the root itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path, to be joined to a directory.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The directory above; none for the root itself.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0.get(..end).unwrap_or_default().to_vec()))
    }

    /// The last part; none for the root itself.
    pub fn name(&self) -> Option<&[u8]> {
        self.0.rsplit(|b| *b == b'/').next().filter(|name| !name.is_empty())
    }
}

impl fmt::Display for StoredPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { f.write_str(&encode(&self.0)) }
    }
}

impl fmt::Debug for StoredPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredPath({self})")
    }
}

impl From<StoredPath> for String {
    fn from(path: StoredPath) -> Self {
        path.to_string()
    }
}

impl TryFrom<String> for StoredPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for StoredPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "." {
            return Ok(Self::root());
        }
        if text.is_empty() {
            return Err("an empty path".to_owned());
        }
        Self::new(decode(text)?)
    }
}

/// Bytes that may be anything, such as the target of a symlink; written percent-encoded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EncodedBytes(pub Vec<u8>);

impl fmt::Display for EncodedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for EncodedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedBytes({self})")
    }
}

impl From<EncodedBytes> for String {
    fn from(bytes: EncodedBytes) -> Self {
        bytes.to_string()
    }
}

impl TryFrom<String> for EncodedBytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        decode(&text).map(Self)
    }
}

fn encode(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").unwrap_or_else(|_| unreachable!("a String takes everything"));
        }
    }
    text
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = if *first == b'%' {
            let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
            let byte = digits.filter(|d| !d.starts_with('+')).and_then(|d| u8::from_str_radix(d, 16).ok());
            bytes.push(byte.ok_or_else(|| format!("{text:?} is not percent-encoded"))?);
            after.get(2..).unwrap_or_default()
        } else {
            bytes.push(*first);
            after
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_their_root_are_refused() {
        for text in
            ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "%2E%2E/x", "a%00b", "%2Fetc", "%", "%g0", "%+1"]
        {
            assert!(text.parse::<StoredPath>().is_err(), "{text}");
        }
        assert_eq!(".".parse(), Ok(StoredPath::root()));
    }

    #[test]
    fn a_path_knows_its_parts() {
        let path: StoredPath = "shop/orders%0A.ibd".parse().unwrap();
        assert_eq!(path.name(), Some(&b"orders\n.ibd"[..]));
        assert_eq!(path.parent().unwrap().to_string(), "shop");
        assert_eq!(path.parent().unwrap().parent(), Some(StoredPath::root()));
        assert_eq!(StoredPath::root().join(OsStr::new("a")).join(OsStr::new("b")).to_string(), "a/b");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_back(bytes in proptest::collection::vec(0_u8.., 0..40)) {
            let encoded = EncodedBytes(bytes.clone());
            proptest::prop_assert!(encoded.to_string().is_ascii());
            proptest::prop_assert_eq!(EncodedBytes::try_from(encoded.to_string()), Ok(encoded));
            if let Ok(path) = StoredPath::new(bytes) {
                proptest::prop_assert_eq!(path.to_string().parse(), Ok(path));
            }
        }
        #[test]
        fn an_accepted_path_stays_below_its_root(text in "[a./%0-9]{0,12}") {
            if let Ok(path) = text.parse::<StoredPath>() {
                let joined = Path::new("/root").join(path.as_path());
                proptest::prop_assert!(joined.components().all(|c| c != std::path::Component::ParentDir));
                proptest::prop_assert!(joined.starts_with("/root"));
            }
        }
    }
}
