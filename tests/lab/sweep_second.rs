//! The sweep of verbs that start a second server, or load into one. The short form takes only the kinds of
//! steps that a plain backup has not.

use mysql::prelude::Queryable as _;

use crate::dump::root;
use crate::host::{self, Ran, mysnap, mysnap_ok, run, try_run};
use crate::live::{DEFAULT_STALL, LOCAL, Undo, forget_stored, local, stored};
use crate::sweep::{Backup, Ready, shrink_the_redo_log, sweep, untouched};

const SCRATCH: &str = "/srv/drill";
const DATABASE: &str = "swept";
const RESTORED: &str = "swept_then";
const ROWS: u32 = 500;

/// A job `local` with `more`.
fn job(more: &str) -> String {
    local("sweep", &format!("{DEFAULT_STALL}{more}"))
}

/// The steps of a plain backup. Its backup is the only one that is there afterwards.
fn plain_steps() -> Vec<String> {
    forget_stored();
    untouched(&["--config", &job(""), "backup", "local"].map(str::to_owned)).1
}

/// A backup with `more` in its job is whole or absent whatever goes wrong.
fn sweep_backup(name: &str, more: &str) {
    shrink_the_redo_log();
    let plain = plain_steps();
    let first = stored();
    sweep(name, &mut Backup::new(job(more), plain));
    assert_eq!(stored(), first);
    assert_no_second_server();
}

fn assert_no_second_server() {
    assert!(!try_run(&["pgrep", "-f", "socket=/(run/mysnap|srv/drill)/"]).status.success(), "a second server is left");
}

#[test]
fn whatever_goes_wrong_in_a_proof_a_backup_is_whole_or_absent() {
    sweep_backup("proved backup", "prove = \"tables\"\nqueries = [\"SELECT 1\"]\n");
}

#[test]
fn whatever_goes_wrong_in_a_prepared_backup_it_is_whole_or_absent() {
    sweep_backup("prepared backup", "prepared = true\nprove = \"start\"\n");
}

#[test]
fn whatever_goes_wrong_in_a_dump_it_is_whole_or_absent() {
    sweep_backup("dump", "method = \"dump\"\nworkers = 1\n");
}

/// `drill` of the only backup.
struct Drill {
    config: String,
    plain: Vec<String>,
}

impl Ready for Drill {
    fn arguments(&mut self) -> Vec<String> {
        ["--config", &self.config, "drill", "local", "--scratch", SCRATCH].map(str::to_owned).to_vec()
    }

    fn objection(&mut self, ran: &Ran) -> Option<String> {
        let left = run(&["ls", "-A", SCRATCH]);
        if !left.is_empty() {
            return Some(format!("left in the scratch space: {left}"));
        }
        (ran.status == 8).then(|| "a good backup is called bad".to_owned())
    }

    fn elsewhere(&self) -> &[String] {
        &self.plain
    }
}

#[test]
fn whatever_goes_wrong_in_a_drill_nothing_is_left() {
    shrink_the_redo_log();
    let plain = plain_steps();
    let _gone = Undo::with(&format!("rm -rf /var/lib/mysnap/drills {SCRATCH}"));
    run(&["install", "-d", "-m", "0755", SCRATCH]);
    sweep("drill", &mut Drill { config: job(""), plain });
    assert_no_second_server();
}

/// `restore` of one database beside the live one.
struct Load {
    config: String,
    account: String,
    plain: Vec<String>,
}

impl Load {
    /// How many rows the restored database has; none where there is no such database.
    fn restored() -> Option<u32> {
        let mut root = host::root();
        let there: Option<String> = root.query_first(format!("SHOW DATABASES LIKE '{RESTORED}'")).unwrap();
        there.map(|_| root.query_first(format!("SELECT COUNT(*) FROM {RESTORED}.t")).unwrap().unwrap())
    }
}

impl Ready for Load {
    fn arguments(&mut self) -> Vec<String> {
        host::root().query_drop(format!("DROP DATABASE IF EXISTS {RESTORED}")).unwrap();
        let from = ["--config", &self.config, "restore", "latest", "--yes", "--workers", "1", "--into", &self.account];
        from.into_iter().chain(["--database", DATABASE, "--as", RESTORED]).map(str::to_owned).collect()
    }

    /// All of it is in its place or nothing, and it can be run again.
    fn objection(&mut self, ran: &Ran) -> Option<String> {
        match Self::restored() {
            Some(ROWS) => return None,
            Some(rows) => return Some(format!("exit {} and {rows} rows are in place", ran.status)),
            None if ran.status == 0 => return Some("exit 0 and nothing is restored".to_owned()),
            None => {}
        }
        let arguments = self.arguments();
        let again = mysnap(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        if again.status != 0 {
            return Some(format!("running it again: {}", again.stderr));
        }
        let aside: Option<String> = host::root().query_first("SHOW DATABASES LIKE 'mysnap\\_restoring%'").unwrap();
        aside.map(|name| format!("{name} is left"))
    }

    fn elsewhere(&self) -> &[String] {
        &self.plain
    }

    fn is_steady_beside(&self) -> bool {
        true
    }
}

#[test]
fn whatever_goes_wrong_in_a_load_all_or_nothing_is_in_place() {
    shrink_the_redo_log();
    let plain = plain_steps();
    let mut root_session = host::root();
    let rows: Vec<String> = (0..ROWS).map(|n| format!("({n}, REPEAT('x', 200))")).collect();
    for statement in [
        format!("CREATE DATABASE {DATABASE}"),
        format!("CREATE TABLE {DATABASE}.t (n INT PRIMARY KEY, c VARCHAR(200), KEY (c))"),
        format!("CREATE TABLE {DATABASE}.u (n INT, FOREIGN KEY (n) REFERENCES t (n))"),
        format!("CREATE VIEW {DATABASE}.v AS SELECT n FROM {DATABASE}.t"),
        format!("INSERT INTO {DATABASE}.t VALUES {}", rows.join(", ")),
    ] {
        root_session.query_drop(statement).unwrap();
    }
    let drop = format!("DROP DATABASE IF EXISTS {DATABASE}; DROP DATABASE IF EXISTS {RESTORED}");
    let _gone = Undo::with(&format!("{} -e '{drop}'", host::client()));
    forget_stored();
    let config = job("method = \"dump\"\n");
    mysnap_ok(&["--config", &config, "backup", "local"]);
    sweep("load", &mut Load { config, account: root(), plain });
    mysnap_ok(&["verify", "latest", "--from", LOCAL]);
    forget_stored();
}
