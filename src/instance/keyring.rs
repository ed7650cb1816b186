//! MySQL's program where it sees no keyring of the host's, and a copy of the keys that it sees instead.
//!
//! A `mysqld` looks for a manifest beside its own program, whatever its options are, and opens the keyring that is
//! configured on the host: the live server's. It would write to it, too, and two that write to one file lose each other's
//! keys. `read_only` in a configuration does not keep it from that: MySQL 9.7 says "Yes" to it and still writes the key
//! of the first encrypted table, of `ALTER INSTANCE ROTATE` and of `binlog_encryption`. Where it did, a replay of the
//! same statements would fail. So the program is bound into a directory of our own (through a link it would find its
//! way home), with our manifest or none, and the keys are a copy that it may write to.
//!
//! The directory is in memory and in our mount namespace alone: keys reach no disk, and are gone with us whatever ends us.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{Instance, Part, give, make};
use crate::fault::{Fault, Kind};
use crate::server::keyring::{FILE_COMPONENT, read};
use crate::server::{Facts, Version};
use crate::store::{Manifest, Method};
use crate::sys::cmd::Call;
use crate::sys::durable;
use crate::sys::mount::Mounted;
use crate::sys::namespace::require_own_mounts;

/// Since then there are manifests.
const MANIFESTS: Version = Version(8, 0, 24);
/// What says which components are loaded before the data is opened; beside the program.
const MANIFEST: &str = "mysqld.my";
/// The name of the directory, beside the servers' own.
const DIRECTORY: &str = "own-keyring";
const PROGRAM: &str = "mysqld";
const PLUGINS: &str = "plugins";
/// A directory, since the server makes a second file beside the one that it writes.
const KEYS: &str = "keys/keyring";
/// What the keys were when they were copied.
const GIVEN: &str = "given";
/// What the program was built with and would look for beside itself.
const BUILT_IN: [&str; 4] = ["basedir", "lc-messages-dir", "character-sets-dir", "plugin-dir"];

/// The program in its place, with the keys where there are some. What is in it is gone when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct OwnKeyring {
    mounts: Vec<Mounted>,
    directory: PathBuf,
}

impl OwnKeyring {
    /// Has the servers that are started one after the other in `home` share one copy of the keys of a backup, whose files
    /// are `parts`: one may need a key that another one made. A replayed rotation of the master key takes the next one that
    /// the copy already has, so that the live server's keyring reads what comes of a copy. None where they need no such
    /// place.
    pub fn hold(manifest: &Manifest, parts: &[Part], home: &Path) -> anyhow::Result<Option<Self>> {
        let mut facts = manifest.server.clone();
        if manifest.method == Method::Dump {
            facts.forget_missing_keyring();
        }
        Self::make(&facts, parts, home)
    }

    /// The same for one server.
    pub(super) fn make(facts: &Facts, parts: &[Part], home: &Path) -> anyhow::Result<Option<Self>> {
        let Some(program) = with_manifest(facts) else { return Ok(None) };
        let source = facts.keyring_file().map(|file| in_parts(file, parts));
        if source.is_none() && !program.with_file_name(MANIFEST).exists() {
            return Ok(None);
        }
        require_own_mounts()?;
        let directory = home.join(DIRECTORY);
        make(&directory)?;
        let mut own = Self { mounts: Vec::new(), directory };
        own.mounts.push(Mounted::new(Path::new("tmpfs"), &own.directory, "tmpfs", "mode=0711,size=64m", true)?);
        let here = own.at(PROGRAM);
        durable::write(&here, b"")?;
        own.mounts.push(Mounted::bind(&program, &here)?);
        let built_in = built_in(&program)?;
        if let Some(source) = source {
            own.take(&source, plugins(&built_in))?;
        }
        durable::write(&own.at("options"), options(&built_in).join("\n").as_bytes())?;
        Ok(Some(own))
    }

    /// The copy, and what makes the component use it.
    fn take(&self, source: &Path, plugins: &Path) -> anyhow::Result<()> {
        let keys = read(source)?;
        let copy = self.at(KEYS);
        let private = copy.parent().unwrap_or(Path::new("/"));
        durable::create_private_directory(private)?;
        durable::write(&self.at(GIVEN), &keys)?;
        durable::write(&copy, &keys)?;
        std::fs::create_dir(self.at(PLUGINS)).context("cannot make a directory for plugins")?;
        std::fs::set_permissions(self.at(PLUGINS), Permissions::from_mode(0o755))?;
        let configuration = format!("{FILE_COMPONENT}.cnf");
        for entry in plugins.read_dir().with_context(|| format!("cannot look into {}", plugins.display()))? {
            let name = entry?.file_name();
            // The host's own configuration names the live server's keys.
            if name.to_string_lossy() != configuration {
                symlink(plugins.join(&name), self.at(PLUGINS).join(&name))?;
            }
        }
        let told = serde_json::json!({ "path": copy, "read_only": false });
        readable(&self.at(PLUGINS).join(configuration), &told.to_string())?;
        readable(&self.at(MANIFEST), &format!("{{\"components\": \"file://{FILE_COMPONENT}\"}}"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn has_keys(&self) -> bool {
        self.at(GIVEN).exists()
    }

    /// Whether a server has made keys that are not in what was copied.
    pub fn has_new_keys(&self) -> anyhow::Result<bool> {
        if !self.has_keys() {
            return Ok(false);
        }
        let [given, now] = [GIVEN, KEYS].map(|name| std::fs::read(self.at(name)));
        Ok(given.context("the copied keys are gone")? != now.context("the keys are gone")?)
    }

    /// Writes the keys with all that were made since into the new file `to`, which is the server's alone.
    pub fn keep(&self, to: &Path) -> anyhow::Result<()> {
        let keys = self.at(KEYS);
        let owner = keys.metadata().with_context(|| format!("cannot look at {}", keys.display()))?;
        drop(durable::create_private_file(to)?);
        durable::write(to, &read(&keys)?)?;
        give(to, (owner.uid(), owner.gid()))
    }

    /// Lets go of it.
    pub fn release(mut self) -> anyhow::Result<()> {
        self.leave()
    }

    fn leave(&mut self) -> anyhow::Result<()> {
        while let Some(mount) = self.mounts.pop() {
            mount.release()?;
        }
        // The next one in the same place begins anew.
        match std::fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.directory.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for OwnKeyring {
    fn drop(&mut self) {
        if let Err(error) = self.leave() {
            tracing::warn!("{error:#}");
        }
    }
}

impl Instance {
    /// An error where the server has made keys that nobody will have when it has ended.
    pub fn refuse_new_keys(&self) -> anyhow::Result<()> {
        if !self.keyring.as_ref().map_or(Ok(false), OwnKeyring::has_new_keys)? {
            return Ok(());
        }
        let message = "the second server made a key that the live server's keyring does not have";
        Err(Fault::new(Kind::Refused, message).hint("its files could not be read with that keyring").into())
    }
}

/// The program of a server in `home` and more options for it, and what they stand on where nobody holds that for several.
/// The keys become those of `owner`.
pub(super) fn program(
    facts: &Facts,
    parts: &[Part],
    home: &Path,
    owner: (u32, u32),
) -> anyhow::Result<(Option<OwnKeyring>, PathBuf, Vec<String>)> {
    if let Some((program, options)) = held(home, owner)? {
        return Ok((None, program, options));
    }
    let own = OwnKeyring::make(facts, parts, home)?;
    let (program, options) = match held(home, owner)? {
        Some(held) => held,
        None => (super::program(facts)?.into(), Vec::new()),
    };
    Ok((own, program, options))
}

fn held(home: &Path, owner: (u32, u32)) -> anyhow::Result<Option<(PathBuf, Vec<String>)>> {
    let directory = home.join(DIRECTORY);
    let file = directory.join("options");
    if !file.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut options: Vec<String> = text.lines().map(str::to_owned).collect();
    let keys = directory.join(KEYS);
    if keys.exists() {
        keys.parent().into_iter().chain([keys.as_path()]).try_for_each(|path| give(path, owner))?;
        options.retain(|option| !option.starts_with("--plugin-dir="));
        options.push(format!("--plugin-dir={}", directory.join(PLUGINS).display()));
    }
    Ok(Some((directory.join(PROGRAM), options)))
}

/// An error where the component is not installed that is to have the keys.
pub(super) fn require_component(facts: &Facts) -> anyhow::Result<()> {
    let Some(program) = with_manifest(facts).filter(|_| facts.keyring_file().is_some()) else { return Ok(()) };
    let built_in = built_in(&program)?;
    let library = plugins(&built_in).join(format!("{FILE_COMPONENT}.so"));
    if library.exists() {
        return Ok(());
    }
    let message = format!("there is no {}, by which the server reads its keyring", library.display());
    Err(Fault::new(Kind::Refused, message).hint("it is part of MySQL's own packages: install all of them").into())
}

/// The program, where it is one that looks for a manifest.
fn with_manifest(facts: &Facts) -> Option<PathBuf> {
    if facts.flavour.is_mariadb() || facts.version < MANIFESTS {
        return None;
    }
    Call::found(PROGRAM).and_then(|path| path.canonicalize().ok())
}

/// Where `file`, which the live server names, lies here: in the data, or where the host has it.
fn in_parts(file: &Path, parts: &[Part]) -> PathBuf {
    let rest = |part: &Part| Some(part.here.join(file.strip_prefix(&part.root.live_path).ok()?));
    parts.iter().filter(|part| !part.root.is_file).find_map(rest).unwrap_or_else(|| file.to_owned())
}

/// What the program says where it looks for its other files.
fn built_in(program: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    let said = Call::new(program).args(["--no-defaults", "--verbose", "--help"]).stdout()?;
    let told = |name: &&'static str| {
        let value = said.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(' '));
        let value = value.with_context(|| format!("{} does not say its {name}", program.display()))?;
        Ok((*name, value.trim().to_owned()))
    };
    BUILT_IN.iter().map(told).collect()
}

fn options(built_in: &[(&'static str, String)]) -> Vec<String> {
    built_in.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn plugins<'a>(built_in: &'a [(&'static str, String)]) -> &'a Path {
    built_in.iter().find(|(name, _)| *name == "plugin-dir").map_or(Path::new("/"), |(_, value)| Path::new(value))
}

/// The server reads it, and warns of what could be written to.
fn readable(path: &Path, text: &str) -> anyhow::Result<()> {
    durable::write(path, text.as_bytes())?;
    std::fs::set_permissions(path, Permissions::from_mode(0o444))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Flavour;
    use crate::store::Root;

    #[test]
    fn keys_among_the_data_come_from_the_data_that_is_looked_at() {
        let root = |path: &str, is_file| Root {
            live_path: path.into(),
            is_file,
            ..super::super::datadir(Path::new(path)).unwrap()
        };
        let part = |path: &str, is_file| Part { root: root(path, is_file), here: "/scratch/part".into() };
        let parts = [part("/k/keys", true), part("/var/lib/mysql", false)];
        assert_eq!(in_parts(Path::new("/var/lib/mysql/k/keys"), &parts), Path::new("/scratch/part/k/keys"));
        assert_eq!(
            in_parts(Path::new("/var/lib/mysql-keyring/keys"), &parts),
            Path::new("/var/lib/mysql-keyring/keys")
        );
    }

    #[test]
    fn only_a_mysql_with_manifests_is_started_from_a_place_of_its_own() {
        let facts = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap().server;
        let home = tempfile::tempdir().unwrap();
        let of = |flavour, version| Facts { flavour, version, ..facts.clone() };
        for facts in [of(Flavour::MariaDb, Version(11, 8, 6)), of(Flavour::MySql, Version(8, 0, 23))] {
            assert!(OwnKeyring::make(&facts, &[], home.path()).unwrap().is_none());
        }
        assert!(held(home.path(), (0, 0)).unwrap().is_none());
    }
}
