//! A destination on another node, reached by ssh and the tools that are there.
//!
//! Commands go over as argument vectors, quoted word by word in one place; what needs more than
//! one command is a fixed script that takes its words as positional parameters. Host keys are
//! checked and never learned; no question is ever asked; a dead network is noticed within a minute.
//! All commands of a store share one connection, because making one may take longer than what it is
//! made for. It ends with the store, or by itself soon after we died.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::connections;
use super::rsync::UNBOUNDED;
use super::ssh_errors::{self, Node};
use super::ssh_output;
use super::{
    Destination, Digest, Found, Listed, Readable, Room, Slot, SshOptions, State, Store, StoredPath,
    missing_destination, takes_no_writes, tool_version,
};
use crate::fault::{Fault, Kind};
use crate::id::JobName;
use crate::sys::cancel::Cancel;
use crate::sys::cmd::{Call, CommandError, Finished, quote};
use crate::sys::durable;
use crate::sys::talk::Talk;

/// What our scripts answer where something is not there.
const ABSENT: i32 = 44;
/// And where nothing can be written.
const READ_ONLY: i32 = 45;
const SHORT: Duration = Duration::from_secs(120);
/// How long what a node's kernel has in memory may take to get to its disk, and a file of no length to be read: then the
/// disk hangs, which a connection that lives does not tell.
const WRITING_OUT: Duration = Duration::from_secs(3600);
/// So many bytes a disk reads in a second at least, side by side with others.
const SLOWEST: u64 = 2 << 20;
/// How often a node is asked whether it has published a backup, where it gave no answer.
const ASKED: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(5);

const PROBE: &str = r#"
p=$1; while ! [ -d "$p" ]; do p=$(dirname -- "$p"); done; [ -w "$p" ] || { echo "$p"; exit 45; }
for tool in rsync sha256sum sync find xargs df dd mv; do
  command -v "$tool" >/dev/null || { echo "missing $tool"; exit 0; }
done
{ find / -maxdepth 0 -printf '' && sync --help | grep -q -- --file-system && df --output=avail / >/dev/null; } ||
  { echo "missing GNU coreutils and findutils"; exit 0; }
rsync --version | sed -n 1p; sha256sum --version | sed -n 1p; uname -sr"#;
const ROOM: &str = r#"p=$1; while ! [ -d "$p" ]; do p=$(dirname -- "$p"); done; df -B1 --output=avail,iavail -- "$p""#;
const SCAN: &str = r#"
[ -d "$1" ] || exit 44
exec find "$1" -ignore_readdir_race -mindepth 2 -maxdepth 3 -path "$2" \( -type d -printf 'd\0%P\0' -o \
  -type f \( -name manifest.json -o -name manifest.copy.json \) -printf 'f\0%P\0%s\0' -exec cat -- {} \; \)"#;
const CREATE: &str =
    r#"mkdir -p -- "$2" && ! [ -L "$2" ] && { ! [ -e "$3" ] || exit 44; } && mkdir -- "$3" && sync -- "$2" "$1""#;
const READ: &str = r#"[ -e "$1" ] || exit 44; ! [ -L "$1" ] && exec cat -- "$1""#;
const PIECE: &str = r#"[ -e "$1" ] || exit 44
! [ -L "$1" ] && exec dd if="$1" bs=64k iflag=fullblock,skip_bytes,count_bytes skip="$2" count="$3" status=none"#;
/// What was just written is in memory too, and it is the disk that is asked: written out, it can be forgotten there.
const DIGESTS: &str = r#"cd -- "$1" && sync -f . && exec xargs -0 -r -n 16 -P 2 sh -c '
for file; do dd if="$file" iflag=nocache count=0 status=none 2>/dev/null; done; exec sha256sum -- "$@"' mysnap"#;
/// The contents of all files come one after the other, their names and lengths as words. Where the connection is cut
/// they end early, and nobody signals it.
const LIST: &str = r#"
from=$1 to=$2; shift 2
[ -e "$to" ] && { echo "it exists already" >&2; exit 1; }
sync -f -- "$from" || exit 1
while [ $# -gt 0 ]; do
  dd of="$from/$1" bs=64k iflag=fullblock,count_bytes count="$2" conv=fsync status=none || exit 1
  [ "$(stat -c %s -- "$from/$1")" = "$2" ] || { echo "$1 did not arrive whole" >&2; exit 1; }
  shift 2
done
sync -- "$from""#;
/// The same for new files, whose directories are made on the way.
const PUT: &str = r#"
cd -- "$1" || exit 1; shift
set -C
while [ $# -gt 0 ]; do
  mkdir -p -- "${1%/*}" && dd bs=64k iflag=fullblock,count_bytes count="$2" status=none > "$1" || exit 1
  [ "$(stat -c %s -- "$1")" = "$2" ] || { echo "$1 did not arrive whole" >&2; exit 1; }
  shift 2
done"#;
/// Asked again it is done already.
const PUBLISH: &str = r#"
from=$1 to=$2 job=$3
if [ -e "$from" ]; then
  [ -e "$to" ] && { echo "it exists already" >&2; exit 1; }
  mv -T -- "$from" "$to" || exit 1
fi
[ -e "$to" ] || { echo "$from is gone" >&2; exit 1; }
sync -- "$job" || { mv -T -- "$to" "$from"; exit 1; }"#;
const REMOVE: &str = r#"
rm -rf -- "$2" && if [ -e "$1" ]; then mv -T -- "$1" "$2" && sync -- "$3" && rm -rf -- "$2" && sync -- "$3"; fi"#;

/// A destination on another node, reached by ssh and the tools that are there.
#[derive(Debug)]
pub struct SshStore {
    destination: Destination,
    host: String,
    ssh: Vec<String>,
    known_hosts: Option<PathBuf>,
    port: Option<u16>,
    control: Option<PathBuf>,
    cancel: Cancel,
}

impl SshStore {
    /// Nothing is asked of it yet.
    pub fn new(destination: &Destination, options: &SshOptions, cancel: &Cancel) -> anyhow::Result<Self> {
        let Destination::Ssh { user, host, .. } = destination else {
            anyhow::bail!("{destination} is not on another node");
        };
        let control = connections::new();
        Ok(Self {
            destination: destination.clone(),
            host: host.clone(),
            ssh: ssh_command(user.as_deref(), options, control.as_deref()),
            control,
            known_hosts: options.known_hosts.clone(),
            port: options.port,
            cancel: cancel.clone(),
        })
    }

    fn path(&self, slot: &Slot) -> String {
        self.text(&slot.relative())
    }

    fn job_path(&self, job: &JobName) -> String {
        self.text(job.as_str())
    }

    fn text(&self, relative: &str) -> String {
        self.destination.path().join(relative).to_string_lossy().into_owned()
    }

    /// A fixed script over there with `words` as its parameters: the only way in which anything is
    /// run on the other side.
    fn call(&self, script: &str, words: &[&str], stdin: &[u8], deadline: Duration) -> Call<'_> {
        self.call_to_its_end(script, words).stdin(stdin).deadline(deadline).cancel(&self.cancel)
    }

    /// The same, which nothing ends early.
    fn call_to_its_end(&self, script: &str, words: &[&str]) -> Call<'_> {
        let argv = ["env", "LC_ALL=C", "TZ=UTC", "sh", "-c", script, "mysnap"];
        let quoted: Vec<String> = argv.iter().chain(words).map(|word| quote(word)).collect();
        let remote = format!("umask 077 && exec {}", quoted.join(" "));
        let (program, args) = self.ssh.split_first().unwrap_or_else(|| unreachable!("ssh has a name"));
        Call::new(program).args(args).args(["--", &self.host, &remote])
    }

    /// Runs it; any status of the script is an answer, silence is an error.
    fn script(&self, script: &str, words: &[&str], stdin: &[u8], deadline: Duration) -> anyhow::Result<Finished> {
        self.answered(self.call(script, words, stdin, deadline).finish())
    }

    /// The same for as long as it tells something: a disk that hangs is silent, and its node lives.
    fn told(&self, script: &str, words: &[&str], stdin: &[u8], silence: Duration) -> anyhow::Result<Finished> {
        self.answered(self.call(script, words, stdin, UNBOUNDED).silence(silence).finish())
    }

    /// Has the node publish what it holds whole. Once it is asked it may have done so whatever we hear of it: no signal
    /// to us ends that, and where no answer comes it is asked again.
    fn settle_publishing(&self, words: &[&str]) -> anyhow::Result<Finished> {
        let mut asked = 0;
        loop {
            asked += 1;
            let finished = self.call_to_its_end(PUBLISH, words).deadline(SHORT).finish();
            match finished {
                Ok(finished) if finished.status.code().is_some_and(|code| code != 255) => return Ok(finished),
                Ok(_) | Err(_) if asked < ASKED => std::thread::sleep(BETWEEN),
                other => return self.answered(other),
            }
        }
    }

    /// The node's name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Starts a fixed script over there, to be talked with.
    pub fn talk(&self, script: &str, words: &[&str], first: &str, deadline: Duration) -> anyhow::Result<Talk<'_>> {
        Talk::begin(self.call(script, words, &[], deadline), first).map_err(|error| self.silent(error))
    }

    /// The same, with a sign of life each `beat`, and without a deadline: the other side must say something too.
    pub fn talk_closely(&self, script: &str, words: &[&str], first: &str, beat: Duration) -> anyhow::Result<Talk<'_>> {
        let call = self.call(script, words, &[], UNBOUNDED);
        Talk::begin_with(call, first, beat).map_err(|error| self.silent(error))
    }

    /// At most `length` bytes of the file at `path` from `at` on; none where there is no such file.
    pub fn piece_of(&self, path: &Path, at: u64, length: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let path = path.to_string_lossy();
        let finished = self.script(PIECE, &[&path, &at.to_string(), &length.to_string()], &[], SHORT)?;
        match finished.status.code() {
            Some(0) => Ok(Some(finished.stdout)),
            Some(ABSENT) => Ok(None),
            _ => Err(self.failed(&format!("read {path}"), &finished)),
        }
    }

    /// How a script ended; an error where ssh did not get through.
    pub fn answered(&self, finished: Result<Finished, CommandError>) -> anyhow::Result<Finished> {
        let finished = finished.map_err(|error| self.silent(error))?;
        if finished.status.code() == Some(255) {
            return Err(self.unreachable(&String::from_utf8_lossy(&finished.stderr)));
        }
        Ok(finished)
    }

    /// The error for a command that gave no answer.
    pub fn silent(&self, error: CommandError) -> anyhow::Error {
        match self.cancel.check() {
            Err(cancelled) => cancelled.context(format!("a command on {} was stopped", self.host)),
            Ok(()) => Fault::new(Kind::Copy, format!("{} does not answer", self.host)).caused_by(error).into(),
        }
    }

    fn unreachable(&self, said: &str) -> anyhow::Error {
        let node = Node { host: &self.host, port: self.port, known_hosts: self.known_hosts.as_deref() };
        ssh_errors::explain(said, node, &self.cancel)
    }

    /// The same where only success is an answer.
    fn done(&self, what: &str, script: &str, words: &[&str], stdin: &[u8]) -> anyhow::Result<Vec<u8>> {
        let finished = self.told(script, words, stdin, WRITING_OUT)?;
        if finished.status.success() {
            return Ok(finished.stdout);
        }
        Err(self.failed(what, &finished))
    }

    fn failed(&self, what: &str, finished: &Finished) -> anyhow::Error {
        let said = String::from_utf8_lossy(&finished.stderr);
        let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let fault = Fault::new(Kind::Copy, format!("cannot {what} on {}: {}", self.host, said.join("; ")));
        let full = said.iter().any(|line| line.contains("No space left") || line.contains("Disk quota exceeded"));
        if full { fault.hint("make room there; earlier backups are untouched").into() } else { fault.into() }
    }
}

impl Drop for SshStore {
    fn drop(&mut self) {
        let Some(control) = self.control.as_deref().filter(|path| path.exists()) else { return };
        let (program, args) = self.ssh.split_first().unwrap_or_else(|| unreachable!("ssh has a name"));
        let call = Call::new(program).args(args).args(["-Oexit", "--", &self.host]).deadline(Duration::from_secs(5));
        // Where nobody answers at the socket any more, nobody else removes it.
        let ended = [call.run().map_err(anyhow::Error::from), durable::remove_file(control)];
        for error in ended.into_iter().filter_map(Result::err) {
            tracing::debug!("the connection to {} ends by itself: {error:#}", self.host);
        }
    }
}

/// `ssh` with the options that make it strict, quiet and mortal.
fn ssh_command(user: Option<&str>, options: &SshOptions, control: Option<&Path>) -> Vec<String> {
    let settings = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "ConnectTimeout=10",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=3",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "PermitLocalCommand=no",
        "LogLevel=ERROR",
    ];
    let mut command = vec!["ssh".to_owned(), "-T".to_owned()];
    command.extend(settings.iter().map(|setting| format!("-o{setting}")));
    let mut option = |name: &str, path: Option<&Path>| {
        command.extend(path.map(|path| format!("-o{name}={}", path.display())));
    };
    option("ControlPath", Some(control.unwrap_or(Path::new("none"))));
    option("UserKnownHostsFile", options.known_hosts.as_deref());
    // The file that was named vouches alone.
    option("GlobalKnownHostsFile", options.known_hosts.as_ref().map(|_| Path::new("/dev/null")));
    option("IdentityFile", options.key.as_deref());
    command.extend(options.key.iter().map(|_| "-oIdentitiesOnly=yes".to_owned()));
    if control.is_some() {
        // It outlives its last command only a little, whatever becomes of us.
        command.extend(["-oControlMaster=auto".to_owned(), "-oControlPersist=15".to_owned()]);
    }
    command.extend(options.port.map(|port| format!("-oPort={port}")));
    command.extend(user.map(|user| format!("-l{user}")));
    command
}

impl Store for SshStore {
    fn destination(&self) -> &Destination {
        &self.destination
    }

    fn probe(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let [rsync, ssh] = ["rsync", "ssh"].map(|tool| tool_version(tool, &self.cancel));
        let mut tools: BTreeMap<_, _> = [rsync?, ssh?].into_iter().collect();
        let finished = self.script(PROBE, &[&self.text("")], &[], SHORT)?;
        let answer = match finished.status.code() {
            Some(0) => finished.stdout,
            Some(READ_ONLY) => {
                let place = String::from_utf8_lossy(&finished.stdout);
                return Err(takes_no_writes(&format!("{} on {}", place.trim(), self.host)));
            }
            _ => return Err(self.failed("look for tools", &finished)),
        };
        tools.extend(ssh_output::tools(&answer, &self.host)?);
        Ok(tools)
    }

    fn room(&self) -> anyhow::Result<Room> {
        let finished = self.script(ROOM, &[&self.text("")], &[], SHORT)?;
        if finished.status.success() {
            return ssh_output::room(&finished.stdout);
        }
        Err(self.failed("look for room", &finished))
    }

    fn device(&self) -> anyhow::Result<Option<u64>> {
        Ok(None)
    }

    fn scan(&self, job: Option<&JobName>) -> anyhow::Result<Vec<Found>> {
        let top = self.text("");
        let top = top.trim_end_matches('/');
        // A job's name has no character that is special in a pattern; the path's own are escaped.
        let pattern = format!("{}/{}/*", ssh_output::escape_pattern(top), job.map_or("*", JobName::as_str));
        let finished = self.told(SCAN, &[top, &pattern], &[], SHORT)?;
        match finished.status.code() {
            Some(0) => ssh_output::scan(&finished.stdout),
            Some(ABSENT) => Err(missing_destination(&self.destination)),
            _ => Err(self.failed(&format!("list {top}"), &finished)),
        }
    }

    fn create(&self, slot: &Slot) -> anyhow::Result<()> {
        let (top, job, path) = (self.text(""), self.job_path(&slot.job), self.path(slot));
        let finished = self.script(CREATE, &[&top, &job, &path], &[], SHORT)?;
        match finished.status.code() {
            Some(0) => Ok(()),
            Some(ABSENT) => Err(Fault::new(Kind::Copy, format!("{path} exists already on {}", self.host)).into()),
            _ => Err(self.failed(&format!("create {path}"), &finished)),
        }
    }

    fn read(&self, slot: &Slot, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let path = format!("{}/{name}", self.path(slot));
        let finished = self.told(READ, &[&path], &[], SHORT)?;
        match finished.status.code() {
            Some(0) => Ok(Some(finished.stdout)),
            Some(ABSENT) => Ok(None),
            _ => Err(self.failed(&format!("read {path}"), &finished)),
        }
    }

    fn put(&self, slot: &Slot, files: &[(StoredPath, &[u8])]) -> anyhow::Result<()> {
        let path = self.path(slot);
        let words: Vec<String> = files
            .iter()
            .flat_map(|(name, bytes)| [format!("./{}", name.as_path().display()), bytes.len().to_string()])
            .collect();
        let words: Vec<&str> = std::iter::once(path.as_str()).chain(words.iter().map(String::as_str)).collect();
        let contents: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        self.done(&format!("write into {path}"), PUT, &words, &contents).map(drop)
    }

    fn entries(&self, slot: &Slot) -> anyhow::Result<Vec<Listed>> {
        let path = self.path(slot);
        let script = r#"exec find "$1" -mindepth 1 -printf '%y\0%s\0%P\0%l\0'"#;
        ssh_output::entries(&self.done(&format!("list {path}"), script, &[&path], &[])?)
    }

    fn digests(
        &self,
        slot: &Slot,
        files: &[Readable],
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<Vec<(StoredPath, Digest)>> {
        let names: Vec<u8> = files.iter().flat_map(|file| [b"./", file.path.as_bytes(), b"\0"].concat()).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let (mut stdout, mut lines, mut done) = (Vec::new(), 0, 0);
        let largest = files.iter().map(|file| file.size).max().unwrap_or_default();
        let silence = WRITING_OUT + Duration::from_secs(largest / SLOWEST);
        let call = self.call(DIGESTS, &[&self.path(slot)], &names, UNBOUNDED).silence(silence);
        let result = call.stream(|piece| {
            stdout.extend_from_slice(piece);
            // Two readers answer a little out of order; for progress the count of lines is enough.
            let more = piece.split(|byte| *byte == b'\n').count().saturating_sub(1);
            done += files.iter().skip(lines).take(more).map(|file| file.size).sum::<u64>();
            lines += more;
            progress(done);
        });
        let said = |error: &CommandError| error.stderr().unwrap_or_default().to_owned();
        let stderr = match result {
            Ok(()) => String::new(),
            // A file could not be read; the others were.
            Err(error) if error.code() == Some(123) => said(&error),
            Err(error) if error.code() == Some(255) => return Err(self.unreachable(&said(&error))),
            Err(error) if error.code().is_some() => {
                let fault = Fault::new(Kind::Copy, format!("nothing can be read back from the disk of {}", self.host));
                return Err(fault.hint("check the disk there").caused_by(error).into());
            }
            Err(error) => return Err(self.silent(error)),
        };
        ssh_output::digests(files, &stdout, &stderr)
    }

    fn publish(&self, slot: &Slot, files: &[(&str, &[u8])]) -> anyhow::Result<()> {
        let (path, finished, job) = (self.path(slot), self.path(&slot.with(State::Finished)), self.job_path(&slot.job));
        let lengths: Vec<String> = files.iter().map(|(_, bytes)| bytes.len().to_string()).collect();
        let mut words = vec![path.as_str(), &finished];
        words.extend(files.iter().zip(&lengths).flat_map(|((name, _), length)| [*name, length.as_str()]));
        let contents: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let what = format!("publish {finished}");
        self.done(&what, LIST, &words, &contents)?;
        let answer = self.settle_publishing(&[&path, &finished, &job]).map_err(|error| {
            let message = format!("{} has not answered whether {finished} is published", self.host);
            let hint = "`mysnap list` shows it once the node answers; what it lists is whole";
            Fault::new(Kind::Copy, message).hint(hint).caused_by(error)
        })?;
        if answer.status.success() { Ok(()) } else { Err(self.failed(&what, &answer)) }
    }

    fn remove(&self, slot: &Slot) -> anyhow::Result<()> {
        let (path, removing) = (self.path(slot), self.path(&slot.with(State::Removing)));
        let words = [path.as_str(), &removing, &self.job_path(&slot.job)];
        self.done(&format!("remove {path}"), REMOVE, &words, &[]).map(drop)
    }

    fn rsync_name(&self, slot: &Slot, path: &str) -> OsString {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        OsString::from_vec(format!("{host}:{}/{path}", self.path(slot)).into_bytes())
    }

    fn rsync_shell(&self) -> Option<String> {
        Some(self.ssh.join(" "))
    }

    fn node(&self) -> Option<&SshStore> {
        Some(self)
    }
}
