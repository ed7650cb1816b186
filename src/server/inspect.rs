//! Questions to a server of our own: how far its data goes, and whether its tables are whole.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use super::Address;
use super::facts::Facts;
use super::loader::lacks_room;
use super::session::Connection;
use super::sql::{self, Dialect};
use super::version::Flavour;

/// A statement may read a whole table.
const ANSWER: Duration = Duration::from_secs(24 * 3600);

/// A connection to a server that we started ourselves.
pub struct Inspector {
    connection: Connection,
    dialect: Dialect,
}

/// A table by its names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Table {
    /// The database.
    pub schema: String,
    /// The table.
    pub name: String,
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// What a server says of one of its tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It was read and is whole.
    Whole,
    /// Its engine has no check.
    Uncheckable,
    /// What is wrong with it.
    Damaged(String),
}

impl Inspector {
    /// Connects once to the server at `address`, which holds the data that `facts` tell of.
    pub fn connect(address: &Address, facts: &Facts) -> anyhow::Result<Self> {
        let connection = Connection::open(address, ANSWER)?;
        Ok(Self { connection, dialect: Dialect::of(facts.flavour, facts.version) })
    }

    /// The binary logs with their sizes, oldest first. Recovery has opened the last one.
    pub fn binary_logs(&mut self) -> anyhow::Result<Vec<(String, u64)>> {
        let rows = self.connection.rows(sql::BINARY_LOGS)?;
        let entry = |row: &super::session::Columns| {
            Some((row.get(&["log_name"])?.to_owned(), row.get(&["file_size"])?.parse().ok()?))
        };
        Ok(rows.iter().filter_map(entry).collect())
    }

    /// The names of the accounts with which somebody could log in.
    pub fn unlocked_accounts(&mut self, flavour: Flavour) -> anyhow::Result<Vec<String>> {
        self.connection.list(sql::unlocked_accounts(flavour))
    }

    /// The executed transactions.
    pub fn gtid_set(&mut self) -> anyhow::Result<Option<String>> {
        self.connection.value(self.dialect.gtid_set)
    }

    /// From now on NOW() is `taken`, and times without a zone are those of the server of `facts`.
    pub fn pretend(&mut self, taken: Timestamp, facts: &Facts) -> anyhow::Result<()> {
        let statement = sql::at_that_time(taken.as_second(), facts.utc_offset.unwrap_or(0));
        self.connection.run(&statement).with_context(|| format!("the server refused `{statement}`"))
    }

    /// Whether the answer to `query` is one row with one value that is true, as the server counts: a number
    /// other than 0. Else how it was answered. An error where it was not, for want of room for what the server sorts or
    /// groups, too: another server would have answered.
    pub fn holds(&mut self, query: &str) -> anyhow::Result<Result<(), String>> {
        match self.connection.rows(query) {
            Ok(rows) => Ok(match rows.as_slice() {
                [row] => is_true(row.only()),
                rows => Err(format!("has {} rows as its answer, not one", rows.len())),
            }),
            Err(error) => refused(error, query).map(Err),
        }
    }

    /// Every table that holds data.
    pub fn tables(&mut self) -> anyhow::Result<Vec<Table>> {
        self.names(sql::BASE_TABLES)
    }

    /// Those of which a check does not read all: [`Inspector::read`] does.
    pub fn tables_with_long_rows(&mut self) -> anyhow::Result<Vec<Table>> {
        self.names(sql::LONG_ROWS)
    }

    fn names(&mut self, query: &str) -> anyhow::Result<Vec<Table>> {
        let rows = self.connection.rows(query)?;
        let table = |row: &super::session::Columns| {
            Some(Table { schema: row.get(&["schema_name"])?.to_owned(), name: row.get(&["name"])?.to_owned() })
        };
        Ok(rows.iter().filter_map(table).collect())
    }

    /// Lets the server read every value of `table`. Where it can't, MySQL ends, and MariaDB takes what it has for all and
    /// says so in its log alone.
    pub fn read(&mut self, table: &Table) -> anyhow::Result<()> {
        self.connection.rows(&sql::checksum_table(&table.schema, &table.name)).map(drop)
    }

    /// Lets the server check `table`: its rows and indexes.
    pub fn check(&mut self, table: &Table) -> anyhow::Result<Checked> {
        let rows = self.connection.rows(&sql::check_table(&table.schema, &table.name))?;
        let told = rows.iter().filter_map(|row| Some((row.get(&["msg_type"])?, row.get(&["msg_text"])?)));
        Ok(judge(told))
    }
}

/// In which words the server refuses `query`; an error where it could not answer.
fn refused(error: anyhow::Error, query: &str) -> anyhow::Result<String> {
    match error.downcast_ref() {
        Some(mysql::Error::MySqlError(refused)) if lacks_room(refused.code, &refused.message) => {
            Err(error.context(format!("the second server has no room to answer the query `{query}`")))
        }
        Some(mysql::Error::MySqlError(refused)) => Ok(format!("is refused: {}", refused.message)),
        _ => Err(error),
    }
}

fn is_true(value: Result<Option<&str>, usize>) -> Result<(), String> {
    match value {
        Ok(Some(value)) if value.parse::<f64>().is_ok_and(|number| number.is_finite() && number != 0.0) => Ok(()),
        Ok(value) => Err(format!("is answered with {}", value.unwrap_or("NULL"))),
        Err(columns) => Err(format!("has {columns} columns, not one")),
    }
}

/// The last row says how it ended; a "note" that the engine has no check is an end too. Warnings
/// before an OK are of the kind "was not closed properly", which recovery has dealt with.
fn judge<'a>(told: impl Iterator<Item = (&'a str, &'a str)>) -> Checked {
    let told: Vec<(String, &str)> = told.map(|(kind, text)| (kind.to_ascii_lowercase(), text)).collect();
    let wrong: Vec<&str> = told.iter().filter(|(kind, _)| kind == "error").map(|(_, text)| *text).collect();
    match told.last() {
        Some((_, text)) if wrong.is_empty() && (*text == "OK" || *text == "Table is already up to date") => {
            Checked::Whole
        }
        Some((kind, _)) if wrong.is_empty() && kind == "note" => Checked::Uncheckable,
        Some((_, text)) => Checked::Damaged(if wrong.is_empty() { (*text).to_owned() } else { wrong.join("; ") }),
        None => Checked::Damaged("the server said nothing about it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_true_as_the_server_counts() {
        for good in ["1", "-3", "0.5"] {
            assert_eq!(is_true(Ok(Some(good))), Ok(()), "{good}");
        }
        for bad in ["0", "0.00", "", "yes", "nan"] {
            assert_eq!(is_true(Ok(Some(bad))), Err(format!("is answered with {bad}")));
        }
        assert_eq!(is_true(Ok(None)), Err("is answered with NULL".to_owned()));
        assert!(is_true(Err(2)).unwrap_err().contains("2 columns"));
    }

    #[test]
    fn want_of_room_is_no_answer() {
        let said = |code, message: &str| {
            let error = mysql::MySqlError { state: "HY000".to_owned(), code, message: message.to_owned() };
            refused(anyhow::Error::from(mysql::Error::from(error)), "SELECT 1")
        };
        for (code, message) in [
            (3, "Error writing file '/run/mysnap/x/tmp/MYfd=42' (Errcode: 28 \"No space left on device\")"),
            (3, "Error writing file '/run/mysnap/x/tmp/MYfd=42' (OS errno 28 - No space left on device)"),
            (1026, "Error writing file '/run/mysnap/x/tmp/MYfd=42'"),
            (1030, "Got error 28 \"No space left on device\" from storage engine Aria"),
            (1114, "The table '/run/mysnap/x/tmp/#sql1_5_1' is full"),
        ] {
            let error = said(code, message).unwrap_err();
            assert!(error.to_string().contains("no room to answer the query `SELECT 1`"), "{error:#}");
        }
        assert_eq!(said(1146, "Table 'a.b' doesn't exist").unwrap(), "is refused: Table 'a.b' doesn't exist");
        assert!(refused(anyhow::anyhow!("the connection was lost"), "SELECT 1").is_err());
    }

    #[test]
    fn a_table_is_whole_only_where_the_server_ends_with_ok() {
        let judged = |rows: &[(&'static str, &'static str)]| judge(rows.iter().copied());
        assert_eq!(judged(&[("status", "OK")]), Checked::Whole);
        assert_eq!(
            judged(&[("warning", "1 client is using or hasn't closed the table properly"), ("status", "OK")]),
            { Checked::Whole }
        );
        let no_check = "The storage engine for the table doesn't support check";
        assert_eq!(judged(&[("note", no_check)]), Checked::Uncheckable);
        let broken = judged(&[("Warning", "InnoDB: Index i has 3 entries, should be 4"), ("error", "Corrupt")]);
        assert_eq!(broken, Checked::Damaged("Corrupt".to_owned()));
        let failed = judged(&[("Error", "Table 'a.b' doesn't exist in engine"), ("status", "Operation failed")]);
        assert_eq!(failed, Checked::Damaged("Table 'a.b' doesn't exist in engine".to_owned()));
        assert!(matches!(judged(&[]), Checked::Damaged(_)));
    }
}
