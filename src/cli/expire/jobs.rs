//! The backups of a job.

use serde::Serialize;

use crate::config::Job;
use crate::drill::Drills;
use crate::expire::{self, Failed, Outcome, Plan, Rules};
use crate::id::JobName;
use crate::run;
use crate::run::events::Observer;
use crate::store::{self, Catalog, Destination, Store};
use crate::sys::cancel::Cancel;
use crate::sys::{clock, process};

/// What is there of a job's backups, and what happens to them.
#[derive(Serialize)]
pub(super) struct JobLook<'a> {
    #[serde(rename = "job")]
    pub(super) name: &'a JobName,
    pub(super) destination: Destination,
    #[serde(flatten)]
    pub(super) plan: Plan,
    #[serde(skip)]
    job: &'a Job,
    #[serde(skip)]
    rules: Rules,
    #[serde(skip)]
    catalog: Catalog,
    #[serde(skip)]
    store: Box<dyn Store>,
}

/// What was done about a job.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    job: JobName,
    #[serde(flatten)]
    outcome: Outcome,
    #[serde(flatten)]
    pub(super) plan: Plan,
}

impl<'a> JobLook<'a> {
    pub(super) fn of(job: &'a Job, rules: Rules, cancel: &Cancel) -> anyhow::Result<Self> {
        let store = store::open(&job.to, &job.ssh, cancel)?;
        let catalog = Catalog::read(&*store, Some(&job.name))?;
        let facts = expire::stored(&catalog, &process::host_name()?, &failed_drills(job)?);
        let plan = expire::plan(&facts, &rules, clock::now(), &clock::zone());
        Ok(Self { name: &job.name, job, destination: job.to.clone(), plan, rules, catalog, store })
    }

    /// Does what is shown here, as far as it still is to be done.
    pub(super) fn carry_out(&self, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Done> {
        claimed(self.job, || {
            let now = Self::of(self.job, self.rules, cancel)?;
            now.remove(now.plan.clone().within(&self.plan), observer, cancel)
        })
    }

    fn remove(&self, plan: Plan, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Done> {
        expire::finish_removals(&self.catalog, &*self.store)?;
        let outcome = expire::execute(&plan, &self.job.name, &*self.store, observer, cancel)?;
        Ok(Done { job: self.job.name.clone(), outcome, plan })
    }
}

/// Removes what the rules say, unasked.
pub(super) fn expire_now(job: &Job, rules: Rules, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Done> {
    let done = claimed(job, || {
        let now = JobLook::of(job, rules, cancel)?;
        now.remove(now.plan.clone(), observer, cancel)
    })?;
    if let Some(why) = &done.plan.held {
        observer.warn(format!("nothing was removed from job {}: {why}", job.name));
    }
    Ok(done)
}

/// No backup of the job is begun meanwhile, and none is being made.
fn claimed<T>(job: &Job, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let holder = format!("expire {} (pid {})", job.name, std::process::id());
    let _claim = run::claim_backups(&job.to.place_of(&job.name), &holder)?;
    work()
}

/// What a drill found outranks what was proved when a backup was made.
pub(super) fn failed_drills(job: &Job) -> anyhow::Result<Failed> {
    let drills = Drills::of(&job.name, &job.to)?;
    Ok(drills.failed().map(|(report, why)| (report.backup.clone(), why.to_owned())).collect())
}

impl Done {
    pub(super) fn summary(&self) -> String {
        let stay = self.plan.backups.len() - self.outcome.removed.len();
        match self.outcome.removed.as_slice() {
            [] => format!("job {}: nothing goes, {stay} stay", self.job),
            gone => {
                let names: Vec<&str> = gone.iter().map(crate::id::RunId::as_str).collect();
                format!("job {}: removed {}; {stay} stay", self.job, names.join(", "))
            }
        }
    }
}
