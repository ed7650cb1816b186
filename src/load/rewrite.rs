//! Statements that make a table, for another name and another database.
//!
//! A server writes them itself (SHOW CREATE TABLE), always in the same form: a line for each column, key
//! and constraint. Only what names tables is changed, outside of quotes.

use std::collections::BTreeSet;

use crate::server::quoted;

/// What a statement that makes a table becomes.
pub(super) struct Move<'a> {
    /// The database that the table is of.
    pub(super) from: &'a str,
    /// Where the table is made.
    pub(super) staging: &'a str,
    /// Where it goes afterwards.
    pub(super) to: &'a str,
    /// Its name.
    pub(super) name: &'a str,
    /// Whether another table may have the names of its constraints.
    pub(super) renamed: bool,
}

/// A table as it is made aside, and what is added when it is in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// Makes the table, without foreign keys: a table that is not in its place yet must not bind others.
    pub(super) statement: String,
    /// Its foreign keys, to be added.
    pub(super) foreign_keys: Vec<String>,
}

impl Move<'_> {
    /// The statement for the new name and place. What it refers to without a database is in the one where
    /// the table goes, not where it is made.
    pub(super) fn of(&self, statement: &str) -> Option<Made> {
        let (begin, rest) = after_name(statement)?;
        let (mut lines, mut foreign_keys): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        let mut in_body = true;
        for line in rest.split('\n') {
            // The body ends where a line closes it.
            if in_body && line.starts_with(')') {
                in_body = false;
                if let Some(last) = lines.last_mut() {
                    last.truncate(last.trim_end_matches(',').len());
                }
            }
            let line = if in_body { line } else { &in_own_file(line) };
            match self.constraint(line).filter(|_| in_body) {
                Some(Constraint::ForeignKey(text)) => foreign_keys.push(text),
                Some(Constraint::Other(text)) => lines.push(text),
                None => lines.push(self.default(line)),
            }
        }
        let name = format!("{}.{}", quoted(self.staging), quoted(self.name));
        Some(Made { statement: format!("{begin}{name}{}", lines.join("\n")), foreign_keys })
    }

    /// The default of a column may be the next value of a sequence.
    fn default(&self, line: &str) -> String {
        if self.from == self.to {
            return line.to_owned();
        }
        line.replace(&format!("nextval({}.", quoted(self.from)), &format!("nextval({}.", quoted(self.to)))
    }

    fn constraint(&self, line: &str) -> Option<Constraint> {
        let trimmed = line.trim_start();
        let rest = trimmed.strip_prefix("CONSTRAINT ").and_then(skip_name)?.trim_start();
        let named = trimmed.get(..trimmed.len() - rest.len()).unwrap_or_default();
        if rest.starts_with("FOREIGN KEY") {
            let text = format!("{named}{}", self.references(rest));
            return Some(Constraint::ForeignKey(text.trim_end_matches(',').to_owned()));
        }
        let name = if self.renamed { "" } else { named };
        Some(Constraint::Other(format!("  {name}{}", self.default(rest))))
    }

    /// The parent of a foreign key.
    fn references(&self, constraint: &str) -> String {
        const REFERENCES: &str = " REFERENCES ";
        let Some(at) = constraint.find(REFERENCES) else { return constraint.to_owned() };
        let (before, parent) = constraint.split_at(at + REFERENCES.len());
        match skip_name(parent) {
            // With its database in front it stays, unless that is the one that moves.
            Some(rest) if rest.starts_with('.') => {
                let schema = parent.get(..parent.len() - rest.len()).unwrap_or_default();
                let schema = if schema == quoted(self.from) { quoted(self.to) } else { schema.to_owned() };
                format!("{before}{schema}{rest}")
            }
            Some(_) => format!("{before}{}.{parent}", quoted(self.to)),
            None => constraint.to_owned(),
        }
    }
}

enum Constraint {
    ForeignKey(String),
    Other(String),
}

/// `CREATE TABLE `, and what follows the name.
fn after_name(statement: &str) -> Option<(&str, &str)> {
    let at = statement.find('`')?;
    let (begin, rest) = statement.split_at(at);
    let words: Vec<&str> = begin.split_whitespace().collect();
    matches!(words.as_slice(), ["CREATE", "TABLE" | "SEQUENCE"]).then_some(())?;
    Some((begin, skip_name(rest)?))
}

/// What follows a quoted name.
pub(super) fn skip_name(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix('`')?;
    loop {
        let at = rest.find('`')?;
        rest = rest.get(at + 1..)?;
        match rest.strip_prefix('`') {
            Some(more) => rest = more,
            None => return Some(rest),
        }
    }
}

/// Character sets, collations and engines that a statement asks for.
pub(super) fn asked_for(statement: &str) -> BTreeSet<(&'static str, String)> {
    const WORDS: [(&str, &str); 6] = [
        ("CHARACTER SET ", "character set"),
        ("CHARSET=", "character set"),
        ("COLLATE ", "collation"),
        ("COLLATE=", "collation"),
        ("ENGINE=", "engine"),
        ("ENGINE = ", "engine"),
    ];
    let text = without_quoted(statement);
    let mut asked = BTreeSet::new();
    for (word, what) in WORDS {
        for (at, _) in text.match_indices(word) {
            let value = text.get(at + word.len()..).unwrap_or_default();
            let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(value.len());
            asked.extend(value.get(..end).filter(|value| !value.is_empty()).map(|value| (what, value.to_owned())));
        }
    }
    asked
}

/// Whether a statement that makes a table puts its files into a directory of its own.
pub(super) fn has_directory(statement: &str) -> bool {
    let text = without_quoted(statement);
    ["DATA DIRECTORY", "INDEX DIRECTORY"].iter().any(|word| text.contains(word))
}

const TABLESPACE: &str = "/*!50100 TABLESPACE ";
/// Tablespaces that every MySQL has: a file for each table, and its own.
const EVERYWHERE: [&str; 2] = ["`innodb_file_per_table`", "`innodb_system`"];

/// Whether a statement that makes a table puts its rows into the file of a tablespace with others (MySQL).
pub(super) fn has_tablespace(statement: &str) -> bool {
    statement.lines().any(|line| in_own_file(line) != line)
}

/// The line that closes a table's body, without a tablespace that another server may not have.
fn in_own_file(line: &str) -> String {
    let is_everywhere = |(_, rest): (&str, &str)| EVERYWHERE.iter().any(|name| rest.starts_with(name));
    if line.split_once(TABLESPACE).is_some_and(is_everywhere) { line.to_owned() } else { without_tablespace(line) }
}

/// A statement that makes a table, or a line of one, without a tablespace.
fn without_tablespace(statement: &str) -> String {
    let mask = masked(statement);
    let comment = mask.find(TABLESPACE).and_then(|at| Some((at, at + mask.get(at..)?.find("*/")? + 2)));
    let Some((begin, end)) = comment else { return statement.to_owned() };
    let (before, behind) = (statement.get(..begin).unwrap_or_default(), statement.get(end..).unwrap_or_default());
    format!("{before}{}", behind.trim_start_matches(' '))
}

/// The sequences that a table takes defaults from: database and name.
pub(super) fn sequences(statement: &str) -> Vec<(String, String)> {
    const NEXT: &str = "nextval(";
    let mask = masked(statement);
    let named = |(at, _): (usize, &str)| {
        let (schema, rest) = unquoted(statement.get(at + NEXT.len()..)?)?;
        Some((schema, unquoted(rest.strip_prefix('.')?)?.0))
    };
    mask.match_indices(NEXT).filter_map(named).collect()
}

/// The name at the beginning of a text, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let rest = skip_name(text)?;
    let name = text.get(1..text.len() - rest.len() - 1)?;
    Some((name.replace("``", "`"), rest))
}

/// Text and names in quotes say nothing about what the server must know.
fn without_quoted(statement: &str) -> String {
    masked(statement).split(['\'', '"', '`']).step_by(2).collect()
}

/// Whether a statement that makes a trigger names the database of it, or of its table.
pub(super) fn is_of_a_named_database(statement: &str) -> bool {
    let upper = masked(statement).to_ascii_uppercase();
    let head = upper.find("FOR EACH ROW").and_then(|end| upper.get(..end)).unwrap_or(&upper);
    // What comes before is who made it.
    head.split_once("TRIGGER").is_none_or(|(_, named)| named.contains('.'))
}

/// A statement that makes an event, which waits until somebody enables it.
pub(super) fn switched_off(statement: &str) -> String {
    const ON: &str = " PRESERVE ENABLE ";
    let Some(at) = masked(statement).find(ON) else { return statement.to_owned() };
    let (begin, rest) = statement.split_at(at);
    format!("{begin} PRESERVE DISABLE {}", rest.get(ON.len()..).unwrap_or_default())
}

/// The statement of a view in which no column is called by its database as well, `shop`.`t`.`a`: so a server writes them
/// where the view's definer is gone, and under another name they would mean nothing.
pub(super) fn columns_without_database(statement: &str, database: &str) -> String {
    let (mask, prefix) = (masked(statement), format!("{}.", quoted(database)));
    let (mut text, mut from) = (String::with_capacity(statement.len()), 0);
    for (at, _) in statement.match_indices(&prefix) {
        let (before, rest) =
            (mask.get(..at).unwrap_or_default(), statement.get(at + prefix.len()..).unwrap_or_default());
        let is_name = mask.get(at..).is_some_and(|mask| mask.starts_with('`')) && !before.ends_with('.');
        if is_name && skip_name(rest).is_some_and(|rest| rest.starts_with(".`")) {
            text.push_str(statement.get(from..at).unwrap_or_default());
            from = at + prefix.len();
        }
    }
    text + statement.get(from..).unwrap_or_default()
}

/// A statement in which text and names in quotes are masked: every byte stays in its place.
pub(super) fn masked(statement: &str) -> String {
    let (mut text, mut quote, mut escaped) = (String::with_capacity(statement.len()), None, false);
    for c in statement.chars() {
        let is_end = !escaped && quote == Some(c);
        escaped = !escaped && c == '\\' && matches!(quote, Some('\'' | '"'));
        match quote {
            Some(_) if is_end => quote = None,
            Some(_) => {
                text.extend(std::iter::repeat_n('~', c.len_utf8()));
                continue;
            }
            None if matches!(c, '\'' | '"' | '`') => quote = Some(c),
            None => {}
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "CREATE TABLE `or``ders` (\n  `id` int(11) DEFAULT nextval(`shop`.`s`),\n  \
        `c` varchar(9) COLLATE utf8mb4_bin COMMENT 'COLLATE x REFERENCES `a`',\n  \
        CONSTRAINT `fk``1` FOREIGN KEY (`c`) REFERENCES `customers` (`id`) ON DELETE CASCADE,\n  \
        CONSTRAINT `fk2` FOREIGN KEY (`c`) REFERENCES `other`.`t` (`id`),\n  \
        CONSTRAINT `fk3` FOREIGN KEY (`c`) REFERENCES `shop`.`t` (`id`),\n  \
        CONSTRAINT `ck` CHECK (`c` <> ' REFERENCES `')\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";

    fn moved(to: &str, name: &str, renamed: bool) -> Made {
        Move { from: "shop", staging: "stage", to, name, renamed }.of(TABLE).unwrap()
    }

    #[test]
    fn a_view_calls_its_columns_by_their_tables_alone() {
        let text = "CREATE VIEW `v` AS select `shop`.`t`.`a` AS `a`,`shop`.`b` AS `b`,'`shop`.`t`.`c`' AS `c`,\
            `other`.`shop`.`t` AS `d`,`shop`.`f`(`shop`.`t`.`e`) AS `e` from `t` join `shop`";
        let expected = "CREATE VIEW `v` AS select `t`.`a` AS `a`,`shop`.`b` AS `b`,'`shop`.`t`.`c`' AS `c`,\
            `other`.`shop`.`t` AS `d`,`shop`.`f`(`t`.`e`) AS `e` from `t` join `shop`";
        assert_eq!(columns_without_database(text, "shop"), expected);
        assert_eq!(columns_without_database(expected, "shop"), expected);
        assert_eq!(columns_without_database("select `a``b`.`t`.`c`", "a`b"), "select `t`.`c`");
    }

    #[test]
    fn a_table_is_made_aside_without_what_binds_others() {
        let Made { statement, foreign_keys } = moved("shop", "or`ders", false);
        assert!(statement.starts_with("CREATE TABLE `stage`.`or``ders` (\n"), "{statement}");
        assert!(!statement.contains("FOREIGN KEY") && statement.contains("nextval(`shop`.`s`)"), "{statement}");
        assert!(statement.contains("COMMENT 'COLLATE x REFERENCES `a`'"));
        assert!(
            statement
                .ends_with("  CONSTRAINT `ck` CHECK (`c` <> ' REFERENCES `')\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4")
        );
        let first = "CONSTRAINT `fk``1` FOREIGN KEY (`c`) REFERENCES `shop`.`customers` (`id`) ON DELETE CASCADE";
        assert_eq!(foreign_keys.first().map(String::as_str), Some(first));
        assert!(foreign_keys[1].contains("REFERENCES `other`.`t`"));
    }

    #[test]
    fn a_body_that_ends_with_foreign_keys_ends_without_a_comma() {
        let table = "CREATE TABLE `t` (\n  `a` int,\n  KEY `a` (`a`),\n  CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `p` (`a`)\n) ENGINE=InnoDB";
        let made = Move { from: "a", staging: "s", to: "a", name: "t", renamed: false }.of(table).unwrap();
        assert!(made.statement.ends_with("  KEY `a` (`a`)\n) ENGINE=InnoDB"), "{}", made.statement);
        assert_eq!(made.foreign_keys, ["CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `a`.`p` (`a`)"]);
    }

    #[test]
    fn under_another_name_its_constraints_get_new_names() {
        let Made { statement, foreign_keys } = moved("shop2", "copy", true);
        assert!(statement.starts_with("CREATE TABLE `stage`.`copy` ("));
        assert!(statement.contains("nextval(`shop2`.`s`)") && foreign_keys[2].contains("REFERENCES `shop2`.`t`"));
        assert!(statement.contains("\n  CHECK (`c` <> ' REFERENCES `')"), "{statement}");
        assert!(Move { from: "a", staging: "b", to: "c", name: "d", renamed: false }.of("DROP TABLE `x`").is_none());
    }

    #[test]
    fn a_table_of_a_tablespace_gets_a_file_of_its_own() {
        let table = |tablespace: &str| {
            format!(
                "CREATE TABLE `t` (\n  `a` int COMMENT ') /*!50100 TABLESPACE `x` */'\n) /*!50100 TABLESPACE {tablespace} */ ENGINE=InnoDB\n/*!50100 x */"
            )
        };
        let made = |tablespace: &str| {
            let text = table(tablespace);
            Move { from: "a", staging: "s", to: "a", name: "t", renamed: false }.of(&text).unwrap().statement
        };
        assert!(made("`of ``all`").ends_with(" `x` */'\n) ENGINE=InnoDB\n/*!50100 x */"), "{}", made("`of ``all`"));
        assert!(has_tablespace(&table("`of ``all`")) && !has_tablespace(&table("`innodb_system`")));
        assert!(made("`innodb_system`").contains("\n) /*!50100 TABLESPACE `innodb_system` */ ENGINE=InnoDB\n"));
    }

    #[test]
    fn a_program_is_tried_where_it_can_do_nothing() {
        let trigger = |begin: &str| {
            is_of_a_named_database(&format!("CREATE DEFINER=`a`@`10.0.0.1` {begin} for each row SET @a = t.b"))
        };
        assert!(trigger("TRIGGER shop.t BEFORE INSERT ON x") && trigger("trigger t BEFORE INSERT ON `shop` . `x`"));
        assert!(!trigger("TRIGGER `t.1` BEFORE INSERT ON `x.y`"));
        let event = "CREATE EVENT `a PRESERVE ENABLE b` ON SCHEDULE EVERY 1 DAY ON COMPLETION NOT PRESERVE ENABLE COMMENT 'x' DO SELECT 1";
        assert_eq!(switched_off(event), event.replacen("NOT PRESERVE ENABLE", "NOT PRESERVE DISABLE", 1));
    }

    #[test]
    fn what_a_server_must_know_is_found_outside_of_quotes() {
        let asked = asked_for(TABLE);
        let has = |what, value: &str| asked.contains(&(what, value.to_owned()));
        assert!(has("collation", "utf8mb4_bin") && has("engine", "InnoDB") && has("character set", "utf8mb4"));
        assert!(!has("collation", "x"));
        let of = |options: &str| has_directory(&format!("CREATE TABLE `t` (\n  `DATA DIRECTORY` int\n) {options}"));
        assert!(of("ENGINE=InnoDB DATA DIRECTORY='/srv/'") && of("(PARTITION `p` INDEX DIRECTORY = '/srv')"));
        assert!(!of("COMMENT='DATA DIRECTORY=''/srv'''"));
        let general = "CREATE TABLE `t` (\n  `a` int\n) /*!50100 TABLESPACE `t*/` */ ENGINE=InnoDB";
        assert!(has_tablespace(general) && !has_tablespace(TABLE));
        assert_eq!(without_tablespace(general), "CREATE TABLE `t` (\n  `a` int\n) ENGINE=InnoDB");
        assert_eq!(sequences(TABLE), [("shop".to_owned(), "s".to_owned())]);
        assert_eq!(without_quoted(r"a 'b\'c' d `e``f` g"), "a  d  g");
        assert_eq!(masked(r"a 'b\'é' d `e``\` g"), r"a '~~~~~' d `~``~` g");
    }
}
