//! Stored files shown where a server can write to them, without writing to what is stored.

use std::path::Path;

use anyhow::Context as _;

use super::Part;
use crate::fault::{Fault, Kind};
use crate::store::Root;
use crate::sys::durable;
use crate::sys::mount::Mounted;
use crate::sys::namespace::require_own_mounts;

const UNABLE: &str = "the kernel can't show stored files as writable ones (overlayfs)";

/// An error where the kernel has no overlays. Tried in our own mount namespace, and nothing is left of it.
pub fn require() -> anyhow::Result<()> {
    require_own_mounts()?;
    let tried = Mounted::new(Path::new("overlay"), Path::new("/run"), "overlay", "lowerdir=/etc:/usr", false);
    tried.and_then(Mounted::release).map_err(|error| {
        let fault = Fault::new(Kind::Refused, UNABLE).caused_by(error);
        fault.hint("`modprobe overlay` says why").into()
    })
}

/// Shows each root of the backup at `stored` below `home`.
pub fn show(roots: &[Root], stored: &Path, home: &Path) -> anyhow::Result<(Vec<Part>, Vec<Mounted>)> {
    let (mut parts, mut mounts) = (Vec::new(), Vec::new());
    for root in roots {
        let name = root.name.as_str();
        let at = |what: &str| home.join(format!("{name}{what}"));
        let (lower, upper, work, seen) = (stored.join(name), at(".written"), at(".work"), at(""));
        for directory in [&upper, &work, &seen] {
            durable::create_private_directory(directory)?;
        }
        // The overlay has the mode and the owner of its upper directory.
        copy_owner(&lower, &upper)?;
        let data = [("lowerdir", &lower), ("upperdir", &upper), ("workdir", &work)];
        let data: Vec<String> = data.iter().map(|(name, path)| format!("{name}={}", escaped(path))).collect();
        let mount = Mounted::new(Path::new("overlay"), &seen, "overlay", &data.join(","), true);
        mounts.push(mount.context(UNABLE)?);
        parts.push(Part::of(root, &seen));
    }
    Ok((parts, mounts))
}

fn copy_owner(from: &Path, to: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let found = from.metadata().with_context(|| format!("cannot look at {}", from.display()))?;
    std::os::unix::fs::chown(to, Some(found.uid()), Some(found.gid()))
        .and_then(|()| std::fs::set_permissions(to, found.permissions()))
        .with_context(|| format!("cannot give {} away", to.display()))
}

/// Options are separated by commas, directories by colons.
fn escaped(path: &Path) -> String {
    let text = path.display().to_string();
    text.chars().flat_map(|c| matches!(c, '\\' | ',' | ':').then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_separates_options_is_escaped() {
        assert_eq!(escaped(Path::new("/a,b:c\\d e")), "/a\\,b\\:c\\\\d e");
    }
}
