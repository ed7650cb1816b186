//! The systemd service that a process belongs to.

use std::time::Duration;

use anyhow::Context as _;

use crate::sys::cmd::Call;

/// A clean shutdown writes out everything that is dirty.
pub(super) const DEADLINE: Duration = Duration::from_secs(900);

/// A systemd service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// `mariadb.service`.
    pub(super) unit: String,
}

impl Service {
    /// The service whose control group holds process `pid`; none for a process that is not a
    /// service's.
    pub(super) fn of_process(pid: i32) -> anyhow::Result<Option<Self>> {
        let path = format!("/proc/{pid}/cgroup");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok(unit_of(&text).map(|unit| Self { unit }))
    }

    pub(super) fn stop(&self) -> anyhow::Result<()> {
        Ok(Call::new("systemctl").args(["stop", &self.unit]).deadline(DEADLINE).run()?)
    }

    pub(super) fn start(&self) -> anyhow::Result<()> {
        Ok(Call::new("systemctl").args(["start", &self.unit]).deadline(DEADLINE).run()?)
    }
}

/// The last component of the control group that is a service (cgroups(7): `0::/path`).
pub(super) fn unit_of(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.split('/').rfind(|part| part.ends_with(".service")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_read_from_the_control_group() {
        assert_eq!(unit_of("0::/system.slice/mariadb.service\n").as_deref(), Some("mariadb.service"));
        assert_eq!(unit_of("0::/user.slice/user-0.slice/session-1.scope\n"), None);
        assert_eq!(
            unit_of("0::/system.slice/system-mysql.slice/mysql@a.service\n").as_deref(),
            Some("mysql@a.service")
        );
    }
}
