//! What live runs may use at the same time, by their records and locks on this host.

#![cfg(test)]

use std::sync::Barrier;

use mysnap::fault::{Kind, kind_of};
use mysnap::id::RunId;
use mysnap::run::{CloneGround, CloneRecord, Intent, Run, refuse_live_on};
use mysnap::sys::clock;

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
