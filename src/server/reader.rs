//! Reading what a server holds, for a dump: definitions as they are stored, and rows as bytes.

use std::time::Duration;

use anyhow::Context as _;
use mysql::Value;
use serde::{Deserialize, Serialize};

use super::dump_sql as sql;
use super::facts::Facts;
use super::loader::{LARGER_PACKETS, RESTORING, TOO_LARGE};
use super::session::{Connection, Raw, explained};
use super::side_by_side::Connected;
use super::sql::{kill_connection, literal};
use super::version::{Flavour, Version};
use super::{Address, Table};
use crate::fault::{Fault, Kind};

/// A statement may read a whole table.
const ANSWER: Duration = Duration::from_secs(24 * 3600);
/// The largest row that there can be.
const LARGEST_ROW: usize = 1 << 30;
/// Not data: the server makes them up, or keeps itself in them.
const SYSTEM_DATABASES: [&str; 5] = ["information_schema", "performance_schema", "mysql", "sys", "ndbinfo"];
/// How a directory that is no database of the server's is told.
const NOT_A_DATABASE: &str = "#mysql50#";
/// A view of what is not there, or may not be looked at by whom it asks as (ER_VIEW_INVALID).
const INVALID_VIEW: &str = "1356";
/// Engines with views of their own, or whose rows are not dumped.
const KEEP_A_VIEW: [&str; 10] =
    ["InnoDB", "ROCKSDB", "TokuDB", "MyRocks", "MRG_MYISAM", "BLACKHOLE", "FEDERATED", "CONNECT", "SPIDER", "S3"];

/// A connection that reads for a dump.
pub struct Reader {
    connection: Connection,
    pub(super) flavour: Flavour,
    pub(super) version: Version,
    keeps_view: bool,
    warned: bool,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its default character set.
    pub charset: String,
    /// Its default collation.
    pub collation: String,
}

/// A table, view or sequence, as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// The storage engine.
    pub engine: String,
    /// How much it holds, about.
    pub bytes: u64,
    /// Its columns, in their order.
    pub columns: Vec<Column>,
    /// The first column of its primary key.
    pub key: Option<String>,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// A table.
    Table,
    /// A table that keeps former rows (MariaDB).
    Versioned,
    /// A view.
    View,
    /// A sequence (MariaDB).
    Sequence,
}

/// A table and how much it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSize {
    /// The table.
    pub table: Table,
    /// Its engine.
    pub engine: String,
    /// Whether a transaction sees it as it was when it began, or nothing in it can change.
    pub keeps_a_view: bool,
    /// Bytes, about.
    pub bytes: u64,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type without length: `int`, `json`.
    pub data_type: String,
    /// Whether the server computes it.
    pub generated: bool,
    /// Whether it says since when, or until when, a row is valid.
    pub period: bool,
    /// Whether it is the one that says until when.
    pub row_end: bool,
    /// Whether the server counts rows up in it (AUTO_INCREMENT).
    pub counted: bool,
}

/// Rows by a whole-numbered key: from `low` on, up to but without `high`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The column.
    pub key: String,
    /// From here on; none for all that are lower.
    pub low: Option<i128>,
    /// Up to here; none for all that are higher.
    pub high: Option<i128>,
}

/// The settings of the session in which a stored program was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// The SQL mode that it was made in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_mode: Option<String>,
    /// The character set of its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The collation of its literals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
    /// The default that its database had for text without a collation: parameters, variables, results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The zone of an event's times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// A stored program, with what its text means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definition {
    /// The statement that makes it, as it is stored.
    pub text: Vec<u8>,
    /// What a session is set to that makes it.
    pub settings: Settings,
    /// Whether it is a view of what is not there any more.
    pub broken: bool,
}

/// The name and the kind of a stored program, or the table of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// `PROCEDURE`, `FUNCTION`, `PACKAGE`, `PACKAGE BODY`; a trigger's table.
    pub about: String,
}

impl Connected for Reader {
    fn id(&self) -> u32 {
        self.connection.id()
    }

    fn end(&mut self, id: u32) -> anyhow::Result<()> {
        self.run(&kill_connection(id))
    }
}

impl Reader {
    /// Connects once to the server of `facts`.
    pub fn open(address: &Address, facts: &Facts) -> anyhow::Result<Self> {
        let connection = Connection::open_for(address, ANSWER, LARGEST_ROW).map_err(|e| explained(e, address))?;
        let mut reader =
            Self { connection, flavour: facts.flavour, version: facts.version, keeps_view: false, warned: false };
        reader.run(sql::READ)?;
        for statement in sql::read_settings(reader.flavour, reader.version) {
            reader.run(statement)?;
        }
        Ok(reader)
    }

    /// From now on this connection sees the tables as they are now.
    pub fn keep_view(&mut self) -> anyhow::Result<()> {
        sql::CONSISTENT_VIEW.iter().try_for_each(|statement| self.run(statement))?;
        self.keeps_view = true;
        Ok(())
    }

    /// Whether rows of the past can come back.
    pub fn gives_history(&self) -> bool {
        self.flavour.is_mariadb() && self.version >= Version(10, 11, 0)
    }

    /// Somebody may want to change a table that was looked at.
    fn let_go(&mut self) -> anyhow::Result<()> {
        if self.keeps_view { self.run(sql::LET_GO) } else { Ok(()) }
    }

    /// Every database that is not the server's own.
    pub fn databases(&mut self) -> anyhow::Result<Vec<Database>> {
        let all = self.rows(sql::DATABASES)?;
        let all = all.iter().map(|row| {
            Ok(Database { name: row.text("name")?, charset: row.text("charset")?, collation: row.text("collation")? })
        });
        let all: Vec<Database> = all.collect::<anyhow::Result<_>>()?;
        Ok(all.into_iter().filter(|each| is_of_people(&each.name)).collect())
    }

    /// The tables, views and sequences of all of them.
    pub fn names(&mut self) -> anyhow::Result<Vec<Table>> {
        let rows = self.rows(sql::NAMES)?;
        let all = rows.iter().map(|row| Ok(Table { schema: row.text("schema_name")?, name: row.text("name")? }));
        let all: Vec<Table> = all.collect::<anyhow::Result<_>>()?;
        Ok(all.into_iter().filter(|table| is_of_people(&table.schema)).collect())
    }

    /// Its tables, views and sequences.
    pub fn relations(&mut self, schema: &str) -> anyhow::Result<Vec<Relation>> {
        let mut relations = Vec::new();
        for row in self.rows(&sql::tables(schema))? {
            let kind = match row.text("kind")?.as_str() {
                "BASE TABLE" => RelationKind::Table,
                "SYSTEM VERSIONED" => RelationKind::Versioned,
                "VIEW" => RelationKind::View,
                "SEQUENCE" => RelationKind::Sequence,
                other => anyhow::bail!("{schema}.{} is a {other}, which is not known", row.text("name")?),
            };
            relations.push(Relation {
                name: row.text("name")?,
                kind,
                engine: row.text("engine")?,
                bytes: row.text("bytes")?.parse().unwrap_or(0),
                columns: Vec::new(),
                key: None,
            });
        }
        // Both lists are in the order of names, but of which collation is the server's business.
        let mut by_name: std::collections::HashMap<String, &mut Relation> =
            relations.iter_mut().map(|relation| (relation.name.clone(), relation)).collect();
        for row in self.rows(&sql::columns(schema, self.flavour, self.version))? {
            let Some(relation) = by_name.get_mut(&row.text("table_name")?) else { continue };
            relation.columns.push(Column::of(&row)?);
        }
        for row in self.rows(&sql::primary_keys(schema))? {
            if let Some(relation) = by_name.get_mut(&row.text("table_name")?) {
                relation.key = Some(row.text("name")?);
            }
        }
        Ok(relations)
    }

    /// The statement that makes a table or sequence.
    pub fn table(&mut self, table: &Table, kind: RelationKind) -> anyhow::Result<Vec<u8>> {
        let what = if kind == RelationKind::Sequence { "SEQUENCE" } else { "TABLE" };
        let shown = self.one(&sql::show_create(what, &table.schema, &table.name));
        let row = shown.map_err(|error| of_damaged(table, error))?;
        let text = row.bytes("Create Table").with_context(|| format!("the server does not say how {table} is made"))?;
        anyhow::ensure!(
            std::str::from_utf8(&text).is_ok(),
            "the definition of {table} is no text (a binary default?), and could not be restored"
        );
        Ok(text)
    }

    /// The stored program or view; `what` is its kind.
    pub fn definition(&mut self, what: &str, schema: &str, name: &str) -> anyhow::Result<Definition> {
        // Names in the same database are then written without it.
        self.run(&sql::use_database(schema))?;
        let stored = self.stored(what, schema, name)?;
        if std::str::from_utf8(&stored.text).is_ok() {
            return Ok(stored);
        }
        // Text in another encoding can't be sent as it is: the server converts it.
        self.run(sql::AS_TEXT)?;
        let converted = self.stored(what, schema, name)?;
        self.run(sql::READ)?;
        let settings = Settings { client: Some("utf8mb4".to_owned()), ..converted.settings };
        Ok(Definition { settings, ..converted })
    }

    fn stored(&mut self, what: &str, schema: &str, name: &str) -> anyhow::Result<Definition> {
        let row = self.one(&sql::show_create(what, schema, name))?;
        // Of much that it finds in a view that works the server warns too.
        let broken = what == "VIEW" && self.warned && self.has_warned_of(INVALID_VIEW)?;
        let of = |column: &str| row.bytes(column).map(|text| String::from_utf8_lossy(&text).into_owned());
        let text = if what == "TRIGGER" {
            row.bytes("SQL Original Statement")
        } else {
            // The server writes PACKAGE BODY with a small b.
            row.bytes(&format!("Create {what}"))
        };
        // NULL is what an account sees that may not see it.
        let text = text.ok_or_else(|| {
            let fault = Fault::new(Kind::Config, format!("the account may not see {what} {schema}.{name}"));
            fault.hint("GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* to it")
        })?;
        Ok(Definition {
            text,
            settings: Settings {
                sql_mode: of("sql_mode"),
                client: of("character_set_client"),
                collation: of("collation_connection"),
                database: of("Database Collation"),
                time_zone: of("time_zone"),
            },
            broken,
        })
    }

    /// Whether the last statement left this warning.
    fn has_warned_of(&mut self, code: &str) -> anyhow::Result<bool> {
        Ok(self.connection.rows(sql::WARNINGS)?.iter().any(|row| row.get(&["code"]) == Some(code)))
    }

    /// Procedures, functions and packages of a database.
    pub fn routines(&mut self, schema: &str) -> anyhow::Result<Vec<Named>> {
        self.named(&sql::routines(schema), Some("kind"))
    }

    /// Its triggers with their tables, in the order in which they fire.
    pub fn triggers(&mut self, schema: &str) -> anyhow::Result<Vec<Named>> {
        self.named(&sql::triggers(schema), Some("table_name"))
    }

    /// Its events.
    pub fn events(&mut self, schema: &str) -> anyhow::Result<Vec<Named>> {
        self.named(&sql::events(schema), None)
    }

    /// Where a sequence goes on.
    pub fn sequence_value(&mut self, sequence: &Table) -> anyhow::Result<String> {
        self.one(&sql::sequence_value(&sequence.schema, &sequence.name))?.text("value")
    }

    /// The lowest and the highest value of a whole-numbered `key`; none where the table is empty.
    pub fn bounds(&mut self, table: &Table, key: &str) -> anyhow::Result<Option<(i128, i128)>> {
        let row = self.one(&sql::bounds(&table.schema, &table.name, key))?;
        let number = |name: &str| row.bytes(name).and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
        Ok(number("low").zip(number("high")))
    }

    /// About how many rows of `table` are in `range`, as far as the server knows without reading them.
    pub fn estimate(&mut self, table: &Table, range: &Range) -> anyhow::Result<u64> {
        let row = self.one(&sql::estimate(&table.schema, &table.name, range, self.flavour, self.version))?;
        Ok(row.text("rows")?.parse().unwrap_or(0))
    }

    /// Hands each row to `take` as it comes, of the columns asked for; an error of `take` ends it.
    pub fn each_row(
        &mut self,
        table: &Table,
        columns: &[Column],
        history: bool,
        range: Option<&Range>,
        take: &mut dyn FnMut(&[Value]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let columns: Vec<String> = columns.iter().map(|each| sql::column(&each.name, &each.data_type)).collect();
        let query = sql::rows(&table.schema, &table.name, &columns, history, range);
        self.connection.each_row(&query, take).map_err(|error| of_damaged(table, error))?;
        if self.connection.warned() {
            self.refuse_cut(table)?;
        }
        self.let_go()
    }

    /// MySQL gives JSON as text, and an empty one in its place where that is longer than its `max_allowed_packet`: it warns
    /// only.
    fn refuse_cut(&mut self, table: &Table) -> anyhow::Result<()> {
        let told = self.connection.raw_rows(sql::WARNINGS)?;
        let is_cut = |row: &&Raw| row.text("Code").is_ok_and(|code| code == TOO_LARGE.to_string());
        let Some(row) = told.iter().find(is_cut) else { return Ok(()) };
        let message = format!("the server does not give all of a row of {table}: {}", row.text("Message")?);
        Err(Fault::new(Kind::Config, message).hint(LARGER_PACKETS).into())
    }

    /// Every table of everybody's databases, with its size.
    pub fn sizes(&mut self) -> anyhow::Result<Vec<TableSize>> {
        let mut sizes = Vec::new();
        for row in self.rows(sql::SIZES)? {
            let (schema, engine) = (row.text("schema_name")?, row.text("engine")?);
            if is_system_database(&schema) {
                continue;
            }
            sizes.push(TableSize {
                table: Table { schema, name: row.text("name")? },
                keeps_a_view: KEEP_A_VIEW.iter().any(|known| known.eq_ignore_ascii_case(&engine)),
                bytes: row.text("bytes")?.parse().unwrap_or(0),
                engine,
            });
        }
        Ok(sizes)
    }

    /// Privileges that a dump needs and the account does not have for everything: without them what it
    /// may not see would be missing, and nothing would say so.
    pub fn missing_privileges(&mut self) -> anyhow::Result<Vec<&'static str>> {
        let account = self.one(super::sql::ACCOUNT)?.first().unwrap_or_default();
        let account = String::from_utf8_lossy(&account).into_owned();
        let (user, host) = account.rsplit_once('@').unwrap_or((&account, "%"));
        let grantee = format!("{}@{}", literal(user), literal(host));
        let mut has = Vec::new();
        for row in self.rows(sql::GLOBAL_PRIVILEGES)? {
            if row.text("grantee")? == grantee {
                has.push(row.text("privilege")?);
            }
        }
        let taken_away = self.first_column(sql::OWN_GRANTS)?.iter().any(|grant| grant.starts_with(b"REVOKE "));
        if taken_away {
            return Ok(vec!["what was revoked from it for some databases"]);
        }
        let needed = ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"];
        Ok(needed.into_iter().filter(|needed| !has.iter().any(|has| has == needed)).collect())
    }

    fn named(&mut self, query: &str, about: Option<&str>) -> anyhow::Result<Vec<Named>> {
        let rows = self.rows(query)?;
        let one = |row: &Raw| {
            let about = about.map_or_else(|| Ok(String::new()), |column| row.text(column))?;
            Ok(Named { name: row.text("name")?, about })
        };
        rows.iter().map(one).collect()
    }

    fn run(&mut self, statement: &str) -> anyhow::Result<()> {
        self.connection.run(statement).with_context(|| format!("the server refused `{statement}`"))
    }

    pub(super) fn rows(&mut self, query: &str) -> anyhow::Result<Vec<Raw>> {
        let rows = self.connection.raw_rows(query)?;
        self.warned = self.connection.warned();
        self.let_go()?;
        Ok(rows)
    }

    pub(super) fn first_column(&mut self, query: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        Ok(self.rows(query)?.iter().filter_map(Raw::first).collect())
    }

    fn one(&mut self, query: &str) -> anyhow::Result<Raw> {
        self.rows(query)?.into_iter().next().with_context(|| format!("the server has no answer to `{query}`"))
    }
}

fn is_of_people(database: &str) -> bool {
    !is_system_database(database) && ![NOT_A_DATABASE, RESTORING].iter().any(|begin| database.starts_with(begin))
}

fn is_system_database(name: &str) -> bool {
    SYSTEM_DATABASES.iter().any(|own| own.eq_ignore_ascii_case(name))
}

impl Column {
    fn of(row: &Raw) -> anyhow::Result<Self> {
        let (extra, expression) = (row.text("extra")?.to_ascii_uppercase(), row.text("expression")?);
        let period = matches!(expression.as_str(), "ROW START" | "ROW END");
        // DEFAULT_GENERATED is a default that is an expression: such a column is data.
        let computed = ["VIRTUAL GENERATED", "STORED GENERATED", "PERSISTENT"];
        let generated = !period && (computed.iter().any(|word| extra.contains(word)) || extra == "VIRTUAL");
        let row_end = expression == "ROW END";
        let counted = extra.contains("AUTO_INCREMENT");
        let data_type = row.text("type")?.to_ascii_lowercase();
        Ok(Self { name: row.text("name")?, data_type, generated, period, row_end, counted })
    }

    /// Whether a server makes its value of text, and would take binary text for something else.
    pub fn is_made_of_text(&self) -> bool {
        matches!(self.data_type.as_str(), "json" | "inet4" | "inet6" | "uuid" | "xmltype")
    }

    /// Whether it is a whole number, by which rows can be counted off.
    pub fn is_whole_number(&self) -> bool {
        matches!(self.data_type.as_str(), "tinyint" | "smallint" | "mediumint" | "int" | "bigint")
    }
}
/// What servers say of tables that they can't read: ER_CANT_OPEN_FILE, ER_FILE_NOT_FOUND, ER_GET_ERRNO,
/// ER_NOT_FORM_FILE, ER_NOT_KEYFILE, ER_OLD_KEYFILE, ER_WRONG_MRG_TABLE, ER_CRASHED_ON_USAGE,
/// ER_CRASHED_ON_REPAIR, ER_INDEX_CORRUPT, ER_TABLESPACE_MISSING, ER_TABLESPACE_DISCARDED, ER_TABLE_CORRUPT,
/// ER_NO_SUCH_TABLE_IN_ENGINE.
const DAMAGED: [u16; 14] = [1016, 1017, 1030, 1033, 1034, 1035, 1168, 1194, 1195, 1712, 1812, 1814, 1877, 1932];

/// `error`, which reading `table` met; an error of [`Kind::Verify`] where the table is to blame.
fn of_damaged(table: &Table, error: anyhow::Error) -> anyhow::Error {
    let is_damage = |cause: &mysql::Error| matches!(cause, mysql::Error::MySqlError(e) if DAMAGED.contains(&e.code));
    if !error.chain().filter_map(|cause| cause.downcast_ref()).any(is_damage) {
        return error;
    }
    let fault = Fault::new(Kind::Verify, format!("table {table} can't be read"));
    fault
        .hint("repair it, bring it back from a backup or drop it; or leave it out with `exclude`")
        .caused_by(error)
        .into()
}
