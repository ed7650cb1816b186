//! Whether `/etc/fstab` could mount a leftover snapshot in the origin's place.
//!
//! A snapshot carries its origin's file system UUID; after a reboot with a leftover, a line that
//! names the UUID (or a label) may mount the snapshot (lvm2 issue 146).

use std::path::Path;

/// How the line for `mount_point` names its device, where it does so by something that a snapshot
/// shares.
pub fn ambiguous_device<'a>(fstab: &'a str, mount_point: &Path) -> Option<&'a str> {
    let shared = ["UUID=", "LABEL=", "/dev/disk/by-uuid/", "/dev/disk/by-label/"];
    fstab
        .lines()
        .map(str::split_whitespace)
        .filter_map(|mut fields| Some((fields.next()?, fields.next()?)))
        .filter(|(device, at)| !device.starts_with('#') && Path::new(&at.replace("\\040", " ")) == mount_point)
        .map(|(device, _)| device)
        .find(|device| shared.iter().any(|prefix| device.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FSTAB: &str = "# UUID=0 /var/lib/mysql ext4\nUUID=1-2 / ext4 defaults 0 1\n\
        /dev/vg0/data /var/lib/mysql ext4 defaults 0 2\nUUID=3-4\t/srv/my\\040sql xfs defaults 0 2\n";

    #[test]
    fn only_the_line_of_the_mount_point_counts() {
        assert_eq!(ambiguous_device(FSTAB, Path::new("/var/lib/mysql")), None);
        assert_eq!(ambiguous_device(FSTAB, Path::new("/srv/my sql")), Some("UUID=3-4"));
        assert_eq!(ambiguous_device(FSTAB, Path::new("/none")), None);
    }
}
