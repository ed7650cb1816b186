//! What a second server is told: the settings that its files ask for, and what keeps it to itself.
//!
//! What works together, and what a start fails without: `docs/facts.md`, the second server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::public::TEMPORARY;
use super::{Login, Placed, Public};
use crate::server::{Facts, Version, keys};
use crate::sys::units::Bytes;

/// Enough to recover and to read; the host belongs to somebody else.
pub(super) const BUFFER_POOL: Bytes = Bytes(128 << 20);
/// None of a live server's, so that no event of the data counts as its own.
const SERVER_ID: u32 = 4_294_967_295;
/// Settings that name a directory.
const DIRECTORIES: [&str; 5] = [
    "innodb_data_home_dir",
    "innodb_undo_directory",
    "innodb_log_group_home_dir",
    "innodb_doublewrite_dir",
    "aria_log_dir_path",
];
/// MySQL's, where it looks for tables that lie outside of the data directory.
const LIST_OF_DIRECTORIES: &str = "innodb_directories";
/// It is empty in earnest: queries mean then what they mean to the live server.
const SQL_MODE: &str = "sql_mode";
/// Asked for nothing: new logs of a server that is thrown away need no encryption, and reading old ones
/// takes the keyring alone.
const LEFT_OUT: [&str; 2] = ["binlog_encryption", "encrypt_binlog"];

/// What a server is started for.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) login: Login,
    /// Its private directory.
    pub(super) own: &'a Path,
    /// Where people find it; nowhere otherwise.
    pub(super) public: Option<&'a Public>,
    /// Whether it replays binary logs.
    pub(super) replays: bool,
    /// How long it may take to recover and to answer.
    pub(super) patience: Duration,
}

impl Told<'_> {
    pub(super) fn socket(&self) -> PathBuf {
        self.public.map_or_else(|| self.own.join("socket"), |public| public.socket.clone())
    }

    fn network(&self) -> Vec<String> {
        let listen = self.public.and_then(|public| public.listen);
        listen.map_or_else(
            || vec!["--skip-networking".to_owned()],
            |at| vec![format!("--bind-address={}", at.ip()), format!("--port={}", at.port())],
        )
    }
}

/// The arguments for the server on the files of `facts`, which lie where `placed` says.
pub(super) fn of(facts: &Facts, placed: &[Placed], told: Told<'_>) -> Vec<String> {
    let at = |name: &str| told.own.join(name).display().to_string();
    let datadir = seen(&facts.datadir, placed);
    let temporary = told.public.map_or_else(|| told.own.join("tmp"), |_| datadir.join(TEMPORARY));
    let mut options = vec![
        "--no-defaults".to_owned(),
        format!("--datadir={}", datadir.display()),
        format!("--socket={}", told.socket().display()),
        format!("--pid-file={}", at("pid")),
        format!("--log-error={}", at(super::ERROR_LOG)),
        format!("--tmpdir={}", temporary.display()),
        format!("--server-id={SERVER_ID}"),
        // MySQL gives and takes no JSON that is longer.
        "--max-allowed-packet=1073741824".to_owned(),
        format!("--innodb-buffer-pool-size={}", told.public.map_or(BUFFER_POOL, |public| public.buffer_pool).0),
    ];
    options.extend(told.network());
    options.extend(
        [
            no_replication(facts),
            "--event-scheduler=OFF",
            // A server can be built without it.
            "--loose-performance-schema=OFF",
            "--innodb-buffer-pool-load-at-startup=OFF",
            "--innodb-buffer-pool-dump-at-shutdown=OFF",
        ]
        .map(str::to_owned),
    );
    options.extend(match told.login {
        Login::OwnAccount | Login::Owner | Login::Replaced => Some(format!("--init-file={}", at(super::INIT_FILE))),
        Login::Unchecked => Some("--skip-grant-tables".to_owned()),
        Login::AsInTheData => None,
    });
    if !facts.flavour.is_mariadb() {
        // Before 8.0 a plugin, which is not loaded: to those the option is unknown.
        options.push("--loose-mysqlx=OFF".to_owned());
        // From 8.0.16 on the server itself upgrades what an older one left.
        if facts.version >= Version(8, 0, 16) {
            options.push("--upgrade=NONE".to_owned());
        }
    }
    options.extend(reading_files(facts, told.public.map(|_| temporary.as_path())));
    options.extend(told.public.map(|_| among_the_data(facts)));
    options.extend(binary_log(facts, placed, &datadir));
    options.extend(logging_what_it_takes(facts));
    options.extend(told.replays.then(|| replaying(facts)).into_iter().flatten());
    options.extend(facts.key_plugin().map(|plugin| format!("--plugin-load-add={plugin}")));
    options.extend(engines(facts));
    options.extend(facts.must_match.iter().filter_map(|(name, value)| matching(name, value, placed)));
    options.extend(told.replays.then(|| taking_both(facts)).flatten());
    options
}

/// Where statements read and write files: a server for people is not to reach more of the host, as its user, than the live
/// one lets its accounts; so nowhere, or where there is no such setting among its own temporary files. The others get what
/// MySQL starts with where its built-in directory is missing.
fn reading_files(facts: &Facts, temporary: Option<&Path>) -> Option<String> {
    let is_mariadb = facts.flavour.is_mariadb();
    match temporary {
        Some(_) if !is_mariadb && facts.version >= Version(5, 7, 16) => Some("--secure-file-priv=NULL".to_owned()),
        Some(temporary) => Some(format!("--secure-file-priv={}", temporary.display())),
        None => (!is_mariadb).then(|| "--secure-file-priv=".to_owned()),
    }
}

/// What a server for people must not take for a database, or not read, of what lies among the data.
fn among_the_data(facts: &Facts) -> String {
    if facts.flavour.is_mariadb() {
        format!("--ignore-db-dirs={TEMPORARY}")
    } else if facts.version < Version(8, 0, 0) {
        format!("--ignore-db-dir={TEMPORARY}")
    } else {
        // What the live server was told to keep by SET PERSIST: its port, read_only.
        "--persisted-globals-load=OFF".to_owned()
    }
}

/// Later releases may cease to know the old name, and earlier ones don't know the new one.
fn no_replication(facts: &Facts) -> &'static str {
    if !facts.flavour.is_mariadb() && facts.version >= Version(8, 0, 26) {
        "--skip-replica-start"
    } else {
        "--skip-slave-start"
    }
}

/// Before 5.7 a server does not start with GTIDs unless it would log what it takes from a source.
fn logging_what_it_takes(facts: &Facts) -> Option<String> {
    let has_gtids = facts.gtid_mode.as_deref().is_some_and(|mode| mode != "OFF");
    (has_gtids && facts.version < Version(5, 7, 0)).then(|| "--log-slave-updates=1".to_owned())
}

/// Recovery needs the binary log under its own name, or MariaDB refuses and MySQL loses commits. It
/// must never expire one. In the data directory it has a relative name: else the list of the files would name
/// those of the live server to whoever starts one on these files in another place.
fn binary_log(facts: &Facts, placed: &[Placed], datadir: &Path) -> Vec<String> {
    let Some(log) = &facts.binary_log else { return vec!["--skip-log-bin".to_owned()] };
    let path = |path: &Path| {
        let seen = seen(path, placed);
        seen.strip_prefix(datadir).unwrap_or(&seen).display().to_string()
    };
    vec![
        format!("--log-bin={}", path(&log.basename)),
        format!("--log-bin-index={}", path(&log.index)),
        expiring_none(facts).to_owned(),
    ]
}

/// The name is told by release, and not made optional: a server that overlooked it would expire logs.
fn expiring_none(facts: &Facts) -> &'static str {
    let since = if facts.flavour.is_mariadb() { Version(10, 6, 0) } else { Version(8, 0, 0) };
    if facts.version < since { "--expire-logs-days=0" } else { "--binlog-expire-logs-seconds=0" }
}

/// What replays files as a replica does, one after the other: several appliers crash MariaDB and gain MySQL
/// nothing. What is replayed is not logged again. Nothing needs to outlive a crash: then all begins anew.
fn replaying(facts: &Facts) -> Vec<String> {
    let (relay_log, mysql) = (super::RELAY_LOG, !facts.flavour.is_mariadb());
    let mut options = vec![
        format!("--relay-log={relay_log}"),
        format!("--relay-log-index={relay_log}.index"),
        "--innodb-flush-log-at-trx-commit=0".to_owned(),
        "--sync-binlog=0".to_owned(),
        "--sync-relay-log=0".to_owned(),
        "--relay-log-recovery=0".to_owned(),
    ];
    let more: &[&str] = match facts.version {
        _ if !mysql => &["--slave-parallel-threads=0", "--gtid-strict-mode=0", "--log-slave-updates=0"],
        // It takes GTIDs only where it logs what it replays.
        version if version < Version(5, 7, 0) => &["--slave-parallel-workers=0", "--log-slave-updates=1"],
        version if version < Version(8, 0, 26) => &["--slave-parallel-workers=0", "--log-slave-updates=0"],
        _ => &["--replica-parallel-workers=0", "--log-replica-updates=0"],
    };
    options.extend(more.iter().map(|option| (*option).to_owned()));
    if mysql && facts.version >= Version(8, 0, 0) {
        // What the live server was told to keep by SET PERSIST: super_read_only.
        options.push("--persisted-globals-load=OFF".to_owned());
    }
    options
}

/// Names of files in the server's directory of plugins, from a manifest that somebody may have written.
fn engines(facts: &Facts) -> impl Iterator<Item = String> {
    let is_plain = |library: &&String| !library.contains(['/', ';', ':', '=']);
    facts.engine_libraries.iter().filter(is_plain).map(|library| format!("--plugin-load-add={library}"))
}

/// Between the base and the target the live server may have begun, or ceased, to give its transactions GTIDs: MySQL
/// replays those of the other kind in its modes in between alone. It stands behind what the live server had.
fn taking_both(facts: &Facts) -> Option<String> {
    let mode = facts.gtid_mode.as_deref().filter(|_| facts.version >= Version(5, 7, 6))?;
    let between = if mode.starts_with("ON") { "ON_PERMISSIVE" } else { "OFF_PERMISSIVE" };
    Some(format!("--gtid-mode={between}"))
}

fn matching(name: &str, value: &str, placed: &[Placed]) -> Option<String> {
    if (value.is_empty() && name != SQL_MODE) || LEFT_OUT.contains(&name) {
        return None;
    }
    if name == LIST_OF_DIRECTORIES {
        let each: Vec<String> =
            value.split(';').map(|path| seen(Path::new(path), placed).display().to_string()).collect();
        return Some(format!("--innodb-directories={}", each.join(";")));
    }
    let named = keys::file_in(name, value).or_else(|| DIRECTORIES.contains(&name).then_some(("", value)));
    let value = match named.filter(|(_, path)| path.starts_with('/')) {
        Some((before, path)) => format!("{before}{}", seen(Path::new(path), placed).display()),
        None => value.to_owned(),
    };
    Some(format!("--{}={value}", name.replace('_', "-")))
}

/// Where the server finds what the live one had at `path`.
fn seen(path: &Path, placed: &[Placed]) -> PathBuf {
    let holding =
        placed.iter().filter(|each| path.starts_with(&each.live)).max_by_key(|each| each.live.as_os_str().len());
    let moved = |each: &Placed| {
        let rest = path.strip_prefix(&each.live).ok().filter(|rest| !rest.as_os_str().is_empty());
        rest.map_or_else(|| each.seen.clone(), |rest| each.seen.join(rest))
    };
    holding.map_or_else(|| path.to_owned(), moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::START;
    use crate::server::Flavour;
    use crate::store::Manifest;

    fn facts() -> Facts {
        Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap().server
    }

    fn placed(live: &Path, seen: &str) -> Placed {
        Placed { live: live.to_owned(), seen: seen.into() }
    }

    #[test]
    fn a_server_keeps_to_itself_and_gets_what_its_files_ask_for() {
        let facts = facts();
        let told =
            |login| Told { login, own: Path::new("/scratch/own"), public: None, replays: false, patience: START };
        let of = |login| of(&facts, &[placed(&facts.datadir, "/scratch/data")], told(login));
        let options = of(Login::OwnAccount);
        let has = |option: &str| assert!(options.iter().any(|o| o == option), "{option} is not in {options:#?}");
        has("--datadir=/scratch/data");
        has("--socket=/scratch/own/socket");
        has("--skip-networking");
        has("--binlog-expire-logs-seconds=0");
        assert_eq!(options.first().map(String::as_str), Some("--no-defaults"));
        has("--init-file=/scratch/own/init.sql");
        assert!(!of(Login::Unchecked).iter().any(|option| option.contains("init-file")));
        assert!(!options.iter().any(|o| o.contains(&*facts.socket.to_string_lossy())), "{options:#?}");
    }

    #[test]
    fn no_release_is_told_what_it_does_not_know() {
        let options = |flavour, version| {
            let told = Told {
                login: Login::OwnAccount,
                own: Path::new("/scratch/own"),
                public: None,
                replays: false,
                patience: START,
            };
            let must_match = [("gtid_mode".to_owned(), "ON".to_owned())].into();
            let gtid_mode = Some("ON".to_owned());
            let facts = Facts { flavour, version, gtid_mode, must_match, ..facts() };
            of(&facts, &[placed(&facts.datadir, "/scratch/data")], told)
        };
        let known: [(Flavour, Version, &[&str], &[&str]); 6] = [
            (Flavour::MariaDb, Version(10, 5, 29), &["--skip-slave-start", "--expire-logs-days=0"], &["mysqlx"]),
            (
                Flavour::MariaDb,
                Version(11, 8, 3),
                &["--skip-slave-start", "--binlog-expire-logs-seconds=0"],
                &["mysqlx"],
            ),
            (
                Flavour::Percona,
                Version(5, 6, 51),
                &["--expire-logs-days=0", "--log-slave-updates=1", "--loose-mysqlx=OFF"],
                &["--binlog-expire", "--upgrade", "replica"],
            ),
            (Flavour::MySql, Version(5, 7, 44), &["--expire-logs-days=0"], &["--binlog-expire", "updates", "replica"]),
            (
                Flavour::MySql,
                Version(8, 0, 20),
                &["--binlog-expire-logs-seconds=0", "--skip-slave-start", "--upgrade=NONE"],
                &["--expire", "replica"],
            ),
            (Flavour::MySql, Version(9, 7, 4), &["--skip-replica-start"], &["--expire", "slave"]),
        ];
        for (flavour, version, has, has_not) in known {
            let options = options(flavour, version);
            let what = format!("{flavour} {version}: {options:#?}");
            assert!(has.iter().all(|option| options.iter().any(|o| o == option)), "{what}");
            assert!(!options.iter().any(|o| has_not.iter().any(|part| o.contains(part))), "{what}");
            assert!(options.iter().any(|o| o == "--loose-performance-schema=OFF"), "{what}");
        }
    }

    #[test]
    fn what_replays_takes_transactions_with_a_name_and_without() {
        let mut facts = facts();
        facts.version = Version(8, 4, 0);
        let last = |facts: &Facts, replays| {
            let told =
                Told { login: Login::Owner, own: Path::new("/scratch/own"), public: None, replays, patience: START };
            let options = of(facts, &[placed(&facts.datadir, "/scratch/data")], told);
            options.into_iter().rfind(|option| option.starts_with("--gtid-mode"))
        };
        for (mode, between) in [("OFF", "OFF_PERMISSIVE"), ("ON", "ON_PERMISSIVE"), ("ON_PERMISSIVE", "ON_PERMISSIVE")]
        {
            facts.gtid_mode = Some(mode.to_owned());
            facts.must_match = [("gtid_mode".to_owned(), mode.to_owned())].into();
            assert_eq!(last(&facts, true), Some(format!("--gtid-mode={between}")));
            assert_eq!(last(&facts, false), Some(format!("--gtid-mode={mode}")));
        }
        facts.gtid_mode = None;
        facts.must_match.clear();
        assert_eq!(last(&facts, true), None);
    }

    #[test]
    fn a_server_for_people_is_where_they_are_told_and_has_the_accounts_of_the_data() {
        let facts = facts();
        let mut public = Public {
            socket: "/run/mysnap/clone-x/mysqld.sock".into(),
            listen: None,
            buffer_pool: Bytes(64 << 20),
            replace_accounts: false,
        };
        let of = |public: &Public| {
            let told = Told {
                login: Login::AsInTheData,
                own: Path::new("/scratch/own"),
                public: Some(public),
                replays: false,
                patience: START,
            };
            of(&facts, &[placed(&facts.datadir, "/scratch/data")], told)
        };
        let has = |options: &[String], option: &str| options.iter().any(|o| o == option);
        let socket_only = of(&public);
        for option in [
            "--socket=/run/mysnap/clone-x/mysqld.sock",
            "--skip-networking",
            "--innodb-buffer-pool-size=67108864",
            "--tmpdir=/scratch/data/.mysnap-tmp",
            "--skip-replica-start",
            "--event-scheduler=OFF",
        ] {
            assert!(has(&socket_only, option), "{option} is not in {socket_only:#?}");
        }
        assert!(!socket_only.iter().any(|o| o.contains("init-file") || o.contains("grant-tables")));
        assert!(has(&socket_only, "--secure-file-priv=NULL"));
        let mariadb = Facts { flavour: Flavour::MariaDb, version: Version(10, 11, 19), ..facts.clone() };
        let own = Path::new("/scratch/data/.mysnap-tmp");
        assert_eq!(reading_files(&mariadb, Some(own)).as_deref(), Some("--secure-file-priv=/scratch/data/.mysnap-tmp"));
        assert_eq!(
            (reading_files(&mariadb, None), reading_files(&facts, None).as_deref()),
            (None, Some("--secure-file-priv="))
        );
        public.listen = Some(([127, 0, 0, 1], 3307).into());
        let listening = of(&public);
        assert!(has(&listening, "--bind-address=127.0.0.1") && has(&listening, "--port=3307"), "{listening:#?}");
        assert!(!has(&listening, "--skip-networking"));
    }

    #[test]
    fn engines_are_loaded_by_the_names_of_their_libraries() {
        let libraries = ["ha_archive.so", "../evil.so", "x=y.so"].map(str::to_owned).to_vec();
        let facts = Facts { engine_libraries: libraries, ..facts() };
        assert_eq!(engines(&facts).collect::<Vec<_>>(), ["--plugin-load-add=ha_archive.so"]);
    }

    #[test]
    fn paths_follow_their_files_and_others_stay() {
        let placed =
            [placed(Path::new("/var/lib/mysql"), "/s/data"), placed(Path::new("/var/lib/mysql/undo"), "/s/undo")];
        assert_eq!(seen(Path::new("/var/lib/mysql"), &placed), Path::new("/s/data"));
        assert_eq!(seen(Path::new("/var/lib/mysql/undo/u1"), &placed), Path::new("/s/undo/u1"));
        assert_eq!(seen(Path::new("/srv/log/b"), &placed), Path::new("/srv/log/b"));
        let undo = matching("innodb_undo_directory", "/var/lib/mysql/undo", &placed);
        assert_eq!(undo.as_deref(), Some("--innodb-undo-directory=/s/undo"));
        assert_eq!(matching("innodb_undo_directory", "./", &placed).as_deref(), Some("--innodb-undo-directory=./"));
        assert_eq!(matching("innodb_data_home_dir", "", &placed), None);
        assert_eq!(matching("sql_mode", "", &placed).as_deref(), Some("--sql-mode="));
        assert_eq!(matching("encrypt_binlog", "ON", &placed), None);
        let outside = matching("innodb_directories", "/srv/tables;/var/lib/mysql/more", &placed);
        assert_eq!(outside.as_deref(), Some("--innodb-directories=/srv/tables;/s/data/more"));
    }
}
