//! The `mysnap` command: parse, mount namespace, signals, dispatch, exit status.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use mysnap::cli::args::Arguments;
use mysnap::cli::{self, Output};
use mysnap::exit;
use mysnap::sys::cancel::Cancel;
use mysnap::sys::{namespace, process, signals};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.quiet, arguments.events);
    let cancel = Cancel::new();
    match run(&arguments, &output, &cancel) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            output.error(&error);
            ExitCode::from(exit::status(&error, cancel.signal()))
        }
    }
}

fn run(arguments: &Arguments, output: &Output, cancel: &Cancel) -> anyhow::Result<u8> {
    process::forbid_core_dumps()?;
    // Before any thread: a namespace belongs to a thread.
    if arguments.verb.hides_its_mounts() {
        namespace::unshare_mounts()?;
    }
    trace_to_stderr();
    signals::forward_to(cancel.clone())?;
    cli::dispatch(arguments, output, cancel)
}

/// `MYSNAP_LOG=debug` shows every command and its outcome.
fn trace_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MYSNAP_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // A log gets no escape sequences.
    let colours = std::io::stderr().is_terminal();
    // What can't be logged, on a full disk or to a reader that is gone, would end the run with a panic otherwise.
    let log = tracing_subscriber::fmt().log_internal_errors(false);
    log.with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}
