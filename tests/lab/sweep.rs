//! Every outside step of a verb goes wrong, one at a time; afterwards an observer who knows nothing
//! of mysnap looks whether the invariants hold.
//!
//! `MYSNAP_SWEEP=whole` takes each step with each fault, a number that many of these points.
//! Otherwise each kind of step is taken once, with faults that end the run soon, in turn; and where
//! writers wait for the run, it hangs and is stopped too. The program is a build with the feature
//! `failpoints`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mysql::prelude::Queryable as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::{self, Ran, mysnap, mysnap_ok, run, try_run};
use crate::live::{DEFAULT_STALL, LOCAL, forget_stored, local, stored, until};
use crate::pulse::Pulse;
use crate::support::start_server;

const PROGRAM: &str = "/usr/local/bin/mysnap-failpoints";
const LIST: &str = "/run/mysnap-steps";
const FAULTS: [&str; 5] = ["error", "term", "kill", "hang", "stop"];
/// Those of them that end a run soon.
const ENDING: &[&str] = &["error", "term", "kill"];
/// LVM's command under the lock is the last of these; the one before makes the store.
const SNAPSHOT_COMMANDS: &str = "main run lvc";
/// The default `max_stall`, and a second that the server's timeouts are rounded up by.
pub const STALL: Duration = Duration::from_secs(6);
/// Longer than any stall that is allowed.
pub const STOPPED: Duration = Duration::from_secs(7);
/// No fault may keep a run for longer.
const LONGEST_RUN: Duration = Duration::from_secs(180);

/// A verb, made ready for one run of it.
pub trait Ready {
    /// What the program is told.
    fn arguments(&mut self) -> Vec<String>;
    /// What must hold in the end, besides what holds for all; an objection.
    fn objection(&mut self, ran: &Ran) -> Option<String>;
    /// What `recover` tells a person to do, whose record it keeps until that is done.
    fn do_as_told(&self) {}
    /// Whether writers are stopped with the server, as everybody knows.
    fn stops_the_server(&self) -> bool {
        false
    }
    /// Steps that the short form leaves out, because another sweep takes them.
    fn elsewhere(&self) -> &[String] {
        &[]
    }
    /// Whether the sweep is about this step.
    fn concerns(&self, _step: &str) -> bool {
        true
    }
    /// Whether the short form takes each of those, and not only each kind.
    fn takes_each_step(&self) -> bool {
        false
    }
    /// What the verb says when it has come to what it is for, and then goes on until it is asked to end.
    fn runs_until(&self) -> Option<&'static str> {
        None
    }
    /// How many kinds of steps it has at least, which is about half of what it had when this was written: with fewer, steps
    /// are not listed any more.
    fn kinds_at_least(&self) -> usize;
    /// How many points the whole form has at least: each step with each fault.
    fn points_of_all(&self) -> usize {
        self.kinds_at_least() * FAULTS.len()
    }
    /// Whether a thread beside the main one takes its steps in the same order each time.
    fn is_steady_beside(&self) -> bool {
        false
    }
}

/// One step of a verb, and what goes wrong there.
#[derive(Clone)]
pub struct Point {
    pub step: String,
    pub fault: &'static str,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:5} at {}", self.fault, self.step)
    }
}

/// Runs `verb` once for each point, and prints what came of it.
pub fn sweep(name: &str, verb: &mut dyn Ready) {
    let steps = steps(verb);
    let points = points(&steps, verb);
    let pulse = (!verb.stops_the_server()).then(Pulse::start);
    let least = match std::env::var("MYSNAP_SWEEP").as_deref() {
        Ok("whole") => verb.points_of_all(),
        Ok(count) => count.parse().unwrap_or(usize::MAX).min(verb.kinds_at_least()),
        Err(_) => verb.kinds_at_least(),
    };
    assert!(points.len() >= least, "{name} has lost steps: {} points", points.len());
    let (mut failed, mut broken, mut missed) = (Vec::new(), BTreeSet::new(), 0);
    for point in &points {
        pulse.iter().for_each(Pulse::reset);
        let began = Instant::now();
        let (ran, reached) = hit_until(&verb.arguments(), point, verb.runs_until());
        let objections = if reached { objections(verb, point, &ran, pulse.as_ref()) } else { Vec::new() };
        missed += u32::from(!reached);
        let dirty = !reached || !objections.is_empty();
        let said = if reached { format!("exit {}", ran.status) } else { "not reached".to_owned() };
        tell(&format!("{name}: {point}: {said}, {:.1} s", began.elapsed().as_secs_f64()));
        for objection in objections {
            tell(&format!("  FAILED: {objection}\n  it said: {}", ran.stderr.trim()));
            broken.insert(point.to_string());
            failed.push(format!("{point}: {objection}"));
        }
        if dirty {
            clean_up();
        }
    }
    let longest = pulse.as_ref().map(Pulse::longest_of_all).unwrap_or_default();
    let count = points.len() - missed as usize;
    tell(&format!(
        "table: sweep of {name}: {count} points, {} passed, {} failed, {missed} not reached, longest stall {longest:?}",
        count - broken.len(),
        broken.len()
    ));
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(missed as usize * 10 <= points.len(), "{missed} of {} points were not reached", points.len());
}

/// To the log of the run, also where the test passes.
pub fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

/// The steps of an untouched run, in order.
fn steps(verb: &mut dyn Ready) -> Vec<String> {
    let (ran, steps) = untouched_until(&verb.arguments(), verb.runs_until());
    assert_eq!(verb.objection(&ran), None);
    steps
}

/// A run without a fault, and its steps in order.
pub fn untouched(arguments: &[String]) -> (Ran, Vec<String>) {
    untouched_until(arguments, None)
}

fn untouched_until(arguments: &[String], until: Option<&str>) -> (Ran, Vec<String>) {
    drop(std::fs::remove_file(LIST));
    let ran = finish(start(arguments, None), until);
    assert_eq!(ran.status, 0, "{arguments:?}: {}", ran.stderr);
    (ran, std::fs::read_to_string(LIST).unwrap().lines().map(str::to_owned).collect())
}

fn points(steps: &[String], verb: &dyn Ready) -> Vec<Point> {
    // What threads beside the main one do depends on how long the rest takes, unless they are one and read. The watch
    // over a snapshot looks at once, and then the same way again and again.
    let is_steady = |step: &&String| {
        step.starts_with("main ")
            || (step.starts_with("watch ") && step.ends_with("#1"))
            || (verb.is_steady_beside() && step.starts_with("other sql "))
    };
    let steady: Vec<&String> = steps.iter().filter(is_steady).filter(|step| verb.concerns(step)).collect();
    match std::env::var("MYSNAP_SWEEP").as_deref() {
        Ok("whole") => every_point(&steady),
        Ok(count) if count.parse::<usize>().is_ok() => {
            every_point(&steady).into_iter().take(count.parse().unwrap()).collect()
        }
        _ if verb.takes_each_step() => in_turn(steady, ENDING).collect(),
        _ => a_point_for_each_kind(steady, verb.elsewhere()),
    }
}

/// In rounds: each takes every step, with the next fault in turn.
fn every_point(steps: &[&String]) -> Vec<Point> {
    let round = |shift: usize| {
        let turn = FAULTS.iter().copied().cycle().skip(shift);
        steps.iter().zip(turn).map(|(step, fault)| Point { step: (*step).clone(), fault })
    };
    (0..FAULTS.len()).flat_map(round).collect()
}

/// `main run lvs`, `main sync file`; of a statement its verb.
fn kind(step: &str) -> String {
    let what = step.split('#').next().unwrap();
    match what.split_once("sql ") {
        Some((thread, statement)) => format!("{thread}sql {}", statement.split(' ').next().unwrap()),
        None => what.to_owned(),
    }
}

/// Each step with the next fault in turn.
fn in_turn<'a>(steps: Vec<&'a String>, faults: &'a [&'static str]) -> impl Iterator<Item = Point> + 'a {
    let turn = faults.iter().copied().cycle();
    steps.into_iter().zip(turn).map(|(step, fault)| Point { step: step.clone(), fault })
}

fn a_point_for_each_kind(steps: Vec<&String>, elsewhere: &[String]) -> Vec<Point> {
    let mut seen: BTreeSet<String> = elsewhere.iter().map(|step| kind(step)).collect();
    let first_of_kind: Vec<&String> = steps.into_iter().filter(|step| seen.insert(kind(step))).collect();
    let held = first_of_kind.iter().rfind(|step| step.starts_with(SNAPSHOT_COMMANDS)).copied();
    let waited_for = held.into_iter().flat_map(|step| ["hang", "stop"].map(|fault| (step, fault)));
    let all = first_of_kind.into_iter().zip(ENDING.iter().copied().cycle()).chain(waited_for);
    all.map(|(step, fault)| Point { step: step.clone(), fault }).collect()
}

/// Runs with the fault; what it said, and whether it came to the step.
pub fn hit(arguments: &[String], point: &Point) -> (Ran, bool) {
    hit_until(arguments, point, None)
}

fn hit_until(arguments: &[String], point: &Point, until: Option<&str>) -> (Ran, bool) {
    drop(std::fs::remove_file(LIST));
    let mut child = start(arguments, Some(point));
    if point.fault == "stop" && is_stopped(&mut child) {
        std::thread::sleep(STOPPED);
        kill(pid(&child), Signal::SIGCONT).unwrap();
    }
    (finish(child, until), reached())
}

fn reached() -> bool {
    std::fs::read_to_string(LIST).is_ok_and(|list| list.contains("here: "))
}

/// Waits until it is stopped, or has ended.
fn is_stopped(child: &mut Child) -> bool {
    let end = Instant::now() + LONGEST_RUN;
    while Instant::now() < end && child.try_wait().unwrap().is_none() {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
        if stat.contains(") T ") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[expect(clippy::disallowed_methods, reason = "tests start programs too")]
fn start(arguments: &[String], point: Option<&Point>) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("MYSNAP_FAILPOINT_LIST", LIST);
    if let Some(point) = point {
        command.env("MYSNAP_FAILPOINT", format!("{}:{}", point.fault, point.step));
    }
    let [out, error] = ["stdout", "stderr"].map(|name| std::fs::File::create(said(name)).unwrap());
    command.stdin(Stdio::null()).stdout(out).stderr(error).spawn().unwrap()
}

fn said(stream: &str) -> PathBuf {
    Path::new("/run").join(format!("mysnap-sweep-{stream}"))
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Waits for its end; it is asked to end when it has said `until`.
fn finish(mut child: Child, until: Option<&str>) -> Ran {
    use std::os::unix::process::ExitStatusExt as _;
    let end = Instant::now() + LONGEST_RUN;
    let has_said = |words: &str| std::fs::read_to_string(said("stdout")).is_ok_and(|text| text.contains(words));
    let mut asked = false;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= end {
            kill(pid(&child), Signal::SIGKILL).unwrap();
        } else if !asked && until.is_some_and(has_said) {
            kill(pid(&child), Signal::SIGINT).unwrap();
            asked = true;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // A program that was let go of may still have them open: only files can be read to their end.
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| std::fs::read_to_string(said(name)).unwrap());
    Ran { status: status.code().unwrap_or_else(|| 128 + status.signal().unwrap()), stdout, stderr }
}

/// What an observer objects to. What a run leaves must be told by it, unless it was killed; after
/// `recover` nothing may be left in any case.
fn objections(verb: &mut dyn Ready, point: &Point, ran: &Ran, pulse: Option<&Pulse>) -> Vec<String> {
    let mut objections = Vec::new();
    let stall = pulse.map(Pulse::longest).unwrap_or_default();
    if stall > STALL + noise() {
        objections.push(format!("writers waited {stall:?}"));
    }
    if point.fault != "kill" && ran.status == 137 {
        objections.push(format!("it had not ended after {LONGEST_RUN:?}"));
    }
    if point.fault == "term" && ![143, 0, 9].contains(&ran.status) {
        objections.push(format!("SIGTERM ended it with {}", ran.status));
    }
    if let Some(found) = left() {
        if point.fault != "kill" && !ran.stderr.contains("mysnap recover") {
            objections.push(format!("left untold: {found}"));
        }
        let recovered = mysnap(&["recover"]);
        if recovered.status != 0 {
            objections.push(format!("recover ended with {}: {}", recovered.status, recovered.stderr.trim()));
        }
        verb.do_as_told();
        objections.extend(left().map(|left| format!("left after recover: {left}")));
    }
    objections.extend(verb.objection(ran));
    objections
}

/// What an emulated guest adds that shares its cores with others, as in the short form.
pub fn noise() -> Duration {
    Duration::from_secs(if std::env::var("MYSNAP_SWEEP").is_ok_and(|how| how != "short") { 0 } else { 2 })
}

/// What a stranger finds of a run; none where there is nothing.
fn left() -> Option<String> {
    let words =
        |argv: &[&str]| String::from_utf8_lossy(&try_run(argv).stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let suspended = words(&["dmsetup", "info", "-c", "--noheadings", "-o", "suspended"]);
    [
        (
            "volumes",
            words(&["lvs", "--noheadings", "-o", "lv_full_name,lv_attr", "-S", "tags=mysnap && tags!=mysnap.keep"]),
        ),
        ("mounts", mounts.lines().filter(|line| line.contains("mysnap")).collect()),
        (
            "records",
            words(&[
                "find",
                "/var/lib/mysnap/runs",
                "/run/mysnap",
                "-mindepth",
                "1",
                "!",
                "-name",
                "server-*.lock",
                "!",
                "-name",
                "stored-*.lock",
                "!",
                "-name",
                "claims.lock",
            ]),
        ),
        ("programs", words(&["pgrep", "-a", "^(lvm|lvcreate|lvconvert|lvremove|lvchange|rsync)$"])),
        ("suspended devices", if suspended.contains("Suspended") { suspended } else { String::new() }),
    ]
    .into_iter()
    .find(|(_, found)| !found.is_empty())
    .map(|(what, found)| format!("{what}: {found}"))
}

/// The next point must not meet what a failed one left.
fn clean_up() {
    for _ in 0..3 {
        if left().is_none() {
            return;
        }
        std::thread::sleep(Duration::from_secs(5));
        drop(mysnap(&["recover"]));
    }
    run(&["sh", "-c", "find /var/lib/mysnap/runs -mindepth 1 -delete; rmdir /run/mysnap/2* 2>/dev/null || true"]);
}

/// A small data directory makes a point cheap.
pub fn shrink_the_redo_log() {
    let statement = if host::is_mariadb() {
        "SET GLOBAL innodb_log_file_size = 16777216"
    } else {
        "SET GLOBAL innodb_redo_log_capacity = 8388608"
    };
    host::root().query_drop(statement).unwrap();
}

/// `backup` of the job `local`.
pub struct Backup {
    config: String,
    before: Vec<String>,
    elsewhere: Vec<String>,
}

impl Backup {
    /// With `config`, whose steps in `elsewhere` another sweep takes.
    pub fn new(config: String, elsewhere: Vec<String>) -> Self {
        Self { config, before: Vec::new(), elsewhere }
    }
}

impl Ready for Backup {
    fn kinds_at_least(&self) -> usize {
        if self.elsewhere.is_empty() { 17 } else { 2 }
    }

    fn points_of_all(&self) -> usize {
        120
    }

    fn elsewhere(&self) -> &[String] {
        &self.elsewhere
    }

    fn is_steady_beside(&self) -> bool {
        !self.elsewhere.is_empty()
    }

    fn arguments(&mut self) -> Vec<String> {
        self.before = stored();
        ["--config", &self.config, "backup", "local"].map(str::to_owned).to_vec()
    }

    /// The one more backup, where there is one, verifies.
    fn objection(&mut self, ran: &Ran) -> Option<String> {
        let new: Vec<String> = stored().into_iter().filter(|name| !self.before.contains(name)).collect();
        let path = match made_by(ran, &new) {
            Ok(made) => made?,
            Err(objection) => return Some(objection),
        };
        let id = path.rsplit('/').next().unwrap();
        let verified = mysnap(&["verify", id, "--from", LOCAL]);
        // Only the first stays, to be looked at in the end.
        run(&["rm", "-rf", path]);
        (verified.status != 0).then(|| format!("backup {id} is not whole: {}", verified.stderr))
    }
}

/// Exit status 0 or 9 means that there is one more backup; any other that there is none. One that was killed may have
/// come to its end.
pub fn made_by<'a>(ran: &Ran, new: &'a [String]) -> Result<Option<&'a str>, String> {
    let good = [0, 9].contains(&ran.status);
    match new {
        [] if good => Err(format!("exit {} and no backup", ran.status)),
        [] => Ok(None),
        [made] if good || ran.status == 137 => Ok(Some(made)),
        _ => Err(format!("exit {} and yet there is {new:?}", ran.status)),
    }
}

#[test]
fn whatever_goes_wrong_a_backup_is_whole_or_absent_and_nothing_is_left() {
    shrink_the_redo_log();
    run(&["rm", "-rf", LOCAL]);
    let config = local("sweep", DEFAULT_STALL);
    mysnap_ok(&["--config", &config, "backup", "local"]);
    let first = stored();
    sweep("backup", &mut Backup::new(config, Vec::new()));
    assert_eq!(stored(), first);
    mysnap_ok(&["verify", "latest", "--from", LOCAL]);
}

/// `recover` after a run that was killed in the middle of its copy.
struct Recover {
    config: String,
}

impl Ready for Recover {
    fn kinds_at_least(&self) -> usize {
        4
    }

    fn arguments(&mut self) -> Vec<String> {
        let killed = Point { step: "main mount#1".to_owned(), fault: "kill" };
        let backup = ["--config", &self.config, "backup", "local"].map(str::to_owned);
        let (ran, reached) = hit(&backup, &killed);
        assert!(reached, "{}", ran.stderr);
        vec!["recover".to_owned()]
    }

    fn objection(&mut self, _: &Ran) -> Option<String> {
        None
    }
}

#[test]
fn whatever_goes_wrong_in_recover_the_next_one_finishes() {
    shrink_the_redo_log();
    sweep("recover", &mut Recover { config: local("sweep", DEFAULT_STALL) });
}

/// `release` of a kept snapshot.
struct Release {
    config: String,
    id: String,
}

impl Ready for Release {
    fn kinds_at_least(&self) -> usize {
        2
    }

    fn arguments(&mut self) -> Vec<String> {
        if !kept().contains(&self.id) {
            mysnap_ok(&["--config", &self.config, "backup", "local", "--keep-snapshot"]);
            self.id = kept().pop().expect("a snapshot is kept");
        }
        ["release", &self.id, "--yes"].map(str::to_owned).to_vec()
    }

    fn objection(&mut self, ran: &Ran) -> Option<String> {
        let there = kept().contains(&self.id);
        (ran.status == 0 && there).then(|| "exit 0 and the snapshot is there".to_owned())
    }
}

/// The runs that keep a snapshot.
pub fn kept() -> Vec<String> {
    let listed: serde_json::Value = serde_json::from_str(&mysnap_ok(&["snapshots", "--json"])).unwrap();
    listed.as_array().unwrap().iter().map(|row| row["run"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn whatever_goes_wrong_in_release_the_next_one_finishes() {
    shrink_the_redo_log();
    let mut release = Release { config: local("sweep", DEFAULT_STALL), id: String::new() };
    sweep("release", &mut release);
    for id in kept() {
        mysnap_ok(&["release", &id, "--yes"]);
    }
    host::assert_nothing_left();
}

/// `restore` into a directory of its own, over what an earlier one left there.
struct Restore {
    home: PathBuf,
}

impl Ready for Restore {
    fn kinds_at_least(&self) -> usize {
        5
    }

    fn arguments(&mut self) -> Vec<String> {
        drop(std::fs::remove_dir_all(&self.home));
        std::fs::create_dir_all(self.home.join("data")).unwrap();
        std::fs::File::create(self.home.join("data/former")).unwrap();
        self.command()
    }

    /// What was there is there, or all that was restored; and the former is never lost.
    fn objection(&mut self, ran: &Ran) -> Option<String> {
        let data = self.home.join("data");
        let restored = data.join("ibdata1").exists();
        if ran.status == 0 && !restored {
            return Some("exit 0 and nothing is restored".to_owned());
        }
        let found = run(&["find", &self.home.display().to_string(), "-name", "former"]);
        if found.lines().count() != 1 {
            return Some(format!("the former data directory is lost: {found:?}"));
        }
        let half = data.exists() && !restored && !data.join("former").exists();
        if half {
            return Some("half a data directory is in place".to_owned());
        }
        // Whatever happened, it can be run again.
        let arguments = self.command();
        let again = mysnap(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        (again.status != 0).then(|| format!("running it again: {}", again.stderr))
    }
}

impl Restore {
    fn command(&self) -> Vec<String> {
        let to = self.home.join("data").display().to_string();
        ["restore", "latest", "--from", LOCAL, "--to", &to, "--replace", "--yes"].map(str::to_owned).to_vec()
    }
}

#[test]
fn whatever_goes_wrong_in_a_restore_nothing_is_lost_and_it_can_be_run_again() {
    shrink_the_redo_log();
    mysnap_ok(&["--config", &local("sweep", DEFAULT_STALL), "backup", "local"]);
    let home = PathBuf::from("/srv/sweep");
    sweep("restore", &mut Restore { home: home.clone() });
    std::fs::remove_dir_all(home).unwrap();
}

/// `rollback` to a kept snapshot.
struct Rollback {
    config: String,
}

impl Ready for Rollback {
    fn kinds_at_least(&self) -> usize {
        9
    }

    fn arguments(&mut self) -> Vec<String> {
        forget_stored();
        let mut root = host::root();
        for statement in [
            "CREATE DATABASE IF NOT EXISTS undo_me",
            "CREATE TABLE IF NOT EXISTS undo_me.t (n INT PRIMARY KEY)",
            "DELETE FROM undo_me.t",
            "INSERT INTO undo_me.t VALUES (1)",
        ] {
            root.query_drop(statement).unwrap();
        }
        mysnap_ok(&["--config", &self.config, "backup", "local", "--keep-snapshot"]);
        root.query_drop("INSERT INTO undo_me.t VALUES (2)").unwrap();
        let id = kept().pop().expect("a snapshot is kept");
        ["rollback", &id, "--yes"].map(str::to_owned).to_vec()
    }

    /// The server is up, on all of the old data or on all of the new.
    fn objection(&mut self, ran: &Ran) -> Option<String> {
        let up = try_run(&["systemctl", "is-active", "--quiet", host::service()]).status.success();
        // A failed step is put right by the run itself until LVM has accepted the merge.
        if !up && ran.status != 137 && !ran.stderr.contains("mysnap recover") {
            return Some(format!("exit {} and the server is down", ran.status));
        }
        as_recover_says();
        let rows: Vec<u32> = host::root().query("SELECT n FROM undo_me.t").unwrap();
        for id in kept() {
            mysnap_ok(&["release", &id, "--yes"]);
        }
        match (ran.status, rows.as_slice()) {
            (0, [1]) | (1.., [1] | [1, 2]) => None,
            (status, rows) => Some(format!("exit {status} and the rows are {rows:?}")),
        }
    }

    fn do_as_told(&self) {
        mount_as_recover_says();
    }

    fn stops_the_server(&self) -> bool {
        true
    }
}

/// What `recover` tells a person to do after a rollback that died.
fn mount_as_recover_says() {
    if std::fs::read_to_string("/proc/mounts").unwrap().contains(" /var/lib/mysql ") {
        return;
    }
    run(&["lvchange", "-an", "vg0/data"]);
    run(&["lvchange", "-ay", "vg0/data"]);
    run(&["mount", "/var/lib/mysql"]);
    mysnap_ok(&["recover"]);
}

fn as_recover_says() {
    mount_as_recover_says();
    start_server();
    until("the end of the merge", || {
        drop(try_run(&["lvchange", "--poll", "y", "vg0/data"]));
        !run(&["lvs", "-a", "--noheadings", "-o", "lv_merging", "vg0"]).contains("merging")
    });
}

#[test]
fn whatever_goes_wrong_in_a_rollback_the_server_comes_back_on_whole_data() {
    shrink_the_redo_log();
    sweep("rollback", &mut Rollback { config: local("sweep", DEFAULT_STALL) });
    host::root().query_drop("DROP DATABASE undo_me").unwrap();
    host::assert_nothing_left();
}
