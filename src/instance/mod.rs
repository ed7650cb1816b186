//! A second server on files of our own, which disturbs nobody.
//!
//! It runs as the owner of the data, without network, replication and scheduled events, and with a
//! socket, a log and temporary files in a directory of its own. The files are bound over the places
//! where the live server has them, in our mount namespace: absolute paths in the binary log's index or
//! in tablespaces stay true, and the live server's files can't be reached at all. So a caller must have
//! a namespace of its own. It is told to end when we die.

mod empty;
mod home;
pub mod installed;
mod keyring;
mod killer;
mod options;
pub mod overlay;
mod places;
mod public;
mod zones;

use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::libc;

use crate::fault::{Fault, Kind, kind_of};
pub use crate::instance::empty::datadir;
pub use crate::instance::home::home_in_memory;
pub use crate::instance::keyring::OwnKeyring;
use crate::instance::killer::Killer;
use crate::instance::options::Told;
pub use crate::instance::places::{is_live_place, require_place, require_places};
pub use crate::instance::public::Public;
use crate::server::{Address, Endpoint, Facts, Inspector, Reader, own_account, replaced_accounts};
use crate::store::Root;
use crate::sys::cancel::Cancel;
use crate::sys::cmd::{Call, Finished, Running};
use crate::sys::durable;
use crate::sys::mount::Mounted;
use crate::sys::namespace::require_own_mounts;
use crate::sys::secret::Secret;
use crate::sys::units::human_duration;

/// How long a start with its recovery may take where nobody says it.
pub const START: Duration = Duration::from_secs(4 * 3600);
/// How long it may take to end.
const STOP: Duration = Duration::from_secs(600);
/// How long it may live.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
const PAUSE: Duration = Duration::from_millis(100);
/// MySQL wants a dot in the name.
const ERROR_LOG: &str = "error.log";
/// What marks an error there.
const ERROR: &str = "[ERROR]";
const INIT_FILE: &str = "init.sql";
/// The account by which we reach it; nobody else's, and gone with the data.
pub const ACCOUNT: &str = "mysnap_instance";
/// The only one of a server for people that is not locked, where its accounts are replaced.
pub const PUBLIC_ACCOUNT: &str = "mysnap_clone";
/// How the names of the files begin that a server replays; a number of six digits follows behind a point.
pub const RELAY_LOG: &str = "mysnap-relay";
/// How long a server that answers may refuse the account that it was told to make.
const LOGIN: Duration = Duration::from_secs(10);
/// How long a server that breaks off an answer needs to end.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How a server ends that meets what it can't go on with.
const CRASHES: [i32; 4] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL];
/// How servers say that a file system is full: old ones without [`ERROR`].
const NO_ROOM: [&str; 3] = ["No space left on device", "error number 28", "out of disk space"];
/// How they say that the host has no memory or no more open files for them, that they can't listen, for a port that is
/// taken or an address that is not this host's, that others use the files, and that they don't know an option.
const HOSTS_DOING: [&str; 12] = [
    "Can't start server",
    "Cannot allocate memory",
    "Can't allocate memory",
    "Cannot map innodb_buffer_pool_size_max",
    "Out of memory",
    "AIO sub-system",
    "io_setup() failed",
    "Too many open files",
    "Resource temporarily unavailable",
    "Unable to lock",
    "unknown variable '",
    "unknown option '",
];
/// Behind which of their words they give the number of a system call's error.
const ERROR_NUMBERS: [&str; 7] =
    ["errno: ", "errno ", "Errcode: ", "error number ", "Error number ", "Got error ", "OS error: "];
/// Those of which the host is the cause.
const HOSTS_ERRORS: [i32; 5] = [libc::EAGAIN, libc::ENOMEM, libc::ENFILE, libc::EMFILE, libc::ENOSPC];
/// The server says much; its own last errors say why it ended.
const LAST_LINES: usize = 6;

/// Other programs that a second server is started by.
const TOOLS: [&str; 3] = ["setpriv", "choom", "nice"];

/// A part of the data and where it lies.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it is, and where the live server has it.
    pub root: Root,
    /// Where it is here.
    pub here: PathBuf,
}

impl Part {
    /// What `directory` holds: a single file lies in it under its own name.
    pub fn of(root: &Root, directory: &Path) -> Self {
        let file = root.live_path.file_name().filter(|_| root.is_file);
        let here = file.map_or_else(|| directory.to_owned(), |file| directory.join(file));
        Self { root: root.clone(), here }
    }
}

/// How we get into the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// By an account that is made in the data: they are thrown away. It reads everything.
    OwnAccount,
    /// By one that may do everything.
    Owner,
    /// The server reads no grant tables, and nothing is written for us; its socket is in a directory that
    /// nobody else can search.
    Unchecked,
    /// Not at all: the accounts are those of the data.
    AsInTheData,
    /// By [`PUBLIC_ACCOUNT`]; those of the data are locked.
    Replaced,
}

impl Login {
    /// The statements that make the account.
    fn statements(self, facts: &Facts, password: &str) -> Option<String> {
        match self {
            Self::OwnAccount => Some(own_account(ACCOUNT, password, false)),
            Self::Owner => Some(own_account(ACCOUNT, password, true)),
            Self::Replaced => Some(replaced_accounts(facts.flavour, PUBLIC_ACCOUNT, password)),
            Self::Unchecked | Self::AsInTheData => None,
        }
    }
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
    keyring: Option<OwnKeyring>,
    own: PathBuf,
    cancel: Cancel,
    started_in: Duration,
    /// How long its log was then.
    logged: usize,
    inspector: Option<Inspector>,
    address: Address,
}

impl Instance {
    /// Starts the server of `facts` on `parts` and waits until it answers a query. `own` must not exist;
    /// its parent is searched by the data's owner. Once `cancel` is set the server is killed, whatever it
    /// is asked then.
    pub fn start(facts: &Facts, parts: &[Part], login: Login, own: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        Self::start_within(START, facts, parts, login, own, cancel)
    }

    /// The same, where the server has `patience` to recover and to answer.
    pub fn start_within(
        patience: Duration,
        facts: &Facts,
        parts: &[Part],
        login: Login,
        own: &Path,
        cancel: &Cancel,
    ) -> anyhow::Result<Self> {
        Self::begin(facts, parts, Told { login, own, public: None, replays: false, patience }, cancel)
    }

    /// Starts one that may do everything and replays what is laid into its data directory: [`RELAY_LOG`].
    pub fn replay(facts: &Facts, parts: &[Part], own: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        Self::begin(
            facts,
            parts,
            Told { login: Login::Owner, own, public: None, replays: true, patience: START },
            cancel,
        )
    }

    fn begin(facts: &Facts, parts: &[Part], told: Told<'_>, cancel: &Cancel) -> anyhow::Result<Self> {
        installed::keys_are_here(facts)?;
        let data = parts.iter().find(|part| part.root.is_datadir()).context("there is no data directory")?;
        let owner = owner(&data.here)?;
        require_own_mounts()?;
        let password = random_password()?;
        let statements = told.login.statements(facts, password.reveal());
        let home = told.own.parent().context("a server's own directory lies in another one")?;
        let (keyring, program, mut options) = keyring::program(facts, parts, home, owner)?;
        prepare(told.own, owner, statements.as_deref())?;
        let (mounts, placed) = put_in_the_live_place(parts)?;
        options.splice(0..0, options::of(facts, &placed, told));
        let began = Instant::now();
        let mut instance = Self {
            killer: None,
            server: Some(launch(&program, owner, options, facts.zone())?),
            mounts,
            keyring,
            own: told.own.to_owned(),
            cancel: cancel.clone(),
            started_in: Duration::ZERO,
            logged: 0,
            inspector: None,
            address: Address {
                endpoint: Endpoint::Socket(told.socket()),
                user: if told.login == Login::Replaced { PUBLIC_ACCOUNT } else { ACCOUNT }.to_owned(),
                password: Some(password),
                option_file: None,
            },
        };
        // One that has taken our connection and says nothing would be waited for as long as a statement is.
        let end = began + told.patience;
        instance.killer = instance.killer_at(Some(end))?;
        instance.inspector = instance.first_answer(facts, told, end)?;
        instance.killer = instance.killer_at(None)?;
        instance.started_in = began.elapsed();
        instance.logged = instance.log().len();
        durable::remove_file(&told.own.join(INIT_FILE))?;
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

    /// Where it is, and who we are to it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A connection that reads for a dump.
    pub fn reader(&self, facts: &Facts) -> anyhow::Result<Reader> {
        Reader::open(&self.address, facts)
    }

    /// Shuts it down in order.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.inspector = None;
        self.killer = None;
        let end = Instant::now() + STOP;
        self.server.iter().for_each(Running::ask_to_end);
        while !self.has_ended() {
            anyhow::ensure!(Instant::now() < end, "the second server had not ended after {STOP:?}");
            self.cancel.sleep(PAUSE)?;
        }
        if let Some(server) = self.server.take() {
            let ended = server.wait()?;
            if !ended.status.success() {
                return Err(self.judged("the second server did not end well", &ended));
            }
        }
        std::mem::take(&mut self.mounts).into_iter().rev().try_for_each(Mounted::release)?;
        self.keyring.take().map_or(Ok(()), OwnKeyring::release)
    }

    /// `error`, which a question met; where the server has ended by itself, what that says.
    pub fn explained(&mut self, error: anyhow::Error) -> anyhow::Error {
        let end = Instant::now() + LAST_WORDS;
        while kind_of(&error).is_none() && Instant::now() < end && self.cancel.signal().is_none() {
            if self.has_ended() {
                return self.gave_up(&format!("the second server ended while it was asked: {error:#}"));
            }
            std::thread::sleep(PAUSE);
        }
        error
    }

    /// The errors of which its log tells; none where there are none.
    pub fn errors(&self) -> Option<String> {
        let log = self.log();
        log.contains(ERROR).then(|| last_errors(&log))
    }

    /// An error where it met damage since it answered first, which it may tell in its log alone: MariaDB gives the part of
    /// a value that it could read for the whole.
    pub fn refuse_damage(&self) -> anyhow::Result<()> {
        let log = self.log();
        match damage(log.get(self.logged..).unwrap_or(&log)) {
            None => Ok(()),
            Some(said) => {
                let fault = Fault::new(Kind::Verify, format!("the second server met damage; it said: {said}"));
                Err(fault
                    .hint("was it there before the backup? look into the live server's log; keep an older backup")
                    .into())
            }
        }
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.own.join(ERROR_LOG)).unwrap_or_default()).into_owned()
    }

    fn has_ended(&mut self) -> bool {
        self.server.as_mut().is_none_or(Running::has_ended)
    }

    fn first_answer(&mut self, facts: &Facts, told: Told<'_>, end: Instant) -> anyhow::Result<Option<Inspector>> {
        let (login, mut refused_from) = (told.login, None);
        loop {
            let answer = match login {
                Login::AsInTheData => self.address.answers().map(|()| None),
                _ => Inspector::connect(&self.address, facts).map(Some),
            };
            let error = match answer {
                Ok(inspector) => return Ok(inspector),
                Err(error) => error,
            };
            self.cancel.sleep(PAUSE)?;
            if Instant::now() >= end {
                return Err(self.late(told.patience));
            }
            if self.has_ended() {
                self.cancel.check()?;
                let what = format!("{} {} did not start on the files", facts.flavour, facts.version);
                return Err(self.gave_up(&what));
            }
            let refuses = login != Login::AsInTheData && self.address.answers().is_ok();
            if refuses && refused_from.get_or_insert_with(Instant::now).elapsed() > LOGIN {
                return Err(error.context("the server refuses the account that it was told to make"));
            }
        }
    }

    /// That it had `patience`, and what it was at: that says nothing about the files.
    fn late(&self, patience: Duration) -> anyhow::Error {
        let last = last_errors(&self.log());
        let said = if last.is_empty() { "it said nothing".to_owned() } else { format!("it said last: {last}") };
        let within = human_duration(patience);
        let says = "that says nothing about the files";
        anyhow::anyhow!("the second server did not answer within {within} and was killed; {said}; {says}")
    }

    fn killer_at(&self, until: Option<Instant>) -> anyhow::Result<Option<Killer>> {
        self.server.as_ref().map(|server| Killer::of(server, &self.cancel, until)).transpose()
    }

    fn gave_up(&mut self, what: &str) -> anyhow::Error {
        self.killer = None;
        match self.server.take().map(Running::wait) {
            Some(Ok(ended)) => self.judged(what, &ended),
            Some(Err(error)) => anyhow::Error::from(error).context(what.to_owned()),
            None => anyhow::anyhow!("{what}"),
        }
    }

    /// An error of [`Kind::Verify`] where the server gave up on the files; of none where the host made it
    /// end, or did not let it begin.
    fn judged(&self, what: &str, ended: &Finished) -> anyhow::Error {
        let (log, stderr) = (self.log(), String::from_utf8_lossy(&ended.stderr));
        let said = if log.trim().is_empty() { last_errors(&stderr) } else { last_errors(&log) };
        let said = if said.is_empty() {
            format!("{what} ({}); it said nothing", ended.status)
        } else {
            format!("{what}; it said: {said}")
        };
        if blames_the_files(&log, ended) {
            return Fault::new(Kind::Verify, said)
                .hint("the files, or settings that they need, are not as they were")
                .into();
        }
        anyhow::anyhow!("{said}; that is the host's doing, and says nothing about the files ({})", ended.status)
    }
}

/// Killed for want of memory, refused by a security module, out of room, kept from listening, or told what it does not
/// know, it says nothing about files.
fn blames_the_files(log: &str, ended: &Finished) -> bool {
    let crashed = ended.status.signal().is_some_and(|signal| CRASHES.contains(&signal));
    let gave_up = ended.status.code().is_some_and(|code| code != 0) && log.contains(ERROR);
    (crashed || gave_up) && !log.lines().any(is_the_hosts_doing)
}

fn is_the_hosts_doing(line: &str) -> bool {
    let after = |words: &&str| line.split_once(words).map(|(_, rest)| rest);
    let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    let has = |list: &[&str]| list.iter().any(|words| line.contains(words));
    let numbers = || ERROR_NUMBERS.iter().filter_map(after).filter_map(number);
    // A warning may tell of what it did without, but for room it waits.
    has(&NO_ROOM) || line.contains(ERROR) && (has(&HOSTS_DOING) || numbers().any(|n| HOSTS_ERRORS.contains(&n)))
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.killer = None;
        // What is thrown away need not be left in order.
        if let Some(server) = self.server.take() {
            server.killer()();
            if let Err(error) = server.wait_at_most(PAUSE * 100) {
                tracing::warn!("the second server: {error}");
            }
        }
        // What lies in another goes before it.
        while self.mounts.pop().is_some() {}
    }
}

/// Its errors that tell of damage.
fn damage(log: &str) -> Option<String> {
    let tells = |line: &&str| line.contains(ERROR) && line.to_ascii_lowercase().contains("corrupt");
    let lines: Vec<&str> = log.lines().filter(tells).collect();
    (!lines.is_empty()).then(|| last_errors(&lines.join("\n")))
}

/// Errors, or the last lines where there are none: without time and thread, which nobody needs here; one that a
/// server says again and again is one.
fn last_errors(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().copied().filter(|line| line.contains(ERROR)).collect();
    let told = if errors.is_empty() { lines } else { errors };
    let mut texts: Vec<&str> =
        told.into_iter().map(|line| line.split_once("[ERROR] ").map_or(line, |(_, text)| text)).collect();
    texts.dedup();
    texts.split_off(texts.len().saturating_sub(LAST_LINES)).join("; ")
}

fn random_password() -> anyhow::Result<Secret> {
    let mut bytes = [0_u8; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.context("cannot read /dev/urandom")?;
    // Begins with what a server's rules for passwords may ask for.
    Ok(Secret::new(format!("Aa1-{:032x}", u128::from_ne_bytes(bytes))))
}

/// User and group of the data in `directory`: the server runs as them.
fn owner(directory: &Path) -> anyhow::Result<(u32, u32)> {
    let found = directory.metadata().with_context(|| format!("cannot look at {}", directory.display()))?;
    Ok((found.uid(), found.gid()))
}

/// The server's own directory, with the file that makes our account.
fn prepare(own: &Path, owner: (u32, u32), account: Option<&str>) -> anyhow::Result<()> {
    make(own)?;
    make_for(&own.join("tmp"), owner)?;
    if let Some(account) = account {
        let init = own.join(INIT_FILE);
        durable::write(&init, account.as_bytes())?;
        give(&init, owner)?;
    }
    // Last: from now on others can put something there.
    give(own, owner)
}

/// A new directory; what is there already is not taken over: it may be a link.
fn make(directory: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().mode(0o700).create(directory);
    made.with_context(|| format!("cannot create directory {}", directory.display()))
}

/// The same, and the server's.
fn make_for(directory: &Path, owner: (u32, u32)) -> anyhow::Result<()> {
    make(directory)?;
    give(directory, owner)
}

fn give(path: &Path, (uid, gid): (u32, u32)) -> anyhow::Result<()> {
    chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot give {} away", path.display()))
}

/// Binds each part over where the live server has it, if there is such a place here.
fn put_in_the_live_place(parts: &[Part]) -> anyhow::Result<(Vec<Mounted>, Vec<Placed>)> {
    let (mut mounts, mut placed) = (Vec::new(), Vec::new());
    // What lies in another comes after it.
    let mut sorted: Vec<&Part> = parts.iter().collect();
    sorted.sort_by(|a, b| a.root.live_path.cmp(&b.root.live_path));
    for part in sorted {
        let live = &part.root.live_path;
        let there = is_live_place(live, part.root.is_file);
        if there {
            mounts.push(Mounted::bind(&part.here, live)?);
        }
        let seen = if there { live.clone() } else { part.here.clone() };
        placed.push(Placed { live: live.clone(), seen });
    }
    Ok((mounts, placed))
}

/// The first tool that is not here and without which no second server is started.
pub fn missing_tool() -> Option<&'static str> {
    TOOLS.into_iter().find(|tool| !Call::is_installed(tool))
}

/// The server's program; an error where none is installed.
pub fn program(facts: &Facts) -> anyhow::Result<&'static str> {
    let names = if facts.flavour.is_mariadb() { ["mariadbd", "mysqld"] } else { ["mysqld", "mysqld"] };
    let found = names.into_iter().find(|name| Call::is_installed(name));
    Ok(found.ok_or_else(|| {
        let fault = Fault::new(Kind::Refused, format!("no server of {} is installed", facts.flavour));
        fault.hint(format!("install {} {}", facts.flavour, facts.version))
    })?)
}

fn launch(
    program: &Path,
    (uid, gid): (u32, u32),
    options: Vec<String>,
    zone: String,
) -> anyhow::Result<Running<'static>> {
    // Changing its identity itself would make it forget to end with us.
    // Where memory runs short it goes before the live server does.
    let call = Call::new("choom").args(["-n", "1000", "--", "nice", "-n", "10", "setpriv"]);
    let call = call.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
    let call = call.args(["--clear-groups", "--pdeathsig=KILL", "--"]).arg(program).args(options);
    let call = if uid == 0 { call.arg("--user=root") } else { call };
    Ok(call.zone(zone).deadline(LIFE).start()?)
}

/// The reader of what a second server writes to its log, for [`crate::fuzz`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(log: &str) {
    last_errors(log);
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
        assert_eq!(last_errors("1 [ERROR] page 3\n2 [ERROR] page 3\n3 [ERROR] gave up"), "page 3; gave up");
        assert_eq!(last_errors(""), "");
    }

    #[test]
    fn damage_that_only_the_log_tells_of_is_found() {
        let log = "2026-11-27 16:42:12 3 [ERROR] InnoDB: Failed to read page 33 from file './g3/t.ibd': Page read from \
                   tablespace is corrupted.\n2026-11-27 16:42:12 3 [ERROR] InnoDB: File './g3/t.ibd' is corrupted\n";
        assert!(damage(log).unwrap().starts_with("InnoDB: Failed to read page 33 from file './g3/t.ibd'"));
        let of_10_5 = "3 [ERROR] InnoDB: Database page corruption on disk or a failed read of file './g3/t.ibd' page";
        assert!(damage(of_10_5).is_some());
        assert_eq!(damage("0 [Note] InnoDB: no corruption\n0 [ERROR] Event Scheduler: failed"), None);
    }

    #[test]
    fn only_a_server_that_gave_up_by_itself_blames_the_files() {
        let ended = |how: &str| Call::new("sh").args(["-c", how]).finish().unwrap();
        let error = "2026-11-21 9:22:34 0 [ERROR] InnoDB: page 5 is corrupted";
        assert!(blames_the_files(error, &ended("exit 1")));
        assert!(blames_the_files("", &ended("kill -ABRT $$")));
        assert!(!blames_the_files(error, &ended("kill -KILL $$")), "the kernel was out of memory");
        assert!(!blames_the_files("", &ended("exit 1")), "it never came to its log");
        let taken = "2026-11-26 14:11:22 0 [ERROR] Can't start server: Bind on TCP/IP port. Got error: 98: Address already \
                     in use\n2026-11-26 14:11:22 0 [ERROR] Aborting\n";
        assert!(!blames_the_files(taken, &ended("exit 1")), "MariaDB 10.11");
        assert!(!blames_the_files("[ERROR] write failed: No space left on device", &ended("kill -ABRT $$")));
    }

    #[test]
    fn what_the_host_lacks_says_nothing_about_the_files() {
        let ended = Call::new("sh").args(["-c", "exit 1"]).finish().unwrap();
        for line in [
            "0 [ERROR] InnoDB: Cannot allocate memory for the buffer pool",
            "0 [ERROR] InnoDB: Cannot map innodb_buffer_pool_size_max=2048m",
            "1 [ERROR] [MY-012956] [InnoDB] Cannot allocate memory for the buffer pool",
            "0 [ERROR] [MY-012681] [InnoDB] page_aligned_alloc mmap(137363456 bytes) failed; errno 12",
            "0 [ERROR] InnoDB: Cannot initialize AIO sub-system",
            "0 [ERROR] InnoDB: Operating system error number 24 in a file operation.",
            "0 [ERROR] InnoDB: Error number 24 means 'Too many open files'",
            "0 [ERROR] Could not open mysql.plugin table: \"Got error 24 \"Too many open files\" from storage engine Aria\".",
            "0 [ERROR] Can't start server : UNIX Socket : Too many open files",
            "0 [ERROR] InnoDB: Unable to lock ./ibdata1 error: 11",
            "0 [ERROR] mariadbd: unknown variable 'foo=1'",
            "0 [ERROR] mariadbd: unknown option '--foo'",
            "0 [ERROR] [MY-000067] [Server] unknown variable 'foo=1'.",
            "2013-08-01 7f InnoDB: Error: Write to file ./ibdata1 failed. Operating system error number 28.\n0 [ERROR] Aborting",
            "0 [ERROR] mariadbd: Disk is full writing './binlog.000001' (Errcode: 28 \"No space left on device\")",
        ] {
            assert!(!blames_the_files(line, &ended), "{line}");
        }
        for line in [
            "0 [ERROR] Got error 126 when reading table './shop/a'",
            "0 [ERROR] mariadbd: Can't find file: './shop/a.MYI' (errno: 2 \"No such file or directory\")",
            "0 [ERROR] InnoDB: Operating system error number 117 in a file operation.",
            "0 [Warning] mariadbd: unknown variable 'loose-mysqlx=OFF'\n0 [ERROR] InnoDB: page 5 is corrupted",
        ] {
            assert!(blames_the_files(line, &ended), "{line}");
        }
    }

    #[test]
    fn the_account_is_nobody_elses_to_read() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join("own");
        let me = home.path().metadata().unwrap();
        let [one, two] = [(); 2].map(|()| random_password().unwrap());
        assert_ne!(one.reveal(), two.reveal());
        prepare(&own, (me.uid(), me.gid()), Some(one.reveal())).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&own), mode(&own.join(INIT_FILE))), (0o700, 0o600));
        assert!(prepare(&own, (me.uid(), me.gid()), Some(one.reveal())).is_err(), "what is there is not taken over");
    }
}
