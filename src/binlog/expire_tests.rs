use proptest::prelude::*;

use super::super::index::Identity;
use super::*;
use crate::dump::Compression;
use crate::server::Flavour;

const DAY: u64 = 86_400;

fn at(day: u32) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(u64::from(day) * DAY)
}

/// A timeline of server `a`, a file a day from `from` on, the last one open where it is the newest.
fn timeline(id: &str, from: u32, files: u32) -> Timeline {
    let file = |n: u32| LogFile {
        state: State::Closed,
        size: 1000,
        first_event: Some(at(from + n)),
        last_event: Some(at(from + n)),
        previous: (n > 0).then(|| format!("b.{n:06}")),
        ..LogFile::opened(&format!("b.{:06}", n + 1), Compression::None)
    };
    let server = Identity { key: "a".into(), flavour: Flavour::MySql, server_id: 7 };
    Timeline { id: id.into(), server, because: None, files: (0..files).map(file).collect() }
}

fn index(timelines: Vec<Timeline>) -> Index {
    let mut index = Index { timelines, ..Index::empty() };
    index.timelines.last_mut().unwrap().files.last_mut().unwrap().state = State::Open;
    index
}

fn holder(day: u32, file: u32) -> Holder {
    let id = format!("{}-0000", crate::sys::clock::compact(at(day))).parse().unwrap();
    let binlog = Some(BinlogPosition { file: format!("b.{file:06}"), offset: 500 });
    Holder { id, server: Some("a".into()), begin: at(day), binlog, proved: true }
}

fn going(plan: &Plan) -> Vec<usize> {
    plan.timelines.iter().map(|timeline| timeline.files.len()).collect()
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY)
}

#[test]
fn files_go_that_come_before_every_backup_and_are_old_enough() {
    let index = index(vec![timeline("1-a", 0, 20)]);
    let plan = |holders: &[Holder], keep| plan(&index, holders, days(keep), at(20));
    let told = plan(&[holder(9, 10), holder(15, 16)], 3);
    assert_eq!(going(&told), [9]);
    assert!(told.timelines[0].why.contains("backup 20260110T000000Z-0000 needs what follows"));
    assert_eq!(told.timelines[0].first.as_deref(), Some("b.000010"));
    assert_eq!(going(&plan(&[holder(15, 16)], 12)), [8], "binlog_keep");
    assert_eq!(going(&plan(&[holder(19, 20)], 0)), [19], "the last file always stays");
    let agreed = plan(&[holder(5, 6)], 3);
    let both = told.clone().within(&agreed);
    assert_eq!((both.timelines[0].files.len(), both.timelines[0].first.as_deref()), (5, Some("b.000006")));
    assert_eq!(agreed.within(&told).timelines[0].files.len(), 5);
    assert_eq!(told.clone().within(&Plan::held("x".into())).count(), 0);
    // Of another server; and one of which nobody knows of which it is, nor where it stands.
    let other = Holder { server: Some("b".into()), ..holder(2, 3) };
    assert_eq!(going(&plan(&[other, holder(9, 10)], 3)), [9]);
    let unreadable = Holder { server: None, binlog: None, proved: false, ..holder(4, 1) };
    assert_eq!(going(&plan(&[unreadable, holder(9, 10)], 3)), [4]);
}

#[test]
fn nothing_goes_without_a_proved_backup_that_leads_to_the_end() {
    let mut index = index(vec![timeline("1-a", 0, 20)]);
    let held = |index: &Index, holder: Holder| plan(index, &[holder], days(1), at(20)).held;
    assert_eq!(held(&index, holder(15, 16)), None);
    assert!(held(&index, Holder { proved: false, ..holder(15, 16) }).unwrap().contains("no proved backup"));
    assert!(held(&index, holder(21, 16)).unwrap().contains("lies in the future"));
    assert!(plan(&index, &[], days(1), at(20)).held.is_some());
    index.timelines[0].files[17].gap = Some("purged".into());
    assert!(held(&index, holder(15, 16)).unwrap().contains("take a full backup first"));
    index.timelines[0].files[19].last_event = Some(at(400));
    assert!(held(&index, holder(18, 19)).unwrap().contains("newest event lies in the future"));
    index.timelines.push(timeline("2-a", 20, 0));
    assert!(held(&index, holder(18, 19)).is_some());
}

#[test]
fn a_timeline_before_a_reset_goes_whole_when_no_backup_stands_in_it() {
    // The same names in both: what may be meant stays in both.
    let index = index(vec![timeline("1-a", 0, 5), timeline("2-a", 5, 10)]);
    let told = plan(&index, &[holder(13, 9)], days(3), at(15));
    assert_eq!((going(&told), told.timelines[0].first.clone()), (vec![5, 7], None));
    let told = plan(&index, &[holder(3, 4), holder(13, 9)], days(3), at(15));
    assert_eq!(going(&told), [3, 3]);
}

#[test]
fn what_was_removed_is_told_of_no_more_and_a_cut_removal_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let all = index(vec![timeline("1-a", 0, 3), timeline("2-a", 3, 10)]);
    for (timeline, file) in all.timelines.iter().flat_map(|t| t.files.iter().map(move |f| (t, f))) {
        std::fs::create_dir_all(home.timeline(&timeline.id)).unwrap();
        durable::write(&home.closed_path(&timeline.id, &file.name, Compression::None), b"x").unwrap();
    }
    durable::write(&home.timeline("2-a").join("b.000002.cut-4711-20260101T000000Z"), b"x").unwrap();
    durable::write(&home.timeline("2-a").join("b.000001.txt"), b"somebody's").unwrap();
    home.write_index(&all).unwrap();
    let told = plan(&all, &[holder(12, 8)], days(1), at(14));
    assert_eq!(going(&told), [3, 7]);
    // Cut short behind the decision: the index says nothing of it, whoever writes it.
    let mut expired = home.expired();
    told.timelines.iter().for_each(|one| expired.raise(&one.id, one.first.as_deref()));
    home.write_expired(&expired).unwrap();
    home.write_index(&all).unwrap();
    let left = home.read_index().unwrap().unwrap();
    assert_eq!((left.timelines.len(), left.timelines[0].files.len()), (1, 3));
    assert_eq!(left.timelines[0].files[0].previous, None);
    execute(&home, &Plan { held: None, timelines: Vec::new() }).unwrap();
    assert!(!home.timeline("1-a").exists());
    let names = super::super::home::names(&home.timeline("2-a")).unwrap();
    assert_eq!(names, ["b.000001.txt", "b.000008", "b.000009", "b.000010"]);
    // What was removed once never comes back.
    expired.raise("2-a", Some("b.000003"));
    assert!(expired.has("2-a", "b.000007"));
}

#[test]
fn names_that_lead_elsewhere_and_newer_formats_remove_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path().join("archive"));
    std::fs::create_dir_all(home.timeline("1-a")).unwrap();
    let elsewhere = directory.path().join("b.000001");
    durable::write(&elsewhere, b"somebody's").unwrap();
    for text in [
        r#"{"format":1,"timelines":{"..":null}}"#,
        r#"{"format":1,"timelines":{"1-a":"../b.000002"}}"#,
        r#"{"format":2,"timelines":{"1-a":null}}"#,
        "{",
    ] {
        durable::write(&home.path().join("expired.json"), text.as_bytes()).unwrap();
        assert!(execute(&home, &Plan { held: None, timelines: Vec::new() }).is_err(), "{text}");
        assert!(home.expired().is_empty() && elsewhere.exists());
    }
}

proptest! {
    /// Every backup that reached the end of the log before reaches it afterwards, by the same way.
    #[test]
    fn what_a_backup_needs_stays(
        (files, holders, keep, gap) in (3_u32..30).prop_flat_map(|files| {
            let holder = (0..files, any::<bool>()).prop_map(|(day, proved)| Holder { proved, ..holder(day, day + 1) });
            (Just(files), proptest::collection::vec(holder, 0..6), 0_u64..20, proptest::option::of(1..files))
        })
    ) {
        let mut before = index(vec![timeline("1-a", 0, files)]);
        if let Some(gap) = gap {
            before.timelines[0].files[gap as usize].gap = Some("purged".into());
        }
        let told = plan(&before, &holders, days(keep), at(files));
        let mut expired = super::super::expired::Expired::default();
        told.timelines.iter().filter(|one| !one.files.is_empty())
            .for_each(|one| expired.raise(&one.id, one.first.as_deref()));
        let mut after = before.clone();
        expired.prune(&mut after);
        prop_assert_eq!(after.timelines[0].files.len() + told.count(), files as usize);
        let way = |index: &Index, holder: &Holder| {
            let start = super::super::Start::Position(holder.binlog.as_ref().unwrap());
            let pieces = index.path(None, &start, None).unwrap();
            pieces.iter().map(|piece| (piece.file.name.clone(), piece.from, piece.to)).collect::<Vec<_>>()
        };
        for holder in &holders {
            prop_assert_eq!(way(&before, holder), way(&after, holder));
        }
        for gone in before.timelines[0].files.iter().take(told.count()) {
            prop_assert!(at(files).duration_since(gone.last_event.unwrap()).as_secs() > i64::try_from(keep * DAY).unwrap());
        }
    }
}
