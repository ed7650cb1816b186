//! How much of the machine copying may take.

use std::time::Duration;

use crate::sys::cmd::Call;

/// How much of the machine copying may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Niceness {
    /// CPU niceness, 0 to 19.
    pub cpu: u8,
    /// Which class of disk access.
    pub io: IoClass,
}

/// Which class of disk access copying gets (ionice(1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoClass {
    /// The lowest priority of the ordinary class.
    BestEffort,
    /// Only when nobody else wants the disk.
    Idle,
    /// As the process that started us.
    None,
}

impl Default for Niceness {
    fn default() -> Self {
        Self { cpu: 10, io: IoClass::BestEffort }
    }
}

impl IoClass {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::BestEffort => &["-c", "2", "-n", "7"],
            Self::Idle => &["-c", "3"],
            Self::None => &[],
        }
    }
}

impl Niceness {
    /// What to put before a command.
    pub(super) fn prefix(self) -> Vec<String> {
        let mut prefix = Vec::new();
        if self.io != IoClass::None {
            prefix.push("ionice".to_owned());
            prefix.extend(self.io.options().iter().map(|&option| option.to_owned()));
        }
        if self.cpu > 0 {
            prefix.extend(["nice".to_owned(), "-n".to_owned(), self.cpu.to_string()]);
        }
        prefix
    }

    /// Gives the calling thread this niceness: the tools take the number of a thread as well as
    /// that of a process. That they are missing or refuse is no reason not to go on.
    pub(super) fn apply_to_thread(self) {
        let thread = nix::unistd::gettid().to_string();
        let mut calls = Vec::new();
        if self.io != IoClass::None {
            calls.push(Call::new("ionice").args(self.io.options()).args(["-p", &thread]));
        }
        if self.cpu > 0 {
            calls.push(Call::new("renice").args(["-n", &self.cpu.to_string(), "-p", &thread]));
        }
        for call in calls {
            if let Err(error) = call.deadline(Duration::from_secs(10)).run() {
                tracing::debug!(%error, "a reading thread keeps its priority");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_prefixed_with_what_was_asked_for() {
        let prefix = |cpu, io| Niceness { cpu, io }.prefix().join(" ");
        assert_eq!(prefix(10, IoClass::BestEffort), "ionice -c 2 -n 7 nice -n 10");
        assert_eq!(prefix(19, IoClass::Idle), "ionice -c 3 nice -n 19");
        assert_eq!(prefix(0, IoClass::None), "");
    }

    #[test]
    fn a_thread_is_made_nice_and_the_others_are_not() {
        let nice_of = |thread: nix::unistd::Pid| {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
            stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().to_owned()
        };
        let before = nice_of(nix::unistd::gettid());
        let inside = std::thread::spawn(move || {
            Niceness { cpu: 15, io: IoClass::Idle }.apply_to_thread();
            nice_of(nix::unistd::gettid())
        });
        assert_eq!(inside.join().unwrap(), "15");
        assert_eq!(nice_of(nix::unistd::gettid()), before);
    }
}
