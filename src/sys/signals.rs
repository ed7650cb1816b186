//! Signals by handler: a blocked mask would be inherited by children, which then ignore SIGTERM.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::cancel::Cancel;

/// Starts the signal thread: SIGTERM, SIGINT and SIGHUP set `cancel`.
pub fn forward_to(cancel: Cancel) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("cannot start the signal thread")?;
    let guard = runtime.enter();
    let signals = [listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?];
    drop(guard);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(watch(signals, cancel)))
        .context("cannot start the signal thread")?;
    Ok(())
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot install a signal handler")
}

async fn watch([mut term, mut int, mut hup]: [Signal; 3], cancel: Cancel) {
    loop {
        let received = tokio::select! {
            _ = term.recv() => SignalKind::terminate(),
            _ = int.recv() => SignalKind::interrupt(),
            _ = hup.recv() => SignalKind::hangup(),
        };
        cancel.set(received.as_raw_value());
    }
}
