//! How a statement that makes a table is said to a server of another family or release.
//!
//! What the other server has under another word is said in that word. What it has not is told by name, and what a
//! table is without but holds the same rows is left out and told.

use std::collections::BTreeSet;

use super::line::Line;
use super::rewrite::masked;
use crate::server::{Facts, Flavour, Version};

/// The server that was dumped, and the one that takes the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crossing {
    from: (Flavour, Version),
    to: (Flavour, Version),
    /// Which collation somebody wants for which.
    collations: Vec<(String, String)>,
}

/// A statement as the other server may take it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) statement: String,
    /// What the other server has not.
    pub(super) lacks: BTreeSet<&'static str>,
    /// What the table will be without.
    pub(super) without: BTreeSet<&'static str>,
}

/// What not every server has, and from which release of MariaDB, and of MySQL, on.
struct Feature {
    name: &'static str,
    mariadb: Option<Version>,
    mysql: Option<Version>,
}

const fn since(name: &'static str, mariadb: Option<Version>, mysql: Option<Version>) -> Feature {
    Feature { name, mariadb, mysql }
}

/// Types that only some servers have.
const TYPES: [(&str, Feature); 5] = [
    ("uuid", since("type uuid", Some(Version(10, 7, 0)), None)),
    ("inet6", since("type inet6", Some(Version(10, 5, 0)), None)),
    ("inet4", since("type inet4", Some(Version(10, 10, 0)), None)),
    ("xmltype", since("type xmltype", Some(Version(12, 0, 0)), None)),
    ("vector", since("type vector", Some(Version(11, 7, 0)), Some(Version(9, 0, 0)))),
];
const VERSIONING: Feature = since("system versioning", Some(Version(10, 3, 4)), None);
const PERIODS: Feature = since("periods of time", Some(Version(10, 4, 3)), None);
const SEQUENCES: Feature = since("sequences", Some(Version(10, 3, 0)), None);
const VECTOR_INDEXES: Feature = since("indexes of vectors", Some(Version(11, 7, 0)), None);
const EXPRESSION_INDEXES: Feature = since("indexes on expressions", None, Some(Version(8, 0, 13)));
const INVISIBLE_COLUMNS: Feature = since("invisible columns", Some(Version(10, 3, 3)), Some(Version(8, 0, 23)));
const HIDDEN_INDEXES: Feature = since("hidden indexes", Some(Version(10, 6, 0)), Some(Version(8, 0, 0)));
const EXPRESSION_DEFAULTS: Feature = since("computed defaults", Some(Version(10, 2, 1)), Some(Version(8, 0, 13)));
/// Words in a line of a MariaDB.
const OF_MARIADB: [(&str, Feature); 8] = [
    (" WITH SYSTEM VERSIONING", VERSIONING),
    (" WITHOUT SYSTEM VERSIONING", VERSIONING),
    ("GENERATED ALWAYS AS ROW ", VERSIONING),
    ("  PERIOD FOR ", PERIODS),
    (" WITHOUT OVERLAPS", PERIODS),
    ("nextval(", SEQUENCES),
    ("lastval(", SEQUENCES),
    ("  VECTOR KEY ", VECTOR_INDEXES),
];
/// Options of tables that say how MariaDB's engines store them.
const STORAGE_OF_MARIADB: [(&str, &str); 7] = [
    ("PAGE_CHECKSUM=", ""),
    ("TRANSACTIONAL=", ""),
    ("PAGE_COMPRESSED`=", "compression of its pages"),
    ("PAGE_COMPRESSION_LEVEL`=", ""),
    ("ENCRYPTED`=", "encryption"),
    ("ENCRYPTION_KEY_ID`=", ""),
    ("SEQUENCE=", ""),
];
/// What MySQL stores otherwise; MariaDB passes over its comments.
const STORAGE_OF_MYSQL: [(&str, &str); 2] =
    [(" ENCRYPTION='Y'", "encryption"), (" COMPRESSION=", "compression of its pages")];

impl Crossing {
    /// From the server that was dumped to the one that takes the dump.
    pub(super) fn new(from: &Facts, to: &Facts, collations: &[(String, String)]) -> Self {
        let collations = collations.to_vec();
        Self { from: (from.flavour, from.version), to: (to.flavour, to.version), collations }
    }

    /// The collation that somebody wants for `collation`, or that one.
    pub(super) fn collation<'a>(&'a self, collation: &'a str) -> &'a str {
        let wanted = self.collations.iter().find(|(own, _)| own.eq_ignore_ascii_case(collation));
        wanted.map_or(collation, |(_, other)| other)
    }

    /// A statement with the collations that are wanted.
    pub(super) fn collated(&self, statement: &str) -> String {
        if self.collations.is_empty() {
            return statement.to_owned();
        }
        let (mask, mut collated, mut done) = (masked(statement), String::new(), 0);
        let upper = mask.to_ascii_uppercase();
        for (at, word) in upper.match_indices("COLLATE") {
            let begin = at + word.len() + 1;
            let rest = mask.get(begin..).unwrap_or_default();
            let end = begin + rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            if let (Some(before), Some(own)) = (statement.get(done..begin), statement.get(begin..end)) {
                collated.push_str(before);
                collated.push_str(self.collation(own));
                done = end;
            }
        }
        collated.push_str(statement.get(done..).unwrap_or_default());
        collated
    }

    /// Whether one of the servers may know what the other does not: another family or series.
    pub(super) fn differs(&self) -> bool {
        let (Version(a, b, _), Version(c, d, _)) = (self.from.1, self.to.1);
        self.is_between_families() || (a, b) != (c, d)
    }

    /// Whether one is a MariaDB and the other is not.
    pub(super) fn is_between_families(&self) -> bool {
        self.from.0.is_mariadb() != self.to.0.is_mariadb()
    }

    fn has(&self, feature: &Feature) -> bool {
        let since = if self.to.0.is_mariadb() { feature.mariadb } else { feature.mysql };
        since.is_some_and(|since| self.to.1 >= since)
    }

    /// Whether the other server has sequences.
    pub(super) fn has_sequences(&self) -> bool {
        self.has(&SEQUENCES)
    }

    /// Whether a program that was made in this mode means something else where the other server has it not.
    pub(super) fn lacks_mode(&self, mode: &str) -> bool {
        const MEANING: [&str; 3] = ["ORACLE", "EMPTY_STRING_IS_NULL", "SIMULTANEOUS_ASSIGNMENT"];
        self.from.0.is_mariadb() && !self.to.0.is_mariadb() && MEANING.contains(&mode)
    }

    /// What makes a table, as the other server may take it.
    pub(super) fn table(&self, statement: &str) -> Carried {
        let statement = self.collated(statement);
        if !self.differs() {
            return Carried { statement, ..Carried::default() };
        }
        let (mut carried, mut lines) = (Carried::default(), Vec::new());
        for text in statement.split('\n') {
            let mut line = Line::new(text);
            self.look(&line, &mut carried.lacks);
            let is_kept = !self.is_between_families() || self.say(&mut line, &mut carried);
            if is_kept {
                lines.push(line.text);
            } else if let Some(last) = lines.last_mut().filter(|_| !line.text.ends_with(',')) {
                // What was left out was the last of the body.
                last.truncate(last.trim_end_matches(',').len());
            }
        }
        carried.statement = lines.join("\n");
        carried
    }

    /// What a line needs that the other server has not.
    fn look(&self, line: &Line, lacks: &mut BTreeSet<&'static str>) {
        let mut need = |feature: &Feature| {
            if !self.has(feature) {
                lacks.insert(feature.name);
            }
        };
        let column_type = line.column_type();
        if let Some((_, feature)) = TYPES.iter().find(|(name, _)| column_type.as_deref() == Some(name)) {
            need(feature);
        }
        if self.from.0.is_mariadb() {
            OF_MARIADB.iter().filter(|(word, _)| line.has(word)).for_each(|(_, feature)| need(feature));
        }
        if column_type.is_some() && line.has(" INVISIBLE") {
            need(&INVISIBLE_COLUMNS);
        }
        if line.is_key() && line.indexes_an_expression() {
            need(&EXPRESSION_INDEXES);
        }
        if column_type.is_some() && line.default().is_some_and(|at| line.computes(at)) {
            need(&EXPRESSION_DEFAULTS);
        }
        if line.has(" WITH PARSER `") && self.to.0.is_mariadb() && !self.from.0.is_mariadb() {
            lacks.insert("full-text parsers of MySQL");
        }
    }

    /// Says a line in the words of the other family; false where the other has it not and the rows are the same.
    fn say(&self, line: &mut Line, carried: &mut Carried) -> bool {
        if self.from.0.is_mariadb() {
            self.say_to_mysql(line, carried);
        } else {
            self.say_to_mariadb(line, carried);
        }
        line.is_needed
    }

    fn say_to_mysql(&self, line: &mut Line, carried: &mut Carried) {
        if line.column_type().is_some() {
            line.wrap_default();
        } else if line.is_key() {
            line.replace(" IGNORED", if self.has(&HIDDEN_INDEXES) { " INVISIBLE" } else { "" });
        } else if line.text.starts_with(')') {
            for (option, what) in STORAGE_OF_MARIADB {
                let value = line.remove_option(option).unwrap_or_else(|| "no".to_owned()).to_ascii_lowercase();
                if !what.is_empty() && !["no", "off", "0"].contains(&value.as_str()) {
                    carried.without.insert(what);
                }
            }
        }
    }

    fn say_to_mariadb(&self, line: &mut Line, carried: &mut Carried) {
        // The session's own: MariaDB loses the escapes in text behind it (11.8).
        line.replace_all("_utf8mb4'", "'");
        if let Some(column_type) = line.column_type() {
            line.replace("/*!80023 INVISIBLE */", "INVISIBLE");
            if line.replace_comment("/*!80003 SRID ") {
                carried.without.insert("the restriction to a spatial reference system");
            }
            if column_type == "geomcollection" {
                line.replace(" geomcollection", " geometrycollection");
            }
        } else if line.is_key() {
            line.replace("/*!80000 INVISIBLE */", if self.has(&HIDDEN_INDEXES) { "IGNORED" } else { "" });
        } else if line.has("/*!80016 NOT ENFORCED */") {
            // It would be enforced: rows that break it could be there.
            carried.without.insert("constraints that are not enforced");
            line.is_needed = false;
        } else if line.text.starts_with(')') {
            for (option, what) in STORAGE_OF_MYSQL {
                if line.says(option) {
                    carried.without.insert(what);
                }
            }
            line.remove_option("COMPRESSION=");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARIADB: (Flavour, Version) = (Flavour::MariaDb, Version(11, 8, 9));
    const OLDER: (Flavour, Version) = (Flavour::MariaDb, Version(10, 11, 19));
    const MYSQL: (Flavour, Version) = (Flavour::MySql, Version(9, 7, 4));

    fn carried(from: (Flavour, Version), to: (Flavour, Version), body: &[&str], options: &str) -> Carried {
        let statement = format!("CREATE TABLE `t` (\n  {}\n) ENGINE=InnoDB{options}", body.join(",\n  "));
        Crossing { from, to, collations: Vec::new() }.table(&statement)
    }

    fn said(from: (Flavour, Version), to: (Flavour, Version), line: &str) -> String {
        let statement = carried(from, to, &[line], "").statement;
        statement.lines().nth(1).unwrap_or_default().trim_start().to_owned()
    }

    #[test]
    fn what_the_other_family_has_is_said_in_its_words() {
        let now = "`a` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp()";
        for (from, to, line, becomes) in [
            (MYSQL, MARIADB, "`a` int DEFAULT '7' /*!80023 INVISIBLE */", "`a` int DEFAULT '7' INVISIBLE"),
            (MYSQL, MARIADB, "KEY `a` (`a`) /*!80000 INVISIBLE */", "KEY `a` (`a`) IGNORED"),
            (MYSQL, MARIADB, "`a INVISIBLE` geomcollection", "`a INVISIBLE` geometrycollection"),
            (MYSQL, MARIADB, r"`a` text DEFAULT (_utf8mb4'it\'s')", r"`a` text DEFAULT ('it\'s')"),
            (MARIADB, MYSQL, "KEY `a` (`a`) IGNORED", "KEY `a` (`a`) INVISIBLE"),
            (
                MARIADB,
                MYSQL,
                "`a` text DEFAULT 'x, COMMENT' COMMENT 'y'",
                "`a` text DEFAULT ('x, COMMENT') COMMENT 'y'",
            ),
            (MARIADB, MYSQL, "`a` text DEFAULT NULL", "`a` text DEFAULT NULL"),
            (MARIADB, MYSQL, "`a` date DEFAULT curdate() INVISIBLE", "`a` date DEFAULT (curdate()) INVISIBLE"),
            (MARIADB, MYSQL, "`a` varchar(9) DEFAULT concat('a',', ')", "`a` varchar(9) DEFAULT (concat('a',', '))"),
            (MARIADB, MYSQL, "`a` int(11) DEFAULT (1 + 2)", "`a` int(11) DEFAULT (1 + 2)"),
            (MARIADB, MYSQL, now, now),
            (MARIADB, OLDER, "`a` text DEFAULT 'x'", "`a` text DEFAULT 'x'"),
        ] {
            assert_eq!(said(from, to, line), becomes);
        }
        let options =
            " PAGE_CHECKSUM=1 TRANSACTIONAL=1 COMMENT='TRANSACTIONAL=1' `encrypted`='no' `page_compressed`='1'";
        let stored = carried(MARIADB, MYSQL, &["`a` int"], options);
        assert!(stored.statement.ends_with(") ENGINE=InnoDB COMMENT='TRANSACTIONAL=1'"), "{}", stored.statement);
        assert_eq!(stored.without.into_iter().collect::<Vec<_>>(), ["compression of its pages"]);
    }

    #[test]
    fn what_the_other_server_has_not_is_named() {
        for (from, to, line, lack) in [
            (MARIADB, MYSQL, "`u` uuid DEFAULT uuid()", "type uuid"),
            (MARIADB, OLDER, "`v` vector(3) NOT NULL", "type vector"),
            (MARIADB, MYSQL, "VECTOR KEY `v` (`v`)", "indexes of vectors"),
            (MARIADB, MYSQL, "`a` bigint DEFAULT nextval(`s`.`s`)", "sequences"),
            (MARIADB, MYSQL, "PERIOD FOR `p` (`f`, `t`)", "periods of time"),
            (MYSQL, MARIADB, "KEY `f` (`a`,(lower(`b`)))", "indexes on expressions"),
            (MYSQL, MARIADB, "FULLTEXT KEY `a` (`a`) /*!50100 WITH PARSER `ngram` */ ", "full-text parsers of MySQL"),
        ] {
            let lacks = carried(from, to, &["`a` int", line], "").lacks;
            assert_eq!(lacks.into_iter().collect::<Vec<_>>(), [lack], "{line}");
        }
        let lacks = |from, to, line: &str, options: &str| carried(from, to, &[line], options).lacks.len();
        assert_eq!(lacks(MARIADB, MYSQL, "`a` int", " WITH SYSTEM VERSIONING"), 1);
        assert_eq!(lacks(MARIADB, OLDER, "`a` uuid DEFAULT nextval(`s`.`s`)", " WITH SYSTEM VERSIONING"), 0);
        assert_eq!(
            lacks(MARIADB, MYSQL, "`uuid` int COMMENT ' uuid nextval('", " COMMENT=' WITH SYSTEM VERSIONING'"),
            0
        );
        assert_eq!(lacks(MYSQL, MARIADB, "KEY `f` (`a`(20),`b`(3))", ""), 0);
    }

    #[test]
    fn a_collation_gives_way_to_the_one_that_is_wanted() {
        let collations = vec![("utf8mb4_0900_ai_ci".to_owned(), "utf8mb4_unicode_ci".to_owned())];
        let crossing = Crossing { from: MYSQL, to: OLDER, collations };
        let table = |one: &str| {
            format!(
                "CREATE TABLE `COLLATE {one}` (\n  `a` text COLLATE {one} COMMENT 'COLLATE utf8mb4_0900_ai_ci'\n) COLLATE={one}"
            )
        };
        let named = "`COLLATE utf8mb4_0900_ai_ci`";
        let expected = table("utf8mb4_unicode_ci").replacen("`COLLATE utf8mb4_unicode_ci`", named, 1);
        assert_eq!(crossing.collated(&table("utf8mb4_0900_ai_ci")), expected);
        assert_eq!(crossing.collated("select a collate utf8mb4_0900_as_cs"), "select a collate utf8mb4_0900_as_cs");
        assert_eq!(
            crossing.collated("select 'é' collate utf8mb4_0900_ai_ci as b"),
            "select 'é' collate utf8mb4_unicode_ci as b"
        );
    }

    #[test]
    fn a_constraint_that_is_not_enforced_is_left_out() {
        let check = "CONSTRAINT `c` CHECK ((`a` > 1)) /*!80016 NOT ENFORCED */";
        let last = carried(MYSQL, MARIADB, &["`a` int", check], "");
        assert_eq!(last.statement, "CREATE TABLE `t` (\n  `a` int\n) ENGINE=InnoDB");
        let first = carried(MYSQL, MARIADB, &["`a` int", check, "CONSTRAINT `d` CHECK ((`a` > 0))"], "");
        assert!(first.statement.contains("`a` int,\n  CONSTRAINT `d`"), "{}", first.statement);
        assert_eq!(first.without.len(), 1);
    }
}
