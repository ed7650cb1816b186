//! Reading a file that may hold a password: only where nobody else could have read or planted it.
//!
//! The checks look at the opened descriptor, not at the name: the name may mean another file a
//! moment later. Whoever can write a directory above the file can replace it, so those count too.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::option_file::OptionFile;
use crate::fault::{Fault, Kind};

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const GROUP_OR_OTHERS_READ: u32 = 0o044;
const STICKY: u32 = 0o1000;
const LARGEST: u64 = 1 << 20;

/// The options in the file at `path`.
pub fn read(path: &Path) -> anyhow::Result<OptionFile> {
    let mut file = File::open(path).map_err(|error| {
        Fault::new(Kind::Config, format!("cannot open option file {}", path.display())).caused_by(error)
    })?;
    let metadata = file.metadata()?;
    refuse_foreign(path, &metadata)?;
    let mut text = String::new();
    file.by_ref()
        .take(LARGEST)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read option file {}", path.display()))?;
    let options = OptionFile::parse(&text)
        .map_err(|what| Fault::new(Kind::Config, format!("option file {}: {what}", path.display())))?;
    if options.has("password") && metadata.mode() & GROUP_OR_OTHERS_READ != 0 {
        return Err(refused(path, "holds a password that others can read")
            .hint(format!("chmod 600 {}", path.display()))
            .into());
    }
    Ok(options)
}

fn refuse_foreign(path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    if !metadata.is_file() {
        return Err(refused(path, "is not a regular file").into());
    }
    if !owned_by_us_or_root(metadata) {
        return Err(refused(path, "belongs to another account")
            .hint("chown it to the account that runs mysnap")
            .into());
    }
    if metadata.mode() & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(refused(path, "can be written by others").hint(format!("chmod 600 {}", path.display())).into());
    }
    let real = path.canonicalize().with_context(|| format!("cannot resolve {}", path.display()))?;
    real.ancestors().skip(1).try_for_each(|directory| refuse_open_directory(path, directory))
}

/// In a sticky directory such as /tmp others cannot replace what is ours.
fn refuse_open_directory(file: &Path, directory: &Path) -> anyhow::Result<()> {
    let metadata = directory.metadata().with_context(|| format!("cannot look at {}", directory.display()))?;
    let open = metadata.mode() & GROUP_OR_OTHERS_WRITE != 0 && metadata.mode() & STICKY == 0;
    if open || !owned_by_us_or_root(&metadata) {
        let why = format!("lies below {}, which others can write", directory.display());
        return Err(refused(file, &why).hint("move it to a directory that only root can write").into());
    }
    Ok(())
}

fn owned_by_us_or_root(metadata: &Metadata) -> bool {
    metadata.uid() == 0 || metadata.uid() == nix::unistd::geteuid().as_raw()
}

fn refused(path: &Path, why: &str) -> Fault {
    Fault::new(Kind::Config, format!("option file {} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;
    use std::fs::{Permissions, set_permissions};
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path, mode: u32) {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path) -> String {
        let error = read(path).err().expect("must be refused");
        assert_eq!(kind_of(&error), Some(Kind::Config));
        error.to_string()
    }

    #[test]
    fn a_password_that_others_can_read_or_plant_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mysnap.cnf");
        let mut file = crate::sys::durable::create_private_file(&path).unwrap();
        file.write_all(b"[client]\npassword=geheim\n").unwrap();
        assert_eq!(read(&path).unwrap().value("password"), Some("geheim"));
        for open in [0o640, 0o604, 0o620, 0o602] {
            mode(&path, open);
            assert!(refusal(&path).contains("mysnap.cnf"), "{open:o}");
        }
        mode(&path, 0o600);
        mode(directory.path(), 0o777);
        assert!(refusal(&path).contains("others can write"));
        mode(directory.path(), 0o700);
    }

    #[test]
    fn without_a_password_others_may_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mysnap.cnf");
        crate::sys::durable::write(&path, b"[client]\nuser=root\n").unwrap();
        mode(&path, 0o644);
        assert_eq!(read(&path).unwrap().value("user"), Some("root"));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert!(refusal(Path::new("/tmp")).contains("not a regular file"));
        assert!(refusal(Path::new("/nonexistent/my.cnf")).contains("cannot open"));
    }
}
