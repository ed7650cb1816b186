//! The sweep of verbs that start a second server, or load into one. The short form takes only the kinds of
//! steps that a plain backup has not.

use mysql::prelude::Queryable as _;

use crate::dump::root;
use crate::host::{self, Ran, mysnap, mysnap_ok, run, try_run};
use crate::live::{DEFAULT_STALL, LOCAL, Undo, forget_stored, local, stored, until};
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
    fn kinds_at_least(&self) -> usize {
        3
    }

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

/// What is there of the restored database.
#[derive(Debug, PartialEq, Eq)]
enum There {
    Nothing,
    Half,
    Whole,
}

impl Load {
    fn there() -> There {
        let mut root = host::root();
        // A server holds it for a client that was killed until it sees that, and its last statement is through.
        until("the server lets go of the killed restore", || {
            root.query_first::<u8, _>("SELECT IS_FREE_LOCK('mysnap restore')").unwrap() == Some(1)
        });
        let mut one = |query: String| root.query_first::<u32, _>(query).ok().flatten();
        let mut counted = |table: &str, column: &str| {
            one(format!("SELECT COUNT(*) FROM information_schema.{table} WHERE {column} = '{RESTORED}'"))
        };
        if counted("SCHEMATA", "SCHEMA_NAME") == Some(0) {
            return There::Nothing;
        }
        let has_all = counted("REFERENTIAL_CONSTRAINTS", "CONSTRAINT_SCHEMA") == Some(1)
            && counted("VIEWS", "TABLE_SCHEMA") == Some(1)
            && counted("TABLES", "TABLE_SCHEMA") == Some(3)
            && one(format!("SELECT COUNT(*) FROM {RESTORED}.t")) == Some(ROWS);
        if has_all { There::Whole } else { There::Half }
    }

    /// What stands in the way of doing it again where it was cut short.
    fn again(&mut self, there: &There) -> Option<String> {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let plan = mysnap(&[&arguments[..], &["--dry-run"]].concat());
        if *there == There::Half && !plan.stdout.contains(&format!("database {RESTORED} was not finished")) {
            return Some(format!("half of it is there, and nothing tells: {}{}", plan.stdout, plan.stderr));
        }
        let again = mysnap(&arguments);
        if again.status != 0 {
            return Some(format!("running it again: {}", again.stderr));
        }
        Self::is_done().err()
    }

    fn is_done() -> Result<(), String> {
        let there = Self::there();
        let aside: Option<String> = host::root().query_first("SHOW DATABASES LIKE 'mysnap\\_restoring%'").unwrap();
        match (there, aside) {
            (There::Whole, None) => Ok(()),
            (there, aside) => Err(format!("it is through, and there is {there:?}; aside is {aside:?}")),
        }
    }

    /// The next point begins as the first one did.
    fn forget() {
        let mut root = host::root();
        let aside: Vec<String> = root.query("SHOW DATABASES LIKE 'mysnap\\_restoring%'").unwrap();
        for name in aside.iter().map(String::as_str).chain([RESTORED]) {
            root.query_drop(format!("DROP DATABASE IF EXISTS `{name}`")).unwrap();
        }
    }
}

impl Ready for Load {
    fn kinds_at_least(&self) -> usize {
        4
    }

    fn arguments(&mut self) -> Vec<String> {
        let from = ["--config", &self.config, "restore", "latest", "--yes", "--workers", "1", "--into", &self.account];
        from.into_iter().chain(["--database", DATABASE, "--as", RESTORED]).map(str::to_owned).collect()
    }

    /// All of it is in its place, or what is there is not taken for that, and running it again finishes it.
    fn objection(&mut self, ran: &Ran) -> Option<String> {
        let objection = match Self::there() {
            _ if ran.status == 0 => Self::is_done().err(),
            There::Whole => None,
            there => self.again(&there).map(|objection| format!("exit {}: {objection}", ran.status)),
        };
        Self::forget();
        objection
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
