//! Whether LVM activates a thin pool again after a power cut.
//!
//! Blocks that the kernel was giving out when it last wrote the pool's metadata belong to nobody then. That harms nothing,
//! but `thin_check` from its release 1.0 on ends with 64 unless it may put it right, and LVM, which asks it before it
//! activates a pool, then says "Manual repair required!": the host comes up without the server's volume.
//! `--clear-needs-check-flag` and `--auto-repair` let it; Debian's LVM gives it neither.

use std::path::Path;

use super::DEADLINE;
use crate::sys::cmd::Call;

/// What LVM is told of `thin_check`.
const SETTINGS: [&str; 2] = ["global/thin_check_executable", "global/thin_check_options"];
/// Options that put right what is harmless.
const MENDING: [&str; 2] = ["--clear-needs-check-flag", "--auto-repair"];

/// The release of a `thin_check` that takes what a power cut leaves for damage and may not put it right; none where all
/// is well, or it is not asked.
pub fn unforgiving_thin_check() -> anyhow::Result<Option<String>> {
    let settings = Call::new("lvmconfig").args(["--type", "full"]).args(SETTINGS).deadline(DEADLINE).stdout()?;
    let Some(program) = unforgiving(&settings).filter(|program| Path::new(program).exists()) else { return Ok(None) };
    let version = Call::new(program).arg("-V").deadline(DEADLINE).stdout()?;
    let version = version.trim();
    Ok(is_strict(version).then(|| version.to_owned()))
}

/// The program, where LVM asks it without an option that puts anything right.
fn unforgiving(settings: &str) -> Option<&str> {
    let of = |name: &str| settings.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let options = of("thin_check_options").unwrap_or_default();
    let program = of("thin_check_executable")?.trim_matches('"');
    (!program.is_empty() && MENDING.iter().all(|option| !options.contains(option))).then_some(program)
}

fn is_strict(version: &str) -> bool {
    let major = version.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
    major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thin_check_that_may_mend_nothing_is_found() {
        let settings =
            |options: &str| format!("thin_check_executable=\"/usr/sbin/thin_check\"\nthin_check_options={options}\n");
        assert_eq!(unforgiving(&settings("[\"-q\"]")), Some("/usr/sbin/thin_check"));
        assert_eq!(unforgiving(&settings("[\"-q\",\"--clear-needs-check-flag\"]")), None);
        assert_eq!(unforgiving(&settings("\"--auto-repair\"")), None);
        // Nobody asks it.
        assert_eq!(unforgiving("thin_check_executable=\"\"\nthin_check_options=[\"-q\"]\n"), None);
        assert_eq!(unforgiving(""), None);
    }

    #[test]
    fn it_is_strict_from_its_release_1_on() {
        assert!(is_strict("1.1.0") && is_strict("thin_check 1.0.12"));
        assert!(!is_strict("0.9.0") && !is_strict("nothing"));
    }
}
