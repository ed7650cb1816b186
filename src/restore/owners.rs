//! To whom restored files belong: by name where the name exists here, by number else, since numbers differ between
//! hosts.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::{Group, User};

use super::ground::Ground;
use crate::store::FileEntry;

/// The numbers of names, each looked up once.
#[derive(Default)]
pub(super) struct Owners {
    users: HashMap<String, Option<u32>>,
    groups: HashMap<String, Option<u32>>,
}

impl Owners {
    /// The numbers of user and group that `entry` gets here.
    pub(super) fn of(&mut self, entry: &FileEntry) -> (u32, u32) {
        let uid = self.user(entry.user.as_deref()).unwrap_or(entry.uid);
        (uid, self.group(entry.group.as_deref()).unwrap_or(entry.gid))
    }

    fn user(&mut self, name: Option<&str>) -> Option<u32> {
        let find = |name: &String| Some(User::from_name(name).ok()??.uid.as_raw());
        *self.users.entry(name?.to_owned()).or_insert_with_key(find)
    }

    fn group(&mut self, name: Option<&str>) -> Option<u32> {
        let find = |name: &String| Some(Group::from_name(name).ok()??.gid.as_raw());
        *self.groups.entry(name?.to_owned()).or_insert_with_key(find)
    }
}

/// A warning for every owner that has no name here.
pub(super) fn unknown(files: &[FileEntry]) -> Vec<String> {
    let mut owners = Owners::default();
    let mut unknown = BTreeSet::new();
    for entry in files {
        for (what, name, known, number) in [
            ("user", &entry.user, owners.user(entry.user.as_deref()).is_some(), entry.uid),
            ("group", &entry.group, owners.group(entry.group.as_deref()).is_some(), entry.gid),
        ] {
            if let Some(name) = name.as_ref().filter(|_| !known) {
                unknown.insert(format!("{what} {name} does not exist here: its files get the number {number}"));
            }
        }
    }
    unknown.into_iter().collect()
}

/// A warning for each of `grounds` that the owner of what goes there could not reach: a server runs as that one.
pub(super) fn shut_out<'a>(grounds: impl IntoIterator<Item = &'a Ground>, files: &[FileEntry]) -> Vec<String> {
    let mut owners = Owners::default();
    let closed = grounds.into_iter().filter_map(|ground| {
        let owner = owners.of(files.iter().find(|entry| entry.root == ground.root.name)?);
        let closed = ground.path.ancestors().skip(1).find(|above| !may_pass(above, owner))?;
        let (path, closed) = (ground.path.display(), closed.display());
        Some(format!(
            "the owner of {} (user {}) can't pass through {closed}: a server would not reach {path}",
            ground.root.name, owner.0
        ))
    });
    closed.collect()
}

/// By the permission bits; whoever belongs to further groups may pass all the same. What can't be looked at is told by
/// others.
fn may_pass(directory: &Path, (uid, gid): (u32, u32)) -> bool {
    let Ok(metadata) = directory.metadata() else { return true };
    let bit = match (metadata.uid() == uid, metadata.gid() == gid) {
        (true, _) => 0o100,
        (false, true) => 0o010,
        (false, false) => 0o001,
    };
    uid == 0 || metadata.mode() & bit != 0
}
