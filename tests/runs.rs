//! What live runs may use at the same time, by their records and locks on this host.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysnap::fault::{Kind, kind_of};
use mysnap::id::RunId;
use mysnap::recover;
use mysnap::run::events::Silent;
use mysnap::run::{CloneGround, CloneRecord, Intent, Record, Run, STATE_DIRECTORY, record, refuse_live_on};
use mysnap::sys::cmd::Call;
use mysnap::sys::{clock, durable, retry};

/// No volume of any host has it.
const UUID: &str = "tested-0000-0000-0000-0000-0000-000000";

fn clone() -> Intent {
    Intent::Clone(CloneRecord {
        of: RunId::new(clock::now()),
        taken: clock::now(),
        ground: CloneGround::Thick,
        uses: vec![UUID.to_owned()],
        socket: "/nowhere".into(),
        listen: None,
    })
}

#[test]
fn of_runs_that_want_one_snapshot_for_themselves_at_the_same_time_one_gets_it() {
    let used = [("vg0/kept".to_owned(), UUID.to_owned())];
    let at_once = Barrier::new(4);
    let asked: Vec<(Run, anyhow::Result<()>)> = std::thread::scope(|scope| {
        let ask = || {
            let place = tempfile::tempdir().unwrap();
            let mut run = Run::begin("clone", Some("test"), place.path()).unwrap();
            at_once.wait();
            let got = run.intend_alone(clone(), &used);
            (run, got)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let refused = |error: &anyhow::Error| kind_of(error) == Some(Kind::Busy) && error.to_string().contains("vg0/kept");
    assert!(asked.iter().all(|(_, got)| got.as_ref().err().is_none_or(refused)), "{asked:?}");
    let (got, others): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(_, got)| got.is_ok());
    assert_eq!((got.len(), others.len()), (1, 3));
    for (run, _) in &got {
        run.refuse_others_on(&"vg0/kept", UUID).unwrap();
    }
    for (run, _) in others {
        assert!(run.refuse_others_on(&"vg0/kept", UUID).is_err());
        run.forget().unwrap();
    }
    assert!(refuse_live_on(&"vg0/kept", UUID).is_err());
    for (run, _) in got {
        run.forget().unwrap();
    }
    refuse_live_on(&"vg0/kept", UUID).unwrap();
}

/// As if a run had died that worked in a directory below `place`: that directory.
fn dead_run(place: &Path) -> (Record, PathBuf) {
    let id = RunId::new(clock::now());
    let path = place.join(recover::scratch_name(&id));
    for n in 0..20 {
        durable::create_private_directory(&path.join(format!("data/db{n}"))).unwrap();
        (0..20).for_each(|file| drop(durable::create_private_file(&path.join(format!("data/db{n}/{file}"))).unwrap()));
    }
    let (pid, begun) = (u32::MAX, clock::now());
    let (verb, job, intents) = ("restore".to_owned(), None, vec![Intent::Scratch { path: path.clone() }]);
    let record = Record { format: 1, id, verb, job, pid, begun, intents, ready: None };
    record.save().unwrap();
    (record, path)
}

#[test]
fn of_those_that_clean_up_after_one_dead_run_at_the_same_time_nobody_fails() {
    let place = tempfile::tempdir().unwrap();
    for _ in 0..12 {
        let (record, path) = dead_run(place.path());
        let call = || Call::new(env!("CARGO_BIN_EXE_mysnap")).arg("recover").finish().unwrap();
        let ended = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(call)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        for one in ended {
            let said = String::from_utf8_lossy(&one.stderr).into_owned();
            assert!(one.status.success() && !said.contains("left alone"), "{}: {said}", one.status);
        }
        // Another test's run may be the one that cleans up, and not be done yet.
        let files = [path, Path::new(STATE_DIRECTORY).join(format!("{}.json", record.id))];
        let gone = || files.iter().all(|path| !path.exists()).then_some(()).ok_or("something is left");
        retry::until(Duration::from_secs(30), gone).unwrap();
    }
}

#[test]
fn runs_begin_and_end_whoever_cleans_up_meanwhile() {
    let done = AtomicBool::new(false);
    let live = |_| {
        let place = tempfile::tempdir().unwrap();
        for _ in 0..25 {
            let run = Run::begin("restore", None, place.path()).unwrap();
            let is_known = record::all().unwrap().0.iter().any(|record| record.id == *run.id());
            assert!(is_known && record::lives(run.id()).unwrap(), "{} was taken for dead", run.id());
            run.forget().unwrap();
        }
    };
    std::thread::scope(|scope| {
        let cleaning: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        recover::recover(&Silent).unwrap();
                    }
                })
            })
            .collect();
        let living: Vec<_> = (0..3).map(|n| scope.spawn(move || live(n))).collect();
        let lived: Vec<_> = living.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::SeqCst);
        let cleaned: Vec<_> = cleaning.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        assert!(lived.iter().chain(&cleaned).all(Result::is_ok));
    });
}

/// N2: what can't be logged changes no result. The log is written line by line; here no byte of it can be.
#[test]
fn a_log_that_can_not_be_written_changes_no_result() {
    let home = tempfile::tempdir().unwrap();
    let listed = |log: &str| {
        let line =
            format!("MYSNAP_LOG=trace {} list --from root@127.0.0.1:/nowhere 2>{log}", env!("CARGO_BIN_EXE_mysnap"));
        Call::new("sh").args(["-c", &line]).finish().unwrap().status.code()
    };
    let log = home.path().join("log");
    let status = listed(&log.display().to_string());
    let lines = std::fs::read_to_string(log).unwrap();
    assert!(lines.contains("DEBUG mysnap::sys::cmd"), "it logs: {lines}");
    assert_eq!(listed("/dev/full"), status);
}
