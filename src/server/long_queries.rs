//! Queries that would keep the lock waiting, and every writer behind it.
//!
//! Looked for *before* the lock is asked for: on MySQL a waiting FLUSH TABLES WITH READ LOCK stops
//! all writes, and reads of the table in question. What blocks depends on the lock: on MySQL any
//! statement, on MariaDB those that write; and BACKUP STAGE waits only for writes to tables without
//! transactions, so that it has nothing to fear where there are none.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::hold::LockMode;
use super::layout;
use super::session::{Columns, Session};
use super::sql;
use crate::fault::{Fault, Kind};
use crate::sys::cancel::Cancel;

const PAUSE: Duration = Duration::from_secs(1);
const STATEMENT_HEAD: usize = 60;
/// Statements that write no table.
const READS: [&str; 6] = ["SELECT", "SHOW", "EXPLAIN", "DESCRIBE", "DESC", "WITH"];

/// What to do about queries that would block the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongQueryPolicy {
    /// From when on a query counts as long.
    pub threshold: Duration,
    /// How long to wait for long queries to end before giving up.
    pub wait: Duration,
    /// After how much waiting long SELECTs, and only SELECTs, are killed; never where `None`.
    pub kill_selects: Option<Duration>,
}

impl Default for LongQueryPolicy {
    /// What has run for five seconds is likely to outlast the three that the lock waits. On MySQL it
    /// then costs more than those: FLUSH TABLES has let go of the tables that it reads, and whoever
    /// uses them waits for its end, also after the lock was given up.
    fn default() -> Self {
        Self { threshold: Duration::from_secs(5), wait: Duration::from_secs(180), kill_selects: None }
    }
}

/// A query that would block the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongQuery {
    /// The connection.
    pub id: u64,
    /// Whose it is.
    pub user: String,
    /// For how long it has been running.
    pub running: Duration,
    /// The head of the statement, literals masked.
    pub statement: String,
}

impl std::fmt::Display for LongQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, user, running, statement } = self;
        write!(f, "query {id} of {user:?}, running for {} s: {statement}", running.as_secs())
    }
}

impl Session {
    /// The queries that have been running for `threshold` or longer and would block a lock of
    /// `mode`.
    pub fn long_queries(&mut self, mode: LockMode, threshold: Duration) -> anyhow::Result<Vec<LongQuery>> {
        let facts = self.facts();
        if mode == LockMode::Stages && !layout::has_tables_without_transactions(&facts.datadir) {
            return Ok(Vec::new());
        }
        let reads_block = !facts.flavour.is_mariadb();
        let ours = u64::from(self.connection.id());
        let queries = self.connection.rows(sql::PROCESS_LIST)?;
        let queries = queries.iter().filter_map(running_query);
        Ok(queries.filter(|q| q.id != ours && q.running >= threshold && (reads_block || !is_read(q))).collect())
    }

    /// Waits until no long query would block a lock of `mode`; gives up with an error of
    /// [`crate::fault::Kind::Lock`] that names them.
    pub fn wait_for_calm(&mut self, mode: LockMode, policy: &LongQueryPolicy, cancel: &Cancel) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut killed = BTreeSet::new();
        loop {
            let queries = self.long_queries(mode, policy.threshold)?;
            let Some(first) = queries.first() else { return Ok(()) };
            if policy.kill_selects.is_some_and(|after| began.elapsed() >= after) {
                for query in queries.iter().filter(|q| is_select(q) && killed.insert(q.id)) {
                    self.kill(query);
                }
            }
            if began.elapsed() >= policy.wait {
                return Err(not_calm(first, queries.len(), policy));
            }
            tracing::debug!(query = %first, "waiting for a long query");
            cancel.sleep(PAUSE.min(policy.wait))?;
        }
    }

    /// One that can't be killed is still waited for.
    fn kill(&mut self, query: &LongQuery) {
        let needed = if self.facts().flavour.is_mariadb() { "CONNECTION ADMIN" } else { "CONNECTION_ADMIN" };
        match self.connection.run(&sql::kill_query(query.id)) {
            Ok(()) => tracing::warn!(%query, "killed a long SELECT, as configured"),
            Err(error) => {
                tracing::warn!(%query, %error, "cannot kill a long SELECT; that needs {needed} or SUPER");
            }
        }
    }
}

fn not_calm(first: &LongQuery, count: usize, policy: &LongQueryPolicy) -> anyhow::Error {
    let others = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
    let waited = policy.wait.as_secs();
    Fault::new(Kind::Lock, format!("after {waited} s the lock would still wait behind {first}{others}"))
        .hint("end it, run the backup at a calmer time, or let it kill long SELECTs")
        .into()
}

/// A row of the process list that is a running statement: also a replica's applier, which has
/// another command and a statement.
pub(super) fn running_query(row: &Columns) -> Option<LongQuery> {
    let command = row.get(&["Command"])?;
    if ["Sleep", "Daemon", "Binlog Dump", "Binlog Dump GTID"].contains(&command) {
        return None;
    }
    let statement = row.get(&["Info"]).filter(|statement| !statement.is_empty())?;
    Some(LongQuery {
        id: row.get(&["Id"])?.parse().ok()?,
        user: row.get(&["User"]).unwrap_or_default().to_owned(),
        running: Duration::from_secs(row.get(&["Time"])?.parse().ok()?),
        statement: head(statement),
    })
}

fn is_select(query: &LongQuery) -> bool {
    first_word(&query.statement) == "SELECT"
}

fn is_read(query: &LongQuery) -> bool {
    READS.contains(&first_word(&query.statement).as_str())
}

fn first_word(statement: &str) -> String {
    let words = statement.trim_start_matches(|c: char| c == '(' || c.is_whitespace());
    words.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_uppercase()
}

/// The beginning of a statement without comments and literals: those may hold secrets.
fn head(statement: &str) -> String {
    let mut text = String::new();
    let mut rest = statement.trim_start();
    while let Some(c) = rest.chars().next().filter(|_| text.chars().count() < STATEMENT_HEAD) {
        if c == '\'' || c == '"' {
            text.push('?');
            rest = after_literal(rest.get(1..).unwrap_or_default(), c);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after.trim_start());
        } else {
            text.push(if c.is_control() { ' ' } else { c });
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    text
}

/// What follows the literal that `text` is in, which ends at `quote`.
fn after_literal(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return text.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(command: &str, info: &str) -> Columns {
        Columns::of(&[("Id", "12"), ("User", "app"), ("Command", command), ("Time", "61"), ("Info", info)])
    }

    #[test]
    fn literals_and_comments_are_not_shown() {
        assert_eq!(head("SET PASSWORD = 'gehe\\'im' , x"), "SET PASSWORD = ? , x");
        assert_eq!(head("ALTER USER a IDENTIFIED BY \"unclosed secret"), "ALTER USER a IDENTIFIED BY ?");
        assert_eq!(head("/* secret */ SELECT\n1"), "SELECT 1");
        assert_eq!(head(&"x".repeat(500)).len(), STATEMENT_HEAD);
    }

    #[test]
    fn only_running_statements_count() {
        assert!(running_query(&row("Sleep", "")).is_none());
        assert!(running_query(&row("Query", "")).is_none());
        assert!(running_query(&row("Binlog Dump", "x")).is_none());
        let query = running_query(&row("Query", "(select 'x')")).unwrap();
        assert_eq!((query.id, query.running.as_secs()), (12, 61));
        assert!(is_select(&query) && is_read(&query));
        assert!(!is_read(&running_query(&row("Execute", "UPDATE t SET a = 1")).unwrap()));
        assert!(!is_select(&running_query(&row("Query", "/* SELECT */ DELETE FROM t")).unwrap()));
    }

    proptest::proptest! {
        #[test]
        fn no_statement_panics(text in ".*") {
            proptest::prop_assert!(head(&text).chars().count() <= STATEMENT_HEAD);
        }
        #[test]
        fn no_literal_is_shown(secret in "[a-z]{5,20}", before in "[A-Z ]{0,30}") {
            let shown = head(&format!("{before}'{secret}' x"));
            proptest::prop_assert!(!shown.contains(&secret), "{shown}");
        }
    }
}
