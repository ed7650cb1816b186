//! Locks between processes: `flock`, which the kernel drops when the holder dies.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};

use super::failpoint::pass;

/// A lock held until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct LockFile {
    file: Flock<File>,
}

/// What came of trying.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Held(LockFile),
    /// Another process has it; what it wrote about itself.
    Busy(String),
}

impl LockFile {
    /// Takes the lock on `path`, which is created (0600) where missing, or says who has it.
    pub fn try_lock(path: &Path) -> anyhow::Result<Attempt> {
        Self::attempt(path, FlockArg::LockExclusiveNonblock)
    }

    /// The same lock, which several may have at once that ask for no more than this.
    pub fn try_share(path: &Path) -> anyhow::Result<Attempt> {
        Self::attempt(path, FlockArg::LockSharedNonblock)
    }

    fn attempt(path: &Path, how: FlockArg) -> anyhow::Result<Attempt> {
        loop {
            let attempt = Self::once(path, how)?;
            match &attempt {
                Attempt::Held(lock) if !lock.is_still(path)? => {}
                Attempt::Held(_) | Attempt::Busy(_) => return Ok(attempt),
            }
        }
    }

    fn once(path: &Path, how: FlockArg) -> anyhow::Result<Attempt> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = pass(|| "lock file".to_owned())
            .and_then(|()| options.open(path))
            .with_context(|| format!("cannot open lock file {}", path.display()))?;
        match Flock::lock(file, how) {
            Ok(file) => Ok(Attempt::Held(Self { file })),
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).with_context(|| format!("cannot read {}", path.display()))?;
                Ok(Attempt::Busy(holder))
            }
            Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Whether it is the file at `path` that is locked. One that was removed between its being opened and locked keeps
    /// nobody out: the next one makes another.
    fn is_still(&self, path: &Path) -> anyhow::Result<bool> {
        let own = self.file.metadata().with_context(|| format!("cannot look at {}", path.display()))?;
        match path.symlink_metadata() {
            Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
        }
    }

    /// Replaces what others read while the lock is held.
    pub fn describe(&mut self, holder: &str) -> anyhow::Result<()> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(holder.as_bytes()))
            .context("cannot write the lock file")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let Attempt::Held(mut first) = LockFile::try_lock(&path).unwrap() else { panic!("must be free") };
        first.describe("a much longer description").unwrap();
        first.describe("run 1").unwrap();
        let Attempt::Busy(holder) = LockFile::try_lock(&path).unwrap() else { panic!("must be held") };
        assert_eq!(holder, "run 1");
        assert!(matches!(LockFile::try_share(&path).unwrap(), Attempt::Busy(_)));
        drop(first);
        let Attempt::Held(_one) = LockFile::try_share(&path).unwrap() else { panic!("must be free") };
        assert!(matches!(LockFile::try_share(&path).unwrap(), Attempt::Held(_)));
        assert!(matches!(LockFile::try_lock(&path).unwrap(), Attempt::Busy(_)));
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_meanwhile_is_none() {
        const EACH: usize = 3000;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let (holders, met) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let hold = || {
            for _ in 0..EACH {
                let Attempt::Held(lock) = LockFile::try_lock(&path).unwrap() else { continue };
                met.fetch_max(holders.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                holders.fetch_sub(1, Ordering::SeqCst);
                std::fs::remove_file(&path).unwrap();
                drop(lock);
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(hold))));
        assert_eq!(met.into_inner(), 1);
    }
}
