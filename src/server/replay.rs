//! Binary logs replayed by a server of our own: laid into it as relay logs, which its replica's applier executes.

use std::time::Duration;

use anyhow::Context as _;

use super::Address;
use super::facts::Facts;
use super::replay_sql::Words;
use super::session::{Columns, Connection};
use super::sql;

/// An answer waits for what the applier holds.
const ANSWER: Duration = Duration::from_secs(3600);

/// A connection to a server that replays.
pub struct Replayer {
    connection: Connection,
    words: Words,
    /// Whether what reads the relay logs executes them too, and so has executed what it has read.
    is_one: bool,
}

/// How far a replay is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The relay log in which the next transaction begins.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// Whether the applier runs.
    pub runs: bool,
    /// Whether it has nothing more to do. A server whose reader has others execute tells it by the place alone, which it
    /// brings up to date some times a second.
    pub waits: bool,
    /// Why it does not.
    pub error: Option<String>,
}

impl Replayer {
    /// Connects to the server at `address`, whose data is of the server of `facts`.
    pub fn connect(address: &Address, facts: &Facts) -> anyhow::Result<Self> {
        let (mut connection, words) = (Connection::open(address, ANSWER)?, Words::of(facts.flavour, facts.version));
        // MySQL 9 is told to have none beside it, and has one all the same.
        let is_one = connection.value(words.appliers)?.as_deref() == Some("0");
        Ok(Self { connection, words, is_one })
    }

    /// Forgets every source from which the server replicated, and their relay logs.
    pub fn forget_sources(&mut self) -> anyhow::Result<()> {
        // MySQL's forgets all channels at once, and knows none of them afterwards.
        if !self.words.is_mariadb {
            return self.run(&self.words.reset(""));
        }
        let channels = self.connection.rows(self.words.all_status)?;
        let named = |row: &Columns| row.get(&["Channel_Name", "Connection_name"]).unwrap_or_default().to_owned();
        let mut names: Vec<String> = channels.iter().map(named).collect();
        names.push(String::new());
        names.sort();
        names.dedup();
        names.iter().try_for_each(|name| self.run(&self.words.reset(name)))
    }

    /// Takes the transactions of `set` for executed: the data was loaded by other ones.
    pub fn take_for_executed(&mut self, set: &str) -> anyhow::Result<()> {
        self.run(&self.words.take_for_executed(set))
    }

    /// Begins to replay the relay logs from a place in `file` on.
    pub fn start(&mut self, file: &str, offset: u64) -> anyhow::Result<()> {
        self.run(&self.words.change(file, offset))?;
        self.run(self.words.start)
    }

    /// How far it is.
    pub fn replayed(&mut self) -> anyhow::Result<Replayed> {
        let rows = self.connection.rows(self.words.status)?;
        let replayed = rows.first().and_then(replayed).context("the server does not tell how far it has replayed")?;
        Ok(Replayed { waits: replayed.waits && self.is_one, ..replayed })
    }

    /// Whether what stops it is in its log alone: who reads the relay logs tells no more than that another one failed.
    pub fn tells_by_its_log(&self) -> bool {
        !self.is_one
    }

    /// Stops the applier, and forgets the relay logs.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.run(self.words.stop)?;
        self.run(&self.words.reset(""))
    }

    /// What is executed: of MySQL everything, of MariaDB the last transaction of each domain that was replayed.
    pub fn executed(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.connection.value(self.words.executed)?.map(|set| set.replace('\n', "")))
    }

    /// Distributed transactions that are prepared, and neither committed nor rolled back.
    pub fn undecided(&mut self) -> anyhow::Result<Vec<String>> {
        let rows = self.connection.rows(self.words.undecided)?;
        Ok(rows.iter().filter_map(|row| row.get(&["data"]).map(str::to_owned)).collect())
    }

    /// Events that were made meanwhile: an applier switches them off.
    pub fn switched_off(&mut self) -> anyhow::Result<Vec<String>> {
        self.connection.list(self.words.switched_off)
    }

    /// Removes the account by which we are here; the server can only be shut down then.
    pub fn leave(mut self, account: &str) -> anyhow::Result<()> {
        self.run("SET sql_log_bin = 0")?;
        self.run(&sql::drop_account(account))
    }

    fn run(&mut self, statement: &str) -> anyhow::Result<()> {
        self.connection.run(statement).with_context(|| format!("the server refused `{statement}`"))
    }
}

fn replayed(row: &Columns) -> Option<Replayed> {
    let error = row.get(&["Last_SQL_Error"]).filter(|text| !text.is_empty());
    Some(Replayed {
        file: row.get(&["Relay_Log_File"])?.to_owned(),
        offset: row.get(&["Relay_Log_Pos"])?.parse().ok()?,
        runs: row.get(&["Replica_SQL_Running", "Slave_SQL_Running"])? == "Yes",
        waits: row
            .get(&["Replica_SQL_Running_State", "Slave_SQL_Running_State"])
            .is_some_and(|state| state.contains("has read all relay log")),
        error: error.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_names_tell_how_far_it_is() {
        let row = |running: &str| {
            Columns::of(&[
                ("Relay_Log_File", "mysnap-relay.000002"),
                ("Relay_Log_Pos", "4711"),
                (running, "Yes"),
                ("Last_SQL_Error", ""),
            ])
        };
        let expected =
            Replayed { file: "mysnap-relay.000002".into(), offset: 4711, runs: true, waits: false, error: None };
        for name in ["Replica_SQL_Running", "Slave_SQL_Running"] {
            assert_eq!(replayed(&row(name)), Some(expected.clone()));
        }
        assert_eq!(replayed(&Columns::of(&[("Relay_Log_File", "x")])), None);
    }
}
