//! Mounting a block device, and looking at what is mounted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use sys_mount::{Mount, MountFlags, Unmount as _, UnmountFlags};

use super::failpoint::pass;
use super::retry;

const UNMOUNT_DEADLINE: Duration = Duration::from_secs(30);

/// A mounted file system; unmounted by [`Mounted::release`], or on drop with the error logged.
#[derive(Debug)]
#[must_use]
pub struct Mounted {
    mount: Option<Mount>,
    at: PathBuf,
}

impl Mounted {
    /// Mounts `device` of type `fstype` at `at` with `nosuid,nodev,noexec`, read-only unless
    /// `writable`, and the file system's own options in `data` (`nouuid,norecovery`).
    pub fn new(device: &Path, at: &Path, fstype: &str, data: &str, writable: bool) -> anyhow::Result<Self> {
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        if !writable {
            flags |= MountFlags::RDONLY;
        }
        let mount = pass(|| "mount".to_owned())
            .and_then(|()| Mount::builder().fstype(fstype).flags(flags).data(data).mount(device, at))
            .with_context(|| format!("cannot mount {} ({fstype}, {data:?}) at {}", device.display(), at.display()))?;
        Ok(Self { mount: Some(mount), at: at.to_owned() })
    }

    /// Shows the directory or file `from` at `at` too; what is there is out of reach meanwhile.
    pub fn bind(from: &Path, at: &Path) -> anyhow::Result<Self> {
        let mount = pass(|| "mount".to_owned())
            .and_then(|()| Mount::builder().flags(MountFlags::BIND).mount(from, at))
            .with_context(|| format!("cannot bind {} over {}", from.display(), at.display()))?;
        Ok(Self { mount: Some(mount), at: at.to_owned() })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts; retries for half a minute where it is busy.
    pub fn release(mut self) -> anyhow::Result<()> {
        self.unmount()
    }

    fn unmount(&mut self) -> anyhow::Result<()> {
        let Some(mount) = self.mount.take() else { return Ok(()) };
        let unmount = || pass(|| "unmount".to_owned()).and_then(|()| mount.unmount(UnmountFlags::empty()));
        let result = retry::until(UNMOUNT_DEADLINE, unmount);
        result.with_context(|| format!("cannot unmount {}", self.at.display()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            tracing::warn!("{error:#}");
        }
    }
}

/// One line of `/proc/self/mountinfo` (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Which directory of the file system is mounted there; `/` but for bind mounts.
    pub root: PathBuf,
    /// Kernel device number, major and minor.
    pub device: (u32, u32),
    /// File system type.
    pub fstype: String,
    /// What was mounted: a device path for disk file systems.
    pub source: String,
    /// Options of the mount and of its file system, comma-separated (`rw,relatime,ro`): a file
    /// system that went read-only by itself says so in the second part alone.
    pub options: String,
}

impl MountPoint {
    /// Whether nothing can be written through it. A file system that went read-only by itself could be, and was.
    pub fn is_read_only(&self) -> bool {
        self.options.split(',').next() == Some("ro")
    }
}

/// Everything mounted in our namespace, in mount order.
pub fn mount_points() -> anyhow::Result<Vec<MountPoint>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    Ok(text.lines().filter_map(parse_mountinfo).collect())
}

/// Everything mounted on the host, in mount order: what whoever started us sees, without what we mounted for ourselves.
pub fn mount_points_of_host() -> anyhow::Result<Vec<MountPoint>> {
    // Where nobody may look at process 1 our own come with them.
    let Ok(text) = std::fs::read_to_string("/proc/1/mountinfo") else { return mount_points() };
    Ok(text.lines().filter_map(parse_mountinfo).collect())
}

/// The mount that holds `path`: the longest mount point above it, the last of equals.
pub fn mount_of<'a>(points: &'a [MountPoint], path: &Path) -> Option<&'a MountPoint> {
    points.iter().filter(|p| path.starts_with(&p.path)).max_by_key(|p| p.path.as_os_str().len())
}

pub(crate) fn parse_mountinfo(line: &str) -> Option<MountPoint> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let (major, minor) = left.next()?.split_once(':')?;
    let root = unescape(left.next()?);
    let path = unescape(left.next()?);
    let of_mount = left.next()?;
    let mut right = right.split(' ');
    let fstype = right.next()?.to_owned();
    let source = unescape(right.next()?);
    let options = format!("{of_mount},{}", right.next().unwrap_or_default());
    Some(MountPoint {
        path: path.into(),
        root: root.into(),
        device: (major.parse().ok()?, minor.parse().ok()?),
        fstype,
        source,
        options,
    })
}

/// mountinfo writes space, tab, newline and backslash as `\040`, `\011`, `\012`, `\134`.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountinfo_line_is_read() {
        let line =
            "36 35 252:3 / /var/lib/my\\040sql rw,noatime shared:1 - ext4 /dev/mapper/vg0-data rw,errors=continue";
        let point = parse_mountinfo(line).unwrap();
        assert_eq!(point.path, Path::new("/var/lib/my sql"));
        assert_eq!(point.device, (252, 3));
        assert_eq!((point.fstype.as_str(), point.source.as_str()), ("ext4", "/dev/mapper/vg0-data"));
        assert_eq!(point.options, "rw,noatime,rw,errors=continue");
        assert!(!point.is_read_only());
    }

    #[test]
    fn the_longest_mount_point_above_a_path_holds_it() {
        let line = |path: &str| format!("36 35 252:3 / {path} rw - ext4 /dev/x rw");
        let points: Vec<_> = ["/", "/var", "/var/lib/mysql"].iter().filter_map(|p| parse_mountinfo(&line(p))).collect();
        assert_eq!(mount_of(&points, Path::new("/var/lib/mysql/shop")).unwrap().path, Path::new("/var/lib/mysql"));
        assert_eq!(mount_of(&points, Path::new("/var/lib/mysql2")).unwrap().path, Path::new("/var"));
    }

    #[test]
    fn our_own_mounts_are_read() {
        assert!(mount_points().unwrap().iter().any(|p| p.path == Path::new("/")));
        assert!(mount_points_of_host().unwrap().iter().any(|p| p.path == Path::new("/")));
    }
}
