//! A second server with nothing in it, to be fed with a dump.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::{Uid, User};

use super::{Instance, Login, Part, program};
use crate::server::{Facts, PlaceKind};
use crate::store::Root;
use crate::sys::cancel::Cancel;
use crate::sys::cmd::Call;

/// The account that packages make for a server.
const USER: &str = "mysql";
/// How long it may take to make a data directory.
const MAKE: Duration = Duration::from_secs(600);
/// What a dump expects to find as it was; nothing else of the former server matters to it.
const KEPT: [&str; 4] = ["lower_case_table_names", "character_set_server", "collation_server", "sql_mode"];

impl Instance {
    /// Makes a data directory in `home`, which its user can search, and starts a server like that of
    /// `facts` on it, as [`Instance::start`] does. It keeps no binary log.
    pub fn empty(facts: &Facts, home: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        let data = home.join("data");
        let must_match: BTreeMap<String, String> =
            facts.must_match.iter().filter(|(name, _)| KEPT.contains(&name.as_str())).map(own).collect();
        let facts = Facts { datadir: data.clone(), binary_log: None, must_match, ..facts.clone() };
        make(&facts, &data, cancel).context("cannot make a data directory for a server")?;
        Self::start(&facts, &[part(&data)?], Login::Owner, &home.join("server"), cancel)
    }
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
    let call = if facts.flavour.is_mariadb() {
        let installer = ["mariadb-install-db", "mysql_install_db"].into_iter().find(|name| Call::is_installed(name));
        let installer = installer.context("mariadb-install-db is not installed")?;
        Call::new(installer).args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
    } else {
        let names = facts.must_match.get("lower_case_table_names").map_or("0", String::as_str);
        let names = format!("--lower-case-table-names={names}");
        Call::new(program(facts)?).args(["--no-defaults", "--initialize-insecure"]).arg(names)
    };
    Ok(call.args([datadir, format!("--user={user}")]).deadline(MAKE).cancel(cancel).run()?)
}

fn part(data: &Path) -> anyhow::Result<Part> {
    let root = Root {
        name: "datadir".parse().map_err(anyhow::Error::msg)?,
        live_path: PathBuf::from(data),
        kinds: vec![PlaceKind::DataDirectory],
        is_file: false,
        volume: String::new(),
    };
    Ok(Part { root, here: data.to_owned() })
}
