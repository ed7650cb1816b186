//! Whether a server uses a data directory.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// A process that uses a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its process id; none where only its lock is seen (another container, another host).
    pub pid: Option<i32>,
    /// Its program's name.
    pub program: String,
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{} (process {pid})", self.program),
            None => f.write_str(&self.program),
        }
    }
}

/// The processes other than this one that work in `directory`, hold files under it open, or lock its
/// system tablespace; empty when it is free, or not there.
pub fn users_of(directory: &Path) -> anyhow::Result<Vec<User>> {
    let Ok(real) = directory.canonicalize() else { return Ok(Vec::new()) };
    let place = Place { device: real.metadata()?.dev(), real };
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let mut users: Vec<User> = processes()?
        .filter(|(pid, process)| *pid != own && place.is_used_by(process))
        .map(|(pid, process)| User { pid: Some(pid), program: program(&process) })
        .collect();
    if users.is_empty() {
        users.extend(lock_holder(&place.real.join("ibdata1"))?);
    }
    Ok(users)
}

/// Whether a process that works in `directory` listens on `socket`. Asked of the kernel's tables: a
/// connection made to look at its other end would be a warning in MariaDB's error log.
pub(super) fn listens_from(socket: &Path, directory: &Path) -> anyhow::Result<bool> {
    let socket = socket.canonicalize().with_context(|| format!("cannot resolve {}", socket.display()))?;
    let table = std::fs::read("/proc/net/unix").context("cannot read /proc/net/unix")?;
    let table = String::from_utf8_lossy(&table);
    let listening: Vec<PathBuf> = table.lines().filter_map(|line| listener(line, &socket, directory)).collect();
    let here = identity(directory);
    Ok(processes()?.filter(|(_, process)| here.is_some() && identity(&process.join("cwd")) == here).any(
        |(_, process)| {
            descriptors(&process).any(|link| link.read_link().is_ok_and(|target| listening.contains(&target)))
        },
    ))
}

/// What a descriptor of the socket that `line` of `/proc/net/unix` describes looks like, where it
/// listens on `socket`. A server's relative path starts from its `directory`.
pub(super) fn listener(line: &str, socket: &Path, directory: &Path) -> Option<PathBuf> {
    const ACCEPTS: u32 = 0x1_0000;
    let mut fields = line.splitn(7, ' ').skip(3);
    let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
    let (inode, path) = fields.nth(2)?.trim_start().split_once(' ')?;
    // Anybody's sockets are listed: what has another name is not looked at, wherever it lies.
    let has_name = flags & ACCEPTS != 0 && Path::new(path).file_name() == socket.file_name();
    let is_it = has_name && directory.join(path).canonicalize().is_ok_and(|real| real == socket);
    is_it.then(|| PathBuf::from(format!("socket:[{inode}]")))
}

/// Whether the process named in `pid_file` works in `directory`.
pub(super) fn works_in(pid_file: &Path, directory: &Path) -> bool {
    let pid = std::fs::read_to_string(pid_file).unwrap_or_default();
    let working = identity(&Path::new("/proc").join(pid.trim()).join("cwd"));
    working.is_some() && working == identity(directory)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Every process, with its directory in /proc.
fn processes() -> anyhow::Result<impl Iterator<Item = (i32, PathBuf)>> {
    let entries = Path::new("/proc").read_dir().context("cannot read /proc")?;
    Ok(entries.flatten().filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))))
}

/// The links that are a process's open descriptors; none where it has ended meanwhile.
fn descriptors(process: &Path) -> impl Iterator<Item = PathBuf> {
    process.join("fd").read_dir().into_iter().flatten().flatten().map(|entry| entry.path())
}

struct Place {
    real: PathBuf,
    device: u64,
}

impl Place {
    fn is_used_by(&self, process: &Path) -> bool {
        std::iter::once(process.join("cwd")).chain(descriptors(process)).any(|link| self.holds(&link))
    }

    /// The path alone would be wrong: in another mount namespace it may mean a snapshot, bound over
    /// the live directory.
    fn holds(&self, link: &Path) -> bool {
        let Ok(target) = link.read_link() else { return false };
        if !target.starts_with(&self.real) {
            return false;
        }
        let Ok(file) = link.metadata() else { return false };
        file.dev() == self.device || identity(&target) == Some((file.dev(), file.ino()))
    }
}

fn program(process: &Path) -> String {
    let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
    if name.is_empty() { "a process".to_owned() } else { name.trim_end().to_owned() }
}

/// Who holds the lock that InnoDB takes on its system tablespace: seen across containers, where the
/// process itself is not.
fn lock_holder(system_tablespace: &Path) -> anyhow::Result<Option<User>> {
    let Ok(file) = File::open(system_tablespace) else { return Ok(None) };
    let mut lock = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK)?,
        l_whence: i16::try_from(libc::SEEK_SET)?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock))
        .with_context(|| format!("cannot ask for locks on {}", system_tablespace.display()))?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    let pid = Some(lock.l_pid).filter(|pid| *pid > 0);
    Ok(Some(User { pid, program: format!("the holder of the lock on {}", system_tablespace.display()) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cmd::Call;

    #[test]
    fn a_process_with_an_open_file_is_found_and_then_gone() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(users_of(directory.path()).unwrap(), []);
        let open = format!("exec sleep 60 3>{}", directory.path().join("ibdata1").display());
        let process = Call::new("sh").args(["-c", &open]).start().unwrap();
        let found = crate::sys::retry::until(std::time::Duration::from_secs(5), || {
            users_of(directory.path()).unwrap().into_iter().find(|user| user.program == "sleep").ok_or(())
        });
        let pid = nix::unistd::Pid::from_raw(found.unwrap().pid.unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        process.wait().unwrap();
        assert_eq!(users_of(directory.path()).unwrap(), []);
    }

    #[test]
    fn the_listener_on_a_socket_is_known_by_its_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("my sql.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let works = std::env::current_dir().unwrap();
        assert!(listens_from(&socket, &works).unwrap());
        assert!(!listens_from(&socket, directory.path()).unwrap());
        let line = "000000003ecb81d8: 00000002 00000000 00010000 0001 01   568 ../my sql.sock";
        let real = socket.canonicalize().unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        let found = listener(line, &real, &directory.path().join("data"));
        assert_eq!(found, Some(PathBuf::from("socket:[568]")));
        assert_eq!(listener(&line.replace("00010000", "00000000"), &real, Path::new("/")), None);
    }

    #[test]
    fn what_is_not_there_is_free() {
        assert_eq!(users_of(Path::new("/nonexistent/mysql")).unwrap(), []);
    }
}
