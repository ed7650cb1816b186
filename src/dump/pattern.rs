//! Which databases and tables are meant: `shop`, `shop.orders`, `shop.tmp_*`, `*.sessions`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind};

/// What to look at where nothing is what is included.
const INCLUDED: &str = "is it spelled as the server spells it, and not one of the server's own? SHOW DATABASES; the server's own are never in a dump";

/// Databases and tables by name; `*` stands for any text, `?` for one character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    database: String,
    /// None where the whole database is meant.
    table: Option<String>,
    /// Whether the names are meant as they stand.
    exact: bool,
}

/// What is included, and what of that is not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection {
    /// Everything where there is none.
    pub include: Vec<Pattern>,
    /// Left out, whatever includes it.
    pub exclude: Vec<Pattern>,
}

impl Selection {
    /// Whether something of a database may be meant.
    pub fn has_database(&self, name: &str) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|p| p.is(&p.database, name));
        included && !self.exclude.iter().any(|p| p.table.is_none() && p.is(&p.database, name))
    }

    /// Whether everything that belongs to a database is meant, stored programs too.
    pub fn has_all_of(&self, database: &str) -> bool {
        self.include.is_empty() || self.include.iter().any(|p| p.table.is_none() && p.is(&p.database, database))
    }

    /// Whether a table or view is meant.
    pub fn has(&self, database: &str, table: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(database, table));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    /// An error where a dump would silently be without what somebody means: a name that a server with these databases and
    /// relations (tables, views, sequences) does not have, or nothing at all of what it has. A server that has nothing
    /// yet has all that is meant by a dump of everything.
    pub fn require_some(&self, databases: &[&str], relations: &[(&str, &str)]) -> Result<(), Fault> {
        // A restore asks by exact names, and says itself what is missing.
        if self.include.iter().any(|pattern| pattern.exact) {
            return Ok(());
        }
        let is_met = |pattern: &&Pattern| match pattern.table {
            None => databases.iter().any(|name| pattern.is(&pattern.database, name) && self.has_database(name)),
            Some(_) => relations.iter().any(|(name, table)| pattern.matches(name, table) && self.has(name, table)),
        };
        let refused = |why: String, hint: &str| Err(Fault::new(Kind::Refused, why).hint(hint));
        if let Some(pattern) = self.include.iter().find(|pattern| !pattern.has_wildcards() && !is_met(pattern)) {
            let why =
                format!("include names {pattern}, of which the server has nothing that exclude does not leave out");
            return refused(why, INCLUDED);
        }
        if !self.include.is_empty() && !self.include.iter().any(|pattern| is_met(&pattern)) {
            let all: Vec<String> = self.include.iter().map(ToString::to_string).collect();
            return refused(format!("the server has nothing of what include names: {}", all.join(", ")), INCLUDED);
        }
        if self.include.is_empty() && !databases.is_empty() && !databases.iter().any(|name| self.has_database(name)) {
            return refused("exclude leaves out every database of the server".to_owned(), "is it meant so?");
        }
        Ok(())
    }

    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }
}

impl Pattern {
    /// This database, or this table of it, whatever characters their names have.
    pub fn exact(database: &str, table: Option<&str>) -> Self {
        Self { database: database.to_owned(), table: table.map(str::to_owned), exact: true }
    }

    fn has_wildcards(&self) -> bool {
        [Some(&self.database), self.table.as_ref()].into_iter().flatten().any(|name| name.contains(['*', '?']))
    }

    fn matches(&self, database: &str, table: &str) -> bool {
        self.is(&self.database, database) && self.table.as_deref().is_none_or(|pattern| self.is(pattern, table))
    }

    fn is(&self, pattern: &str, name: &str) -> bool {
        if self.exact { pattern == name } else { matches(pattern, name) }
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (database, table) = text.split_once('.').map_or((text, None), |(database, table)| (database, Some(table)));
        if database.is_empty() || table.is_some_and(str::is_empty) {
            return Err(format!("{text:?} is not a pattern; allowed: \"database\", \"database.table\", with * and ?"));
        }
        // All tables of a database are the database.
        let table = table.filter(|table| *table != "*");
        Ok(Self { database: database.to_owned(), table: table.map(str::to_owned), exact: false })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.database)?;
        self.table.as_ref().map_or(Ok(()), |table| write!(f, ".{table}"))
    }
}

/// In time that grows with the product of both lengths at most: a star remembers where it was last.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(t) => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(include: &[&str], exclude: &[&str]) -> Selection {
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Selection { include: all(include), exclude: all(exclude) }
    }

    #[test]
    fn names_are_matched_whole() {
        for (pattern, text) in [("*", ""), ("a*c", "abbc"), ("?", "é"), ("*a*b*", "xaxbx"), ("tmp_*", "tmp_")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("?", ""), ("a*c", "ab"), ("*ab", "abx"), ("", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_left_out_is_left_out_whatever_includes_it() {
        let some = selection(&["shop", "crm.people"], &["shop.tmp_*", "old"]);
        assert!(some.has("shop", "orders") && some.has("crm", "people"));
        assert!(!some.has("shop", "tmp_1") && !some.has("crm", "other") && !some.has("old", "a"));
        assert!(some.has_database("crm") && !some.has_database("other"));
        assert!(some.has_all_of("shop") && !some.has_all_of("crm"));
        let everything = selection(&[], &["*.sessions"]);
        assert!(everything.has_database("a") && everything.has("a", "b") && !everything.has("a", "sessions"));
        assert!(everything.has_all_of("a"));
        assert!(!selection(&[], &["a"]).has_database("a"));
        assert!("a.".parse::<Pattern>().is_err() && "".parse::<Pattern>().is_err());
    }

    #[test]
    fn what_is_named_and_not_there_is_no_dump_of_nothing() {
        let asked = |include, exclude, databases: &[&str]| {
            let relations = [("shop", "orders"), ("crm", "people")];
            let there: Vec<_> = relations.into_iter().filter(|(name, _)| databases.contains(name)).collect();
            selection(include, exclude).require_some(databases, &there).map_err(|fault| fault.to_string())
        };
        let both = ["shop", "crm"];
        for (include, exclude) in [
            (&["shop", "crm.people"][..], &[][..]),
            (&["shop", "log.*_2026"], &[]),
            (&["s*"], &["crm"]),
            (&[], &["crm", "gone"]),
            (&[], &[]),
        ] {
            assert_eq!(asked(include, exclude, &both), Ok(()), "{include:?} {exclude:?}");
        }
        for (include, exclude, words) in [
            (&["shop", "shpo"][..], &[][..], "include names shpo,"),
            (&["shop.order"], &[], "include names shop.order,"),
            (&["mysql"], &[], "include names mysql,"),
            (&["crm"], &["c*"], "include names crm,"),
            (&["log_*", "shop.x*"], &[], "nothing of what include names: log_*, shop.x*"),
            (&[], &["*"], "exclude leaves out every database"),
        ] {
            let error = asked(include, exclude, &both).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(asked(&[], &["tmp"], &[]), Ok(()), "a server that has nothing yet");
        assert!(asked(&["shop"], &[], &["crm"]).is_err());
        let exact = Selection { include: vec![Pattern::exact("nothing", None)], exclude: Vec::new() };
        assert!(exact.require_some(&[], &[]).is_ok());
    }
}
