//! A destination with backups of some days, and what `mysnap expire` says and does there.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use mysnap::id::RunId;
use mysnap::store::{Manifest, SshOptions};
use mysnap::sys::cmd::Call;
use mysnap::sys::{clock, durable, process};

/// So many files has a backup.
pub const FILES: usize = 12;

/// A destination, and a configuration for it.
pub struct Bench {
    directory: tempfile::TempDir,
    pub config: PathBuf,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Bench {
    /// With a job `nightly` that says `keys` besides its destination; `prefix` is `user@host:`, or nothing.
    pub fn new(prefix: &str, ssh: &SshOptions, keys: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("mysnap.toml");
        let bench = Self { directory, config };
        durable::create_private_directory(&bench.job("nightly")).unwrap();
        let path = |name: &str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| format!("{name} = {path:?}\n")).unwrap_or_default()
        };
        let port = ssh.port.map(|port| format!("ssh_port = {port}\n")).unwrap_or_default();
        let text = format!(
            "[job.nightly]\nto = \"{prefix}{}\"\n{port}{}{}{keys}\n[job.other]\nto = {:?}\n",
            bench.to().display(),
            path("ssh_key", &ssh.key),
            path("ssh_known_hosts", &ssh.known_hosts),
            bench.to(),
        );
        durable::write(&bench.config, text.as_bytes()).unwrap();
        bench
    }

    pub fn here(keys: &str) -> Self {
        Self::new("", &SshOptions::default(), keys)
    }

    /// The destination.
    pub fn to(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join("to")
    }

    pub fn job(&self, job: &str) -> PathBuf {
        self.to().join(job)
    }

    /// Stores a backup of so many days ago as `change` says.
    pub fn store(&self, days: i64, change: impl FnOnce(&mut Manifest)) -> RunId {
        let begin = clock::now() - SignedDuration::from_hours(24 * days) - SignedDuration::from_secs(60);
        self.store_at(begin, change)
    }

    pub fn store_at(&self, begin: Timestamp, change: impl FnOnce(&mut Manifest)) -> RunId {
        let mut manifest = Manifest::decode(include_bytes!("../data/manifest-1.json")).unwrap();
        manifest.id = RunId::new(begin);
        manifest.begin = begin;
        manifest.host = process::host_name().unwrap();
        change(&mut manifest);
        let path = self.job(manifest.job.as_str()).join(manifest.id.as_str());
        durable::create_private_directory(&path.join("datadir/shop")).unwrap();
        for n in 0..FILES {
            write(&path.join(format!("datadir/shop/t{n}.ibd")), b"rows");
        }
        for name in ["manifest.json", "manifest.copy.json"] {
            write(&path.join(name), &manifest.encode().unwrap());
        }
        manifest.id
    }

    /// One for each of the last `days` days, newest first.
    pub fn store_days(&self, days: i64) -> Vec<RunId> {
        (0..days).map(|day| self.store(day, |_| {})).collect()
    }

    /// What is in the job's directory.
    pub fn names(&self) -> BTreeSet<String> {
        let entries = self.job("nightly").read_dir().unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The backups that are there; each is whole.
    pub fn whole(&self) -> BTreeSet<String> {
        let listed: BTreeSet<String> = self.names().into_iter().filter(|name| !name.starts_with('.')).collect();
        for name in &listed {
            let path = self.job("nightly").join(name);
            assert_eq!(path.join("datadir/shop").read_dir().unwrap().count(), FILES, "{name} is half there");
            assert!(Manifest::decode(&std::fs::read(path.join("manifest.json")).unwrap()).is_ok());
        }
        listed
    }

    pub fn mysnap(&self, arguments: &[&str]) -> Said {
        said(self.call(&[env!("CARGO_BIN_EXE_mysnap")], arguments))
    }

    /// The same through `before`, such as strace.
    pub fn mysnap_through(&self, before: &[&str], arguments: &[&str]) -> Said {
        said(self.call(&[before, &[env!("CARGO_BIN_EXE_mysnap")]].concat(), arguments))
    }

    fn call(&self, program: &[&str], arguments: &[&str]) -> Call<'static> {
        let (name, rest) = program.split_first().unwrap();
        Call::new(*name).args(rest.iter().copied()).arg("--config").arg(&self.config).args(arguments.iter().copied())
    }
}

fn said(call: Call<'_>) -> Said {
    let finished = call.finish().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { status: finished.status.code(), out: text(finished.stdout), err: text(finished.stderr) }
}

pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

/// The names of backups.
pub fn names(ids: &[RunId]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}
