//! Files that are still there after a power cut.
//!
//! Contents, fsync, rename, fsync of the directory: in this order, or after a cut nothing or half
//! of it is there (`rename` without fsync left nothing in tests).

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;

use super::failpoint::pass;

/// Replaces `path` with `contents`, mode 0600, durably and all at once.
pub fn write(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().with_context(|| format!("{} has no directory", path.display()))?;
    let mut temporary = tempfile::Builder::new()
        .prefix(&unfinished_name(path))
        .tempfile_in(directory)
        .with_context(|| format!("cannot create a file in {}", directory.display()))?;
    pass(|| "write file".to_owned())
        .and_then(|()| temporary.write_all(contents))
        .and_then(|()| pass(|| "sync file".to_owned()))
        .and_then(|()| temporary.as_file().sync_all())
        .with_context(|| format!("cannot write {}", path.display()))?;
    pass(|| "rename file".to_owned())
        .and_then(|()| temporary.persist(path).map_err(|error| error.error))
        .with_context(|| format!("cannot rename onto {}", path.display()))?;
    sync_directory(directory)
}

/// How the name of each file begins that has no name of its own yet.
pub const UNFINISHED: &str = ".new-";

/// How the name of a file begins that is to become `path`: what a write that was cut short leaves.
pub fn unfinished_name(path: &Path) -> String {
    format!("{UNFINISHED}{}-", path.file_name().unwrap_or_default().to_string_lossy())
}

/// Renames durably. An existing file is replaced, an existing non-empty directory is an error.
#[expect(clippy::disallowed_methods, reason = "this is the one place where files are renamed")]
pub fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    pass(|| "rename".to_owned())
        .and_then(|()| std::fs::rename(from, to))
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
    for path in [from, to] {
        sync_directory(path.parent().unwrap_or(Path::new("/")))?;
    }
    Ok(())
}

/// Makes names in `directory` last.
pub fn sync_directory(directory: &Path) -> anyhow::Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    pass(|| "sync directory".to_owned())
        .and_then(|()| File::open(directory))
        .and_then(|d| d.sync_all())
        .with_context(|| format!("cannot sync directory {}", directory.display()))
}

/// Writes out everything on the file system that holds `path`, and reports write errors.
pub fn sync_file_system(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    pass(|| "sync file system".to_owned())
        .and_then(|()| Ok(nix::unistd::syncfs(file)?))
        .with_context(|| format!("cannot sync the file system of {}", path.display()))
}

/// Makes a directory and its parents, each new one with mode 0700.
pub fn create_private_directory(path: &Path) -> anyhow::Result<()> {
    pass(|| "make directory".to_owned())
        .and_then(|()| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path))
        .with_context(|| format!("cannot create directory {}", path.display()))
}

/// Lets others pass through `directory` to what they may see there; they see no more of it than that.
pub fn make_passable(directory: &Path) -> anyhow::Result<()> {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711))
        .with_context(|| format!("cannot set the mode of {}", directory.display()))
}

/// A new file with mode 0600; an existing one is an error.
pub fn create_private_file(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))
}

/// Removes a file durably; that it is gone already is success.
pub fn remove_file(path: &Path) -> anyhow::Result<()> {
    match pass(|| "remove file".to_owned()).and_then(|()| std::fs::remove_file(path)) {
        Ok(()) => sync_directory(path.parent().unwrap_or(Path::new("/"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_private_and_replaces_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn removing_what_is_gone_is_success() {
        let directory = tempfile::tempdir().unwrap();
        remove_file(&directory.path().join("nothing")).unwrap();
    }
}
