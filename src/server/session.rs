//! One connection, and the operations that exist on it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mysql::prelude::Queryable as _;
use mysql::{Conn, DriverError, LocalInfileHandler, OptsBuilder, Row, SslOpts, Value};

use super::access::{Address, Endpoint, TlsMode};
use super::facts::{Facts, Variables};
use super::keyring;
use super::loader::Loader;
use super::reader::Reader;
use super::sql::{self, Dialect};
use super::zone;
use crate::fault::{Fault, Kind};
use crate::sys::cancel::Cancel;
use crate::sys::failpoint;
use crate::sys::secret::Secret;

/// How long a server that is down, restarting or full is tried again.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// An answer takes long where a server has a hundred thousand tables, but not this long.
const READ_DEADLINE: Duration = Duration::from_secs(120);

/// Access denied to a statement for want of a privilege (ER_SPECIFIC_ACCESS_DENIED_ERROR).
const MISSING_PRIVILEGE: u16 = 1227;
/// The table is not for the account (ER_TABLEACCESS_DENIED_ERROR); there is no such table (ER_NO_SUCH_TABLE), no such
/// database (ER_BAD_DB_ERROR).
const NO_TABLE: [u16; 3] = [1142, 1146, 1049];
/// Wrong password; no such host; socket authentication refused; must change its password.
const LOGIN_REFUSED: [u16; 5] = [1045, 1130, 1698, 1862, 3118];
/// Too many connections, of all or of this user; shutdown in progress.
const LATER: [u16; 3] = [1040, 1203, 1053];

/// One connection to the server, and what the server is.
pub struct Session {
    pub(super) connection: Connection,
    pub(super) address: Address,
    pub(super) variables: Variables,
    facts: Facts,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("endpoint", &self.address.endpoint).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, after a bounded number of tries where the server is down, restarting or full,
    /// and reads the facts.
    pub fn open(address: &Address, cancel: &Cancel) -> anyhow::Result<Self> {
        let mut connection = Connection::open_patiently(address, cancel)?;
        let variables = Variables::new(connection.pairs(sql::VARIABLES)?);
        let uptime = connection.pairs(sql::UPTIME)?.into_values().next();
        let mut facts = Facts::from_variables(&variables, uptime.and_then(|u| u.parse().ok()).unwrap_or(0))?;
        facts.utc_offset = connection.value(sql::UTC_OFFSET)?.and_then(|seconds| seconds.parse().ok());
        facts.system_zone = zone::of_process(&facts);
        facts.engine_libraries = connection.list(sql::ENGINE_LIBRARIES)?;
        let dialect = Dialect::of(facts.flavour, facts.version);
        // Without the privilege nobody knows; the preflight names it.
        facts.replica = connection.try_rows(dialect.replica_status)?.is_some_and(|channels| !channels.is_empty());
        if !facts.flavour.is_mariadb() {
            facts.keyring = keyring::find(&variables, &mut connection)?;
        }
        Ok(Self { connection, address: address.clone(), variables, facts })
    }

    /// What the server said about itself when this session began.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Lets the server begin a new file of its binary log.
    pub fn rotate_binary_log(&mut self) -> anyhow::Result<()> {
        self.connection.run(sql::ROTATE_BINARY_LOG).map_err(|error| {
            let missing = is_missing_privilege(&error);
            let kind = if missing { Kind::Config } else { Kind::Refused };
            let fault = Fault::new(kind, "the server did not begin a new binary log").caused_by(error);
            if missing { fault.hint("GRANT RELOAD ON *.*").into() } else { fault.into() }
        })
    }

    /// Another connection, which reads for a dump.
    pub fn reader(&self) -> anyhow::Result<Reader> {
        Reader::open(&self.address, &self.facts)
    }

    /// Another connection, which feeds the server; with `binary_log` its replicas get everything too.
    pub fn loader(&self, binary_log: bool) -> anyhow::Result<Loader> {
        Loader::open(&self.address, &self.facts, binary_log)
    }

    pub(super) fn dialect(&self) -> Dialect {
        Dialect::of(self.facts.flavour, self.facts.version)
    }
}

/// An error unless a server answers at `address`; a refused login is an answer.
pub(super) fn answers(address: &Address) -> anyhow::Result<()> {
    match Connection::open(address, CONNECT_DEADLINE) {
        Ok(_) => Ok(()),
        Err(error) if is_refusal(&error) || asks_for_another_proof(&error) => Ok(()),
        Err(error) => Err(explained(error, address)),
    }
}

/// A connection without any notion of what is at its other end.
///
/// Its descriptor is close-on-exec (the standard library's and socket2's doing): a child that
/// inherited it would keep the lock alive after our death.
pub(super) struct Connection(Conn);

impl Connection {
    fn open_patiently(address: &Address, cancel: &Cancel) -> anyhow::Result<Self> {
        let end = Instant::now() + PATIENCE;
        loop {
            match Self::open(address, READ_DEADLINE) {
                Ok(connection) => return Ok(connection),
                Err(error) if !passes(&error) || Instant::now() + PAUSE >= end => {
                    return Err(explained(error, address));
                }
                Err(_) => cancel.sleep(PAUSE)?,
            }
        }
    }

    /// Connects once; `deadline` bounds each answer.
    pub(super) fn open(address: &Address, deadline: Duration) -> Result<Self, mysql::Error> {
        Self::open_for(address, deadline, 16 << 20)
    }

    /// The same for rows and statements of up to `packet` bytes.
    pub(super) fn open_for(address: &Address, deadline: Duration, packet: usize) -> Result<Self, mysql::Error> {
        let options = OptsBuilder::new()
            .user(Some(&address.user))
            .pass(address.password.as_ref().map(Secret::reveal))
            // Or the driver would leave a checked TCP connection for whatever socket it is told of.
            .prefer_socket(false)
            .max_allowed_packet(Some(packet))
            .stmt_cache_size(0)
            .tcp_connect_timeout(Some(CONNECT_DEADLINE))
            .read_timeout(Some(deadline))
            .write_timeout(Some(deadline))
            .connect_attrs(Some(std::collections::HashMap::from([("program_name", "mysnap")])))
            .init(vec![sql::PREPARE_SESSION]);
        let options = match &address.endpoint {
            Endpoint::Socket(path) => options.socket(Some(path.to_string_lossy())),
            Endpoint::Tcp { host, port, tls, ca } => {
                let verified = || SslOpts::default().with_root_cert_path(ca.clone());
                let tls = (*tls != TlsMode::Disabled).then(verified);
                options.ip_or_hostname(Some(host)).tcp_port(*port).ssl_opts(tls)
            }
        };
        failpoint::pass(|| "sql connect".to_owned())?;
        Conn::new(options).map(Self)
    }

    pub(super) fn id(&self) -> u32 {
        self.0.connection_id()
    }

    /// Runs `statement` for its effect.
    pub(super) fn run(&mut self, statement: &str) -> Result<(), mysql::Error> {
        failpoint::pass(|| step(statement))?;
        self.0.query_drop(statement)
    }

    /// The rows of `query`, each column by its name.
    pub(super) fn rows(&mut self, query: &str) -> anyhow::Result<Vec<Columns>> {
        let rows: Vec<Row> = failpoint::pass(|| step(query))
            .map_err(mysql::Error::from)
            .and_then(|()| self.0.query(query))
            .with_context(|| format!("the server refused `{query}`"))?;
        Ok(rows.into_iter().map(Columns::from).collect())
    }

    /// The rows of `query`, each value as the server sends it.
    pub(super) fn raw_rows(&mut self, query: &str) -> anyhow::Result<Vec<Raw>> {
        let rows: Vec<Row> = failpoint::pass(|| step(query))
            .map_err(mysql::Error::from)
            .and_then(|()| self.0.query(query))
            .with_context(|| format!("the server refused `{query}`"))?;
        Ok(rows.into_iter().map(Raw).collect())
    }

    /// Runs a LOAD DATA LOCAL and hands the server what `file` writes.
    pub(super) fn feed(&mut self, statement: &str, file: LocalInfileHandler) -> Result<Fed, mysql::Error> {
        failpoint::pass(|| step(statement))?;
        self.0.set_local_infile_handler(Some(file));
        let fed = self.0.query_drop(statement);
        self.0.set_local_infile_handler(None);
        fed?;
        Ok(Fed { rows: self.0.affected_rows(), warnings: self.0.warnings() })
    }

    /// Whether the last statement left warnings.
    pub(super) fn warned(&self) -> bool {
        self.0.warnings() > 0
    }

    /// Hands each row of `query` to `take` as it comes.
    pub(super) fn each_row(
        &mut self,
        query: &str,
        take: &mut dyn FnMut(&[Value]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        failpoint::pass(|| step(query))?;
        let refused = || format!("the server refused `{query}`");
        let result = self.0.query_iter(query).with_context(refused)?;
        for row in result {
            take(&row.with_context(refused)?.unwrap())?;
        }
        Ok(())
    }

    /// The same; `None` where a privilege is missing.
    pub(super) fn try_rows(&mut self, query: &str) -> anyhow::Result<Option<Vec<Columns>>> {
        match self.rows(query) {
            Ok(rows) => Ok(Some(rows)),
            Err(error) if error.downcast_ref().is_some_and(is_missing_privilege) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// [`Self::pairs`]; `None` where the table is not for the account, or the server has none of that name.
    pub(super) fn try_allowed_pairs(&mut self, query: &str) -> anyhow::Result<Option<BTreeMap<String, String>>> {
        let is_denied =
            |error: &mysql::Error| matches!(error, mysql::Error::MySqlError(error) if NO_TABLE.contains(&error.code));
        match self.pairs(query) {
            Ok(pairs) => Ok(Some(pairs)),
            Err(error) if error.downcast_ref().is_some_and(is_denied) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first column of each row.
    pub(super) fn list(&mut self, query: &str) -> anyhow::Result<Vec<String>> {
        Ok(self.rows(query)?.into_iter().filter_map(|row| row.0.into_iter().next()?.1).collect())
    }

    /// The one value that `query` asks for; none where it is NULL or empty.
    pub(super) fn value(&mut self, query: &str) -> anyhow::Result<Option<String>> {
        Ok(self.list(query)?.into_iter().next().filter(|value| !value.is_empty()))
    }

    /// The first two columns of each row as name and value, names in lower case.
    pub(super) fn pairs(&mut self, query: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let pair = |row: Columns| {
            let mut values = row.0.into_iter().map(|(_, value)| value.unwrap_or_default());
            Some((values.next()?.to_ascii_lowercase(), values.next()?))
        };
        Ok(self.rows(query)?.into_iter().filter_map(pair).collect())
    }
}

/// A statement's step is told by its first words; names are left out, since some hold the id of the run.
fn step(statement: &str) -> String {
    let plain = |word| if str::starts_with(word, '`') { "NAME" } else { word };
    let words: Vec<&str> = statement.split_whitespace().take(3).map(plain).collect();
    format!("sql {}", words.join(" "))
}

/// One row.
pub(super) struct Columns(Vec<(String, Option<String>)>);

impl Columns {
    /// The column with the first of `names` that the server has: they were renamed in MySQL 8.
    pub(super) fn get(&self, names: &[&str]) -> Option<&str> {
        let named = |name: &&str| self.0.iter().find(|(column, _)| column.eq_ignore_ascii_case(name));
        names.iter().find_map(named)?.1.as_deref()
    }

    /// The value of the only column; an error says how many there are.
    pub(super) fn only(&self) -> Result<Option<&str>, usize> {
        match self.0.as_slice() {
            [(_, value)] => Ok(value.as_deref()),
            columns => Err(columns.len()),
        }
    }
}

/// What a server took.
pub(super) struct Fed {
    pub(super) rows: u64,
    pub(super) warnings: u16,
}

/// One row, as bytes.
pub(super) struct Raw(Row);

impl Raw {
    /// The value of the column of that name, whatever its case; none where it is NULL.
    pub(super) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let index = self.0.columns_ref().iter().position(|column| column.name_str().eq_ignore_ascii_case(name))?;
        bytes(self.0.as_ref(index))
    }

    /// The same as text; NULL is empty.
    pub(super) fn text(&self, name: &str) -> anyhow::Result<String> {
        String::from_utf8(self.bytes(name).unwrap_or_default()).with_context(|| format!("{name} is no text"))
    }

    /// The value of the first column.
    pub(super) fn first(&self) -> Option<Vec<u8>> {
        bytes(self.0.as_ref(0))
    }
}

fn bytes(value: Option<&Value>) -> Option<Vec<u8>> {
    match value {
        Some(Value::Bytes(bytes)) => Some(bytes.clone()),
        _ => None,
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Columns {
    pub(super) fn of(columns: &[(&str, &str)]) -> Self {
        Self(columns.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect())
    }
}

impl From<Row> for Columns {
    fn from(row: Row) -> Self {
        let columns = row.columns();
        let names = columns.iter().map(|column| column.name_str().into_owned());
        Self(names.zip(row.unwrap().into_iter().map(text)).collect())
    }
}

/// Answers in the text protocol are text or NULL.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    }
}

pub(super) fn is_missing_privilege(error: &mysql::Error) -> bool {
    matches!(error, mysql::Error::MySqlError(error) if error.code == MISSING_PRIVILEGE)
}

/// Whether it may work in a moment.
fn passes(error: &mysql::Error) -> bool {
    match error {
        mysql::Error::MySqlError(error) => LATER.contains(&error.code),
        mysql::Error::IoError(_) | mysql::Error::CodecError(_) => !is_about_tls(error),
        mysql::Error::DriverError(error) => {
            matches!(error, mysql::DriverError::ConnectTimeout | mysql::DriverError::CouldNotConnect(_))
        }
        _ => false,
    }
}

fn is_refusal(error: &mysql::Error) -> bool {
    matches!(error, mysql::Error::MySqlError(error) if LOGIN_REFUSED.contains(&error.code))
}

/// Who is unknown is asked by MySQL for a proof of any kind, so that nobody can tell; some we don't know.
fn asks_for_another_proof(error: &mysql::Error) -> bool {
    let mysql::Error::DriverError(error) = error else { return false };
    matches!(
        error,
        DriverError::UnknownAuthPlugin(_)
            | DriverError::OldMysqlPasswordDisabled
            | DriverError::CleartextPluginDisabled
    )
}

pub(super) fn explained(error: mysql::Error, address: &Address) -> anyhow::Error {
    let Address { endpoint, user, .. } = address;
    let another = asks_for_another_proof(&error);
    let fault = if is_refusal(&error) || another {
        let means = match (&address.option_file, &address.password) {
            (Some(file), Some(_)) => format!("the password in {}", file.display()),
            _ => "socket authentication".to_owned(),
        };
        let hint = if another {
            "is there such an account? MySQL asks those it does not know for any kind of proof; \
             one that is there has to be WITH caching_sha2_password"
        } else {
            "check user and password in the option file, or CREATE USER … IDENTIFIED VIA unix_socket / WITH auth_socket"
        };
        Fault::new(Kind::Config, format!("the server at {endpoint} refused the login of {user:?} with {means}"))
            .hint(hint)
    } else if matches!(&error, mysql::Error::MySqlError(e) if e.code == 1040 || e.code == 1203) {
        Fault::new(Kind::Refused, format!("the server at {endpoint} has no connection left"))
            .hint("raise max_connections, or find what does not close its connections")
    } else if is_about_tls(&error) {
        Fault::new(Kind::Config, format!("the server at {endpoint} did not prove who it is"))
            .hint("check tls_ca (ssl_ca in an option file) and the name in the server's certificate; nothing falls back to less")
    } else {
        Fault::new(Kind::Refused, format!("cannot reach the server at {endpoint}")).hint("is the server running?")
    };
    fault.caused_by(error).into()
}

/// A failed handshake arrives as an input/output error of this kind, bare or inside a codec's.
fn is_about_tls(error: &mysql::Error) -> bool {
    let is_handshake = |error: &std::io::Error| error.kind() == std::io::ErrorKind::InvalidData;
    match error {
        mysql::Error::TlsError(_) | mysql::Error::DriverError(mysql::DriverError::TlsNotSupported) => true,
        mysql::Error::IoError(error) => is_handshake(error),
        mysql::Error::CodecError(error) => {
            std::error::Error::source(error).and_then(<dyn std::error::Error>::downcast_ref).is_some_and(is_handshake)
        }
        _ => false,
    }
}
