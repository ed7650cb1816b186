//! A second server on files of our own, which disturbs nobody.
//!
//! It runs as the owner of the data, without network, replication and scheduled events, and with a
//! socket, a log and temporary files in a directory of its own. The files are bound over the places
//! where the live server has them, in our mount namespace: absolute paths in the binary log's index or
//! in tablespaces stay true, and the live server's files can't be reached at all. So a caller must have
//! a namespace of its own. It is told to end when we die.

mod killer;
mod options;

use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::fault::{Fault, Kind};
use crate::instance::killer::Killer;
use crate::server::{Facts, Inspector, own_account};
use crate::store::Root;
use crate::sys::cancel::Cancel;
use crate::sys::cmd::{Call, Running};
use crate::sys::durable;
use crate::sys::mount::Mounted;
use crate::sys::secret::Secret;

/// How long a start with its recovery may take.
const START: Duration = Duration::from_secs(4 * 3600);
/// How long it may take to end.
const STOP: Duration = Duration::from_secs(600);
/// How long it may live.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
const PAUSE: Duration = Duration::from_millis(100);
/// MySQL wants a dot in the name.
const ERROR_LOG: &str = "error.log";
const INIT_FILE: &str = "init.sql";
/// The account by which we reach it; nobody else's, and gone with the data.
const ACCOUNT: &str = "mysnap_instance";
/// The server says much; its own last errors say why it ended.
const LAST_LINES: usize = 6;

/// A part of the data and where it lies.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it is, and where the live server has it.
    pub root: Root,
    /// Where it is here.
    pub here: PathBuf,
}

/// How we get into the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// By an account that is made in the data: they are thrown away.
    OwnAccount,
    /// The server reads no grant tables, and nothing is written for us; its socket is in a directory that
    /// nobody else can search.
    Unchecked,
}

/// Where the server sees a part.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    live: PathBuf,
    seen: PathBuf,
}

/// The server; killed, and its files let go of, when this is dropped.
#[must_use]
pub struct Instance {
    // Fields drop in this order: the server before what it stands on.
    killer: Option<Killer>,
    server: Option<Running<'static>>,
    mounts: Vec<Mounted>,
    own: PathBuf,
    started_in: Duration,
    inspector: Option<Inspector>,
}

impl Instance {
    /// Starts the server of `facts` on `parts` and waits until it answers a query. `own` must not exist;
    /// its parent is searched by the data's owner. Once `cancel` is set the server is killed, whatever it
    /// is asked then.
    pub fn start(facts: &Facts, parts: &[Part], login: Login, own: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        let data = parts.iter().find(|part| part.root.is_datadir()).context("there is no data directory")?;
        let owner = data.here.metadata().with_context(|| format!("cannot look at {}", data.here.display()))?;
        let owner = (owner.uid(), owner.gid());
        let password = random_password()?;
        prepare(own, owner, &password)?;
        let (mounts, placed) = put_in_the_live_place(parts)?;
        let began = Instant::now();
        let server = launch(facts, owner, options::of(facts, &placed, login, own))?;
        let mut instance = Self {
            killer: Some(Killer::of(&server, cancel)?),
            server: Some(server),
            mounts,
            own: own.to_owned(),
            started_in: Duration::ZERO,
            inspector: None,
        };
        instance.inspector = Some(instance.first_answer(facts, &password, cancel)?);
        instance.started_in = began.elapsed();
        durable::remove_file(&own.join(INIT_FILE))?;
        Ok(instance)
    }

    /// How long it took until it answered, recovery included.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// What is asked of it.
    pub fn inspector(&mut self) -> anyhow::Result<&mut Inspector> {
        self.inspector.as_mut().context("the server is stopped")
    }

    /// Shuts it down in order.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.inspector = None;
        self.killer = None;
        let Some(server) = self.server.take() else { return Ok(()) };
        let argv = server.argv().to_owned();
        let ended = server.terminate(STOP).and_then(|ended| ended.succeeded(&argv));
        ended.map_err(|error| self.failed("the second server did not end well").caused_by(error))?;
        std::mem::take(&mut self.mounts).into_iter().rev().try_for_each(Mounted::release)
    }

    fn first_answer(&mut self, facts: &Facts, password: &Secret, cancel: &Cancel) -> anyhow::Result<Inspector> {
        let end = Instant::now() + START;
        loop {
            let error = match Inspector::connect(&self.own.join("socket"), ACCOUNT, password.clone(), facts) {
                Ok(inspector) => return Ok(inspector),
                Err(error) => error,
            };
            cancel.check()?;
            if self.server.as_mut().is_none_or(Running::has_ended) {
                let fault = self.failed(&format!("{} {} did not start on the files", facts.flavour, facts.version));
                return Err(fault.hint("the files, or settings that they need, are not as they were").into());
            }
            if Instant::now() >= end {
                let fault = self.failed(&format!("the server did not answer within {START:?}"));
                return Err(fault.caused_by(error).into());
            }
            cancel.sleep(PAUSE)?;
        }
    }

    /// With what the server itself said.
    fn failed(&self, what: &str) -> Fault {
        let log = self.own.join(ERROR_LOG);
        let said = std::fs::read(&log).map(|bytes| last_errors(&String::from_utf8_lossy(&bytes))).unwrap_or_default();
        let said = if said.is_empty() { "it wrote no log".to_owned() } else { format!("it said: {said}") };
        Fault::new(Kind::Verify, format!("{what}; {said}"))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.killer = None;
        // What is thrown away need not be left in order.
        if let Some(Err(error)) = self.server.take().map(|server| server.terminate(PAUSE * 100)) {
            tracing::warn!("the second server: {error}");
        }
        // What lies in another goes before it.
        while self.mounts.pop().is_some() {}
    }
}

/// Errors, or the last lines where there are none: without time and thread, which nobody needs here.
fn last_errors(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().copied().filter(|line| line.contains("[ERROR]")).collect();
    let told = if errors.is_empty() { lines } else { errors };
    let last = told.iter().skip(told.len().saturating_sub(LAST_LINES));
    let text = |line: &&str| line.split_once("[ERROR] ").map_or(*line, |(_, text)| text).to_owned();
    last.map(text).collect::<Vec<_>>().join("; ")
}

fn random_password() -> anyhow::Result<Secret> {
    let mut bytes = [0_u8; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.context("cannot read /dev/urandom")?;
    // Begins with what a server's rules for passwords may ask for.
    Ok(Secret::new(format!("Aa1-{:032x}", u128::from_ne_bytes(bytes))))
}

/// The server's own directory, with the file that makes our account.
fn prepare(own: &Path, owner: (u32, u32), password: &Secret) -> anyhow::Result<()> {
    let give = |path: &Path| {
        chown(path, Some(owner.0), Some(owner.1)).with_context(|| format!("cannot give {} away", path.display()))
    };
    for directory in [own.to_owned(), own.join("tmp")] {
        let made = std::fs::DirBuilder::new().mode(0o700).create(&directory);
        made.with_context(|| format!("cannot create directory {}", directory.display()))?;
    }
    let init = own.join(INIT_FILE);
    durable::write(&init, own_account(ACCOUNT, password.reveal()).as_bytes())?;
    for path in [init, own.join("tmp"), own.to_owned()] {
        give(&path)?;
    }
    Ok(())
}

/// Binds each part over where the live server has it, if there is such a place here.
fn put_in_the_live_place(parts: &[Part]) -> anyhow::Result<(Vec<Mounted>, Vec<Placed>)> {
    let (mut mounts, mut placed) = (Vec::new(), Vec::new());
    // What lies in another comes after it.
    let mut sorted: Vec<&Part> = parts.iter().collect();
    sorted.sort_by(|a, b| a.root.live_path.cmp(&b.root.live_path));
    for part in sorted {
        let live = &part.root.live_path;
        let there =
            live.symlink_metadata().is_ok_and(|found| found.is_file() == part.root.is_file && !found.is_symlink());
        if there {
            mounts.push(Mounted::bind(&part.here, live)?);
        }
        let seen = if there { live.clone() } else { part.here.clone() };
        placed.push(Placed { live: live.clone(), seen });
    }
    Ok((mounts, placed))
}

/// The server's program; an error where none is installed.
pub fn program(facts: &Facts) -> anyhow::Result<&'static str> {
    let names = if facts.flavour.is_mariadb() { ["mariadbd", "mysqld"] } else { ["mysqld", "mysqld"] };
    let found = names.into_iter().find(|name| Call::is_installed(name));
    Ok(found.ok_or_else(|| {
        let fault = Fault::new(Kind::Refused, format!("no server of {} is installed here", facts.flavour));
        fault.hint(format!("install {} {}", facts.flavour, facts.version))
    })?)
}

fn launch(facts: &Facts, (uid, gid): (u32, u32), options: Vec<String>) -> anyhow::Result<Running<'static>> {
    let program = program(facts)?;
    // Changing its identity itself would make it forget to end with us.
    // Where memory runs short it goes before the live server does.
    let call = Call::new("choom").args(["-n", "1000", "--", "nice", "-n", "10", "setpriv"]);
    let call = call.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
    let call = call.args(["--clear-groups", "--pdeathsig=TERM", "--", program]).args(options);
    let call = if uid == 0 { call.arg("--user=root") } else { call };
    Ok(call.deadline(LIFE).start()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_servers_own_errors_are_told_without_their_decoration() {
        let log = "2026-11-21 9:22:33 0 [Note] Starting\n\
                   2026-11-21 9:22:34 0 [ERROR] InnoDB: Missing FILE_CHECKPOINT\n\
                   2026-11-21 9:22:35 0 [ERROR] Aborting\n2026-11-21 9:22:35 0 [Note] bye\n";
        assert_eq!(last_errors(log), "InnoDB: Missing FILE_CHECKPOINT; Aborting");
        assert_eq!(last_errors("one\n\ntwo\n"), "one; two");
        assert_eq!(last_errors(""), "");
    }

    #[test]
    fn the_account_is_nobody_elses_to_read() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join("own");
        let me = home.path().metadata().unwrap();
        let [one, two] = [(); 2].map(|()| random_password().unwrap());
        assert_ne!(one.reveal(), two.reveal());
        prepare(&own, (me.uid(), me.gid()), &one).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&own), mode(&own.join(INIT_FILE))), (0o700, 0o600));
        assert!(prepare(&own, (me.uid(), me.gid()), &one).is_err(), "what is there is not taken over");
    }
}
