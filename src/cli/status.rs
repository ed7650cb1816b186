//! `status`: how things stand, for people and for monitoring.

use super::args::StatusArgs;
use super::{Context, binlog};
use crate::config::{Archive, Job};
use crate::status::{self, Level, Line, Status};

/// The exit status is that of a monitoring plugin, also where the configuration can't be read.
pub(super) fn status(context: &Context<'_>, arguments: &StatusArgs) -> anyhow::Result<u8> {
    let (jobs, archives) = match chosen(context, arguments) {
        Ok(chosen) => chosen,
        Err(error) => {
            context.output.error(&error);
            context.output.answer(&format!("mysnap {}: the configuration can't be used", Level::Unknown.word()));
            return Ok(Level::Unknown.status());
        }
    };
    let mut found = status::look(&jobs, &archives, context.cancel);
    if let Some(name) = &arguments.job {
        // A gap of an archive may be bridged by a backup of any job, so all were looked at.
        found = Status::of(found.lines.into_iter().filter(|line| !line.is_of_another(name)).collect());
    }
    if arguments.json {
        context.output.answer_json(&found)?;
    } else {
        context.output.answer(&shown(&found));
    }
    Ok(found.level.status())
}

fn chosen(context: &Context<'_>, arguments: &StatusArgs) -> anyhow::Result<(Vec<status::Job>, Vec<status::Archive>)> {
    let config = context.config()?;
    let named = arguments.job.as_deref();
    let archives: Vec<&Archive> =
        config.archives().iter().filter(|archive| named.is_none_or(|name| archive.name.as_str() == name)).collect();
    let jobs = match named {
        Some(name) if archives.is_empty() => vec![config.job(name)?],
        _ => config.jobs().iter().collect(),
    };
    let request = |job: &Job| status::Job {
        name: job.name.clone(),
        to: job.to.clone(),
        ssh: job.ssh.clone(),
        max_age: job.max_age,
    };
    let archive = |archive: &Archive| status::Archive {
        name: archive.name.clone(),
        request: binlog::request(archive),
        max_lag: archive.max_lag,
    };
    Ok((jobs.into_iter().map(request).collect(), archives.into_iter().map(archive).collect()))
}

/// The first line is all that most monitoring shows.
fn shown(status: &Status) -> String {
    let mut lines = vec![headline(status)];
    for line in &status.lines {
        lines.push(format!("{:>8}  {} {}: {}", line.level.word(), line.what, line.name, line.text));
        lines.extend(line.hint.as_ref().map(|hint| format!("{:>8}  -> {hint}", "")));
    }
    lines.join("\n")
}

fn headline(status: &Status) -> String {
    if status.level == Level::Ok {
        let count = |what| status.lines.iter().filter(|line| line.what == what).count();
        let (jobs, archives) = (count("job"), count("archive"));
        let archived =
            if archives == 0 { String::new() } else { format!(", {archives} {} in time", plural(archives, "archive")) };
        return format!(
            "mysnap OK: {jobs} {} with a good backup in time{archived}, nothing left behind",
            plural(jobs, "job")
        );
    }
    let tell = |line: &Line| format!("{} {}: {}", line.what, line.name, line.text);
    let worst: Vec<String> = status.worst().map(tell).collect();
    format!("mysnap {}: {}", status.level.word(), worst.join("; "))
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}
