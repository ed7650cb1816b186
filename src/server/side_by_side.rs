//! Several connections at work at once, and how they end together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crate::sys::cancel::Cancel;

const PAUSE: Duration = Duration::from_millis(100);

/// A connection that can be ended by another one of its kind.
pub trait Connected: Send {
    /// The server's number of it.
    fn id(&self) -> u32;

    /// Ends the connection of that number, whatever it is doing.
    fn end(&mut self, id: u32) -> anyhow::Result<()>;
}

/// Has each of `workers` do `work` at the same time. Once one has failed, `stop` is set or the run is
/// cancelled, `guard` ends the others' connections: a statement about a large table goes on for long,
/// whoever listens. The error is that of the first that failed by itself.
pub fn side_by_side<C: Connected>(
    workers: &mut [C],
    guard: &mut C,
    stop: &AtomicBool,
    cancel: &Cancel,
    work: &(dyn Fn(&mut C) -> anyhow::Result<()> + Sync),
) -> anyhow::Result<()> {
    let (over, ids) = (AtomicBool::new(false), workers.iter().map(C::id).collect::<Vec<_>>());
    let one = |worker: &mut C| {
        work(worker).map_err(|error| {
            stop.store(true, Ordering::Relaxed);
            (Instant::now(), error)
        })
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = workers.iter_mut().map(|worker| scope.spawn(|| one(worker))).collect();
        let watch = scope.spawn(|| watch(guard, &ids, &over, stop, cancel));
        let results: Vec<_> = workers.into_iter().map(joined).collect();
        over.store(true, Ordering::Relaxed);
        joined(watch);
        cancel.check()?;
        let first = results.into_iter().filter_map(Result::err).min_by_key(|(when, _)| *when);
        first.map_or(Ok(()), |(_, error)| Err(error))
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn watch<C: Connected>(guard: &mut C, ids: &[u32], over: &AtomicBool, stop: &AtomicBool, cancel: &Cancel) {
    while !over.load(Ordering::Relaxed) {
        if stop.load(Ordering::Relaxed) || cancel.signal().is_some() {
            for id in ids {
                if let Err(error) = guard.end(*id) {
                    tracing::debug!("connection {id} could not be ended: {error:#}");
                }
            }
            return;
        }
        std::thread::sleep(PAUSE);
    }
}
