//! What a restore will do: decided from what was looked at, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::ground::{Ground, LOST_AND_FOUND};
use super::installed;
use super::{Plan, Request};
use crate::fault::{Fault, Kind};
use crate::instance::installed::Installed;
use crate::server::{Facts, Flavour, PlaceKind};
use crate::store::{Backup, EntryKind, FileEntry, Manifest, Root, RootName, Store, StoredPath, check_names};
use crate::sys::units::Bytes;

/// Where one root goes, and what happens to it on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) ground: Ground,
    /// Files that a started server must not find.
    pub(super) drop: Vec<StoredPath>,
    /// Symlinks to a root that goes elsewhere, with their new targets.
    pub(super) relink: Vec<(StoredPath, PathBuf)>,
    /// The list of binary logs, where files that it may name go elsewhere.
    pub(super) relist: Option<Relist>,
}

/// A list of binary logs that may name files by the places where the live server has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relist {
    pub(super) index: StoredPath,
    /// Where roots were, and where they go: the longest first.
    pub(super) moved: Vec<(PathBuf, PathBuf)>,
}

impl Relist {
    /// The list with the new places; none where it names none of the old ones.
    pub(super) fn rewritten(&self, list: &[u8]) -> Option<Vec<u8>> {
        let elsewhere = |line: &[u8]| {
            let path = Path::new(OsStr::from_bytes(line));
            let (rest, place) = self.moved.iter().find_map(|(was, is)| Some((path.strip_prefix(was).ok()?, is)))?;
            Some(place.join(rest).into_os_string().into_vec())
        };
        let lines = list.split(|byte| *byte == b'\n');
        let lines: Vec<Vec<u8>> = lines.map(|line| elsewhere(line).unwrap_or_else(|| line.to_vec())).collect();
        let written = lines.join(&b'\n');
        (written != list).then_some(written)
    }
}

/// The first look at the backup: without reading it, is everything there?
pub(super) fn refuse_incomplete(store: &dyn Store, backup: &Backup, files: &[FileEntry]) -> anyhow::Result<()> {
    let findings = check_names(store, &backup.slot, files)?;
    if findings.is_good() {
        return Ok(());
    }
    let message = format!("backup {} is damaged: {}", backup.slot.id, findings.summary());
    Err(Fault::new(Kind::Verify, message).hint("restore another one; `mysnap list` shows them").into())
}

/// Where each root goes, the data directory last.
pub(super) fn places(manifest: &Manifest, request: &Request) -> anyhow::Result<Vec<(Root, PathBuf)>> {
    if let Some(name) = request.roots.keys().find(|name| manifest.root(name).is_none_or(Root::is_datadir)) {
        let known: Vec<&str> = manifest.roots.iter().filter(|r| !r.is_datadir()).map(|r| r.name.as_str()).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        let fault = Fault::new(Kind::Config, format!("the backup has no root {name} beside the data directory"));
        return Err(fault.hint(known).into());
    }
    let place = |root: &Root| match request.roots.get(&root.name) {
        _ if root.is_datadir() => request.to.clone(),
        Some(path) => path.clone(),
        None => root.live_path.clone(),
    };
    let mut places: Vec<_> = manifest.roots.iter().map(|root| (root.clone(), place(root))).collect();
    places.sort_by_key(|(root, _)| root.is_datadir());
    Ok(places)
}

/// Decides, or refuses.
pub(super) fn decide(
    backup: &Backup,
    files: Vec<FileEntry>,
    request: &Request,
    grounds: Vec<Ground>,
    installed: Option<&Installed>,
) -> anyhow::Result<Plan> {
    let manifest = &backup.manifest;
    for ground in &grounds {
        refuse_used(ground)?;
        refuse_occupied(ground, request.replace)?;
        refuse_hidden(ground, manifest.server.flavour)?;
    }
    refuse_nested(&grounds)?;
    refuse_full(&grounds, &files)?;
    let mut warnings: Vec<String> =
        installed::judge(&manifest.server, installed, request.any_version)?.into_iter().collect();
    let places: BTreeMap<RootName, PathBuf> = grounds.iter().map(|g| (g.root.name.clone(), g.path.clone())).collect();
    let targets: Vec<Target> =
        grounds.into_iter().map(|ground| target(ground, &files, manifest, &places, request.clone)).collect();
    warnings.extend(manifest.proof.failure.iter().map(|why| format!("the backup is bad, its proof failed: {why}")));
    warnings.extend(manifest.warnings.iter().map(|warning| format!("when it was made: {warning}")));
    warnings.extend(targets.iter().flat_map(|target| moved(target, request)));
    warnings.extend(links_out(&files, manifest));
    let start =
        request.start.then(|| format!("start the service ({}), wait until it answers", service(&manifest.server)));
    let fill = targets.iter().flat_map(|target| fill_steps(target, &files));
    let steps = fill.chain(targets.iter().flat_map(place_steps)).chain(start).collect();
    Ok(Plan {
        steps,
        warnings,
        backup: backup.clone(),
        files,
        targets,
        clone: request.clone,
        transfer: request.transfer,
        position: manifest.position.clone(),
    })
}

fn refuse_used(ground: &Ground) -> anyhow::Result<()> {
    if ground.users.is_empty() {
        return Ok(());
    }
    let message = format!("{} is in use by {}", ground.path.display(), ground.users.join(", "));
    let hint = if ground.root.is_datadir() {
        "stop that server, or restore to another directory".to_owned()
    } else {
        format!("stop that server, or restore to another place with --root {}=PATH", ground.root.name)
    };
    Err(Fault::new(Kind::Refused, message).hint(hint).into())
}

fn refuse_occupied(ground: &Ground, replace: bool) -> anyhow::Result<()> {
    // What a restore that was cut short has already put in place is no reason to refuse.
    if !ground.occupied || replace || ground.is_ready {
        return Ok(());
    }
    let what = if ground.root.is_file { "exists" } else { "is not empty" };
    let hint = if ground.root.is_datadir() {
        "--replace keeps what is there aside and takes its place".to_owned()
    } else {
        format!("--replace keeps what is there aside; --root {}=PATH restores to another place", ground.root.name)
    };
    Err(Fault::new(Kind::Refused, format!("{} {what}", ground.path.display())).hint(hint).into())
}

/// InnoDB of MySQL looks for no tablespaces in a data directory whose name begins with a dot, and can't
/// recover there (`docs/facts.md`, the way back).
fn refuse_hidden(ground: &Ground, flavour: Flavour) -> anyhow::Result<()> {
    let hidden = ground.path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
    if !hidden || !ground.root.is_datadir() || flavour.is_mariadb() {
        return Ok(());
    }
    let message = format!("{flavour} can't recover in {}: its name begins with a dot", ground.path.display());
    Err(Fault::new(Kind::Refused, message).hint("choose a --to whose last part begins with another character").into())
}

fn refuse_nested(grounds: &[Ground]) -> anyhow::Result<()> {
    for (n, a) in grounds.iter().enumerate() {
        for b in grounds.iter().skip(n + 1) {
            if a.path.starts_with(&b.path) || b.path.starts_with(&a.path) {
                let (a, b) = (a.path.display(), b.path.display());
                let fault = Fault::new(Kind::Refused, format!("{a} and {b} lie in one another"));
                return Err(fault.hint("choose places with --to and --root that lie side by side").into());
            }
        }
    }
    Ok(())
}

fn refuse_full(grounds: &[Ground], files: &[FileEntry]) -> anyhow::Result<()> {
    let mut needed: HashMap<u64, u64> = HashMap::new();
    for ground in grounds.iter().filter(|ground| !ground.is_ready) {
        let bytes = bytes_of(&ground.root, files);
        *needed.entry(ground.device).or_default() += bytes.saturating_sub(ground.staged.0);
    }
    for ground in grounds {
        let needed = Bytes(needed.get(&ground.device).copied().unwrap_or_default());
        if needed > ground.room {
            let place = ground.path.display();
            let message = format!("{needed} are needed at {place}, {} are free", ground.room);
            return Err(Fault::new(Kind::Refused, message).hint("make room, or choose another file system").into());
        }
    }
    Ok(())
}

fn bytes_of(root: &Root, files: &[FileEntry]) -> u64 {
    let size = |entry: &FileEntry| match entry.kind {
        EntryKind::File { size, .. } if entry.root == root.name => size,
        _ => 0,
    };
    files.iter().map(size).sum()
}

fn target(
    ground: Ground,
    files: &[FileEntry],
    manifest: &Manifest,
    places: &BTreeMap<RootName, PathBuf>,
    clone: bool,
) -> Target {
    let own = || files.iter().filter(|entry| entry.root == ground.root.name);
    let dropped = own().filter(|entry| is_dropped(entry, ground.root.is_datadir(), clone));
    let mut drop: Vec<_> = dropped.map(|entry| entry.path.clone()).collect();
    // What is in a directory before the directory.
    drop.sort_by(|a, b| b.cmp(a));
    let relink = own().filter_map(|entry| {
        let EntryKind::Symlink { target } = &entry.kind else { return None };
        let target = Path::new(OsStr::from_bytes(&target.0));
        let root = root_of(manifest, target)?;
        let rest = target.strip_prefix(&root.live_path).ok()?;
        let place = places.get(&root.name)?;
        let elsewhere = if rest.as_os_str().is_empty() { place.clone() } else { place.join(rest) };
        (elsewhere != target).then(|| (entry.path.clone(), elsewhere))
    });
    let relist = relist(&ground, manifest, places).filter(|relist| own().any(|entry| entry.path == relist.index));
    Target { drop, relink: relink.collect(), relist, ground }
}

fn relist(ground: &Ground, manifest: &Manifest, places: &BTreeMap<RootName, PathBuf>) -> Option<Relist> {
    let index = &manifest.server.binary_log.as_ref()?.index;
    let index = index.strip_prefix(&root_of(manifest, index).filter(|root| root.name == ground.root.name)?.live_path);
    let mut moved: Vec<(PathBuf, PathBuf)> = manifest
        .roots
        .iter()
        .filter_map(|root| Some((root.live_path.clone(), places.get(&root.name)?.clone())))
        .filter(|(was, is)| was != is)
        .collect();
    moved.sort_by_key(|(was, _)| std::cmp::Reverse(was.as_os_str().len()));
    let index = StoredPath::new(index.ok()?.as_os_str().as_bytes()).ok()?;
    (!moved.is_empty()).then_some(Relist { index, moved })
}

/// The root that holds what an absolute path names.
fn root_of<'a>(manifest: &'a Manifest, path: &Path) -> Option<&'a Root> {
    let holding = manifest.roots.iter().filter(|root| path.starts_with(&root.live_path));
    holding.max_by_key(|root| root.live_path.as_os_str().len())
}

/// What belonged to the process that was running: MySQL refuses to start when a lock file names a
/// living process, and two servers must not have one identity. And what belongs to the file system.
fn is_dropped(entry: &FileEntry, in_datadir: bool, clone: bool) -> bool {
    let path = entry.path.as_bytes();
    if !in_datadir || path.split(|b| *b == b'/').next() == Some(LOST_AND_FOUND.as_bytes()) {
        return in_datadir;
    }
    let is_file = matches!(entry.kind, EntryKind::File { .. }) && !path.contains(&b'/');
    is_file && (path.ends_with(b".pid") || path.ends_with(b".sock.lock") || (clone && path == b"auto.cnf"))
}

/// What an operator must know about a root that is not where it was.
fn moved(target: &Target, request: &Request) -> Vec<String> {
    let Ground { root, path, .. } = &target.ground;
    let mut warnings = Vec::new();
    if *path != root.live_path && !root.is_datadir() {
        let setting = if root.kinds.contains(&PlaceKind::Tablespace) {
            "its tables are known to the server by their old paths"
        } else {
            "set its new place in the server's option file before the start"
        };
        warnings.push(format!(
            "{} was at {}, goes to {}: {setting}",
            root.name,
            root.live_path.display(),
            path.display()
        ));
    }
    if target.ground.is_mount_point && target.ground.occupied && request.replace && !target.ground.is_ready {
        let aside = target.ground.aside.display();
        warnings.push(format!("{} is a mount point: what is there stays on it, in {aside}", path.display()));
    }
    warnings
}

/// Symlinks that lead to what is no part of the backup.
fn links_out(files: &[FileEntry], manifest: &Manifest) -> Vec<String> {
    let out = |entry: &FileEntry| {
        let EntryKind::Symlink { target } = &entry.kind else { return None };
        let path = Path::new(OsStr::from_bytes(&target.0));
        let outside = path.is_absolute() && root_of(manifest, path).is_none();
        outside.then(|| format!("{} is a symlink to {target}, which is no part of the backup", entry.name()))
    };
    files.iter().filter_map(out).collect()
}

fn fill_steps(target: &Target, files: &[FileEntry]) -> Vec<String> {
    let ground = &target.ground;
    if ground.is_ready {
        return Vec::new();
    }
    let (name, staging) = (&ground.root.name, ground.staging.display());
    let mut steps = vec![format!(
        "copy {name} ({}) to {staging}, compare every file with its digest, set owners and modes",
        Bytes(bytes_of(&ground.root, files))
    )];
    if !target.drop.is_empty() {
        let names: Vec<String> = target.drop.iter().map(ToString::to_string).collect();
        steps.push(format!("drop {} from {name}", names.join(", ")));
    }
    steps.extend(target.relist.iter().map(|relist| format!("let {name}/{} name the new places", relist.index)));
    steps.extend(target.relink.iter().map(|(path, to)| format!("point symlink {name}/{path} to {}", to.display())));
    steps
}

pub(super) fn place_steps(target: &Target) -> Vec<String> {
    let ground = &target.ground;
    let (path, aside) = (ground.path.display(), ground.aside.display());
    let mut steps = Vec::new();
    if ground.occupied && !ground.is_ready {
        let what = if ground.is_mount_point { "what is in" } else { "what is at" };
        steps.push(format!("keep {what} {path} as {aside}"));
    }
    steps.push(match (ground.is_mount_point, ground.is_ready) {
        (true, true) => format!("go on moving what is in {} up into {path}", ground.ready.display()),
        (true, false) => {
            format!("move what is in {} up into {path}, the system tablespace last", ground.staging.display())
        }
        (false, _) => format!("rename {} to {path}", ground.staging.display()),
    });
    steps
}

/// What to do once the files are in place, and the server perhaps started.
pub(super) fn next_steps(plan: &Plan, kept_aside: &[PathBuf], started: bool) -> Vec<String> {
    let manifest = &plan.backup.manifest;
    let server = &manifest.server;
    let to = plan.targets.last().map_or(Path::new("/"), |target| target.ground.path.as_path());
    let mut steps = if started { Vec::new() } else { steps_to_a_start(server, to) };
    if plan.clone {
        steps.push("give it a server_id of its own, before it replicates".to_owned());
    }
    // After a replay its sources are forgotten.
    if server.replica && !plan.position.upstream.is_empty() {
        let text = if started {
            "it was a replica: look whether it goes on replicating as it should"
        } else {
            "it was a replica and goes on replicating when it starts: skip_replica_start prevents that"
        };
        steps.push(text.to_owned());
    }
    if let Some(statement) = plan.position.replication_statement(server) {
        steps.push(format!("to make it a replica of {}: {statement}", server.hostname));
    }
    steps.extend(kept_aside.iter().map(|path| format!("when all is well, remove {}", path.display())));
    steps
}

fn steps_to_a_start(server: &Facts, to: &Path) -> Vec<String> {
    if to == server.datadir {
        return vec![format!("start the server (systemctl start {}); it recovers by itself", service(server))];
    }
    vec![
        format!("set datadir={} (and socket, port) in the option file of the server to start", to.display()),
        "allow the directory in its AppArmor or SELinux rules, where there are any".to_owned(),
    ]
}

fn service(server: &Facts) -> &'static str {
    super::service::candidates(server.flavour).first().copied().unwrap_or("mysql")
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(super) mod tests;
