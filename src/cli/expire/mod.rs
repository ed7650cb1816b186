//! `expire`: what stays and what goes of backups and of archives of binary logs, shown, agreed to, done.

mod archives;
mod jobs;
mod shown;

use serde::Serialize;

use super::Context;
use super::args::ExpireArgs;
use crate::config::{Archive, Config, Job};
use crate::expire::Rules;
use crate::fault::{Fault, Kind, hints_of, kind_of};
use crate::run::events::Observer;
use crate::store::Manifest;
use crate::sys::units::parse_age;
use archives::ArchiveLook;
use jobs::JobLook;

pub(super) fn expire(context: &Context<'_>, arguments: &ExpireArgs) -> anyhow::Result<()> {
    let config = context.config()?;
    let Wanted { jobs, archives } = wanted(&config, arguments)?;
    let jobs = looked(context, jobs, arguments)?;
    let archives = archives::look(context, &config, &archives, &jobs)?;
    let plan = Looked { jobs: &jobs, archives: &archives };
    if arguments.dry_run {
        return plan.tell(context, arguments.json);
    }
    plan.agreed(context, arguments)?;
    plan.carry_out(context, &config, arguments.json)
}

/// Looks at `jobs`. Where none is named, one whose destination no backup has made yet is passed over.
fn looked<'a>(
    context: &Context<'_>,
    jobs: Vec<(&'a Job, Rules)>,
    arguments: &ExpireArgs,
) -> anyhow::Result<Vec<JobLook<'a>>> {
    let mut looks = Vec::new();
    for (job, rules) in jobs {
        match JobLook::of(job, rules, context.cancel) {
            Err(error) if arguments.names.is_empty() && kind_of(&error) == Some(Kind::NotFound) => {
                let observer: &dyn Observer = context.output;
                let hints = hints_of(&error).join("; ");
                observer.warn(format!("job {} is passed over: {error:#}; {hints}", job.name));
            }
            look => looks.push(look?),
        }
    }
    Ok(looks)
}

/// What belongs to a backup that went well: never an error, since the backup is good.
pub(super) fn after_backup(context: &Context<'_>, config: &Config, job: &Job, manifest: &Manifest) {
    let observer: &dyn Observer = context.output;
    if let Some(keep) = job.keep {
        let expire = || jobs::expire_now(job, Rules::Keep(keep), observer, context.cancel);
        if let Err(error) = observer.phase("expire", expire, jobs::Done::summary) {
            observer.warn(format!("the backup is good, but what is too old could not be removed: {error:#}"));
        }
    }
    for archive in config.archives().iter().filter(|archive| archive.binlog_keep.is_some()) {
        if let Err(error) = archives::after_backup(context, config, archive, manifest) {
            observer.warn(format!("the archive {} could not be looked through: {error:#}", archive.name));
        }
    }
}

/// What is to be looked at.
struct Wanted<'a> {
    jobs: Vec<(&'a Job, Rules)>,
    archives: Vec<&'a Archive>,
}

fn wanted<'a>(config: &'a Config, arguments: &ExpireArgs) -> anyhow::Result<Wanted<'a>> {
    let limit = arguments.older_than.as_deref().map(parse_age).transpose();
    let limit = limit.map_err(|why| Fault::new(Kind::Config, format!("--older-than: {why}")))?;
    let rules = |job: &Job| limit.map(Rules::OlderThan).or(job.keep.map(Rules::Keep));
    let all = |job: &'a Job| Some((job, rules(job)?));
    let mut wanted = Wanted { jobs: Vec::new(), archives: Vec::new() };
    if arguments.names.is_empty() {
        wanted.jobs = config.jobs().iter().filter_map(all).collect();
        let kept = |archive: &&Archive| archive.binlog_keep.is_some() && limit.is_none();
        wanted.archives = config.archives().iter().filter(kept).collect();
        if wanted.jobs.is_empty() && wanted.archives.is_empty() {
            return Err(nothing_said("no job has keep, and no archive binlog_keep").into());
        }
    }
    for name in &arguments.names {
        if let Some(archive) = config.archives().iter().find(|archive| archive.name.as_str() == name) {
            if limit.is_some() {
                let fault = Fault::new(Kind::Config, format!("{name} is an archive: --older-than is about backups"));
                return Err(fault.hint("set binlog_keep in its section").into());
            }
            archive.binlog_keep.ok_or_else(|| nothing_said(&format!("the archive {name} has no binlog_keep")))?;
            wanted.archives.push(archive);
        } else {
            let job = config.job(name)?;
            wanted.jobs.push(all(job).ok_or_else(|| nothing_said(&format!("job {name} has no keep")))?);
        }
    }
    Ok(wanted)
}

fn nothing_said(what: &str) -> Fault {
    Fault::new(Kind::Config, format!("{what}: everything stays"))
        .hint("set keep = { last = 3, daily = 7 } in the job; or, once: --older-than 30d")
}

/// Everything that was looked at.
#[derive(Serialize)]
struct Looked<'a> {
    jobs: &'a [JobLook<'a>],
    archives: &'a [ArchiveLook<'a>],
}

impl Looked<'_> {
    /// How many backups and files of archives go.
    fn count(&self) -> usize {
        let backups: usize = self.jobs.iter().map(|job| job.plan.going().len()).sum();
        backups + self.archives.iter().map(|archive| archive.plan.count()).sum::<usize>()
    }

    fn table(&self) -> String {
        let jobs = self.jobs.iter().map(shown::job);
        jobs.chain(self.archives.iter().map(shown::archive)).collect::<Vec<_>>().join("\n")
    }

    fn tell(&self, context: &Context<'_>, json: bool) -> anyhow::Result<()> {
        if json {
            return context.output.answer_json(self);
        }
        context.output.answer(&self.table());
        Ok(())
    }

    /// Shows it, and lets the person agree where something goes.
    fn agreed(&self, context: &Context<'_>, arguments: &ExpireArgs) -> anyhow::Result<()> {
        match self.count() {
            // What was done is all that a program reads.
            count if arguments.json && (arguments.yes || count == 0) => {}
            0 => context.output.result(&self.table()),
            count => context.output.confirm(&self.table(), &format!("remove {count}"), arguments.yes)?,
        }
        Ok(())
    }

    /// Does what was shown, and nothing more.
    fn carry_out(&self, context: &Context<'_>, config: &Config, json: bool) -> anyhow::Result<()> {
        let observer: &dyn Observer = context.output;
        let mut done = Vec::new();
        for job in self.jobs {
            let expire = || job.carry_out(observer, context.cancel);
            done.push(observer.phase("expire", expire, jobs::Done::summary)?);
        }
        let archived = archives::carry_out(context, config, self.archives)?;
        if json {
            context.output.answer_json(&serde_json::json!({ "jobs": done, "archives": archived }))?;
        }
        match done.iter().filter_map(|done| done.plan.held.clone()).reduce(|all, more| format!("{all}; {more}")) {
            None => Ok(()),
            Some(why) => Err(held(&why).into()),
        }
    }
}

/// The clock, or the server, needs a look.
fn held(why: &str) -> Fault {
    Fault::new(Kind::Refused, format!("nothing was removed: {why}")).hint(
        "is the clock right? why is the newest backup none? one with a wrong date, or a bad one that is understood, \
         has to be removed by hand: docs/operations.md, \"Retention\"",
    )
}
