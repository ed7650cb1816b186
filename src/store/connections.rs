//! The sockets of shared connections to other nodes: one for each destination that a run opens.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

use crate::sys::{RUNTIME_DIRECTORY, durable};

const PREFIX: &str = "ssh-";

/// A name that no other connection has; none where the directory can't be had.
pub(super) fn new() -> Option<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let directory = Path::new(RUNTIME_DIRECTORY);
    if let Err(error) = durable::create_private_directory(directory) {
        tracing::debug!("every command makes a connection of its own: {error:#}");
        return None;
    }
    Some(directory.join(format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))))
}

/// Those that nobody answers any more: the run was killed, and so was its ssh, which removes them otherwise.
pub fn abandoned() -> anyhow::Result<Vec<PathBuf>> {
    abandoned_in(Path::new(RUNTIME_DIRECTORY))
}

fn abandoned_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", directory.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", directory.display()))?.path();
        // ssh binds another name first, and listens before it gives the socket this one.
        if is_of_a_connection(&path) && is_unanswered(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// `ssh-PROCESS-NUMBER`.
fn is_of_a_connection(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.and_then(|name| name.split_once('-')).is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// What is no socket refuses a connection too.
fn is_unanswered(path: &Path) -> bool {
    let is_socket = path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_that_nobody_answers_is_found_and_no_other_file() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let _alive = UnixListener::bind(at("ssh-12-0")).unwrap();
        for dead in ["ssh-11-1", "ssh-11-0", "ssh-11-0.Xy1", "other"] {
            drop(UnixListener::bind(at(dead)).unwrap());
        }
        durable::write(&at("ssh-13-0"), b"no socket").unwrap();
        std::fs::create_dir(at("ssh-14-0")).unwrap();
        std::os::unix::fs::symlink(at("ssh-11-0"), at("ssh-15-0")).unwrap();
        assert_eq!(abandoned_in(directory.path()).unwrap(), [at("ssh-11-0"), at("ssh-11-1")]);
        assert!(abandoned_in(&at("nowhere")).unwrap().is_empty());
    }
}
