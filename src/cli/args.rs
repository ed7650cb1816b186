//! What was typed. What it means is decided in each verb's file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the configuration is looked for when nobody says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/mysnap/mysnap.toml";

/// LVM snapshot backups of MySQL and MariaDB, and the way back.
#[derive(Debug, Parser)]
#[command(name = "mysnap", version, max_term_width = 100)]
pub struct Arguments {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// Print nothing unless something needs attention (for cron)
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print what happens as JSON, one object a line
    #[arg(long, global = true, value_name = "FORMAT")]
    pub events: Option<EventFormat>,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventFormat {
    /// JSON lines on standard output.
    Json,
}

/// Everything that mysnap does.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Take a snapshot under a short read lock and copy it to the job's destination
    Backup(BackupArgs),
    /// Look whether a backup would work now; changes nothing
    Check(CheckArgs),
    /// How things stand: newest backups, runs, leftovers, snapshots, pools; exits like a monitoring plugin
    Status(StatusArgs),
    /// List the backups of a destination
    List(ListArgs),
    /// Show one backup
    Show(ShowArgs),
    /// Compare every stored file of a backup with its digest
    Verify(VerifyArgs),
    /// Bring a backup back into a data directory
    Restore(RestoreArgs),
    /// Remove what a run that died left behind, and nothing else
    Recover(RecoverArgs),
    /// List the snapshots that mysnap made and that still exist
    Snapshots(SnapshotsArgs),
    /// Remove a kept snapshot
    Release(ReleaseArgs),
    /// Merge a kept snapshot back into its origin: the server goes back to that moment
    Rollback(RollbackArgs),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The job, a `[job.NAME]` of the configuration
    pub job: String,
    /// Check and print the plan; touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Keep the snapshot for `rollback` or a look inside; it uses room until `release`
    #[arg(long)]
    pub keep_snapshot: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The job, a `[job.NAME]` of the configuration
    pub job: String,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only this job; all of them otherwise
    pub job: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Which destination is meant.
#[derive(Debug, Args)]
pub struct Source {
    /// The job whose destination is meant; may be left out where there is one job
    #[arg(long, value_name = "JOB")]
    pub job: Option<String>,
    /// The destination itself, `DIR` or `USER@HOST:DIR`; needs no configuration
    #[arg(long, value_name = "DESTINATION", conflicts_with = "job")]
    pub from: Option<String>,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which destination
    #[command(flatten)]
    pub source: Source,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The backup: an id, its beginning where that is unique, or `latest`
    pub id: String,
    /// Which destination
    #[command(flatten)]
    pub source: Source,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The backup: an id, its beginning where that is unique, or `latest`
    pub id: String,
    /// Which destination
    #[command(flatten)]
    pub source: Source,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup: an id, its beginning where that is unique, or `latest`
    pub id: String,
    /// The data directory to make
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Which destination
    #[command(flatten)]
    pub source: Source,
    /// Where a part that lay outside the data directory goes (see `show`)
    #[arg(long = "root", value_name = "NAME=PATH")]
    pub roots: Vec<String>,
    /// Put an existing data directory aside and take its place
    #[arg(long)]
    pub replace: bool,
    /// For a server beside the original: it gets an identity of its own
    #[arg(long)]
    pub clone: bool,
    /// Restore although the installed server is of another family or release
    #[arg(long)]
    pub any_version: bool,
    /// Start the service on it and wait until it answers
    #[arg(long)]
    pub start: bool,
    /// Print the plan; touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Print what would be removed; touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The run that made the snapshot, as `snapshots` prints it
    pub id: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The run that made the snapshot, as `snapshots` prints it
    pub id: String,
    /// Print the plan; touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Verbs about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print what is in force, defaults included, secrets masked
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
