//! Names of files for names of databases and tables: readable, safe, each its own.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

/// Leaves room for the number of a part and the ending within 255 bytes.
const LONGEST: usize = 120;

/// Gives names to files of one directory.
#[derive(Debug, Default)]
pub(super) struct Names {
    given: HashSet<String>,
    /// With which number a search goes on for those that begin alike.
    next: HashMap<String, u32>,
}

impl Names {
    /// A name for `text` that no other text of this directory has, in lower and upper case either:
    /// a destination may not tell them apart.
    pub(super) fn of(&mut self, text: &str) -> String {
        let mut name = encoded(text);
        if name.len() <= LONGEST && self.given.insert(name.to_lowercase()) {
            return name;
        }
        name.truncate(LONGEST - 12);
        let next = self.next.entry(name.to_lowercase()).or_insert(2);
        loop {
            let numbered = format!("{name}~{next}");
            *next += 1;
            if self.given.insert(numbered.to_lowercase()) {
                return numbered;
            }
        }
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
    fn thousands_that_begin_alike_each_get_a_name() {
        let (mut names, mut given) = (Names::default(), HashSet::new());
        for number in 0..50_000 {
            assert!(given.insert(names.of(&format!("{}{number}", "中".repeat(50)))), "{number}");
        }
    }

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
