//! Names of files for names of databases and tables: readable, safe, each its own.

use std::collections::HashSet;
use std::fmt::Write as _;

/// Leaves room for the number of a part and the ending within 255 bytes.
const LONGEST: usize = 120;

/// Gives names to files of one directory.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// A name for `text` that no other text of this directory has, in lower and upper case either:
    /// a destination may not tell them apart.
    pub(super) fn of(&mut self, text: &str) -> String {
        let plain = encoded(text);
        let mut name = plain.clone();
        for number in 2_u32.. {
            if name.len() <= LONGEST && self.0.insert(name.to_lowercase()) {
                break;
            }
            let begin: String = plain.chars().take(LONGEST - 12).collect();
            name = format!("{begin}~{number}");
        }
        name
    }
}

/// Letters, digits, `_` and `-` as they are, every other byte as `%xx`.
fn encoded(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || (byte == b'-' && !name.is_empty()) {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02x}").unwrap_or_else(|_| unreachable!("a String takes everything"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_safe_and_its_own() {
        let mut names = Names::default();
        assert_eq!(names.of("orders"), "orders");
        assert_eq!(names.of("Orders"), "Orders~2");
        assert_eq!(names.of("../etc/passwd"), "%2e%2e%2fetc%2fpasswd");
        assert_eq!(names.of("-rf"), "%2drf");
        assert_eq!(names.of("a.b\n"), "a%2eb%0a");
        let long = "中".repeat(64);
        let (one, two) = (names.of(&long), names.of(&format!("{}x", "中".repeat(63))));
        assert_ne!(one, two);
        assert!(one.len() <= LONGEST && two.len() <= LONGEST, "{one} {two}");
    }
}
