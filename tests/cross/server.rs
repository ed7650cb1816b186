//! A server that runs already, of whatever family and release: `tests/native cross` starts them.

use std::path::PathBuf;

use mysnap::server::{Access, Address, Session};
use mysnap::sys::cancel::Cancel;
use mysnap::sys::durable;
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder, Row, Value};

/// A server, and what it is called by.
pub struct Server {
    home: tempfile::TempDir,
    socket: PathBuf,
}

impl Server {
    /// The one whose socket the variable `CROSS_NAME` has: `HOST`, this host's MariaDB; `MARIADB` and `MYSQL`, Debian's
    /// newest.
    pub fn of(name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        durable::write(&home.path().join("nothing.cnf"), b"").unwrap();
        let variable = format!("CROSS_{name}");
        let socket =
            std::env::var_os(&variable).unwrap_or_else(|| panic!("{variable} is not set: run tests/native cross"));
        let server = Self { home, socket: socket.into() };
        server.clear();
        server
    }

    fn connection(&self) -> Conn {
        let socket = self.socket.to_str().unwrap().to_owned();
        Conn::new(OptsBuilder::new().socket(Some(socket)).user(Some("root")).max_allowed_packet(Some(64 << 20)))
            .unwrap()
    }

    /// The databases that are not the server's own.
    pub fn databases(&self) -> Vec<String> {
        let own = "('information_schema', 'performance_schema', 'mysql', 'sys')";
        let query = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN";
        self.connection().query(format!("{query} {own} ORDER BY 1")).unwrap()
    }

    /// Leaves nothing but what an empty server has.
    fn clear(&self) {
        let mut connection = self.connection();
        connection.query_drop("SET foreign_key_checks = 0").unwrap();
        for name in self.databases() {
            connection.query_drop(format!("DROP DATABASE `{name}`")).unwrap();
        }
        for account in self.accounts() {
            let what = if account.contains('@') { "USER" } else { "ROLE" };
            connection.query_drop(format!("DROP {what} {account}")).unwrap();
        }
    }

    /// Every account and role that is not the server's own, as a statement names it.
    pub fn accounts(&self) -> Vec<String> {
        let query = "SELECT CONCAT('`', User, '`', IF(Host = '', '', CONCAT('@`', Host, '`'))) FROM mysql.user \
             WHERE User NOT IN ('root', 'mysql', 'mariadb.sys', 'mysql.sys', 'mysql.session', 'mysql.infoschema', 'PUBLIC', '') ORDER BY 1";
        self.connection().query(query).unwrap()
    }

    /// Statements that each end where a line ends with a semicolon.
    pub fn sql(&self, statements: &str) {
        let mut connection = self.connection();
        for statement in statements.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
            let statement = statement.strip_suffix(';').unwrap_or(statement);
            connection.query_drop(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    /// The answer to a query, as bytes.
    pub fn rows(&self, query: &str) -> Vec<Vec<Option<Vec<u8>>>> {
        let mut connection = self.connection();
        connection.query_drop("SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = ''").unwrap();
        let rows: Vec<Row> = connection.query(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let bytes = |value| match value {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(bytes),
            other => panic!("{other:?} where text is due"),
        };
        rows.into_iter().map(|row| row.unwrap().into_iter().map(bytes).collect()).collect()
    }

    /// The same as text, with a tab between columns.
    pub fn lines(&self, query: &str) -> Vec<String> {
        let text =
            |value: Option<Vec<u8>>| value.map_or("NULL".into(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
        let line = |row: Vec<Option<Vec<u8>>>| row.into_iter().map(text).collect::<Vec<String>>().join("\t");
        self.rows(query).into_iter().map(line).collect()
    }

    /// A statement that must fail, with these words.
    pub fn sql_fails(&self, statement: &str, words: &str) {
        let error = self.connection().query_drop(statement).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }

    /// How to reach it.
    pub fn address(&self) -> Address {
        self.access().resolve().unwrap()
    }

    /// A session of root.
    pub fn session(&self) -> Session {
        self.access().connect(&Cancel::new()).unwrap()
    }

    fn access(&self) -> Access {
        let option_file = Some(self.home.path().join("nothing.cnf"));
        Access { option_file, socket: Some(self.socket.clone()), user: Some("root".to_owned()), ..Access::default() }
    }
}
