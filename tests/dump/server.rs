//! A server of this host's packages, with data of its own: MariaDB, or MySQL where that is the one that is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use mysnap::instance::installed;
use mysnap::server::{Access, Address, Session};
use mysnap::sys::cancel::Cancel;
use mysnap::sys::cmd::{Call, Finished, Running};
use mysnap::sys::{durable, retry};

/// The longest test, a hundred restores, takes minutes where nothing else runs.
const LIFE: Duration = Duration::from_secs(4 * 3600);
/// A busy machine takes long to make a server ready.
pub const READY: Duration = Duration::from_secs(300);

/// Whether it is a MariaDB; a MySQL otherwise, where there is no other.
pub static IS_MARIADB: LazyLock<bool> =
    LazyLock::new(|| installed::server().expect("a server is installed").flavour.is_mariadb());

/// What is MariaDB's or MySQL's.
pub fn either<T>(mariadb: T, mysql: T) -> T {
    if *IS_MARIADB { mariadb } else { mysql }
}

/// The program of MariaDB or of MySQL.
pub fn program(mariadb: &'static str, mysql: &'static str) -> Call<'static> {
    Call::new(either(mariadb, mysql))
}

/// A table of the numbers from 1 to `count`, whose column is `seq`.
pub fn numbers(count: u32) -> String {
    let made = format!(
        "(WITH RECURSIVE counted (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM counted WHERE seq < {count}) \
         SELECT seq FROM counted) numbers"
    );
    either(format!("seq_1_to_{count}"), made)
}

/// Has the server begin its log anew.
pub fn reset() -> &'static str {
    either("RESET MASTER", "RESET BINARY LOGS AND GTIDS")
}

/// Asks where the log ends.
pub fn log_status() -> &'static str {
    either("SHOW MASTER STATUS", "SHOW BINARY LOG STATUS")
}

/// A server that ends with the test.
pub struct Server {
    home: tempfile::TempDir,
    data: PathBuf,
    program: PathBuf,
    options: Vec<String>,
    process: Mutex<Option<Running<'static>>>,
}

impl Server {
    /// An empty one.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// An empty one with more options.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_by(Path::new(either("mariadbd", "mysqld")), options)
    }

    /// The same of a copy of the server's program.
    pub fn start_by(program: &Path, options: &[&str]) -> Self {
        Self::made_with(program, &[], options)
    }

    /// An empty one whose data is made with `settings` too, which it keeps.
    pub fn start_made_with(settings: &[&str]) -> Self {
        Self::made_with(Path::new(either("mariadbd", "mysqld")), settings, &[])
    }

    fn made_with(program: &Path, settings: &[&str], options: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let common: Vec<String> =
            common(&home, &data).into_iter().chain(settings.iter().map(|&setting| setting.to_owned())).collect();
        let made: &[&str] = either(
            &["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"],
            &["--no-defaults", "--initialize-insecure"],
        );
        let maker = self::program("mariadb-install-db", "mysqld");
        maker.args(made.iter().copied()).args(&common).deadline(READY).run().unwrap();
        Self::on((home, data, program.to_owned()), common, options)
    }

    /// One on data that is there.
    pub fn on_data(data: &Path, options: &[&str]) -> Self {
        Self::on_data_by(Path::new(either("mariadbd", "mysqld")), data, options)
    }

    /// The same of a copy of the server's program.
    pub fn on_data_by(program: &Path, data: &Path, options: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let common = common(&home, data);
        Self::on((home, data.to_owned(), program.to_owned()), common, options)
    }

    fn on((home, data, program): (tempfile::TempDir, PathBuf, PathBuf), common: Vec<String>, options: &[&str]) -> Self {
        let at = |name: &str| home.path().join(name).display().to_string();
        let places = [format!("--socket={}", at("socket")), format!("--log-error={}", at("log"))];
        let options =
            common.into_iter().chain(places).chain(options.iter().map(|option| (*option).to_owned())).collect();
        // An option file of this host must not matter.
        durable::write(&home.path().join("nothing.cnf"), b"").unwrap();
        let server = Self { home, data, program, options, process: Mutex::new(None) };
        server.start_again();
        server
    }

    /// Starts it on the data that it has.
    pub fn start_again(&self) {
        self.start_again_with(&[]);
    }

    /// The same with `more` options, which hold once.
    pub fn start_again_with(&self, more: &[&str]) {
        let own: &[&str] = either(
            &[],
            &[
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--mysqlx=OFF",
                "--secure-file-priv=",
                "--cte-max-recursion-depth=1000000",
            ],
        );
        let process = Call::new(&self.program)
            .args(["--no-defaults", "--skip-networking", "--log-bin=b", "--innodb-flush-log-at-trx-commit=0"])
            .args(own.iter().copied())
            .args(["--character-set-server=utf8mb4", "--max-allowed-packet=64M"])
            .args(&self.options)
            .args(more)
            .deadline(LIFE)
            .start()
            .unwrap();
        *self.process.lock().unwrap() = Some(process);
        let answers = || if self.ran("SELECT 1").status.success() { Ok(()) } else { Err(()) };
        let log = self.home.path().join("log");
        retry::until(READY, answers)
            .unwrap_or_else(|()| panic!("{}", std::fs::read_to_string(log).unwrap_or_default()));
    }

    /// Where its data is.
    pub fn datadir(&self) -> PathBuf {
        self.data.clone()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.home.path().join("socket")
    }

    /// What is known about reaching it.
    pub fn access(&self) -> Access {
        let option_file = Some(self.home.path().join("nothing.cnf"));
        Access { option_file, socket: Some(self.socket()), user: Some("root".to_owned()), ..Access::default() }
    }

    /// How to reach it.
    pub fn address(&self) -> Address {
        self.access().resolve().unwrap()
    }

    /// A session of root.
    pub fn session(&self) -> Session {
        self.access().connect(&Cancel::new()).unwrap()
    }

    /// The server's own client, by which root reaches it.
    pub fn client(&self) -> Call<'static> {
        program("mariadb", "mysql")
            .args(["--no-defaults", "-uroot", "-N", "-B", "--default-character-set=utf8mb4"])
            // MariaDB's from 11.4 on would have a server prove itself here too, which has a certificate for another place.
            .arg(either("--skip-ssl", "--ssl-mode=PREFERRED"))
            .arg(format!("--socket={}", self.socket().display()))
    }

    fn ran(&self, statements: &str) -> Finished {
        self.client().stdin(statements.as_bytes()).finish().unwrap()
    }

    /// What statements answer.
    pub fn sql(&self, statements: &str) -> String {
        let ran = self.ran(statements);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    /// Where its log ends: file and offset.
    pub fn log_end(&self) -> (String, u64) {
        let told = self.sql(log_status());
        let mut columns = told.split_whitespace();
        (columns.next().unwrap().to_owned(), columns.next().unwrap().parse().unwrap())
    }

    /// Statements of which some may fail.
    pub fn play(&self, statements: &[u8]) {
        drop(self.client().arg("--force").stdin(statements).deadline(READY).finish().unwrap());
    }

    /// Drops the tables and views that can't be read, of which the server's own tool makes an error.
    pub fn drop_what_is_broken(&self) {
        let kind = "IF(TABLE_TYPE = 'VIEW', 'VIEW', 'TABLE')";
        let listed = self.sql(&format!(
            "SELECT CONCAT({kind}, ' `', REPLACE(TABLE_SCHEMA, '`', '``'), '`.`', REPLACE(TABLE_NAME, '`', '``'), '`') \
             FROM information_schema.TABLES WHERE TABLE_SCHEMA LIKE 'own%'"
        ));
        let (mut looks, mut drops, mut line) = (String::new(), BTreeMap::new(), 1);
        for one in listed.lines().map(unescaped) {
            let name = one.split_once(' ').unwrap().1;
            let look = format!("SHOW CREATE TABLE {name}; SELECT * FROM {name} LIMIT 0;\n");
            line += look.lines().count();
            drops.insert(line - 1, format!("DROP {one}"));
            looks.push_str(&look);
        }
        let ran = self.client().arg("--force").stdin(looks).finish().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        let at = |text: &str| text.split_once(" at line ")?.1.split(':').next()?.parse::<usize>().ok();
        for line in said.lines().filter(|text| text.starts_with("ERROR")).filter_map(at).collect::<BTreeSet<_>>() {
            let (_, drop) = drops.range(line..).next().unwrap();
            self.play(drop.as_bytes());
        }
    }

    /// A statement that must fail, with these words.
    pub fn sql_fails(&self, statement: &str, words: &str) {
        let ran = self.ran(statement);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(!ran.status.success() && said.contains(words), "{said}");
    }

    /// A database as the server's own tool writes it. It refuses history that is kept by transactions.
    pub fn tool_dump(&self, database: &str) -> String {
        let more = either("--dump-history", "--set-gtid-purged=OFF");
        let mut ran = self.tool_dumped(database, &[more]);
        if String::from_utf8_lossy(&ran.stderr).contains("transaction-precise history") {
            ran = self.tool_dumped(database, &[]);
        }
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    fn tool_dumped(&self, database: &str, more: &[&str]) -> Finished {
        program("mariadb-dump", "mysqldump")
            .args(["--no-defaults", "-uroot", "--hex-blob", "--routines", "--triggers", "--events"])
            .args(["--skip-dump-date", "--compact", "--default-character-set=utf8mb4"])
            .args(more.iter().copied())
            .args([format!("--socket={}", self.socket().display()), database.to_owned()])
            .finish()
            .unwrap()
    }

    /// In order.
    pub fn stop(&self) {
        self.sql("SHUTDOWN");
        if let Some(process) = self.process.lock().unwrap().take() {
            process.wait().unwrap();
        }
    }

    /// As the kernel does where memory runs short.
    pub fn kill(&self) {
        if let Some(process) = self.process.lock().unwrap().take() {
            process.killer()();
            process.wait().unwrap();
        }
    }
}

/// What the server and what makes its data are told.
fn common(home: &tempfile::TempDir, data: &Path) -> Vec<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    // A server that starts removes temporary tables of others from a directory that they share.
    let temporary = home.path().join("tmp");
    durable::create_private_directory(&temporary).unwrap();
    vec![format!("--datadir={}", data.display()), format!("--tmpdir={}", temporary.display()), format!("--user={user}")]
}

/// A line as the client prints it, as it was.
fn unescaped(line: &str) -> String {
    line.replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
