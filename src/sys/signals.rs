//! Signals by handler: a blocked mask would be inherited by children, which then ignore SIGTERM.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::cancel::Cancel;

/// Starts the signal thread: SIGTERM, SIGINT and SIGHUP set `cancel`. One of the last two that whoever started us has us
/// ignore stays ignored: that is what `nohup` does, and a script's `&`.
pub fn forward_to(cancel: Cancel) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("cannot start the signal thread")?;
    let guard = runtime.enter();
    let ignored = ignored();
    let listen_unless_ignored = |kind| (!is_in(ignored, kind)).then(|| listen(kind)).transpose();
    let term = listen(SignalKind::terminate())?;
    let int = listen_unless_ignored(SignalKind::interrupt())?;
    let hup = listen_unless_ignored(SignalKind::hangup())?;
    drop(guard);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(watch(term, int, hup, cancel)))
        .context("cannot start the signal thread")?;
    Ok(())
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot install a signal handler")
}

async fn watch(mut term: Signal, mut int: Option<Signal>, mut hup: Option<Signal>, cancel: Cancel) {
    loop {
        let received = tokio::select! {
            _ = term.recv() => SignalKind::terminate(),
            () = received(&mut int) => SignalKind::interrupt(),
            () = received(&mut hup) => SignalKind::hangup(),
        };
        cancel.set(received.as_raw_value());
    }
}

/// Never returns for one that is ignored.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The signals that we were started to ignore (proc(5), `SigIgn`); none where that can't be read.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn is_in(mask: u64, kind: SignalKind) -> bool {
    // Signals are counted from one.
    (mask >> (kind.as_raw_value() - 1)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mask_has_is_told_by_the_signals_number() {
        // `trap "" HUP INT` has this of a shell.
        let mask = u64::from_str_radix("0000000000000003", 16).unwrap();
        assert!(is_in(mask, SignalKind::hangup()) && is_in(mask, SignalKind::interrupt()));
        assert!(!is_in(mask, SignalKind::terminate()));
    }

    #[test]
    fn what_whoever_started_us_ignores_is_read() {
        // Rust's runtime has SIGPIPE ignored.
        assert!(is_in(ignored(), SignalKind::pipe()));
    }
}
