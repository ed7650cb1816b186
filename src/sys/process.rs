//! What this process forbids itself, and the other processes of the host.

use anyhow::Context as _;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;

/// Nothing that we hold in memory, a password among it, is ever written to a core file; and what
/// we create is ours alone.
pub fn forbid_core_dumps() -> anyhow::Result<()> {
    umask(Mode::from_bits_truncate(0o077));
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("cannot forbid core files")?;
    set_dumpable(false).context("cannot forbid core dumps")
}

/// Another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// Its program's name, at most 15 bytes (proc(5), `comm`).
    pub name: String,
    /// Its arguments, with a space between two.
    pub command: String,
}

/// Every process with arguments but our own: kernel threads and those that have ended have none.
pub fn others() -> anyhow::Result<Vec<Process>> {
    let entries = std::fs::read_dir("/proc").context("cannot read /proc")?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    Ok(numbers.filter(|pid| *pid != Pid::this()).filter_map(look_at).collect())
}

/// Whether the process of that number runs `program`, whose name may go on.
pub fn runs(pid: u32, program: &str) -> bool {
    let found = i32::try_from(pid).ok().and_then(|pid| look_at(Pid::from_raw(pid)));
    found.is_some_and(|process| process.name.starts_with(program))
}

/// None where it has ended meanwhile.
fn look_at(pid: Pid) -> Option<Process> {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).ok();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end_matches(['\0', '\n']).replace('\0', " ");
    let command = text(read("cmdline")?);
    (!command.is_empty()).then_some(Process { pid, name: text(read("comm")?), command })
}

/// The name of this host.
pub fn host_name() -> anyhow::Result<String> {
    Ok(nix::unistd::gethostname()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_is_seen_with_its_arguments_and_we_are_not() {
        let mut child = crate::sys::cmd::Call::new("sleep").arg("31.4159").start().unwrap();
        // For a moment after its start a program has no arguments yet.
        let sleeper = crate::sys::retry::until(std::time::Duration::from_secs(10), || {
            let seen = others().unwrap();
            assert!(seen.iter().all(|process| process.pid != Pid::this()));
            seen.into_iter().find(|process| process.command.ends_with("sleep 31.4159")).ok_or("it is not seen")
        });
        let sleeper = sleeper.unwrap();
        assert_eq!(sleeper.name, "sleep");
        let pid = u32::try_from(sleeper.pid.as_raw()).unwrap();
        assert!(runs(pid, "sleep") && !runs(pid, "mysnap") && !runs(u32::MAX, "sleep"));
        assert!(!child.has_ended());
        nix::sys::signal::kill(sleeper.pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        drop(child.wait());
    }
}
