//! A second server with nothing in it, to be fed with a dump.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::{Uid, User};

use super::keyring::{self, OwnKeyring};
use super::{Instance, Login, Part};
use crate::server::{Facts, PlaceKind};
use crate::store::Root;
use crate::sys::cancel::Cancel;
use crate::sys::cmd::Call;

/// What transactions with a name need where they are replayed.
const GTIDS: [&str; 2] = ["gtid_mode", "enforce_gtid_consistency"];
/// The name of its data directory.
const DATA: &str = "data";
/// The name of the directory for temporary files of what makes it.
const MAKING: &str = "making";

/// The account that packages make for a server.
const USER: &str = "mysql";
/// How long it may take to make a data directory.
const MAKE: Duration = Duration::from_secs(600);
/// What a dump expects to find as it was; nothing else of the former server matters to it. Long rows have no room in smaller
/// pages.
const KEPT: [&str; 5] = ["lower_case_table_names", "character_set_server", "collation_server", "sql_mode", PAGE_SIZE];
/// The page size, which files are made with and keep.
const PAGE_SIZE: &str = "innodb_page_size";
/// Where the data is to stay: the server that gets it is told the same as the former one, and starts on no other files.
const OF_FILES: [&str; 2] = [DATA_FILES, "innodb_undo_tablespaces"];
/// The system tablespace's files.
const DATA_FILES: &str = "innodb_data_file_path";

impl Instance {
    /// Makes a data directory in `home`, which its user can search, and starts a server like that of
    /// `facts` on it, as [`Instance::start`] does. It keeps no binary log.
    pub fn empty(facts: &Facts, home: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        Self::empty_with(facts, &KEPT, home, cancel)
    }

    /// The same, and the server of `facts` could be started on the data directory afterwards.
    pub fn empty_to_stay(facts: &Facts, home: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        Self::empty_with(facts, &[&KEPT[..], &OF_FILES].concat(), home, cancel)
    }

    fn empty_with(facts: &Facts, kept: &[&str], home: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        let (facts, part) = made(facts, &home.join(DATA), kept)?;
        make(&facts, &part.here, cancel).context("cannot make a data directory for a server")?;
        Self::start(&facts, &[part], Login::Owner, &home.join("server"), cancel)
    }

    /// Starts a server on what [`Instance::empty_to_stay`] has made in `home`, which replays the binary logs of the server
    /// of `facts`: see [`Instance::replay`].
    pub fn replay_made(facts: &Facts, home: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        let kept = [&KEPT[..], &OF_FILES, &GTIDS].concat();
        let (facts, part) = made(facts, &home.join(DATA), &kept)?;
        Self::replay(&facts, &[part], &home.join("replay"), cancel)
    }
}

/// The data directory that [`Instance::empty`] makes in `home`, to be found at `path` later.
pub fn datadir(path: &Path) -> anyhow::Result<Root> {
    Ok(Root {
        name: DATA.parse().map_err(anyhow::Error::msg)?,
        live_path: PathBuf::from(path),
        kinds: vec![PlaceKind::DataDirectory],
        is_file: false,
        volume: String::new(),
    })
}

/// A server with a data directory of its own, and with those of the settings of `facts` that are `kept`.
fn made(facts: &Facts, data: &Path, kept: &[&str]) -> anyhow::Result<(Facts, Part)> {
    // Without them all is made but what asks for keys by name.
    let has_keys = facts.key_files().iter().all(|file| file.is_absolute() && file.exists());
    let is_kept = |name: &str| kept.contains(&name) || (has_keys && Facts::is_about_keys(name));
    // Files in other places are the former server's.
    let leads_out = |name: &str, value: &str| name == DATA_FILES && value.contains('/');
    let is_kept = |(name, value): &(&String, &String)| is_kept(name) && !leads_out(name, value);
    let must_match: BTreeMap<String, String> = facts.must_match.iter().filter(is_kept).map(own).collect();
    let mut facts = Facts { datadir: data.to_owned(), binary_log: None, must_match, ..facts.clone() };
    facts.forget_missing_keyring();
    Ok((facts, Part { root: datadir(data)?, here: data.to_owned() }))
}

fn own((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

fn make(facts: &Facts, data: &Path, cancel: &Cancel) -> anyhow::Result<()> {
    let datadir = format!("--datadir={}", data.display());
    // Where there is no such account the server runs as we do.
    let user = match User::from_name(USER)? {
        Some(_) if Uid::effective().is_root() => USER.to_owned(),
        _ => User::from_uid(Uid::effective())?.context("we have no name")?.name,
    };
    let temporary = data.with_file_name(MAKING);
    // The one of our environment may be closed to the server's account.
    let owner = User::from_name(&user)?.with_context(|| format!("there is no account {user}"))?;
    let owner = (owner.uid.as_raw(), owner.gid.as_raw());
    super::make_for(&temporary, owner)?;
    // Nothing that it makes needs a key, and it must not see the host's.
    let home = data.parent().context("a data directory lies in another one")?;
    let (apart, program, more) = keyring::program(&Facts { keyring: None, ..facts.clone() }, &[], home, owner)?;
    let call = if facts.flavour.is_mariadb() {
        let installer = ["mariadb-install-db", "mysql_install_db"].into_iter().find(|name| Call::is_installed(name));
        let installer = installer.context("mariadb-install-db is not installed")?;
        // Forced, it does without the host's name being resolved.
        let force = "--force";
        Call::new(installer).args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            force,
        ])
    } else {
        let names = facts.must_match.get("lower_case_table_names").map_or("0", String::as_str);
        let names = format!("--lower-case-table-names={names}");
        Call::new(program).args(["--no-defaults", "--initialize-insecure"]).args(more).arg(names)
    };
    let options = [datadir, format!("--tmpdir={}", temporary.display()), format!("--user={user}")];
    call.args(options).args(made_once(facts)).deadline(MAKE).cancel(cancel).run()?;
    apart.map_or(Ok(()), OwnKeyring::release)
}

/// What can't be told to a server any more when its files are there.
fn made_once(facts: &Facts) -> impl Iterator<Item = String> {
    let told = |name: &str| Some(format!("--{}={}", name.replace('_', "-"), facts.must_match.get(name)?));
    [PAGE_SIZE].into_iter().chain(OF_FILES).filter_map(told)
}
