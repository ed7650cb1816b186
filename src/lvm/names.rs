//! Names of volume groups, logical volumes and tags, checked once (lvm(8), "Valid names").

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::id::RunId;

/// A volume group's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VgName(String);

/// A logical volume's name within its group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LvName(String);

/// A logical volume, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LvRef {
    /// Its volume group.
    pub vg: VgName,
    /// Its name there.
    pub lv: LvName,
}

impl VgName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LvName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// device-mapper's limit, less what LVM adds to the names of a snapshot's parts (`-cow`, `-real`).
const LONGEST_DEVICE_NAME: usize = 127 - 5;

impl LvRef {
    /// The name of a snapshot of `origin` made by `run`: the origin's name, shortened where the
    /// name of the device would become too long, and the run.
    pub fn snapshot_of(origin: &Self, run: &RunId) -> Self {
        let suffix = format!("_mysnap_{run}");
        let room = LONGEST_DEVICE_NAME.saturating_sub(device_length(&origin.vg.0) + 1 + device_length(&suffix));
        let fits = |end: &usize| origin.lv.0.get(..*end).is_some_and(|kept| device_length(kept) <= room);
        let end = (0..=origin.lv.0.len()).rev().find(fits).unwrap_or(0);
        let kept = origin.lv.0.get(..end).unwrap_or_default();
        Self { vg: origin.vg.clone(), lv: LvName(format!("{kept}{suffix}")) }
    }

    /// `/dev/vg/lv`.
    pub fn device(&self) -> PathBuf {
        Path::new("/dev").join(&self.vg.0).join(&self.lv.0)
    }
}

/// How long a name is in device-mapper's, which doubles hyphens.
fn device_length(name: &str) -> usize {
    name.len() + name.bytes().filter(|byte| *byte == b'-').count()
}

impl fmt::Display for VgName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LvRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vg, self.lv)
    }
}

fn check(text: &str, what: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+_.-".contains(&b);
    let good = !text.is_empty()
        && text.len() <= 127
        && !text.starts_with('-')
        && text != "."
        && text != ".."
        && text.bytes().all(allowed);
    if good { Ok(text.to_owned()) } else { Err(format!("{text:?} is not the name of a {what}")) }
}

impl FromStr for VgName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        check(text, "volume group").map(Self)
    }
}

impl FromStr for LvName {
    type Err = String;

    /// LVM shows hidden volumes in brackets; the brackets are not part of the name.
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        check(bare, "logical volume").map(Self)
    }
}

impl FromStr for LvRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (vg, lv) = text.split_once('/').ok_or_else(|| format!("{text:?} is not VG/LV"))?;
        Ok(Self { vg: vg.parse()?, lv: lv.parse()? })
    }
}

/// The tag on every volume that mysnap makes.
pub const TAG: &str = "mysnap";
/// The tag on a snapshot that stays on purpose.
pub const KEEP_TAG: &str = "mysnap.keep";
/// The tag on a kept snapshot that a clone has written to: it is no more what was frozen.
pub const CLONED_TAG: &str = "mysnap.cloned";
/// The tag on a snapshot that was seen mounted by others, who may have written to it what is nowhere else.
pub const ELSEWHERE_TAG: &str = "mysnap.elsewhere";
const RUN_TAG: &str = "mysnap.run=";

/// The tag that names the run.
pub fn run_tag(run: &RunId) -> String {
    format!("{RUN_TAG}{run}")
}

/// The run that a volume's tags name; none unless it carries our tag too.
pub fn run_of(tags: &[String]) -> Option<RunId> {
    tags.iter().find(|tag| *tag == TAG)?;
    tags.iter().find_map(|tag| tag.strip_prefix(RUN_TAG)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_lvm_refuses_or_a_shell_would_misread_are_refused() {
        for text in ["", "-rf", ".", "..", "a b", "a/b", "a%b", "naïve", "x;y", &"x".repeat(128)] {
            assert!(text.parse::<VgName>().is_err(), "{text}");
        }
        assert_eq!("[data_pmspare]".parse::<LvName>().unwrap().as_str(), "data_pmspare");
        assert_eq!("vg-a/my-lv".parse::<LvRef>().unwrap().device(), Path::new("/dev/vg-a/my-lv"));
    }

    #[test]
    fn only_both_tags_together_name_a_run() {
        let run = "mysnap.run=20261121T092233Z-4f2a".to_owned();
        assert!(run_of(&[TAG.to_owned(), run.clone()]).is_some());
        assert_eq!(run_of(&[run]), None);
        assert_eq!(run_of(&[TAG.to_owned(), "mysnap.run=../x".to_owned()]), None);
    }

    proptest! {
        #[test]
        fn a_snapshots_name_is_always_a_name(
            vg in "[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,39}",
            lv in "[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,126}",
        ) {
            prop_assume!(![".", ".."].contains(&vg.as_str()) && ![".", ".."].contains(&lv.as_str()));
            let run: RunId = "20261121T092233Z-4f2a".parse().unwrap();
            let origin: LvRef = format!("{vg}/{lv}").parse().unwrap();
            let name = LvRef::snapshot_of(&origin, &run);
            prop_assert!(name.lv.as_str().parse::<LvName>().is_ok());
            prop_assert!(name.lv.as_str().ends_with(run.as_str()));
            let device = device_length(name.vg.as_str()) + 1 + device_length(name.lv.as_str());
            prop_assert!(device <= LONGEST_DEVICE_NAME, "{device}");
            prop_assert!(run_tag(&run).len() < 128);
        }
    }
}
