//! Statements in a binary log, and what they do.

use super::bytes::Bytes;
use super::event::Kind;
use super::unpack;

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The database that was in use.
    pub database: String,
    /// Its text. Bytes that are no UTF-8 are replaced: it is for people and for searching.
    pub text: String,
}

impl Statement {
    /// The one of a statement's event.
    pub fn of(kind: Kind, body: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(body);
        bytes.take(8)?;
        let database = usize::from(bytes.u8()?);
        bytes.u16()?;
        let variables = usize::from(bytes.u16()?);
        bytes.take(variables)?;
        let database = lossy(bytes.take(database)?);
        bytes.u8()?;
        let text = match kind {
            Kind::QUERY => lossy(bytes.0),
            Kind::QUERY_COMPRESSED => lossy(&unpack::mariadb(bytes)?),
            _ => return None,
        };
        Some(Self { database, text })
    }

    /// Its first word in lower case, behind comments: `drop`, `insert`, `begin`.
    pub fn verb(&self) -> String {
        words(&self.text).next().unwrap_or_default().to_ascii_lowercase()
    }

    /// Whether it ends a transaction that began with BEGIN.
    pub fn ends_a_transaction(&self) -> bool {
        let mut words = words(&self.text);
        let (first, second) = (words.next().unwrap_or_default(), words.next());
        // ROLLBACK TO is within one.
        first.eq_ignore_ascii_case("commit") || first.eq_ignore_ascii_case("rollback") && second.is_none()
    }

    /// Whether it begins one.
    pub fn begins_a_transaction(&self) -> bool {
        let mut words = words(&self.text).map(str::to_ascii_lowercase);
        match words.next().as_deref() {
            Some("begin") => true,
            Some("xa") => words.next().is_some_and(|word| word == "start" || word == "begin"),
            _ => false,
        }
    }

    /// Whether it decides over a distributed transaction that was prepared.
    pub fn completes_xa(&self) -> bool {
        let mut words = words(&self.text).map(str::to_ascii_lowercase);
        words.next().as_deref() == Some("xa") && words.next().is_some_and(|word| word == "commit" || word == "rollback")
    }

    /// Whether it drops the database of that name, and all tables with it.
    pub fn drops_database(&self, database: &str) -> bool {
        let mut words = words(&self.text);
        let is = |word: Option<&str>, one_of: &[&str]| {
            word.is_some_and(|w| one_of.iter().any(|o| w.eq_ignore_ascii_case(o)))
        };
        is(words.next(), &["drop"])
            && is(words.next(), &["database", "schema"])
            && words.last().is_some_and(|w| w.eq_ignore_ascii_case(database))
    }

    /// Whether it names `table` of `database`: as a word, with the database before it or in use.
    pub fn names(&self, database: Option<&str>, table: &str) -> bool {
        let all: Vec<&str> = words(&self.text).collect();
        let is_table = |at: usize| all.get(at).is_some_and(|word| word.eq_ignore_ascii_case(table));
        let named = |at: usize| {
            let before = at.checked_sub(2).filter(|_| all.get(at - 1) == Some(&".")).and_then(|n| all.get(n));
            before.copied().unwrap_or(&self.database)
        };
        (0..all.len())
            .any(|at| is_table(at) && database.is_none_or(|database| named(at).eq_ignore_ascii_case(database)))
    }
}

/// The event that carries the statement of rows: Annotate_rows of MariaDB, Rows_query of MySQL.
pub fn of_rows(kind: Kind, body: &[u8]) -> Option<String> {
    match kind {
        Kind::ANNOTATE_ROWS => Some(lossy(body)),
        // Its first byte is a length that has no room for what it should say.
        Kind::ROWS_QUERY => Some(lossy(body.get(1..)?)),
        _ => None,
    }
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Words, names without their quotes, and points between them; not what stands in comments and text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            let first = rest.chars().next()?;
            let end = match first {
                '-' if rest.starts_with("-- ") => line(rest),
                '#' => line(rest),
                '/' if rest.starts_with("/*!") || rest.starts_with("/*M!") => versioned(rest),
                '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
                '\'' | '"' => quoted(rest, first),
                '`' => {
                    let end = quoted(rest, first);
                    let (name, after) = rest.split_at(end);
                    rest = after;
                    return Some(name.trim_matches('`'));
                }
                '.' => {
                    let (point, after) = rest.split_at(1);
                    rest = after;
                    return Some(point);
                }
                c if is_word(c) => {
                    let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                    let (word, after) = rest.split_at(end);
                    rest = after;
                    return Some(word);
                }
                other => other.len_utf8(),
            };
            rest = rest.get(end..)?;
        }
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Where what the server executes of a comment for it begins: behind the version.
fn versioned(text: &str) -> usize {
    let version = text.find('!').map_or(text.len(), |mark| mark + 1);
    let digits = text.bytes().skip(version).take_while(u8::is_ascii_digit).count();
    version + digits
}

fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// Where what begins with `quote` ends.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Statement {
        Statement { database: "shop".into(), text: text.into() }
    }

    fn body(text: &[u8]) -> Vec<u8> {
        [&[0; 8][..], &[4, 0, 0, 3, 0], &[1, 2, 3], b"shop\0", text].concat()
    }

    #[test]
    fn a_statement_is_read_with_its_database() {
        let read = Statement::of(Kind::QUERY, &body(b"DROP TABLE t")).unwrap();
        assert_eq!(read, statement("DROP TABLE t"));
        assert_eq!(Statement::of(Kind::QUERY, &body(b"")[..15]), None);
        assert_eq!(of_rows(Kind::ROWS_QUERY, b"\x05abc").as_deref(), Some("abc"));
        assert_eq!(of_rows(Kind::ANNOTATE_ROWS, b"abc").as_deref(), Some("abc"));
    }

    #[test]
    fn what_it_does_stands_behind_comments() {
        for (text, verb) in [
            ("DROP TABLE t", "drop"),
            ("/* generated by server */ drop table t", "drop"),
            ("-- why\n# and\n(SELECT 1)", "select"),
            ("/*!40000 ALTER TABLE t DISABLE KEYS */", "alter"),
            ("/*!40000 DROP TABLE t */", "drop"),
            ("/*M!100101 DROP TABLE t */", "drop"),
            ("/*! drop TABLE t */", "drop"),
            ("/*!40000", ""),
            ("", ""),
        ] {
            assert_eq!(statement(text).verb(), verb, "{text}");
        }
        assert!(statement("COMMIT").ends_a_transaction() && statement("rollback").ends_a_transaction());
        assert!(!statement("ROLLBACK TO `a`").ends_a_transaction());
    }

    #[test]
    fn a_table_is_named_as_a_word_in_its_database() {
        let drop = statement("DROP TABLE `orders`, crm.people /* old.items */");
        assert!(drop.names(None, "orders") && drop.names(Some("shop"), "ORDERS") && drop.names(Some("crm"), "people"));
        assert!(!drop.names(Some("crm"), "orders") && !drop.names(Some("shop"), "people"));
        assert!(!drop.names(None, "order") && !drop.names(None, "items"));
        assert!(!statement("INSERT INTO t VALUES ('orders\\' orders', \"orders\")").names(None, "orders"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".*", table in "[a-z]{0,3}") {
            let statement = statement(&text);
            drop((statement.verb(), statement.names(Some("a"), &table), statement.ends_a_transaction()));
        }
    }
}
