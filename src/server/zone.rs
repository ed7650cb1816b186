//! The time zone that a server calls SYSTEM: that of its process. Nothing that the server says names it, and its
//! binary log does not have it: `NOW()` of a session in that zone, and what an `ALTER TABLE` makes of a TIMESTAMP,
//! come out as they did only where it is the same.

use std::path::Path;

use jiff::tz::TimeZone;

use super::Facts;
use super::running;

/// The zone database of the C library.
pub const ZONES: &str = "/usr/share/zoneinfo";

/// The zone of the server's process, where that runs on this host: a name of the zone database, or a POSIX zone.
pub(super) fn of_process(facts: &Facts) -> Option<String> {
    if !running::works_in(&facts.pid_file, &facts.datadir) {
        return None;
    }
    let pid = std::fs::read_to_string(&facts.pid_file).ok()?;
    let process = Path::new("/proc").join(pid.trim());
    let environment = std::fs::read(process.join("environ")).unwrap_or_default();
    told(&environment).or_else(|| of_host(&process.join("root"))).filter(|zone| is_sound(zone))
}

/// What an environment says, `TZ=:Europe/Berlin`.
fn told(environment: &[u8]) -> Option<String> {
    let value = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"TZ="))?;
    let value = std::str::from_utf8(value).ok()?.trim_start_matches(':');
    // Empty means UTC, tzset(3).
    if value.is_empty() {
        return Some("UTC".to_owned());
    }
    in_database(Path::new(value)).or_else(|| Some(value.to_owned())).filter(|zone| !zone.starts_with('/'))
}

/// What is set for a whole system, whose files begin at `root`.
fn of_host(root: &Path) -> Option<String> {
    match root.join("etc/localtime").read_link() {
        Ok(target) => in_database(&target),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("UTC".to_owned()),
        // A copy of a file of the database has no name.
        Err(_) => std::fs::read_to_string(root.join("etc/timezone")).ok().map(|name| name.trim().to_owned()),
    }
}

fn in_database(path: &Path) -> Option<String> {
    Some(path.to_str()?.split_once("/zoneinfo/")?.1.to_owned())
}

/// What a manifest says becomes a part of an environment.
fn is_sound(zone: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "_+-/<>,.:".contains(c);
    !zone.is_empty() && zone.chars().all(is_known) && !zone.starts_with('/') && !zone.contains("..")
}

impl Facts {
    /// The zone for a server that works in place of this one, as `TZ` (tzset(3)). Where it is not known, or not on this
    /// host, the one that its clock showed when the facts were read: that is right until clocks are changed.
    pub fn zone(&self) -> String {
        let is_here =
            |zone: &&String| is_sound(zone) && (Path::new(ZONES).join(zone).is_file() || TimeZone::posix(zone).is_ok());
        match self.system_zone.as_ref() {
            Some(zone) if is_here(&zone) => zone.clone(),
            Some(zone) => {
                tracing::warn!("this host does not know the time zone {zone} of the server: install tzdata");
                fixed(self.utc_offset.unwrap_or(0))
            }
            None => fixed(self.utc_offset.unwrap_or(0)),
        }
    }
}

/// A POSIX zone that is always so many seconds ahead of UTC; POSIX counts the other way.
fn fixed(ahead: i32) -> String {
    let (hours, minutes, seconds) = (ahead.abs() / 3600, ahead.abs() / 60 % 60, ahead.abs() % 60);
    let (name, sign) = if ahead < 0 { ('-', '+') } else { ('+', '-') };
    format!("<{name}{hours:02}{minutes:02}>{sign}{hours:02}:{minutes:02}:{seconds:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_of_a_process_is_what_its_environment_says_or_its_system() {
        let of = |environment: &[u8]| told(environment);
        assert_eq!(of(b"PATH=/bin\0TZ=Europe/Berlin\0X=1\0").as_deref(), Some("Europe/Berlin"));
        assert_eq!(of(b"TZ=:/usr/share/zoneinfo/Asia/Tokyo\0").as_deref(), Some("Asia/Tokyo"));
        assert_eq!(of(b"TZ=CET-1CEST,M3.5.0,M10.5.0/3").as_deref(), Some("CET-1CEST,M3.5.0,M10.5.0/3"));
        assert_eq!(of(b"TZ=\0").as_deref(), Some("UTC"));
        assert_eq!(of(b"TZ=:/etc/localtime\0"), None);
        assert_eq!(of(b"LATZ=x\0"), None);

        let root = tempfile::tempdir().unwrap();
        assert_eq!(of_host(root.path()).as_deref(), Some("UTC"));
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let link = root.path().join("etc/localtime");
        std::os::unix::fs::symlink("../usr/share/zoneinfo/America/New_York", &link).unwrap();
        assert_eq!(of_host(root.path()).as_deref(), Some("America/New_York"));
    }

    #[test]
    fn a_zone_that_is_not_here_is_replaced_by_what_the_clock_showed() {
        let zone = |name: Option<&str>, ahead| {
            let mut facts = Facts::from_variables(&crate::server::facts::tests::variables(&[]), 0).unwrap();
            (facts.system_zone, facts.utc_offset) = (name.map(str::to_owned), ahead);
            facts.zone()
        };
        assert_eq!(zone(None, Some(7200)), "<+0200>-02:00:00");
        assert_eq!(zone(None, Some(-34200)), "<-0930>+09:30:00");
        assert_eq!(zone(None, None), "<+0000>-00:00:00");
        assert_eq!(zone(Some("CET-1CEST,M3.5.0,M10.5.0/3"), Some(3600)), "CET-1CEST,M3.5.0,M10.5.0/3");
        assert_eq!(zone(Some("../../etc/shadow"), Some(3600)), "<+0100>-01:00:00");
        assert_eq!(zone(Some("Nowhere/Else"), Some(3600)), "<+0100>-01:00:00");
        assert!(TimeZone::posix(&zone(None, Some(-34200))).is_ok());
    }
}
