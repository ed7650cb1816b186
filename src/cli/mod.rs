//! The command line: what was typed → a checked request → the use case → output.

pub mod args;
mod backup;
mod binlog;
mod catalog;
mod clone;
mod drill;
mod expire;
mod load;
mod node;
mod output;
mod pitr;
mod restore;
mod snapshots;
mod source;
mod status;
mod verify;

pub use output::Output;

use args::{Arguments, ConfigVerb, Verb};

use crate::config::Config;
use crate::sys::cancel::Cancel;

/// What every verb gets: the typed arguments that belong to all, the printer, the flag.
struct Context<'a> {
    arguments: &'a Arguments,
    output: &'a Output,
    cancel: &'a Cancel,
}

impl Context<'_> {
    fn config(&self) -> anyhow::Result<Config> {
        Config::load(&self.arguments.config)
    }
}

/// Runs the verb that was typed; the exit status.
pub fn dispatch(arguments: &Arguments, output: &Output, cancel: &Cancel) -> anyhow::Result<u8> {
    let context = Context { arguments, output, cancel };
    let done = match &arguments.verb {
        Verb::Status(status) => return status::status(&context, status),
        Verb::Backup(backup) => backup::backup(&context, backup),
        Verb::Check(check) => backup::check(&context, check),
        Verb::List(list) => catalog::list(&context, list),
        Verb::Show(show) => catalog::show(&context, show),
        Verb::Verify(verify) => verify::verify(&context, verify),
        Verb::Drill(drill) => drill::drill(&context, drill),
        Verb::Expire(expire) => expire::expire(&context, expire),
        Verb::Restore(restore) => restore::restore(&context, restore),
        Verb::Node => node::node(&context),
        Verb::Binlog(verb) => binlog::binlog(&context, verb),
        Verb::Config(ConfigVerb::Show { json }) => show_config(&context, *json),
        Verb::Recover(recover) => snapshots::recover(&context, recover),
        Verb::Snapshots(list) => snapshots::snapshots(&context, list),
        Verb::Release(release) => snapshots::release(&context, release),
        Verb::Rollback(rollback) => snapshots::rollback(&context, rollback),
        Verb::Clone(clone) => clone::clone(&context, clone),
    };
    done.map(|()| crate::exit::SUCCESS)
}

fn show_config(context: &Context<'_>, json: bool) -> anyhow::Result<()> {
    let config = context.config()?;
    if json {
        return context.output.answer_json(config.shown());
    }
    context.output.answer(&config.written());
    Ok(())
}
