//! Time zones by their names, for a server that was made empty: events and logged statements name them, and a server
//! knows those that stand in tables of its `mysql` database.

use std::path::Path;

use anyhow::Context as _;

use super::Instance;
use crate::server::{Facts, Loader, ZONES};
use crate::sys::cancel::Cancel;
use crate::sys::cmd::Call;

/// The servers' own programs that make statements of this host's zone database.
const PROGRAMS: [&str; 2] = ["mariadb-tzinfo-to-sql", "mysql_tzinfo_to_sql"];
/// Behind each statement.
const END: &str = ";\n";

impl Instance {
    /// Fills the tables. On a host without that program or without a zone database they stay empty, and whatever names a
    /// zone is refused by the server.
    pub fn learn_zones(&self, facts: &Facts, cancel: &Cancel) -> anyhow::Result<()> {
        let programs = if facts.flavour.is_mariadb() { &PROGRAMS[..] } else { &PROGRAMS[1..] };
        let Some(program) = programs.iter().find(|name| Call::is_installed(name)) else { return Ok(()) };
        if !Path::new(ZONES).is_dir() {
            return Ok(());
        }
        let made = Call::new(program).arg(ZONES).cancel(cancel).stdout()?;
        let mut loader = Loader::open(self.address(), facts, true)?;
        loader.enter("mysql")?;
        for statement in made.split(END).filter(|statement| !statement.trim().is_empty()) {
            cancel.check()?;
            loader.make(statement).context("the server's time zones cannot be filled in")?;
        }
        Ok(())
    }
}
