//! The readers of this part, for [`crate::fuzz`].

use std::collections::HashSet;
use std::path::Path;

use super::{fstab, room};

/// `/etc/fstab` and `/proc/diskstats`.
pub(crate) fn system(text: &str) {
    fstab::ambiguous_device(text, Path::new("/var/lib/mysql"));
    let devices = HashSet::from([(252, 3)]);
    for line in text.lines() {
        room::written(line, &devices);
    }
}
