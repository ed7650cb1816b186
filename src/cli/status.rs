//! `status`: how things stand, for people and for monitoring.

use super::Context;
use super::args::StatusArgs;
use crate::config::Job;
use crate::status::{self, Level, Line, Status};

/// The exit status is that of a monitoring plugin, also where the configuration can't be read.
pub(super) fn status(context: &Context<'_>, arguments: &StatusArgs) -> anyhow::Result<u8> {
    let jobs = match chosen(context, arguments) {
        Ok(jobs) => jobs,
        Err(error) => {
            context.output.error(&error);
            context.output.answer(&format!("mysnap {}: the configuration can't be used", Level::Unknown.word()));
            return Ok(Level::Unknown.status());
        }
    };
    let found = status::look(&jobs, context.cancel);
    if arguments.json {
        context.output.answer_json(&found)?;
    } else {
        context.output.answer(&shown(&found));
    }
    Ok(found.level.status())
}

fn chosen(context: &Context<'_>, arguments: &StatusArgs) -> anyhow::Result<Vec<status::Job>> {
    let config = context.config()?;
    let jobs = match &arguments.job {
        Some(name) => vec![config.job(name)?],
        None => config.jobs().iter().collect(),
    };
    let request = |job: &Job| status::Job {
        name: job.name.clone(),
        to: job.to.clone(),
        ssh: job.ssh.clone(),
        max_age: job.max_age,
    };
    Ok(jobs.into_iter().map(request).collect())
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
        let jobs = status.lines.iter().filter(|line| line.what == "job").count();
        return format!("mysnap OK: {jobs} {} with a good backup in time, nothing left behind", plural(jobs, "job"));
    }
    let tell = |line: &Line| format!("{} {}: {}", line.what, line.name, line.text);
    let worst: Vec<String> = status.worst().map(tell).collect();
    format!("mysnap {}: {}", status.level.word(), worst.join("; "))
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}
