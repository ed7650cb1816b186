//! Feeding a server: statements of a dump, and rows by LOAD DATA.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mysql::LocalInfileHandler;

use super::dump_sql::{self as sql, Taken};
use super::facts::Facts;
use super::session::{Columns, Connection, explained};
use super::side_by_side::Connected;
use super::sql::kill_connection;
use super::version::{Flavour, Version};
use super::{Address, Table};
use crate::fault::{Fault, Kind};

/// How the names of databases begin that hold what is not complete yet.
pub const RESTORING: &str = "mysnap_restoring_";
/// A statement may take a whole table.
const ANSWER: Duration = Duration::from_secs(24 * 3600);
/// The largest statement, and the largest row.
const LARGEST: usize = 1 << 30;
/// What the server's socket is fed in.
const PIECE: usize = 256 << 10;
/// ER_CANNOT_USER: there is an account of that name.
const ACCOUNT_EXISTS: u16 = 1396;
/// Access denied: to a database, a table, a column, for want of a privilege, to a stored program.
const MAY_NOT: [u16; 5] = [1044, 1142, 1143, 1227, 1370];
/// ER_ACCESS_DENIED_NO_PASSWORD_ERROR: to grant what its owner may be taken for.
const MAY_NOT_PROXY: u16 = 1698;
/// ER_SEQUENCE_RUN_OUT: it would go on behind its end.
const HAS_RUN_OUT: u16 = 4084;
/// ER_PLUGIN_IS_NOT_LOADED: it would check the account's logins.
const NO_SUCH_PLUGIN: u16 = 1524;
/// ER_WARN_ALLOWED_PACKET_OVERFLOWED: MySQL makes JSON of text that is no longer than that.
pub(super) const TOO_LARGE: u16 = 1301;
/// What helps then.
pub(super) const LARGER_PACKETS: &str =
    "raise the server's max_allowed_packet above the longest JSON value: SET GLOBAL max_allowed_packet = 1073741824";
/// ER_GENERATED_COLUMN…: the time for which a row was valid is not taken.
const PERIOD_IGNORED: &str = "1906";
/// WARN_DATA_TRUNCATED.
const TRUNCATED: &str = "1265";

/// A connection that feeds a server.
pub struct Loader {
    connection: Connection,
    flavour: Flavour,
    version: Version,
}

/// What a server can take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Character sets.
    pub charsets: Vec<String>,
    /// Collations.
    pub collations: Vec<String>,
    /// Character sets with their default collation.
    pub default_collations: Vec<(String, String)>,
    /// Storage engines.
    pub engines: Vec<String>,
    /// Those of the time zones that were asked for which it knows by their names.
    pub zones: Vec<String>,
    /// Whether it takes rows from its clients.
    pub local_infile: bool,
}

/// Rows or accounts that the server did not take as they are, with any room.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotTaken(pub String);

/// What came of making an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MadeAccount {
    /// It is there now.
    Made,
    /// There is one of that name already.
    IsThere,
    /// The server could not check its logins; in its words.
    NeedsPlugin(String),
}

/// A statement that the server did not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server refused `{statement} …`: {said} (error {code})")]
pub struct Refusal {
    /// How the statement begins.
    pub statement: String,
    /// The server's words.
    pub said: String,
    /// Its number for them.
    pub code: u16,
}

impl Refusal {
    /// Whether the server had no room, on disk or in memory: another one would have taken the statement.
    pub fn lacks_room(&self) -> bool {
        lacks_room(self.code, &self.said)
    }
}

/// Where the rows of a part go.
#[derive(Debug, Clone, Copy)]
pub struct Into<'a> {
    /// The database.
    pub schema: &'a str,
    /// The table.
    pub table: &'a str,
    /// The columns of a row.
    pub columns: &'a [Taken<'a>],
    /// Whether former rows are among them.
    pub history: bool,
}

impl Connected for Loader {
    fn id(&self) -> u32 {
        self.connection.id()
    }

    fn end(&mut self, id: u32) -> anyhow::Result<()> {
        self.run(&kill_connection(id))
    }
}

impl Loader {
    /// Connects once to the server of `facts`; with `binary_log` its replicas get everything too.
    pub fn open(address: &Address, facts: &Facts, binary_log: bool) -> anyhow::Result<Self> {
        let connection = Connection::open_for(address, ANSWER, LARGEST).map_err(|e| explained(e, address))?;
        let mut loader = Self { connection, flavour: facts.flavour, version: facts.version };
        loader.run(sql::LOAD)?;
        loader.accept_what_was_accepted()?;
        if !binary_log {
            loader.run(sql::WITHOUT_BINARY_LOG)?;
        }
        Ok(loader)
    }

    /// An account that may not say so gets the server's refusal for the table that needs it.
    fn accept_what_was_accepted(&mut self) -> anyhow::Result<()> {
        for (since, statement) in sql::STRICTER {
            if self.flavour.is_mariadb() || self.version < since {
                continue;
            }
            match self.connection.run(statement) {
                Err(mysql::Error::MySqlError(error)) if MAY_NOT.contains(&error.code) => {}
                done => done.map_err(|error| refused(error, statement))?,
            }
        }
        Ok(())
    }

    /// Whether nobody else restores into this server; nobody else can while this connection lives.
    pub fn claim(&mut self) -> anyhow::Result<bool> {
        Ok(self.connection.value(sql::CLAIM)?.as_deref() == Some("1"))
    }

    /// Privileges that a load needs and that were given to the account nowhere: with them on some databases alone it
    /// may get as far as it should. What its roles were given is not looked at.
    pub fn missing_privileges(&mut self) -> anyhow::Result<Vec<&'static str>> {
        Ok(missing_of(&self.connection.list(sql::OWN_GRANTS)?))
    }

    /// The names of all databases.
    pub fn databases(&mut self) -> anyhow::Result<Vec<String>> {
        self.connection.list(sql::DATABASES)
    }

    /// The names of everything in a database that has rows, views too.
    pub fn tables(&mut self, schema: &str) -> anyhow::Result<Vec<String>> {
        self.connection.list(&sql::tables(schema))
    }

    /// What the server can take, and which of these time zones it knows.
    pub fn abilities(&mut self, named_zones: &BTreeSet<&str>) -> anyhow::Result<Abilities> {
        let defaults = self.connection.rows(sql::DEFAULT_COLLATIONS)?;
        let default = |row: &Columns| Some((row.get(&["name"])?.to_owned(), row.get(&["value"])?.to_owned()));
        let full_names = self.flavour.is_mariadb() && self.version >= Version(10, 10, 1);
        Ok(Abilities {
            charsets: self.connection.list(sql::CHARACTER_SETS)?,
            collations: self.connection.list(if full_names { sql::FULL_COLLATIONS } else { sql::COLLATIONS })?,
            default_collations: defaults.iter().filter_map(default).collect(),
            engines: self.connection.list(sql::ENGINES)?,
            zones: self.known_zones(named_zones)?,
            local_infile: self.connection.value(sql::LOCAL_INFILE)?.as_deref() == Some("1"),
        })
    }

    fn known_zones(&mut self, named: &BTreeSet<&str>) -> anyhow::Result<Vec<String>> {
        let mut known = Vec::new();
        for zone in named {
            if self.connection.value(&sql::knows_zone(zone))?.as_deref() == Some("1") {
                known.push((*zone).to_owned());
            }
        }
        Ok(known)
    }

    /// Lets the server take rows from its clients, or not.
    pub fn allow_local_infile(&mut self, on: bool) -> anyhow::Result<()> {
        let hint = "SET GLOBAL local_infile = ON, as an account that may";
        self.run(&sql::set_local_infile(on)).map_err(|error| {
            Fault::new(Kind::Config, "the server takes no rows from clients").hint(hint).caused_by(error).into()
        })
    }

    /// Makes a database.
    pub fn create_database(&mut self, name: &str, charset: &str, collation: &str) -> anyhow::Result<()> {
        self.run(&sql::create_database(name, charset, collation))
    }

    /// Has `make` work where text without a collation has this one, and not the `usual` one of the database.
    pub fn with_default_collation(
        &mut self,
        database: &str,
        (collation, usual): (&str, &str),
        make: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.run(&sql::default_collation(Some(database), collation))?;
        let made = make(self);
        self.run(&sql::default_collation(Some(database), usual)).and(made)
    }

    /// Removes a database, if it is there.
    pub fn drop_database(&mut self, name: &str) -> anyhow::Result<()> {
        self.run(&sql::drop_database(name))
    }

    /// Removes a table.
    pub fn drop_table(&mut self, schema: &str, name: &str) -> anyhow::Result<()> {
        self.run(&sql::drop_table(schema, name))
    }

    /// Removes those tables that are there, all at once.
    pub fn drop_if_there(&mut self, tables: &[Table]) -> anyhow::Result<()> {
        if tables.is_empty() { Ok(()) } else { self.run(&sql::drop_if_there(tables)) }
    }

    /// Statements that follow work in this database.
    pub fn enter(&mut self, schema: &str) -> anyhow::Result<()> {
        self.run(&sql::use_database(schema))
    }

    /// Runs a statement of a dump.
    pub fn make(&mut self, statement: &str) -> anyhow::Result<()> {
        self.run(statement)
    }

    /// The same in the session settings that it was made with, see [`sql::as_stored`].
    pub fn make_as_stored(&mut self, settings: Option<&str>, statement: &str) -> anyhow::Result<()> {
        let Some(settings) = settings else { return self.run(statement) };
        self.run(settings)?;
        let made = self.run(statement);
        self.run(sql::LOAD).and(made)
    }

    /// Makes an account, or says why there is none to be made.
    pub fn make_account(&mut self, statement: &str) -> anyhow::Result<MadeAccount> {
        match self.connection.run(statement) {
            Ok(()) => Ok(MadeAccount::Made),
            Err(mysql::Error::MySqlError(error)) if error.code == ACCOUNT_EXISTS => Ok(MadeAccount::IsThere),
            Err(mysql::Error::MySqlError(error)) if error.code == NO_SUCH_PLUGIN => {
                Ok(MadeAccount::NeedsPlugin(error.message))
            }
            Err(error) => Err(without_text(&error)),
        }
    }

    /// Gives an account something; why not, where ours may not give it.
    pub fn grant(&mut self, statement: &str) -> anyhow::Result<Option<String>> {
        match self.connection.run(statement) {
            Ok(()) => Ok(None),
            Err(mysql::Error::MySqlError(error)) if MAY_NOT.contains(&error.code) || error.code == MAY_NOT_PROXY => {
                Ok(Some(error.message))
            }
            Err(error) => Err(without_text(&error)),
        }
    }

    /// Has a sequence go on at `value`.
    pub fn set_sequence(&mut self, schema: &str, name: &str, value: &str) -> anyhow::Result<()> {
        match self.connection.run(&sql::restart_sequence(schema, name, value)) {
            Err(mysql::Error::MySqlError(error)) if error.code == HAS_RUN_OUT => {
                self.run(&sql::set_sequence(schema, name, value))
            }
            done => done.map_err(|error| refused(error, "ALTER SEQUENCE")),
        }
    }

    /// Adds constraints to a table, all at once.
    pub fn add_to_table(&mut self, table: &Table, constraints: &[String]) -> anyhow::Result<()> {
        self.run(&sql::add_to_table(&table.schema, &table.name, constraints))
    }

    /// Writes into a table of that name that `target` is not finished, or these `items` of it; on disk with the next
    /// statement that changes a definition.
    pub fn note(&mut self, schema: &str, name: &str, target: &str, items: &[&str]) -> anyhow::Result<()> {
        self.run(&sql::make_note(schema, name))?;
        self.run(&sql::note(schema, name, target, items))
    }

    /// What was written there: each time the target, and an item of it where not all of it is meant.
    pub fn noted(&mut self, schema: &str, name: &str) -> anyhow::Result<Vec<(String, Option<String>)>> {
        let rows = self.connection.rows(&sql::noted(schema, name))?;
        let noted = |row: &Columns| Some((row.get(&["target"])?.to_owned(), row.get(&["item"]).map(str::to_owned)));
        Ok(rows.iter().filter_map(noted).collect())
    }

    /// The names of its views.
    pub fn views(&mut self, schema: &str) -> anyhow::Result<Vec<String>> {
        self.connection.list(&sql::views(schema))
    }

    /// Whether the database that was entered has that event: one whose time has passed a server takes, and does not make.
    pub fn has_event(&mut self, name: &str) -> anyhow::Result<bool> {
        Ok(!self.connection.rows(&sql::event(name))?.is_empty())
    }

    /// Has an event of the database that was entered wait until somebody enables it; it stays its definer's. False where
    /// there is none.
    pub fn disable_event(&mut self, name: &str) -> anyhow::Result<bool> {
        let found = self.connection.rows(&sql::event(name))?;
        let told = |row: &Columns| Some((row.get(&["status"])? == "ENABLED", row.get(&["definer"])?.to_owned()));
        match found.first().and_then(told) {
            Some((false, _)) => Ok(true),
            Some((true, definer)) => self.run(&sql::disable_event(name, &definer)).map(|()| true),
            None => Ok(false),
        }
    }

    /// What stands in the way of settings in which a program was made: those that this server has not.
    pub fn known_modes(&self, modes: &str) -> String {
        sql::known_modes(modes, self.flavour, self.version)
    }

    /// Moves tables, all at once: `(from, to)`.
    pub fn move_tables(&mut self, moves: &[(Table, Table)]) -> anyhow::Result<()> {
        if moves.is_empty() { Ok(()) } else { self.run(&sql::rename_tables(moves)) }
    }

    /// Takes `rows` rows from `text`. Fewer, or a value that the server had to change, is an error: a
    /// server that is fed by a client warns only, and goes on.
    pub fn load(&mut self, into: Into<'_>, rows: u64, text: impl Read + Send + 'static) -> anyhow::Result<()> {
        if into.history && self.flavour.is_mariadb() && self.version >= Version(10, 11, 0) {
            self.run(sql::WITH_HISTORY)?;
        }
        let counted = self.counted_column(into)?;
        let statement = sql::load(into.schema, into.table, into.columns, counted.as_deref());
        let failure = Arc::new(Mutex::new(None));
        let (text, failed) = (Mutex::new(text), Arc::clone(&failure));
        let feed = LocalInfileHandler::new(move |_, server| {
            let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
            feed(&mut *text, server).inspect_err(|error| {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            })
        });
        let loaded = self.connection.feed(&statement, feed);
        if let Some(why) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            anyhow::bail!("the rows could not be read: {why}");
        }
        let taken = loaded.map_err(|error| refused(error, &statement))?;
        if taken.rows != rows {
            let text = format!("the server took {} of {rows} rows of {}.{}", taken.rows, into.schema, into.table);
            return Err(NotTaken(text).into());
        }
        if taken.warnings > 0 {
            self.refuse_changed(into)?;
        }
        Ok(())
    }

    /// None where it may be taken as it comes.
    fn counted_column(&mut self, into: Into<'_>) -> anyhow::Result<Option<String>> {
        let is_needed = into.columns.iter().any(Taken::is_set);
        if is_needed { Ok(self.connection.value(&sql::counted_column(into.schema, into.table))?) } else { Ok(None) }
    }

    fn refuse_changed(&mut self, into: Into<'_>) -> anyhow::Result<()> {
        let enums: Vec<&str> = into.columns.iter().filter(|c| c.is_enum).map(|c| c.name).collect();
        let rows = self.connection.rows(sql::WARNINGS)?;
        let computed = self.connection.rows(&sql::computed_columns(into.schema, into.table))?;
        let computed: Vec<&str> = computed.iter().filter_map(|row| row.get(&["name"])).collect();
        let told = rows.iter().filter_map(|row| Some((row.get(&["code"])?, row.get(&["message"])?)));
        let told: Vec<&str> = told
            .filter(|(code, text)| is_change(code, text, &enums, &computed))
            .map(|(_, text)| text)
            .take(3)
            .collect();
        if told.is_empty() {
            return Ok(());
        }
        let text = format!("the server changed rows of {}.{}: {}", into.schema, into.table, told.join("; "));
        Err(NotTaken(text).into())
    }

    fn run(&mut self, statement: &str) -> anyhow::Result<()> {
        self.connection.run(statement).map_err(|error| refused(error, statement))
    }
}

/// A statement that makes an account may hold a hash, and the server quotes what it does not understand.
fn without_text(error: &mysql::Error) -> anyhow::Error {
    match error {
        mysql::Error::MySqlError(error) => anyhow::anyhow!("the server refused it (error {})", error.code),
        _ => anyhow::anyhow!("the connection was lost"),
    }
}

/// ER_DISK_FULL, ER_ERROR_ON_WRITE, ER_OUTOFMEMORY, ER_OUT_OF_SORTMEMORY, ER_OUT_OF_RESOURCES, ER_RECORD_FILE_FULL;
/// or ENOSPC in another one's words.
pub(super) fn lacks_room(code: u16, said: &str) -> bool {
    const CODES: [u16; 6] = [1021, 1026, 1037, 1038, 1041, 1114];
    CODES.contains(&code) || ["No space left", "error 28 ", "errno: 28"].iter().any(|words| said.contains(words))
}

/// Of a statement only what it is about is told: further on may stand a password (CONNECTION of a table).
fn refused(error: mysql::Error, statement: &str) -> anyhow::Error {
    const TOLD: usize = 120;
    let head: String = statement.chars().take_while(|c| *c != '(' && *c != '\n').take(TOLD).collect();
    let message = format!("the server refused `{} …`", head.trim_end());
    let mysql::Error::MySqlError(told) = &error else { return anyhow::Error::from(error).context(message) };
    if MAY_NOT.contains(&told.code) {
        return Fault::new(Kind::Config, message).hint(ANOTHER_ACCOUNT).caused_by(error).into();
    }
    let said = told.message.split(" near '").next().unwrap_or_default();
    let refusal = Refusal { statement: head.trim_end().to_owned(), said: said.to_owned(), code: told.code };
    if refusal.code == TOO_LARGE {
        return Fault::new(Kind::Config, refusal.to_string()).hint(LARGER_PACKETS).into();
    }
    refusal.into()
}

/// What is said of a row was changed in it; the rest is advice, or about what the server computes of the row.
/// A row that is left out is not counted.
fn is_change(code: &str, text: &str, enums: &[&str], computed: &[&str]) -> bool {
    let of_a_row = text.contains(" row ") || text.starts_with("Row ") || code == PERIOD_IGNORED;
    let is_empty_enum =
        code == TRUNCATED && enums.iter().any(|name| text.contains(&format!(" column '{name}' at row ")));
    let names = |name: &&str| {
        text.contains(&format!(" column '{name}' at row ")) || text.contains(&format!("`{name}` at row "))
    };
    of_a_row && !is_empty_enum && !computed.iter().any(names)
}

/// What helps where an account may not.
pub const ANOTHER_ACCOUNT: &str =
    "--into FILE names an option file of an account that may: [client] and socket=… alone is root by its socket";
/// What makes tables aside, fills them and moves them into their place.
const NEEDED: [&str; 4] = ["CREATE", "DROP", "ALTER", "INSERT"];

/// Those of [`NEEDED`] that none of `grants` gives.
fn missing_of(grants: &[String]) -> Vec<&'static str> {
    let given = |needed: &str| {
        grants.iter().filter_map(|grant| grant.strip_prefix("GRANT ")).any(|grant| match grant.split_once(" ON ") {
            Some((privileges, _)) if !grant.starts_with(['`', '\'']) => {
                privileges.split(',').map(str::trim).any(|one| one == needed || one == "ALL PRIVILEGES")
            }
            // A role.
            _ => true,
        })
    };
    NEEDED.into_iter().filter(|needed| !given(needed)).collect()
}

fn feed(text: &mut impl Read, server: &mut impl Write) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = text.read(&mut piece)?;
        let Some(bytes @ [_, ..]) = piece.get(..count) else { return Ok(()) };
        server.write_all(bytes)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_given_something_somewhere_may_try() {
        let missing = |grants: &[&str]| missing_of(&grants.iter().map(|grant| (*grant).to_owned()).collect::<Vec<_>>());
        assert_eq!(missing(&["GRANT USAGE ON *.* TO `a ON b`@`%`"]), NEEDED);
        assert_eq!(missing(&["GRANT SELECT, INSERT (`CREATE`, x) ON `a`.`b` TO `a`@`%`"]), NEEDED);
        assert_eq!(missing(&["GRANT SELECT, INSERT, CREATE ON *.* TO `a`@`%`"]), ["DROP", "ALTER"]);
        assert!(missing(&["GRANT USAGE ON *.* TO `a`@`%`", "GRANT ALL PRIVILEGES ON `shop`.* TO `a`@`%`"]).is_empty());
        for role in ["GRANT `dba`@`%` TO `a`@`%`", "GRANT `dba` TO `a`@`%`", "GRANT `of ON x`@`%` TO `a`@`%`"] {
            assert!(missing(&["GRANT USAGE ON *.* TO `a`@`%`", role]).is_empty(), "{role}");
        }
    }

    #[test]
    fn only_what_changed_a_row_is_held_against_it() {
        let enums = ["e"];
        let changed = |code, text| is_change(code, text, &enums, &["g"]);
        assert!(changed("1265", "Data truncated for column 'f' at row 2"));
        assert!(!changed("1265", "Data truncated for column 'e' at row 2"));
        assert!(!changed("1265", "Data truncated for column 'g' at row 2"));
        assert!(changed("1366", "Incorrect string value: '\\xE9' for column 'e' at row 1"));
        assert!(!changed("1292", "Incorrect time value: 'x' for column `a`.`b`.`g` at row 1"));
        assert!(changed("1262", "Row 3 was truncated; it contained more data than there were input columns"));
        assert!(!changed("1287", "Combining the storage engines CSV and ARCHIVE is deprecated"));
    }
}
