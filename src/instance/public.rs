//! What makes a second server one that people use: a socket where they find it, a port, accounts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::options::Told;
use super::{Instance, Login, Part};
use crate::fault::{Fault, Kind};
use crate::server::Facts;
use crate::sys::cancel::Cancel;
use crate::sys::durable;
use crate::sys::units::Bytes;

/// Temporary files lie among the data, because sorting for an index takes the room of the index. A name that
/// begins with a dot is no database to MySQL 8; the others are told.
pub(super) const TEMPORARY: &str = ".mysnap-tmp";
/// What MySQL knows itself by to its replicas; it makes itself another one.
const IDENTITY: &str = "auto.cnf";

/// Where people find a server, who may use it, and what it may take of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// Its socket, in a directory that its user can write.
    pub socket: PathBuf,
    /// Where it listens besides; nowhere otherwise.
    pub listen: Option<SocketAddr>,
    /// The size of its buffer pool.
    pub buffer_pool: Bytes,
    /// Whether the accounts of the data are locked, and [`PUBLIC_ACCOUNT`](super::PUBLIC_ACCOUNT) may do
    /// everything. Else they are as they were.
    pub replace_accounts: bool,
}

impl Instance {
    /// Starts a server for people on `parts`, which it changes, as [`Instance::start`] does; it gets an
    /// identity of its own, and people find it as `public` says.
    pub fn offer(facts: &Facts, parts: &[Part], public: &Public, own: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        let data = parts.iter().find(|part| part.root.is_datadir()).context("there is no data directory")?;
        durable::remove_file(&data.here.join(IDENTITY))?;
        let temporary = data.here.join(TEMPORARY);
        remove(&temporary)?;
        super::make_for(&temporary, super::owner(&data.here)?)?;
        let login = if public.replace_accounts { Login::Replaced } else { Login::AsInTheData };
        let mut instance = Self::begin(
            facts,
            parts,
            Told { login, own, public: Some(public), replays: false, patience: super::START },
            cancel,
        )?;
        if public.replace_accounts {
            instance.refuse_open_accounts(facts)?;
        }
        Ok(instance)
    }

    /// An init file that fails is only a line in a log.
    fn refuse_open_accounts(&mut self, facts: &Facts) -> anyhow::Result<()> {
        let open = self.inspector()?.unlocked_accounts(facts.flavour)?;
        let others: Vec<&str> = open.iter().map(String::as_str).filter(|name| *name != super::PUBLIC_ACCOUNT).collect();
        if others.is_empty() {
            return Ok(());
        }
        let message = format!("the accounts of the data could not be locked: {}", others.join(", "));
        Err(Fault::new(Kind::Refused, message).hint("without --replace-accounts they stay as they are").into())
    }

    /// From now on it is not killed when the run is asked to end, but can be stopped in order.
    pub fn outlive_the_signal(&mut self) {
        self.killer = None;
        self.cancel = Cancel::new();
    }

    /// Why it has ended by itself; none while it runs.
    pub fn ended(&mut self) -> Option<anyhow::Error> {
        self.has_ended().then(|| self.gave_up("the server has ended"))
    }
}

/// What an earlier server on the files has left there, or whatever the live one had; no link is followed.
fn remove(temporary: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", temporary.display()))
        }
        _ => Ok(()),
    }
}
