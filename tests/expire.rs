//! Retention: real directories, real processes, killed and watched; another node; a real MariaDB.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "binlog.rs uses the rest")]
#[path = "binlog/bench.rs"]
mod archive;
#[path = "expire/bench.rs"]
mod bench;
#[path = "expire/drilled.rs"]
mod drilled;
#[allow(dead_code, reason = "pitr.rs uses the rest")]
#[path = "pitr/room.rs"]
mod room;
#[allow(dead_code, reason = "dump.rs uses the rest")]
#[path = "dump/server.rs"]
mod server;
#[allow(dead_code, reason = "store_contract.rs uses the rest")]
#[path = "store/sshd.rs"]
mod sshd;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::time::Duration;

use bench::{Bench, Said, names, write};
use jiff::SignedDuration;
use mysnap::binlog::expire::{self, Holder};
use mysnap::binlog::{Home, Identity, Start};
use mysnap::dump::Compression;
use mysnap::run::{self, Reading};
use mysnap::store::{Catalog, Increment, LocalStore, Manifest, ProofLevel};
use mysnap::sys::cancel::Cancel;
use mysnap::sys::{clock, durable};
use serde_json::Value;
use server::{Server, numbers};
use sshd::Sshd;

const KEEP: &str = "keep = { last = 2, within = \"4d\" }";

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[test]
fn what_goes_is_shown_with_its_reasons_and_goes_only_when_somebody_agrees() {
    let bench = Bench::here(KEEP);
    let ids = bench.store_days(9);
    let all = bench.names();
    let shown = bench.mysnap(&["expire", "--dry-run"]);
    assert_eq!(shown.status, Some(0), "{shown:?}");
    let line = |id: usize| shown.out.lines().find(|line| line.contains(ids[id].as_str())).unwrap();
    assert!(line(0).contains("proved") && line(0).contains("stays") && line(0).contains("last 2; within 4 days"));
    assert!(line(8).contains("goes") && line(8).contains("no rule keeps it"), "{}", line(8));
    assert!(shown.out.contains("5 go, 4 stay"), "{}", shown.out);
    let told = json(&bench.mysnap(&["expire", "nightly", "--dry-run", "--json"]));
    let backups = told["jobs"][0]["backups"].as_array().unwrap();
    assert_eq!((backups.len(), &backups[0]["verdict"], &backups[8]["verdict"]), (9, &"stays".into(), &"goes".into()));
    assert_eq!((&backups[0]["reasons"][0], &backups[0]["state"]), (&"last 2".into(), &"proved".into()));
    // Nobody is there who could type.
    let asked = bench.mysnap(&["expire"]);
    assert_eq!(asked.status, Some(11), "{asked:?}");
    assert!(asked.err.contains("no rule keeps it"), "the plan is shown first: {asked:?}");
    assert_eq!(bench.names(), all);
    let done = bench.mysnap(&["expire", "--yes"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(bench.whole(), names(&ids[..4]));
    let again = json(&bench.mysnap(&["expire", "--yes", "--json"]));
    assert_eq!(again["jobs"][0]["removed"], Value::Array(Vec::new()));
    // Once, by age alone: two proved ones stay.
    let older = bench.mysnap(&["expire", "nightly", "--older-than", "1h", "--yes"]);
    assert_eq!(older.status, Some(0), "{older:?}");
    assert_eq!(bench.whole(), names(&ids[..2]));
    for (arguments, status, words) in [
        (&["expire", "other", "--yes"][..], 2, "job other has no keep: everything stays"),
        (&["expire", "nobody", "--yes"], 10, "has no job"),
        (&["expire", "--older-than", "30", "--yes"], 2, "hours or days"),
    ] {
        let said = bench.mysnap(arguments);
        assert_eq!(said.status, Some(status), "{said:?}");
        assert!(said.err.contains(words), "{said:?}");
    }
}

#[test]
fn nothing_goes_while_the_newest_backup_is_bad_or_lies_in_the_future() {
    let bench = Bench::here(KEEP);
    let ids = bench.store_days(9);
    let refused = |words: &str| {
        let all = bench.names();
        let said = bench.mysnap(&["expire", "--yes"]);
        assert_eq!(said.status, Some(3), "{said:?}");
        assert!(said.err.contains("nothing was removed") && said.err.contains(words), "{said:?}");
        assert_eq!(bench.names(), all);
    };
    let remove = |id: &mysnap::id::RunId| std::fs::remove_dir_all(bench.job("nightly").join(id.as_str())).unwrap();
    let future = bench.store_at(clock::now() + SignedDuration::from_hours(24 * 3650), |_| {});
    refused("lies in the future");
    remove(&future);
    let bad = bench.store_at(clock::now(), |manifest| manifest.proof.failure = Some("no server".to_owned()));
    refused("is bad: no server");
    remove(&bad);
    let unproved = bench.store_at(clock::now(), |manifest| manifest.proof.level = ProofLevel::None);
    refused("is not proved");
    remove(&unproved);
    assert_eq!(bench.mysnap(&["expire", "--yes"]).status, Some(0));
    assert_eq!(bench.whole(), names(&ids[..4]));
}

/// The program itself, by a clock that is wrong.
#[test]
fn whatever_the_hosts_clock_says_the_newest_stay() {
    let bench = Bench::here(KEEP);
    let ids = bench.store_days(9);
    let at = |shift: &str, arguments: &[&str]| bench.mysnap_through(&["faketime", "-f", shift], arguments);
    for arguments in [&["expire", "--yes"][..], &["expire", "nightly", "--older-than", "1d", "--yes"]] {
        for back in ["-3650d", "-2h"] {
            let said = at(back, arguments);
            assert_eq!(said.status, Some(3), "{back}: {said:?}");
            assert!(said.err.contains("lies in the future"), "{back}: {said:?}");
            assert_eq!(bench.whole(), names(&ids));
        }
    }
    // As it is by the right clock, and with nothing left that is young.
    assert!(at("+0", &["expire", "--dry-run"]).out.contains("5 go, 4 stay"));
    for arguments in [&["expire", "--yes"][..], &["expire", "nightly", "--older-than", "1d", "--yes"]] {
        let said = at("+3650d", arguments);
        assert_eq!(said.status, Some(0), "{said:?}");
        assert_eq!(bench.whole(), names(&ids[..2]));
    }
}

#[test]
fn a_day_is_one_of_the_hosts_zone_when_summer_time_ends() {
    let bench = Bench::here("keep = { daily = 3 }");
    let of = |text: &str| bench.store_at(text.parse().unwrap(), |_| {});
    // 00:30 and 23:30 of a day of 25 hours in Berlin; in UTC they are of two days.
    let times = ["2026-10-24T22:30:00Z", "2026-10-25T22:30:00Z", "2026-10-25T23:30:00Z", "2026-10-26T23:30:00Z"];
    let ids: Vec<_> = times.into_iter().map(of).collect();
    for (zone, goes) in [("CET-1CEST,M3.5.0,M10.5.0/3", 0), ("UTC", 1)] {
        let before = ["env", &format!("TZ={zone}"), "faketime", "-f", "@2026-10-27 12:00:00"];
        let said = bench.mysnap_through(&before, &["expire", "--dry-run", "--json"]);
        assert_eq!(said.status, Some(0), "{said:?}");
        let told = json(&said);
        let backups = told["jobs"][0]["backups"].as_array().unwrap();
        let going: Vec<&str> =
            backups.iter().filter(|one| one["verdict"] == "goes").map(|one| one["id"].as_str().unwrap()).collect();
        assert_eq!(going, [ids[goes].as_str()], "{zone}");
    }
}

#[test]
fn what_is_not_ours_is_never_touched() {
    let bench = Bench::here(KEEP);
    let ids = bench.store_days(9);
    let elsewhere = tempfile::tempdir().unwrap();
    write(&elsewhere.path().join("kept"), b"somebody's");
    let job = bench.job("nightly");
    // By their names they could be old backups.
    symlink(elsewhere.path(), job.join("20200101T000000Z-0001")).unwrap();
    write(&job.join("20200101T000000Z-0002"), b"a file");
    durable::create_private_directory(&job.join("20200101T000000Z-0003/datadir")).unwrap();
    symlink(elsewhere.path(), job.join(".removing-20200101T000000Z-0004")).unwrap();
    for name in ["notes.txt", ".hidden", "20200101T000000Z-00ZZ"] {
        write(&job.join(name), b"a file");
    }
    let foreign = bench.store(400, |manifest| manifest.host = "another-host".to_owned());
    // A manifest that is another backup's, and one of another job.
    let stolen = job.join("20200101T000000Z-0005");
    durable::create_private_directory(&stolen).unwrap();
    std::fs::copy(job.join(ids[0].as_str()).join("manifest.json"), stolen.join("manifest.json")).unwrap();
    let other = bench.store(400, |manifest| manifest.job = "other".parse().unwrap());
    let before = bench.names();
    for arguments in [&["expire", "--yes"][..], &["expire", "nightly", "--older-than", "2h", "--yes"]] {
        let said = bench.mysnap(arguments);
        assert_eq!(said.status, Some(0), "{said:?}");
    }
    let gone: BTreeSet<String> = before.difference(&bench.names()).cloned().collect();
    assert_eq!(gone, names(&ids[2..]));
    assert!(job.join(foreign.as_str()).join("datadir/shop/t0.ibd").exists());
    assert!(bench.job("other").join(other.as_str()).exists());
    assert!(elsewhere.path().join("kept").exists());
    let shown = bench.mysnap(&["expire", "--dry-run"]).out;
    assert!(shown.contains("made by host another-host, which decides over it"), "{shown}");
    assert!(shown.contains("unreadable ("), "{shown}");
}

#[test]
fn a_removal_that_is_killed_at_any_unlink_leaves_a_backup_whole_or_gone() {
    let bench = Bench::here("keep = { last = 2 }");
    let kept = bench.store_days(2);
    let mut points = 0;
    for call in ["unlinkat", "/^rename", "fsync"] {
        for nth in 1.. {
            // Killed ones are finished by the next, which has one more to do.
            bench.store(30, |_| {});
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            let said = bench.mysnap_through(&["strace", "-f", "-o", "/dev/null", "-e", &inject], &["expire", "--yes"]);
            let left = bench.whole();
            assert!(names(&kept).is_subset(&left) && left.len() <= 3, "{call} {nth}: {left:?}");
            if said.status == Some(0) {
                assert_eq!(bench.names(), names(&kept), "{call} {nth}: {said:?}");
                break;
            }
            assert_eq!(said.status, None, "{call} {nth}: {said:?}");
            points += 1;
            // The next one starts from a clean place every other time, and else from what is left.
            if nth % 2 == 0 {
                let said = bench.mysnap(&["expire", "--yes"]);
                assert_eq!(said.status, Some(0), "{said:?}");
                assert_eq!(bench.names(), names(&kept));
            }
        }
    }
    assert!(points > bench::FILES, "only {points} kills");
    println!("table: {points} kills");
}

#[test]
fn on_another_node_a_backup_is_whole_or_gone_too() {
    let sshd = Sshd::start();
    let bench = Bench::new(&Sshd::prefix(), &sshd.options("known", "user"), "keep = { last = 2 }");
    let kept = bench.store_days(2);
    for nth in 0..3 {
        bench.store(20 + nth, |_| {});
    }
    // Killed when it starts its next command over there. What it has started goes on for a while, and is not waited for.
    let mut kills = 0;
    for nth in [3, 4] {
        let inject = format!("inject=/^(clone|v?fork):signal=KILL:when={nth}");
        let said = bench.mysnap_through(&["strace", "-o", "/dev/null", "-e", &inject], &["expire", "--yes"]);
        kills += u32::from(said.status.is_none());
        assert!(names(&kept).is_subset(&bench.whole()));
    }
    assert!(kills > 0 && bench.names().len() > kept.len(), "{kills} kills");
    // The other side died within its removal.
    let old = bench.store(40, |_| {});
    let removing = bench.job("nightly").join(format!(".removing-{old}"));
    mysnap::sys::durable::rename(&bench.job("nightly").join(old.as_str()), &removing).unwrap();
    std::fs::remove_dir_all(removing.join("datadir")).unwrap();
    bench.store(50, |_| {});
    let said = bench.mysnap(&["expire", "--yes"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(bench.names(), names(&kept));
}

#[test]
fn what_is_being_read_or_made_on_this_host_is_not_removed() {
    let bench = Bench::here("keep = { last = 2 }");
    let ids = bench.store_days(5);
    let reading = run::read_stored(&ids[3]).unwrap();
    let said = bench.mysnap(&["expire", "--yes"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.err.contains(&format!("backup {} of job nightly is being read", ids[3])), "{said:?}");
    assert_eq!(bench.whole(), names(&[&ids[..2], &ids[3..4]].concat()));
    drop(reading);
    let place = bench.job("nightly");
    let claim = run::claim_backups(&place, "backup nightly (pid 1)").unwrap();
    let said = bench.mysnap(&["expire", "--yes"]);
    assert_eq!(said.status, Some(5), "{said:?}");
    assert!(said.err.contains("are held by backup nightly (pid 1)"), "{said:?}");
    drop(claim);
    assert_eq!(bench.mysnap(&["expire", "--yes"]).status, Some(0));
    assert_eq!(bench.whole(), names(&ids[..2]));
    let Reading::Nobody(lock) = run::try_remove_stored(&ids[3]).unwrap() else { panic!("nobody reads it") };
    lock.forget().unwrap();
}

#[test]
fn what_is_built_on_a_backup_that_is_being_read_stays_with_it() {
    let bench = Bench::here("keep = { last = 2 }");
    let kept = bench.store_days(2);
    let base = bench.store(10, |_| {});
    let sample = Manifest::decode(include_bytes!("data/manifest-increment-1.json")).unwrap();
    let on_it = |manifest: &mut Manifest| {
        let increment = sample.increment.clone().map(|increment| Increment { base: base.clone(), ..increment });
        let (id, host) = (manifest.id.clone(), manifest.host.clone());
        *manifest = Manifest { id, host, begin: manifest.begin, increment, ..sample.clone() };
    };
    let increments = [bench.store(9, on_it), bench.store(8, on_it)];
    let chain = [&kept[..], std::slice::from_ref(&base), &increments].concat();
    for read in [&base, &increments[0]] {
        let reading = run::read_stored(read).unwrap();
        let said = bench.mysnap(&["expire", "--yes"]);
        assert_eq!(said.status, Some(0), "{said:?}");
        assert!(said.err.contains(&format!("backup {read} of job nightly is being read")), "{said:?}");
        assert!(bench.whole().contains(base.as_str()), "{said:?}");
        if *read == base {
            assert_eq!(bench.whole(), names(&chain));
        }
        drop(reading);
    }
    assert_eq!(bench.mysnap(&["expire", "--yes"]).status, Some(0));
    assert_eq!(bench.whole(), names(&kept));
}

#[test]
fn a_job_that_has_no_destination_yet_keeps_no_other_from_being_looked_at() {
    let bench = Bench::here("keep = { last = 2 }");
    let ids = bench.store_days(4);
    let text = std::fs::read_to_string(&bench.config).unwrap();
    let nowhere = bench.to().with_file_name("nowhere");
    let more = format!("[job.new]\nto = {nowhere:?}\nkeep = {{ last = 2 }}\n");
    durable::write(&bench.config, format!("{more}{text}").as_bytes()).unwrap();
    let said = bench.mysnap(&["expire", "--yes"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.err.contains("job new is passed over") && said.err.contains("is its file system mounted?"),
        "{said:?}"
    );
    assert_eq!(bench.whole(), names(&ids[..2]));
    // Who names it is told.
    assert_eq!(bench.mysnap(&["expire", "new", "--yes"]).status, Some(10));
}

/// A server's jobs and archive in one configuration.
fn config_of(server: &Server, to: &std::path::Path, job: &str, archive: &str) -> String {
    let access = server.access();
    let (option_file, socket) = (access.option_file.unwrap(), server.socket());
    format!(
        "[server]\noption_file = {option_file:?}\nsocket = {socket:?}\nuser = \"root\"\n\
         [job.live]\nto = {:?}\nmethod = \"dump\"\nsource = \"live\"\n{job}\n\
         [binlog.shop]\nto = {:?}\n{archive}\n",
        to.join("backups"),
        to.join("logs"),
    )
}

#[test]
fn after_a_good_backup_what_is_too_old_goes_and_logs_stay_that_a_backup_needs() {
    let server = Server::start();
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(300))");
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().canonicalize().unwrap();
    let config = to.join("mysnap.toml");
    let text = config_of(&server, &to, "keep = { last = 2 }", "binlog_keep = \"1h\"");
    durable::write(&config, text.as_bytes()).unwrap();
    let mysnap = |arguments: &[&str]| {
        let call = mysnap::sys::cmd::Call::new(env!("CARGO_BIN_EXE_mysnap")).arg("--config").arg(&config);
        let finished = call.args(arguments.iter().copied()).finish().unwrap();
        let both = String::from_utf8([finished.stdout, finished.stderr].concat()).unwrap();
        assert!(finished.status.success(), "{arguments:?}: {both}");
        both
    };
    let catalog = || {
        let store = LocalStore::new(&to.join("backups"), &Cancel::new());
        Catalog::read(&store, None).unwrap().good().map(|backup| backup.manifest.clone()).collect::<Vec<_>>()
    };
    for n in 0..4 {
        server.sql("INSERT INTO shop.t (a) VALUES ('before'); FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('x')");
        mysnap(&["binlog", "ship"]);
        let said = mysnap(&["backup", "live"]);
        assert_eq!(catalog().len(), 2.min(n + 1), "{said}");
        assert!(said.contains("expire: job live: "), "{said}");
    }
    // What the server logged is younger than an hour: by the configuration all of it stays.
    let home = Home::new(to.join("logs/shop"));
    let index = || home.read_index().unwrap().unwrap();
    let files = index().timelines[0].files.len();
    assert!(files >= 5, "{files}");
    assert!(mysnap(&["expire", "--dry-run"]).contains("what follows is not older than 1 h"));
    mysnap(&["expire", "--yes"]);
    assert_eq!(index().timelines[0].files.len(), files);

    // The same an instant after: what comes before the older of the two backups goes, under a stream at work.
    let stream = archive::Bench::at(&server, &to.join("logs"), Compression::Zstd);
    let streaming = stream.stream();
    std::thread::sleep(Duration::from_millis(600));
    let kept = catalog();
    let holders: Vec<Holder> = kept
        .iter()
        .map(|manifest| Holder {
            id: manifest.id.clone(),
            server: Some(Identity::of(&manifest.server).key),
            begin: manifest.begin,
            binlog: manifest.position.binlog.clone(),
            proved: true,
        })
        .collect();
    std::thread::sleep(Duration::from_millis(2100));
    let plan = expire::plan(&index(), &holders, Duration::from_millis(1), clock::now());
    assert!(plan.count() > 0 && plan.held.is_none(), "{plan:?}");
    let gone = home.closed_path(&plan.timelines[0].id, &plan.timelines[0].files[0], Compression::Zstd);
    assert!(gone.exists());
    expire::execute(&home, &plan).unwrap();
    assert!(!gone.exists());
    let first = index().timelines[0].files[0].name.clone();
    assert_eq!(first, kept[1].position.binlog.as_ref().unwrap().file);
    server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('after')");
    std::thread::sleep(Duration::from_secs(1));
    let (status, said) = streaming.end();
    assert_eq!(status.code(), Some(0), "{said}");
    let reaches = || {
        assert_eq!(index().timelines[0].files[0].name, first);
        assert!(stream.verify().damaged.is_empty() && stream.verify().gaps.is_empty());
        for manifest in &kept {
            let position = manifest.position.binlog.as_ref().unwrap();
            let index = stream.index();
            let pieces = index.path(None, &Start::Position(position), None).unwrap();
            assert_eq!(pieces.last().unwrap().file.name, stream.end().file);
        }
    };
    reaches();
    // A lost index is made again from what is left, and nothing is missed.
    std::fs::remove_file(home.path().join("index.json")).unwrap();
    mysnap(&["binlog", "ship"]);
    reaches();
    // No backup is listed where the destination is not there: all logs stay.
    let away = to.join("away");
    durable::rename(&to.join("backups"), &away).unwrap();
    assert!(mysnap(&["expire", "shop", "--yes"]).contains("can't be listed"));
    durable::create_private_directory(&to.join("backups")).unwrap();
    assert!(mysnap(&["expire", "shop", "--yes"]).contains("is its file system mounted?"));
    reaches();
}

#[test]
fn a_backup_that_did_not_come_back_is_remembered_whatever_others_did() {
    let server = Server::start();
    server.sql(&format!(
        "CREATE DATABASE shop; USE shop; CREATE TABLE t (id INT PRIMARY KEY) SELECT seq AS id FROM {}",
        numbers(100)
    ));
    let directory = tempfile::tempdir().unwrap();
    // The second server is not root.
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let to = directory.path().canonicalize().unwrap();
    let config = to.join("mysnap.toml");
    // The records of drills are this host's, by the name of the job.
    let job = format!("drilled-{}", std::process::id());
    let text = config_of(&server, &to, "keep = { last = 3 }", "").replace("[job.live]", &format!("[job.{job}]"));
    durable::write(&config, text.as_bytes()).unwrap();
    let mysnap = |arguments: &[&str], code: i32| {
        let call = mysnap::sys::cmd::Call::new(env!("CARGO_BIN_EXE_mysnap")).arg("--config").arg(&config);
        let finished = call.args(arguments.iter().copied()).finish().unwrap();
        let both = String::from_utf8([finished.stdout, finished.stderr].concat()).unwrap();
        assert_eq!(finished.status.code(), Some(code), "{arguments:?}: {both}");
        both
    };
    let ids = || {
        let store = LocalStore::new(&to.join("backups"), &Cancel::new());
        Catalog::read(&store, None).unwrap().good().map(|backup| backup.slot.id.clone()).collect::<Vec<_>>()
    };
    mysnap(&["backup", &job], 0);
    mysnap(&["backup", &job], 0);
    let [second, first] = &ids()[..] else { panic!("{:?}", ids()) };
    let stored = to.join("backups").join(&job).join(first.as_str()).join("dump");
    let damaged = stored.join("shop");
    let damaged = damaged.read_dir().unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_file()).unwrap();
    let whole = std::fs::read(&damaged).unwrap();
    write(&damaged, &whole[..whole.len() / 2]);
    let scratch = to.display().to_string();
    let drill =
        |id: &mysnap::id::RunId, code| mysnap(&["drill", &job, "--id", id.as_str(), "--scratch", &scratch], code);
    let line = |said: &str, id: &mysnap::id::RunId| {
        said.lines().find(|line| line.contains(id.as_str())).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    // What the host lacks makes its exit status what it is.
    let status = || {
        let call = mysnap::sys::cmd::Call::new(env!("CARGO_BIN_EXE_mysnap")).arg("--config").arg(&config);
        let told: Value =
            serde_json::from_slice(&call.args(["status", &job, "--json"]).finish().unwrap().stdout).unwrap();
        let lines = told["lines"].as_array().unwrap().clone();
        let of_drills = lines.iter().filter(|line| line["what"] == "drill");
        of_drills
            .map(|line| (line["level"].as_str().unwrap(), line["text"].as_str().unwrap()))
            .map(|(level, text)| format!("{level} {text}"))
            .collect::<Vec<_>>()
    };
    drill(first, 8);
    let said = status();
    assert!(said[0].starts_with(&format!("critical backup {first} did not come back")) && said.len() == 1, "{said:?}");
    drill(second, 0);
    let listed = mysnap(&["list", "--job", &job], 0);
    assert!(line(&listed, first).contains("FAILED") && line(&listed, second).contains("drilled"), "{listed}");
    let shown = mysnap(&["expire", &job, "--dry-run"], 0);
    assert!(line(&shown, first).contains("BAD") && line(&shown, second).contains("proved"), "{shown}");
    // The newer one came back: that is a warning.
    let said = status();
    assert!(said[0].starts_with(&format!("ok backup {second} came back")), "{said:?}");
    assert!(said[1].starts_with(&format!("warning backup {first} did not come back")), "{said:?}");
    // Mended, it is as good as another. Whoever restores it is told of that drill until then.
    write(&damaged, &whole);
    let restore = |id: &mysnap::id::RunId| {
        mysnap(&["restore", id.as_str(), "--job", &job, "--database", "shop", "--as", "then", "--dry-run"], 0)
    };
    let told = format!("backup {first} did not come back in a drill at");
    assert!(restore(first).contains(&told) && !restore(second).contains("did not come back"));
    drill(first, 0);
    assert!(!restore(first).contains(&told));
    assert!(line(&mysnap(&["expire", &job, "--dry-run"], 0), first).contains("proved"));
    for ending in ["json", "lock"] {
        std::fs::remove_file(format!("/var/lib/mysnap/drills/{job}.{ending}")).unwrap();
    }
}
