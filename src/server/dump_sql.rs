//! All SQL of dumping and loading.

use super::Table;
use super::reader::{Range, Settings};
use super::sql::{literal, quoted};
use super::version::{Flavour, Version};

/// Names go over as UTF-8, and everything comes back as it is stored: no byte is converted.
pub const READ: &str = "SET SESSION character_set_client = utf8mb4, character_set_connection = utf8mb4, \
     character_set_results = binary, time_zone = '+00:00', sql_mode = '', sql_quote_show_create = 1, \
     wait_timeout = 604800, net_read_timeout = 3600, net_write_timeout = 3600";
/// Text is converted.
pub const AS_TEXT: &str = "SET SESSION character_set_results = utf8mb4";
/// A single view of all tables with transactions, for as long as this session keeps it.
pub const CONSISTENT_VIEW: [&str; 3] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION /*!40100 WITH CONSISTENT SNAPSHOT */",
    "SAVEPOINT mysnap",
];
/// Lets go of the tables that were read, whose ALTER TABLE waits; the view stays.
pub const LET_GO: &str = "ROLLBACK TO SAVEPOINT mysnap";
/// Waits for nothing, and takes what is there as it is: what a dump holds was accepted once. A table that had its files
/// in a directory of its own gets them in its database's: in the other one may lie those of a live table.
pub const LOAD: &str = "SET SESSION character_set_client = utf8mb4, character_set_connection = utf8mb4, \
     character_set_results = utf8mb4, time_zone = '+00:00', foreign_key_checks = 0, unique_checks = 0, \
     sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_DIR_IN_CREATE', max_error_count = 65535, lc_messages = 'en_US', \
     wait_timeout = 604800, net_read_timeout = 3600, net_write_timeout = 3600, lock_wait_timeout = 60";
/// What of [`LOAD`] rows need that a person feeds to the server's client.
pub const LOAD_BY_HAND: &str = "SET SESSION character_set_client = utf8mb4, time_zone = '+00:00', foreign_key_checks = 0, \
     sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";
/// What a MySQL may refuse of tables that one has accepted: without a primary key, and with a foreign key on what is no
/// key of its own. It may add a key too. Each with the release that it came with, and what takes it away.
pub const STRICTER: [(Version, &str); 3] = [
    (Version(8, 0, 13), "SET SESSION sql_require_primary_key = OFF"),
    (Version(8, 0, 30), "SET SESSION sql_generate_invisible_primary_key = OFF"),
    (Version(8, 4, 0), "SET SESSION restrict_fk_on_non_standard_key = OFF"),
];
/// Nothing of this session is told to replicas.
pub const WITHOUT_BINARY_LOG: &str = "SET SESSION sql_log_bin = 0";
/// Rows of the past are loaded with the times that they have (MariaDB 10.11). A row is one of now if its time ends
/// where the server's times end, which is 2106 in MariaDB 11.5 and later on 64 bits, and 2038 otherwise.
pub const WITH_HISTORY: &str = "SET SESSION system_versioning_insert_history = 1, \
     @end_of_time = IFNULL(FROM_UNIXTIME(4294967295.999999), FROM_UNIXTIME(2147483647.999999))";
/// The ends of time of all servers, in UTC.
const ENDS_OF_TIME: &str = "'2038-01-19 03:14:07.999999', '2106-02-07 06:28:15.999999'";
/// A server keeps the sizes of tables for a day otherwise (MySQL 8.0.3).
pub const FRESH_SIZES: &str = "SET SESSION information_schema_stats_expiry = 0";
/// The key that a server makes up itself is one like any other (MySQL 8.0.30).
pub const SHOW_MADE_UP_KEYS: &str = "SET SESSION show_gipk_in_create_table_and_information_schema = ON";
/// Hashes of passwords may be no text (MySQL 8.0.17).
pub const HASHES_AS_HEX: &str = "SET SESSION print_identified_with_as_hex = ON";
/// Two restores into one server would take each other's half for their own.
pub const CLAIM: &str = "SELECT GET_LOCK('mysnap restore', 0)";
pub const WARNINGS: &str = "SHOW WARNINGS";
pub const LOCAL_INFILE: &str = "SELECT @@GLOBAL.local_infile";
pub const COLLATIONS: &str = "SELECT COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY";
/// The same where a collation has a short name besides, for several character sets (MariaDB 10.10).
pub const FULL_COLLATIONS: &str =
    "SELECT FULL_COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY";
pub const CHARACTER_SETS: &str = "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS";
pub const DEFAULT_COLLATIONS: &str =
    "SELECT CHARACTER_SET_NAME AS name, DEFAULT_COLLATE_NAME AS value FROM information_schema.CHARACTER_SETS";
pub const ENGINES: &str = "SELECT ENGINE FROM information_schema.ENGINES WHERE SUPPORT IN ('YES', 'DEFAULT')";
pub const DATABASES: &str = "SELECT SCHEMA_NAME AS name, DEFAULT_CHARACTER_SET_NAME AS charset, \
     DEFAULT_COLLATION_NAME AS collation FROM information_schema.SCHEMATA ORDER BY 1";
pub const ACCOUNTS: &str = "SELECT User AS user, Host AS host FROM mysql.user ORDER BY 1, 2";
/// MariaDB keeps roles among the accounts, without a host.
pub const ROLES: &str = "SELECT User AS user, is_role AS is_role FROM mysql.user WHERE is_role = 'Y' ORDER BY 1";
/// Whether the server ignores accounts whose host is a name.
pub const SKIPS_NAMES: &str = "SELECT @@skip_name_resolve";
/// What the account was given, and what was taken from it again.
pub const OWN_GRANTS: &str = "SHOW GRANTS";
/// Privileges that hold everywhere, of this account and of others where it may see them.
pub const GLOBAL_PRIVILEGES: &str =
    "SELECT PRIVILEGE_TYPE AS privilege, GRANTEE AS grantee FROM information_schema.USER_PRIVILEGES";

pub const NAMES: &str = "SELECT TABLE_SCHEMA AS schema_name, TABLE_NAME AS name FROM information_schema.TABLES";
/// A sequence is read with its definition.
pub const SIZES: &str = "SELECT TABLE_SCHEMA AS schema_name, TABLE_NAME AS name, ENGINE AS engine, \
     DATA_LENGTH AS bytes FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') \
     ORDER BY 1, 2";

/// 1 where it knows the zone; NULL else makes 0. Needs no privilege.
pub fn knows_zone(zone: &str) -> String {
    format!("SELECT CONVERT_TZ('2001-01-01 00:00:00', '+00:00', {}) IS NOT NULL", literal(zone))
}

pub fn set_local_infile(on: bool) -> String {
    format!("SET GLOBAL local_infile = {}", if on { "ON" } else { "OFF" })
}

pub fn use_database(name: &str) -> String {
    format!("USE {}", quoted(name))
}

pub fn tables(schema: &str) -> String {
    format!(
        "SELECT TABLE_NAME AS name, TABLE_TYPE AS kind, ENGINE AS engine, DATA_LENGTH AS bytes \
         FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} ORDER BY 1",
        literal(schema)
    )
}

/// A server that tells no expressions (MySQL before 5.7, MariaDB before 10.2) has no periods either.
pub fn columns(schema: &str, flavour: Flavour, version: Version) -> String {
    let tells = version >= if flavour.is_mariadb() { Version(10, 2, 5) } else { Version(5, 7, 6) };
    let expression = if tells { "GENERATION_EXPRESSION" } else { "''" };
    format!(
        "SELECT TABLE_NAME AS table_name, COLUMN_NAME AS name, DATA_TYPE AS type, EXTRA AS extra, \
         {expression} AS expression \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} ORDER BY TABLE_NAME, ORDINAL_POSITION",
        literal(schema)
    )
}

/// The first column of each primary key.
pub fn primary_keys(schema: &str) -> String {
    format!(
        "SELECT TABLE_NAME AS table_name, COLUMN_NAME AS name FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = {} AND INDEX_NAME = 'PRIMARY' AND SEQ_IN_INDEX = 1",
        literal(schema)
    )
}

pub fn routines(schema: &str) -> String {
    format!(
        "SELECT ROUTINE_NAME AS name, ROUTINE_TYPE AS kind FROM information_schema.ROUTINES \
         WHERE ROUTINE_SCHEMA = {} ORDER BY 2, 1",
        literal(schema)
    )
}

/// In the order in which they fire.
pub fn triggers(schema: &str) -> String {
    format!(
        "SELECT TRIGGER_NAME AS name, EVENT_OBJECT_TABLE AS table_name FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA = {} ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER",
        literal(schema)
    )
}

pub fn events(schema: &str) -> String {
    format!(
        "SELECT EVENT_NAME AS name FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {} ORDER BY 1",
        literal(schema)
    )
}

/// `what`: TABLE, VIEW, SEQUENCE, PROCEDURE, …
pub fn show_create(what: &str, schema: &str, name: &str) -> String {
    format!("SHOW CREATE {what} {}.{}", quoted(schema), quoted(name))
}

pub fn show_create_user(account: &str) -> String {
    format!("SHOW CREATE USER {account}")
}

pub fn show_grants(account: &str) -> String {
    format!("SHOW GRANTS FOR {account}")
}

/// Where a sequence goes on: what it has handed out in advance counts as used.
pub fn sequence_value(schema: &str, name: &str) -> String {
    format!("SELECT next_not_cached_value AS value FROM {}.{}", quoted(schema), quoted(name))
}

/// Has a sequence go on at `value`.
pub fn restart_sequence(schema: &str, name: &str, value: &str) -> String {
    format!("ALTER SEQUENCE {}.{} RESTART WITH {value}", quoted(schema), quoted(name))
}

/// The same behind its end.
pub fn set_sequence(schema: &str, name: &str, value: &str) -> String {
    format!("SELECT SETVAL({}.{}, {value}, 0)", quoted(schema), quoted(name))
}

pub fn bounds(schema: &str, table: &str, key: &str) -> String {
    let key = quoted(key);
    format!("SELECT MIN({key}) AS low, MAX({key}) AS high FROM {}.{}", quoted(schema), quoted(table))
}

/// Rows whose key is within the range; `columns` are expressions.
pub fn rows(schema: &str, table: &str, columns: &[String], history: bool, range: Option<&Range>) -> String {
    // Of a table whose columns are all computed only the number of rows is known.
    let columns = if columns.is_empty() { "NULL".to_owned() } else { columns.join(", ") };
    let mut statement = format!("SELECT /*!40001 SQL_NO_CACHE */ {columns} FROM {}.{}", quoted(schema), quoted(table));
    if history {
        statement.push_str(" FOR SYSTEM_TIME ALL");
    }
    if let Some(range) = range {
        statement.push_str(&within(range));
    }
    statement
}

fn within(Range { key, low, high }: &Range) -> String {
    let key = quoted(key);
    let low = low.map(|low| format!("{key} >= {low}"));
    let high = high.map(|high| format!("{key} < {high}"));
    let conditions: Vec<String> = low.into_iter().chain(high).collect();
    if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
}

/// How the server would read the keys within the range, as a row. MySQL 9 tells it as a text unless it is asked to, and
/// does not look at the index that it is forced to take.
pub fn estimate(schema: &str, table: &str, range: &Range, flavour: Flavour, version: Version) -> String {
    let is_asked = !flavour.is_mariadb() && version >= Version(5, 6, 5);
    format!(
        "EXPLAIN {}SELECT {} FROM {}.{} USE INDEX (PRIMARY){}",
        if is_asked { "FORMAT=TRADITIONAL " } else { "" },
        quoted(&range.key),
        quoted(schema),
        quoted(table),
        within(range)
    )
}

/// The columns as a row of a dump has them: bytes as they are stored. A FLOAT is shown with six digits
/// and a row could not come back as it was; as a DOUBLE it has all of them.
pub fn column(name: &str, data_type: &str) -> String {
    let name = quoted(name);
    if data_type.eq_ignore_ascii_case("float") { format!("{name} * 1e0") } else { name }
}

/// A column that takes a value of a row.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether its value is made of text: JSON of MySQL, addresses and UUIDs of MariaDB. Binary text would
    /// be refused, or taken for what is stored.
    pub is_text: bool,
    /// Whether it is an ENUM: the empty value that stands for a wrong one is taken with a warning.
    pub is_enum: bool,
    /// Whether it says until when a row of a table with history was one of now. The end of another server's time is
    /// no end in this one: the row would be one of the past, and nothing would tell.
    pub is_row_end: bool,
}

impl Taken<'_> {
    /// Whether it is computed of what the row says, in the statement's SET clause.
    pub fn is_set(&self) -> bool {
        self.is_text || self.is_row_end
    }
}

/// Takes the rows of one part, in the form that `dump::encode` writes; with history after [`WITH_HISTORY`]. Where
/// anything is set, the `counted` column (AUTO_INCREMENT) has to be, too: a server with a SET clause to carry out forgets
/// that the row has said a value, and takes a 0 for none, whatever the `sql_mode` says.
pub fn load(schema: &str, table: &str, columns: &[Taken<'_>], counted: Option<&str>) -> String {
    let counted = counted.filter(|_| columns.iter().any(Taken::is_set));
    let (mut names, mut sets) = (Vec::new(), Vec::new());
    for (n, column) in columns.iter().enumerate() {
        if counted == Some(column.name) {
            names.push(format!("@v{n}"));
            sets.push(format!("{} = @v{n}", quoted(column.name)));
        } else if column.is_text {
            names.push(format!("@v{n}"));
            sets.push(format!("{} = CONVERT(@v{n} USING utf8mb4)", quoted(column.name)));
        } else if column.is_row_end {
            names.push(format!("@v{n}"));
            sets.push(format!("{} = IF(@v{n} IN ({ENDS_OF_TIME}), @end_of_time, @v{n})", quoted(column.name)));
        } else {
            names.push(quoted(column.name));
        }
    }
    if names.is_empty() {
        names.push("@nothing".to_owned());
    }
    let set = if sets.is_empty() { String::new() } else { format!(" SET {}", sets.join(", ")) };
    format!(
        "LOAD DATA LOCAL INFILE 'mysnap' INTO TABLE {}.{} CHARACTER SET binary FIELDS TERMINATED BY '\\t' \
         ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({}){set}",
        quoted(schema),
        quoted(table),
        names.join(", ")
    )
}

/// The column that a table counts its rows up in.
pub fn counted_column(schema: &str, table: &str) -> String {
    format!(
        "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} \
         AND EXTRA LIKE '%auto_increment%'",
        literal(schema),
        literal(table)
    )
}

/// The columns that the server computes of the others.
pub fn computed_columns(schema: &str, table: &str) -> String {
    format!(
        "SELECT COLUMN_NAME AS name FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} \
         AND EXTRA LIKE '%GENERATED%'",
        literal(schema),
        literal(table)
    )
}

pub fn create_database(name: &str, charset: &str, collation: &str) -> String {
    format!("CREATE DATABASE {} DEFAULT CHARACTER SET {charset} DEFAULT COLLATE {collation}", quoted(name))
}

/// The default collation of a database, or of the one that was entered.
pub fn default_collation(name: Option<&str>, collation: &str) -> String {
    let name = name.map(|name| format!("{} ", quoted(name))).unwrap_or_default();
    format!("ALTER DATABASE {name}COLLATE {collation}")
}

pub fn drop_database(name: &str) -> String {
    format!("DROP DATABASE IF EXISTS {}", quoted(name))
}

pub fn add_to_table(schema: &str, name: &str, constraints: &[String]) -> String {
    let added: Vec<String> = constraints.iter().map(|constraint| format!("ADD {constraint}")).collect();
    format!("ALTER TABLE {}.{} {}", quoted(schema), quoted(name), added.join(", "))
}

/// A table for what is not finished: a database, and of it a table where not all of it is meant.
pub fn make_note(schema: &str, name: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{} (n INT PRIMARY KEY, target VARCHAR(64) NOT NULL, item VARCHAR(64)) \
         ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        quoted(schema),
        quoted(name)
    )
}

/// All of it in one statement, or none.
pub fn note(schema: &str, name: &str, target: &str, items: &[&str]) -> String {
    let item = |(n, item): (usize, &&str)| format!("({n}, {}, {})", literal(target), literal(item));
    let mut rows: Vec<String> = items.iter().enumerate().map(item).collect();
    if rows.is_empty() {
        rows.push(format!("(0, {}, NULL)", literal(target)));
    }
    format!("REPLACE INTO {}.{} VALUES {}", quoted(schema), quoted(name), rows.join(", "))
}

pub fn noted(schema: &str, name: &str) -> String {
    format!("SELECT target AS target, item AS item FROM {}.{} ORDER BY n", quoted(schema), quoted(name))
}

pub fn views(schema: &str) -> String {
    format!("SELECT TABLE_NAME AS name FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {}", literal(schema))
}

/// Of the database in use.
pub fn event(name: &str) -> String {
    format!(
        "SELECT STATUS AS status, DEFINER AS definer FROM information_schema.EVENTS \
         WHERE EVENT_SCHEMA = DATABASE() AND EVENT_NAME = {}",
        literal(name)
    )
}

/// Whoever changes an event is its definer from then on, unless the statement names another.
pub fn disable_event(name: &str, definer: &str) -> String {
    let (user, host) = definer.rsplit_once('@').unwrap_or((definer, ""));
    format!("ALTER DEFINER = {}@{} EVENT {} DISABLE", literal(user), literal(host), quoted(name))
}

/// Of the SQL modes in which a program was made those that a server knows: others it refuses, and with
/// them the program.
pub fn known_modes(modes: &str, flavour: Flavour, version: Version) -> String {
    const ONLY_BEFORE_MYSQL_8: [&str; 11] = [
        "NO_AUTO_CREATE_USER",
        "POSTGRESQL",
        "ORACLE",
        "MSSQL",
        "DB2",
        "MAXDB",
        "NO_KEY_OPTIONS",
        "NO_TABLE_OPTIONS",
        "NO_FIELD_OPTIONS",
        "MYSQL323",
        "MYSQL40",
    ];
    const ONLY_MARIADB: [&str; 3] = ["EMPTY_STRING_IS_NULL", "SIMULTANEOUS_ASSIGNMENT", "TIME_ROUND_FRACTIONAL"];
    const ONLY_MYSQL: [&str; 1] = ["TIME_TRUNCATE_FRACTIONAL"];
    let is_known = |mode: &&str| {
        if flavour.is_mariadb() {
            return !ONLY_MYSQL.contains(mode);
        }
        !ONLY_MARIADB.contains(mode) && (version < Version(8, 0, 11) || !ONLY_BEFORE_MYSQL_8.contains(mode))
    };
    modes.split(',').filter(is_known).collect::<Vec<_>>().join(",")
}

pub fn drop_table(schema: &str, name: &str) -> String {
    format!("DROP TABLE {}.{}", quoted(schema), quoted(name))
}

fn full_name(table: &Table) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}

/// All at once.
pub fn drop_if_there(tables: &[Table]) -> String {
    format!("DROP TABLE IF EXISTS {}", tables.iter().map(full_name).collect::<Vec<_>>().join(", "))
}

/// All at once: `(from, to)`.
pub fn rename_tables(moves: &[(Table, Table)]) -> String {
    let one = |(from, to): &(Table, Table)| format!("{} TO {}", full_name(from), full_name(to));
    format!("RENAME TABLE {}", moves.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Has a session understand a stored program as the one did that made it.
pub fn as_stored(settings: &Settings) -> Option<String> {
    let settings = [
        ("sql_mode", &settings.sql_mode),
        ("character_set_client", &settings.client),
        ("collation_connection", &settings.collation),
        ("time_zone", &settings.time_zone),
    ];
    let set: Vec<String> = settings
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} = {}", literal(value.as_deref()?))))
        .collect();
    (!set.is_empty()).then(|| format!("SET SESSION {}", set.join(", ")))
}

/// What a session needs besides [`READ`].
pub fn read_settings(flavour: Flavour, version: Version) -> Vec<&'static str> {
    let mysql = !flavour.is_mariadb();
    let known = [
        (mysql && version >= Version(8, 0, 3), FRESH_SIZES),
        (mysql && version >= Version(8, 0, 17), HASHES_AS_HEX),
        (mysql && version >= Version(8, 0, 30), SHOW_MADE_UP_KEYS),
    ];
    known.into_iter().filter(|(has, _)| *has).map(|(_, statement)| statement).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_asked_for_by_ranges_that_leave_none_out() {
        let of = |low, high| {
            rows("shop", "or`ders", &[column("a", "int")], false, Some(&Range { key: "id".into(), low, high }))
        };
        let begin = "SELECT /*!40001 SQL_NO_CACHE */ `a` FROM `shop`.`or``ders`";
        assert_eq!(of(None, Some(-3)), format!("{begin} WHERE `id` < -3"));
        assert_eq!(of(Some(-3), Some(9)), format!("{begin} WHERE `id` >= -3 AND `id` < 9"));
        assert_eq!(of(Some(9), None), format!("{begin} WHERE `id` >= 9"));
        assert_eq!(of(None, None), begin);
        let history = rows("s", "t", &[column("f", "FLOAT")], true, None);
        assert!(history.ends_with("`f` * 1e0 FROM `s`.`t` FOR SYSTEM_TIME ALL"), "{history}");
    }

    #[test]
    fn a_program_is_made_in_the_modes_that_its_new_server_knows() {
        let known = |flavour, version| known_modes("STRICT_ALL_TABLES,NO_AUTO_CREATE_USER,ORACLE", flavour, version);
        assert_eq!(known(Flavour::MySql, Version(9, 7, 0)), "STRICT_ALL_TABLES");
        assert_eq!(known(Flavour::MySql, Version(5, 7, 44)), "STRICT_ALL_TABLES,NO_AUTO_CREATE_USER,ORACLE");
        assert_eq!(known(Flavour::MariaDb, Version(11, 8, 0)), "STRICT_ALL_TABLES,NO_AUTO_CREATE_USER,ORACLE");
        assert_eq!(known_modes("TIME_TRUNCATE_FRACTIONAL", Flavour::MariaDb, Version(11, 8, 0)), "");
    }

    #[test]
    fn what_is_made_of_text_is_converted_and_everything_else_taken_as_it_is() {
        let id = Taken { name: "id", is_text: false, is_enum: false, is_row_end: false };
        let columns = [id, Taken { name: "j", is_text: true, ..id }];
        let statement = load("shop", "docs", &columns, None);
        assert!(statement.ends_with(r"LINES TERMINATED BY '\n' (`id`, @v1) SET `j` = CONVERT(@v1 USING utf8mb4)"));
        assert!(statement.contains(r"FIELDS TERMINATED BY '\t' ESCAPED BY '\\' "), "{statement}");
        let counted = load("shop", "docs", &columns, Some("id"));
        assert!(counted.ends_with("(@v0, @v1) SET `id` = @v0, `j` = CONVERT(@v1 USING utf8mb4)"), "{counted}");
        let until = load("shop", "past", &[id, Taken { name: "row_end", is_row_end: true, ..id }], None);
        let ends = "'2038-01-19 03:14:07.999999', '2106-02-07 06:28:15.999999'";
        let end = format!("(`id`, @v1) SET `row_end` = IF(@v1 IN ({ends}), @end_of_time, @v1)");
        assert!(until.ends_with(&end), "{until}");
    }
}
