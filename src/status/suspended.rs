//! Volumes that stay suspended: whoever reads or writes there waits, a `status` too, and can't be ended. So they are
//! looked for first, in what the kernel has in memory, and then nothing that lies on one is looked at.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Job, Level, Line};
use crate::fault::{Fault, Kind};
use crate::lvm::{self, Volume};
use crate::run::{STATE_DIRECTORY, record};
use crate::store::{Destination, Manifest};
use crate::sys::cancel::Cancel;
use crate::sys::mount::{MountPoint, mount_of, mount_points};

/// A command that is at work, a snapshot's too, brings a volume back sooner.
const PATIENCE: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_millis(200);
/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// What stays suspended.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    points: Vec<MountPoint>,
    devices: BTreeSet<(u32, u32)>,
}

impl Stuck {
    /// Looks, and where something is suspended looks on for as long as that may be in order.
    pub(super) fn look(cancel: &Cancel) -> anyhow::Result<Self> {
        let points = mount_points()?;
        let suspended = points.iter().map(|point| point.device).filter(|device| lvm::is_suspended(*device));
        let mut devices: BTreeSet<(u32, u32)> = suspended.collect();
        let end = Instant::now() + PATIENCE;
        while !devices.is_empty() && Instant::now() < end {
            cancel.sleep(PAUSE)?;
            devices.retain(|device| lvm::is_suspended(*device));
        }
        Ok(Self { points, devices })
    }

    /// An error where it may not be looked whether there is anything at `path`.
    pub(super) fn refuse(&self, path: &Path) -> anyhow::Result<()> {
        let Some(mount) = self.on_the_way(path) else { return Ok(()) };
        let message = format!("{} lies on {}, which is suspended: it was not looked at", path.display(), mount.source);
        Err(Fault::new(Kind::Refused, message).into())
    }

    /// The same for the backups of `job`.
    pub(super) fn refuse_destination(&self, job: &Job) -> anyhow::Result<()> {
        match &job.to {
            Destination::Local(path) => self.refuse(path),
            Destination::Ssh { .. } => Ok(()),
        }
    }

    /// The same for the files of a server, of which nobody has said yet where they are.
    pub(super) fn refuse_servers(&self) -> anyhow::Result<()> {
        let Some(mount) = self.mounts().next() else { return Ok(()) };
        let message = format!("{} is suspended: no server's files were looked at", mount.source);
        Err(Fault::new(Kind::Refused, message).into())
    }

    /// Whether what dead runs left, and what else mysnap keeps in mind, can't be read.
    pub(super) fn hides_records(&self) -> Option<Line> {
        self.refuse(Path::new(STATE_DIRECTORY)).err().map(|error| Line::unknown("run", "-", &error))
    }

    /// What is suspended. `newest` are backups: of what lies there.
    pub(super) fn lines(&self, newest: &[&Manifest]) -> Vec<Line> {
        if self.devices.is_empty() {
            return Vec::new();
        }
        let volumes = lvm::volumes().unwrap_or_else(|error| {
            tracing::warn!("{error:#}");
            Vec::new()
        });
        self.mounts().map(|mount| self.line(mount, &volumes, newest)).collect()
    }

    fn line(&self, mount: &MountPoint, volumes: &[Volume], newest: &[&Manifest]) -> Line {
        let volume = volumes.iter().find(|volume| volume.device == Some(mount.device));
        let name = volume.map_or_else(|| mount.source.clone(), |volume| volume.name.to_string());
        let lies_there = |manifest: &&&Manifest| {
            mount_of(&self.points, &manifest.server.datadir).is_some_and(|held| held.device == mount.device)
        };
        let jobs: BTreeSet<&str> = newest.iter().filter(lies_there).map(|manifest| manifest.job.as_str()).collect();
        let jobs: Vec<&str> = jobs.into_iter().collect();
        let whose = if jobs.is_empty() { String::new() } else { format!(", the data of {} too", jobs.join(", ")) };
        let at = mount.path.display();
        let text = format!("is suspended: whoever reads or writes below {at} waits{whose}");
        let line = Line::new(Level::Critical, "volume", name, text);
        let way_out = || lvm::how_to_resume(Path::new(&mount.source));
        line.hint(volume.filter(|_| self.hides_records().is_none()).and_then(of_ours).unwrap_or_else(way_out))
    }

    /// One mount of each volume.
    fn mounts(&self) -> impl Iterator<Item = &MountPoint> {
        self.devices.iter().filter_map(|device| self.points.iter().find(|point| point.device == *device))
    }

    /// The suspended file system through which `path` leads. Nothing on it is looked at: not even a link.
    fn on_the_way(&self, path: &Path) -> Option<&MountPoint> {
        let parts = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<Vec<OsString>>();
        let (mut here, mut rest, mut links) = (PathBuf::from("/"), VecDeque::from(parts(path)), 0);
        while !self.devices.is_empty() {
            let mount = mount_of(&self.points, &here);
            if let Some(stuck) = mount.filter(|mount| self.devices.contains(&mount.device)) {
                return Some(stuck);
            }
            if links < MOST_LINKS
                && let Ok(target) = here.read_link()
            {
                links += 1;
                here.pop();
                parts(&target).into_iter().rev().for_each(|part| rest.push_front(part));
                continue;
            }
            match rest.pop_front()? {
                up if up == ".." => drop(here.pop()),
                // One that is absolute begins anew.
                next => here.push(next),
            }
        }
        None
    }
}

/// What to do about a volume that a run of ours stands on.
fn of_ours(volume: &Volume) -> Option<String> {
    let (records, _) = record::all().ok()?;
    let record = records.into_iter().find(|record| record.needs(&volume.uuid))?;
    let lives = record.try_adopt().is_ok_and(|adopted| adopted.is_none());
    Some(if lives {
        format!(
            "{} is at work on it, and brings it back; where that hangs, end it, then mysnap recover",
            record.holder()
        )
    } else {
        "mysnap recover".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUCK: (u32, u32) = (252, 3);

    fn stuck(at: &Path) -> Stuck {
        let point = |path: &Path, device, source: &str| MountPoint {
            path: path.to_owned(),
            root: "/".into(),
            device,
            fstype: "ext4".into(),
            source: source.into(),
            options: "rw".into(),
        };
        let points = vec![point(Path::new("/"), (8, 1), "/dev/sda1"), point(at, STUCK, "/dev/mapper/vg0-data")];
        Stuck { points, devices: BTreeSet::from([STUCK]) }
    }

    #[test]
    fn what_leads_through_a_suspended_volume_is_not_looked_at() {
        let home = tempfile::tempdir().unwrap();
        let top = home.path().canonicalize().unwrap();
        let at = |name: &str| top.join(name);
        for name in ["data", "data/mysql", "beside"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let link = |to: &str, from: &str| std::os::unix::fs::symlink(to, at(from)).unwrap();
        link("../data/mysql", "beside/relative");
        link(&at("beside/relative").display().to_string(), "absolute");
        link("round", "round");
        link("../data", "data/mysql/inside");
        let stuck = stuck(&at("data"));
        for there in
            ["data", "data/mysql/shop", "beside/relative", "absolute/shop", "beside/../data", "data/mysql/inside"]
        {
            let error = stuck.refuse(&at(there)).unwrap_err().to_string();
            assert!(error.contains("lies on /dev/mapper/vg0-data, which is suspended"), "{there}: {error}");
        }
        for elsewhere in ["beside", "database", "round", "round/data", "nothing/here", "beside/.."] {
            stuck.refuse(&at(elsewhere)).unwrap();
        }
        assert!(stuck.refuse_servers().is_err() && Stuck::default().refuse_servers().is_ok());
        Stuck { devices: BTreeSet::new(), ..stuck }.refuse(&at("data")).unwrap();
    }

    #[test]
    fn a_suspended_volume_is_critical_and_says_whose_data_waits_and_what_brings_it_back() {
        let manifest = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap();
        let mut volume =
            lvm::parse_volumes(include_str!("../../tests/data/lvm/trixie/thick.lvs.json")).unwrap().remove(0);
        let stuck = stuck(manifest.server.datadir.parent().unwrap());
        let mount = stuck.mounts().next().unwrap().clone();
        volume.device = Some(STUCK);
        let line = stuck.line(&mount, &[volume.clone()], &[&manifest]);
        assert_eq!((line.level, line.what, line.name), (Level::Critical, "volume", volume.name.to_string()));
        assert!(
            line.text.contains("is suspended") && line.text.ends_with(", the data of nightly too"),
            "{}",
            line.text
        );
        assert!(line.hint.unwrap().contains("`dmsetup resume /dev/mapper/vg0-data`"));
        let unknown = stuck.line(&mount, &[], &[]);
        assert!(unknown.name == "/dev/mapper/vg0-data" && unknown.text.ends_with(" waits"), "{unknown:?}");
    }

    #[test]
    fn on_this_host_nothing_is_suspended() {
        assert!(Stuck::look(&Cancel::new()).unwrap().lines(&[]).is_empty());
    }
}
