//! Whether a server uses a data directory.

use std::fs::{File, Metadata};
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
    let place = Place { metadata: real.metadata()?, real };
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let mut users = Vec::new();
    for entry in Path::new("/proc").read_dir().context("cannot read /proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok()) else { continue };
        if pid != own && place.is_used_by(&path) {
            users.push(User { pid: Some(pid), program: program(&path) });
        }
    }
    if users.is_empty() {
        users.extend(lock_holder(&place.real.join("ibdata1"))?);
    }
    Ok(users)
}

struct Place {
    real: PathBuf,
    metadata: Metadata,
}

impl Place {
    /// A process that ended meanwhile uses nothing.
    fn is_used_by(&self, process: &Path) -> bool {
        let open = process.join("fd").read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
        std::iter::once(process.join("cwd")).chain(open).any(|link| self.holds(&link))
    }

    /// The path alone would be wrong: in another mount namespace it may mean a snapshot, bound over
    /// the live directory.
    fn holds(&self, link: &Path) -> bool {
        let Ok(target) = link.read_link() else { return false };
        if !target.starts_with(&self.real) {
            return false;
        }
        let Ok(file) = link.metadata() else { return false };
        let same = |here: Metadata| (here.dev(), here.ino()) == (file.dev(), file.ino());
        file.dev() == self.metadata.dev() || target.metadata().is_ok_and(same)
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
    fn what_is_not_there_is_free() {
        assert_eq!(users_of(Path::new("/nonexistent/mysql")).unwrap(), []);
    }
}
