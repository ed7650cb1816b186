//! Statements that make a table, for another name and another database.
//!
//! A server writes them itself (SHOW CREATE TABLE), always in the same form: a line for each column, key
//! and constraint. Only what names tables is changed, outside of quotes.

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

impl Move<'_> {
    /// The statement for the new name and place. What it refers to without a database is in the one where
    /// the table goes, not where it is made.
    pub(super) fn of(&self, statement: &str) -> Option<String> {
        let (begin, rest) = after_name(statement)?;
        let mut text = format!("{begin}{}.{}", quoted(self.staging), quoted(self.name));
        for line in rest.split_inclusive('\n') {
            text.push_str(&self.line(line));
        }
        Some(text)
    }

    fn line(&self, line: &str) -> String {
        let trimmed = line.trim_start();
        let line = match trimmed.strip_prefix("CONSTRAINT ").and_then(skip_name) {
            Some(rest) => {
                let rest = rest.trim_start();
                let named = trimmed.get(..trimmed.len() - rest.len()).unwrap_or_default();
                let name = if self.renamed { "" } else { named };
                format!("  {name}{}", self.references(rest))
            }
            None => line.to_owned(),
        };
        if self.from == self.to {
            return line;
        }
        // The default of a column may be the next value of a sequence.
        line.replace(&format!("nextval({}.", quoted(self.from)), &format!("nextval({}.", quoted(self.to)))
    }

    /// The parent of a foreign key.
    fn references(&self, constraint: &str) -> String {
        const REFERENCES: &str = " REFERENCES ";
        let Some(at) = constraint.find(REFERENCES).filter(|_| constraint.starts_with("FOREIGN KEY")) else {
            return constraint.to_owned();
        };
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

/// `CREATE TABLE `, and what follows the name.
fn after_name(statement: &str) -> Option<(&str, &str)> {
    let at = statement.find('`')?;
    let (begin, rest) = statement.split_at(at);
    let words: Vec<&str> = begin.split_whitespace().collect();
    matches!(words.as_slice(), ["CREATE", "TABLE" | "SEQUENCE"]).then_some(())?;
    Some((begin, skip_name(rest)?))
}

/// What follows a quoted name.
fn skip_name(text: &str) -> Option<&str> {
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
pub(super) fn asked_for(statement: &str) -> Vec<(&'static str, String)> {
    const WORDS: [(&str, &str); 6] = [
        ("CHARACTER SET ", "character set"),
        ("CHARSET=", "character set"),
        ("COLLATE ", "collation"),
        ("COLLATE=", "collation"),
        ("ENGINE=", "engine"),
        ("ENGINE = ", "engine"),
    ];
    let text = without_quoted(statement);
    let mut asked = Vec::new();
    for (word, what) in WORDS {
        for (at, _) in text.match_indices(word) {
            let value = text.get(at + word.len()..).unwrap_or_default();
            let value: String = value.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if !value.is_empty() && !asked.contains(&(what, value.clone())) {
                asked.push((what, value));
            }
        }
    }
    asked
}

/// Text and names in quotes say nothing about what the server must know.
fn without_quoted(statement: &str) -> String {
    let (mut text, mut quote) = (String::with_capacity(statement.len()), None);
    let mut chars = statement.chars();
    while let Some(c) = chars.next() {
        match quote {
            // What follows a backslash is no end.
            Some('\'' | '"') if c == '\\' => drop(chars.next()),
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"' | '`') => quote = Some(c),
            None => text.push(c),
        }
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

    fn moved(to: &str, name: &str, renamed: bool) -> String {
        Move { from: "shop", staging: "stage", to, name, renamed }.of(TABLE).unwrap()
    }

    #[test]
    fn a_table_is_made_aside_and_refers_to_where_it_will_be() {
        let text = moved("shop", "or`ders", false);
        assert!(text.starts_with("CREATE TABLE `stage`.`or``ders` (\n"), "{text}");
        assert!(text.contains("CONSTRAINT `fk``1` FOREIGN KEY (`c`) REFERENCES `shop`.`customers` (`id`) ON DELETE"));
        assert!(text.contains("REFERENCES `other`.`t`") && text.contains("nextval(`shop`.`s`)"));
        assert!(text.contains("COMMENT 'COLLATE x REFERENCES `a`'"));
        assert!(text.ends_with(") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"));
    }

    #[test]
    fn under_another_name_its_constraints_get_new_names() {
        let text = moved("shop2", "copy", true);
        assert!(text.starts_with("CREATE TABLE `stage`.`copy` ("));
        assert!(text.contains("\n  FOREIGN KEY (`c`) REFERENCES `shop2`.`customers`"), "{text}");
        assert!(text.contains("REFERENCES `shop2`.`t`") && text.contains("nextval(`shop2`.`s`)"));
        assert!(text.contains("\n  CHECK (`c` <> ' REFERENCES `')"));
        assert!(Move { from: "a", staging: "b", to: "c", name: "d", renamed: false }.of("DROP TABLE `x`").is_none());
    }

    #[test]
    fn what_a_server_must_know_is_found_outside_of_quotes() {
        let asked = asked_for(TABLE);
        let has = |what, value: &str| asked.contains(&(what, value.to_owned()));
        assert!(has("collation", "utf8mb4_bin") && has("engine", "InnoDB") && has("character set", "utf8mb4"));
        assert!(!has("collation", "x"));
        assert_eq!(without_quoted(r"a 'b\'c' d `e``f` g"), "a  d  g");
    }
}
