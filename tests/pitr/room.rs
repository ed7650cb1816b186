//! A file system in memory: what is restored lies on another one than the live server's data.

use std::path::{Path, PathBuf};

use mysnap::sys::cmd::Call;

/// It is there until this is dropped.
pub struct Room(PathBuf);

impl Room {
    /// One over `directory`, which must be empty.
    pub fn over(directory: &Path) -> Self {
        Self::of(directory, "4g")
    }

    /// One of that size.
    pub fn of(directory: &Path, size: &str) -> Self {
        let size = format!("size={size}");
        Call::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory).run().unwrap();
        Self(directory.to_owned())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        drop(Call::new("umount").arg("-l").arg(&self.0).run());
    }
}
