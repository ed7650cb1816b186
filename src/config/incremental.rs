//! What a job keeps between two full backups.

use std::time::Duration;

use toml::Value;

use super::Archive;
use super::document::Layers;
use super::setting::Setting;
use crate::id::JobName;
use crate::server::Access;
use crate::store::Method;

/// A job whose backups between two full ones are increments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incremental {
    /// The archive of binary logs that keeps them.
    pub archive: JobName,
    /// How old a full backup may get before the next one.
    pub full_every: Duration,
}

/// What `incremental` says: `false`, or `"binlog"`.
struct ByLog(bool);

impl Setting for ByLog {
    fn read(value: &Value) -> Result<Self, String> {
        match (value.as_bool(), value.as_str()) {
            (Some(false), _) => Ok(Self(false)),
            (_, Some("binlog")) => Ok(Self(true)),
            _ => Err("allowed: false, \"binlog\"".to_owned()),
        }
    }
}

impl Incremental {
    pub(super) fn read(job: &Layers<'_>, server: &Access, archives: &[Archive]) -> anyhow::Result<Option<Self>> {
        let full_every: Duration = job.get("full_every")?;
        if full_every < Duration::from_secs(3600) {
            return Err(job.conflict(&["full_every"], "has a full_every out of range; allowed: \"1h\" and longer"));
        }
        if !job.get::<ByLog>("incremental")?.0 {
            return Ok(None);
        }
        refuse_a_part(job)?;
        Ok(Some(Self { archive: archive(job, server, archives)?, full_every }))
    }
}

/// The log has the changes of everything: replayed onto a part they would fail.
fn refuse_a_part(job: &Layers<'_>) -> anyhow::Result<()> {
    let patterns = ["include", "exclude"].map(|key| job.find::<Vec<String>>(key));
    let [include, exclude] = patterns;
    if job.get::<Method>("method")? == Method::Dump && (include?.is_some() || exclude?.is_some()) {
        let reason = "has incremental, and dumps a part alone: the binary log has the changes of all; \
                      allowed: no include and exclude";
        return Err(job.conflict(&["include", "exclude"], reason));
    }
    Ok(())
}

fn archive(job: &Layers<'_>, server: &Access, archives: &[Archive]) -> anyhow::Result<JobName> {
    let names = |which: &[&Archive]| which.iter().map(|a| a.name.as_str().to_owned()).collect::<Vec<_>>().join(", ");
    let all: Vec<&Archive> = archives.iter().collect();
    if let Some(name) = job.find::<String>("archive")? {
        let found = archives.iter().find(|archive| archive.name.as_str() == name);
        let allowed = if all.is_empty() { "a section [binlog.NAME]".to_owned() } else { names(&all) };
        let reason = format!("names the archive {name:?}, which there is not; allowed: {allowed}");
        return found.map(|archive| archive.name.clone()).ok_or_else(|| job.conflict(&["archive"], &reason));
    }
    let own: Vec<&Archive> = archives.iter().filter(|archive| archive.server == *server).collect();
    match own.as_slice() {
        [only] => Ok(only.name.clone()),
        [] => {
            let reason = "has incremental = \"binlog\" and no archive of its server's binary logs; write [binlog.NAME] and \
                          to = \"/path\", or name one of another section by archive";
            Err(job.conflict(&["incremental"], reason))
        }
        several => {
            let reason = format!("has incremental and does not say in which archive; allowed: {}", names(several));
            Err(job.conflict(&["incremental"], &reason))
        }
    }
}
