use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::fault::hints_of;
use crate::server::TlsMode;
use crate::store::IoClass;

const SHORTEST: &str = "[job.nightly]\nto = \"root@node2:/srv/backup\"\n";

fn parse(text: &str) -> anyhow::Result<Config> {
    Config::parse(Path::new("mysnap.toml"), text)
}

/// The message and the hints of what must be refused.
fn refused(text: &str) -> String {
    let error = parse(text).unwrap_err();
    assert_eq!(crate::fault::kind_of(&error), Some(Kind::Config), "{text}");
    format!("{error:#} hint: {}", hints_of(&error).join(" "))
}

#[test]
fn two_lines_suffice_and_the_defaults_are_those_that_cant_hurt() {
    let config = parse(SHORTEST).unwrap();
    let job = config.job("nightly").unwrap();
    assert_eq!(job.to.to_string(), "root@node2:/srv/backup");
    assert_eq!(job.hold, HoldLimits::default());
    assert_eq!(job.long_queries, LongQueryPolicy::default());
    assert_eq!(job.transfer, Transfer::default());
    assert_eq!(job.server, Access::default());
    assert_eq!(job.ssh, SshOptions::default());
    assert_eq!((job.method, job.prove, job.lock), (Method::Copy, ProofLevel::Checksum, LockChoice::Auto));
    assert_eq!((job.retries, job.retry_pause, job.snapshot_size), (3, Duration::from_secs(60), SnapshotSize::Auto));
    assert!(!job.keep_snapshot);
}

#[test]
fn what_a_dump_cant_have_is_refused() {
    let job = |more: &str| format!("{SHORTEST}{more}");
    let dump = "method = \"dump\"\n";
    let config = parse(&job(&format!("{dump}source = \"live\"\ninclude = [\"a.b*\"]\nworkers = 4"))).unwrap();
    let job_read = config.job("nightly").unwrap();
    assert_eq!((job_read.source, job_read.dump.workers), (DumpSource::Live, 4));
    assert!(job_read.dump.selection.has("a", "bc"));
    assert!(refused(&job("source = \"live\"")).contains("method = \"dump\""));
    assert!(refused(&job(&format!("{dump}source = \"live\"\nprove = \"start\""))).contains("prove"));
    assert!(refused(&job(&format!("{dump}prepared = true"))).contains("prepared"));
    assert!(refused(&job("include = [\"a.\"]")).contains("is not a pattern"));
    let live = Config::of_a_live_dump("/srv/\"x").unwrap();
    assert_eq!(live.job(LIVE).unwrap().to.to_string(), "/srv/\"x");
}

#[test]
fn a_node_has_a_part_only_where_there_is_one_and_something_to_do() {
    let remote = |more: &str| format!("{SHORTEST}{more}");
    let side = |text: &str| parse(text).unwrap().job("nightly").unwrap().server_on;
    assert_eq!(side(SHORTEST), Side::Host);
    assert_eq!(side(&remote("prove = \"start\"\nprove_on = \"node\"")), Side::Node);
    assert_eq!(side(&remote("method = \"dump\"\ndump_on = \"node\"")), Side::Node);
    let config = parse(&remote("node_scratch = \"/srv/tmp\"")).unwrap();
    assert_eq!(config.job("nightly").unwrap().node_scratch, Path::new("/srv/tmp"));

    let local = |more: &str| format!("[job.nightly]\nto = \"/srv/backup\"\n{more}");
    let no_node = refused(&local("prove = \"tables\"\nprove_on = \"node\""));
    assert!(no_node.contains("mysnap.toml:4: ") && no_node.contains("to = \"user@host:/path\""), "{no_node}");
    assert!(refused(&local("method = \"dump\"\ndump_on = \"node\"")).contains("and no node"));
    assert!(refused(&remote("prove_on = \"node\"")).contains("starts no server to prove it"));
    assert!(refused(&remote("dump_on = \"node\"")).contains("and copies files"));
    assert!(refused(&remote("prove = \"start\"\nmethod = \"dump\"\nprove_on = \"node\"")).contains("allowed: dump_on"));
    let live = "method = \"dump\"\nsource = \"live\"\ndump_on = \"node\"";
    assert!(refused(&remote(live)).contains("reads the live server"));
    assert!(refused(&remote("prove_on = \"moon\"")).contains("allowed: \"host\", \"node\""));
    assert!(refused(&remote("node_scratch = \"tmp\"")).contains("an absolute path"));
}

#[test]
fn what_stays_is_said_by_rules_that_keep_something() {
    let of = |more: &str| parse(&format!("{SHORTEST}{more}")).unwrap().job("nightly").unwrap().keep;
    assert_eq!(of(""), None);
    let keep = "{ last = 3, daily = 7, weekly = 4, monthly = 12, yearly = 1, within = \"14d\" }";
    let all =
        Keep { last: 3, daily: 7, weekly: 4, monthly: 12, yearly: 1, within: Some(Duration::from_secs(14 * 86_400)) };
    assert_eq!(of(&format!("keep = {keep}")), Some(all));
    assert_eq!(of("[job.nightly.keep]\nlast = 2"), Some(Keep { last: 2, ..Keep::default() }));
    let config = parse(&format!("[defaults]\nkeep = {{ daily = 2 }}\n{SHORTEST}")).unwrap();
    assert_eq!(config.job("nightly").unwrap().keep.unwrap().daily, 2);
    let again = parse(&config.written()).unwrap();
    assert_eq!(again.job("nightly").unwrap().keep, config.job("nightly").unwrap().keep, "{}", config.written());
    for (keep, why) in [
        ("{ last = 3, hourly = 2 }", "hourly is not known here; allowed: { last = 3"),
        ("{ last = 0, daily = 0 }", "keeps nothing"),
        ("{}", "keeps nothing"),
        ("{ last = -1 }", "last: allowed: a whole number from 0"),
        ("{ last = \"3\" }", "last: allowed"),
        ("{ within = \"90min\" }", "hours or days"),
        ("{ within = \"0d\" }", "hours or days"),
        ("3", "allowed: { last = 3"),
    ] {
        let said = refused(&format!("{SHORTEST}keep = {keep}"));
        assert!(said.contains("mysnap.toml:3: ") && said.contains(why), "{said}");
    }
    assert!(refused(&format!("{SHORTEST}prove = \"none\"\nkeep = {{ last = 1 }}")).contains("only proved backups"));
    let archive = |more: &str| format!("[binlog.shop]\nto = \"/srv/binlog\"\n{more}");
    let days = |text: &str| parse(text).unwrap().archive(None).unwrap().binlog_keep;
    assert_eq!(days(&archive("")), None);
    assert_eq!(days(&archive("binlog_keep = \"30d\"")), Some(Duration::from_secs(30 * 86_400)));
    assert!(refused(&archive("binlog_keep = \"30\"")).contains("hours or days"));
    let away = "[binlog.shop]\nto = \"root@node2:/srv/binlog\"\nbinlog_keep = \"30d\"";
    assert_eq!(days(away), Some(Duration::from_secs(30 * 86_400)));
}

#[test]
fn a_job_overrides_the_defaults_and_its_server_the_shared_one() {
    let config = parse(
        r#"
        [server]
        socket = "/run/mysqld/mysqld.sock"
        user = "backup"
        [defaults]
        to = "/srv/backup"
        nice = 19
        kill_long_selects = "20s"
        [job.a]
        nice = 0
        io_class = "idle"
        snapshot_size = "25%"
        [job.b]
        snapshot_size = "10GiB"
        bandwidth_limit = "50MiB"
        [job.b.server]
        user = "other"
        tls = "verify-identity"
        "#,
    )
    .unwrap();
    let (a, b) = (config.job("a").unwrap(), config.job("b").unwrap());
    assert_eq!(a.transfer.niceness, Niceness { cpu: 0, io: IoClass::Idle });
    assert_eq!(b.transfer.niceness.cpu, 19);
    assert_eq!(b.transfer.bandwidth_limit, Some(Bytes(50 << 20)));
    assert_eq!(
        (a.snapshot_size, b.snapshot_size),
        (SnapshotSize::Share(Percent(25)), SnapshotSize::Bytes(Bytes(10 << 30)))
    );
    assert_eq!((a.server.user.as_deref(), b.server.user.as_deref()), (Some("backup"), Some("other")));
    assert_eq!(b.server.socket, a.server.socket);
    assert_eq!(b.server.tls, Some(TlsMode::VerifyIdentity));
    assert_eq!(b.long_queries.kill_selects, Some(Duration::from_secs(20)));
}

#[test]
fn an_error_names_file_line_key_value_and_what_is_allowed() {
    for (line, expected) in [
        ("max_stall = \"5 parsecs\"", "mysnap.toml:3: max_stall = \"5 parsecs\""),
        ("max_stall = 5", "a text is needed; write \"5\""),
        ("max_stall = \"0s\"", "allowed: \"1s\" to \"60s\""),
        ("retries = 0", "mysnap.toml:3: retries = 0: allowed: a whole number from 1 to 100"),
        ("retries = \"3\"", "allowed: a whole number"),
        ("nice = -5", "allowed: a whole number from 0 to 19"),
        ("lock = \"table\"", "lock = \"table\": allowed: \"auto\", \"global\", \"stages\""),
        ("method = \"repository\"", "not available in this release; allowed: \"copy\", \"dump\""),
        ("snapshot_size = \"0%\"", "allowed: \"auto\", a share such as \"20%\""),
        ("kill_long_selects = true", "allowed: false, or after how long"),
        ("keep_snapshot = \"yes\"", "allowed: true, false"),
        ("io_class = [\"idle\"]", "allowed: \"best-effort\""),
        ("io_class = { a = 1 }", "allowed: \"best-effort\""),
        ("io_class = 1.5", "allowed: a text, a number, a switch, a list or a table of these"),
        ("queries = \"SELECT 1\"", "allowed: a list of texts"),
        ("queries = [1]", "allowed: a list of texts"),
        ("prove = \"queries\"", "[job.nightly] has prove = \"queries\" and no queries"),
        ("store_give_up = \"60%\"", "allowed: store_warn <= store_grow_at < store_give_up"),
        ("ssh_key = \"/root/my key\"", "without spaces"),
        ("ssh_key = \"id_ed25519\"", "an absolute path"),
        ("bandwidth_limit = \"fast\"", "is not a size"),
        ("max_stal = \"5s\"", "mysnap.toml:3: max_stal is not a known key hint: did you mean max_stall?"),
        ("socket = \"/run/x\"", "socket belongs into [server]"),
        ("password = \"x\"", "passwords belong into a MySQL option file"),
        ("zzz = 1", "allowed: to, method"),
        ("to = \"/again\"", "mysnap.toml:3: "),
        ("x = = 1", "mysnap.toml:3: "),
        ("[jobs.weekly]", "jobs is not known here"),
        ("[job.\"a/b\"]", "is not a job name"),
        ("[job.weekly]", "[job.weekly] lacks to hint: to is where backups go"),
        ("[server]\ntls = \"verify-ca\"", "whoever it is for; allowed: \"verify-identity\", \"disabled\""),
        ("[server]\ntls = \"required\"", "tls = \"required\": allowed: \"verify-identity\", \"disabled\""),
        ("[binlog.shop]\nto = \"/srv\"\nsync_interval = \"0s\"", "out of range; allowed: \"100ms\" to \"60s\""),
        ("[binlog.shop]\nto = \"/srv\"\nnice = 3", "nice belongs into [job.NAME]"),
        ("[binlog.shop]", "[binlog.shop] lacks to"),
        ("[binlog.nightly]\nto = \"/srv\"", "[binlog.nightly] has the name of a job"),
        ("[server]\nsocket = \"/a\"\nhost = \"b\"", "has both socket and host"),
    ] {
        let error = refused(&format!("{SHORTEST}{line}\n"));
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn an_archive_is_read_and_found_by_its_name_or_as_the_only_one() {
    let shop = "[server]\nuser = \"a\"\n[binlog.shop]\nto = \"/srv/binlog\"\nsync_interval = \"5s\"\n";
    let config = parse(&format!("{SHORTEST}{shop}[binlog.shop.server]\nsocket = \"/run/x\"\n")).unwrap();
    let archive = config.archive(None).unwrap();
    assert_eq!((archive.to.to_string().as_str(), archive.compression), ("/srv/binlog", Compression::Zstd));
    assert_eq!(archive.sync_interval, Duration::from_secs(5));
    assert_eq!((archive.server.user.as_deref(), archive.server.socket.is_some()), (Some("a"), true));
    assert_eq!(config.archive(Some("shop")).unwrap(), archive);
    assert!(hints_of(&config.archive(Some("crm")).unwrap_err()).contains(&"it has shop"));
    assert_eq!(parse(&config.written()).unwrap().archives(), config.archives());
    let two = parse(&format!("{shop}[binlog.crm]\nto = \"/srv\"\n")).unwrap();
    assert!(two.archive(None).unwrap_err().to_string().contains("which archive is meant? there are crm, shop"));
    let none = parse(SHORTEST).unwrap().archive(None).unwrap_err();
    assert_eq!(crate::fault::kind_of(&none), Some(Kind::NotFound));
}

#[test]
fn an_unknown_job_is_answered_with_the_known_ones() {
    let error = parse(SHORTEST).unwrap().job("weekly").unwrap_err();
    assert_eq!(crate::fault::kind_of(&error), Some(Kind::NotFound));
    assert_eq!(hints_of(&error), ["it has nightly"]);
}

#[test]
fn what_is_shown_is_a_configuration_of_the_same_meaning() {
    let config = parse(SHORTEST).unwrap();
    let text = config.written();
    assert!(text.contains("[job.nightly]\nto = \"root@node2:/srv/backup\"\nmethod = \"copy\"\n"), "{text}");
    assert!(text.contains("max_stall = \"5s\"\n"), "{text}");
    let again = parse(&text).unwrap();
    assert_eq!(again.jobs(), config.jobs());
    assert!(serde_json::to_string(config.shown()).unwrap().contains("\"retries\":3"));
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let example = include_str!("../../packaging/mysnap.toml.example");
    parse(example).unwrap();
    for key in schema::SERVER.iter().chain(schema::BINLOG).chain(schema::JOB) {
        let line = example.lines().find(|l| l.trim_start_matches("# ").starts_with(&format!("{} = ", key.name)));
        let line = line.unwrap_or_else(|| panic!("{} is not in the example", key.name));
        if let Some(default) = key.default {
            assert_eq!(line, format!("# {} = {default}", key.name), "the example shows defaults as comments");
        }
    }
    // With every comment sign before a key removed it is a configuration too.
    let all: Vec<&str> =
        example.lines().map(|l| l.strip_prefix("# ").filter(|l| l.contains(" = ")).unwrap_or(l)).collect();
    let error = parse(&all.join("\n")).unwrap_err();
    assert!(format!("{error:#}").contains("has both socket and host"), "{error:#}");
    parse(&all.iter().filter(|l| !l.starts_with("socket")).copied().collect::<Vec<_>>().join("\n")).unwrap();
}

#[test]
fn the_readme_lists_every_key_with_its_default_and_no_other() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("## Configuration").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let keys: Vec<&schema::Key> = schema::JOB.iter().chain(schema::SERVER).chain(schema::BINLOG).collect();
    for key in &keys {
        let default = match key.default {
            Some(default) => format!("`{default}`"),
            None if key.name == "to" => "required".to_owned(),
            None => "none".to_owned(),
        };
        let start = format!("| `{}` | {default} |", key.name);
        assert!(rows.iter().any(|row| row.starts_with(&start)), "README lacks: {start}");
    }
    assert_eq!(rows.len(), keys.len(), "README lists a key that does not exist, or one twice");
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mysnap.toml");
    crate::sys::durable::write(&path, SHORTEST.as_bytes()).unwrap();
    assert!(Config::load(&path).is_ok());
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    chmod(&path, 0o620);
    assert!(Config::load(&path).unwrap_err().to_string().contains("can be written by others"));
    chmod(&path, 0o644);
    assert!(Config::load(&path).is_ok());
    chmod(directory.path(), 0o777);
    assert!(Config::load(&path).unwrap_err().to_string().contains("can be written by others"));
    chmod(directory.path(), 0o1777);
    assert!(Config::load(&path).is_ok());
    let missing = Config::load(&directory.path().join("none")).unwrap_err();
    assert!(hints_of(&missing).join(" ").contains("two lines suffice"), "{missing:#}");
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mysnap.toml");
    crate::sys::durable::write(&path, SHORTEST.as_bytes()).unwrap();
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("belongs to user 12345"));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(\\[(job|server|defaults)(\\.[a-z]{1,3})?\\]\n|[a-z_]{1,8} = (1|true|\"[ -~]{0,5}\")\n){0,5}") {
        drop(parse(&text));
    }
}

#[test]
fn increments_have_an_archive_of_the_same_server() {
    let archive = "[binlog.shop]\nto = \"/srv/binlog\"\n";
    let job = |more: &str| format!("{SHORTEST}incremental = \"binlog\"\n{more}\n");
    let incremental = |text: &str| parse(text).unwrap().job("nightly").unwrap().incremental.clone().unwrap();
    let read = incremental(&format!("{}{archive}", job("")));
    assert_eq!((read.archive.as_str(), read.full_every), ("shop", Duration::from_secs(7 * 24 * 3600)));
    let other = "[binlog.crm]\nto = \"/srv/binlog\"\n[binlog.crm.server]\nsocket = \"/run/crm.sock\"\n";
    assert_eq!(incremental(&format!("{}{archive}{other}", job(""))).archive.as_str(), "shop");
    assert_eq!(incremental(&format!("{}{archive}{other}", job("archive = \"crm\""))).archive.as_str(), "crm");
    let second = "[binlog.more]\nto = \"/srv/binlog\"\n";
    for (text, words) in [
        (job(""), "has incremental = \"binlog\" and no archive"),
        (format!("{}{archive}{second}", job("")), "does not say in which archive; allowed: more, shop"),
        (
            format!("{}{archive}", job("archive = \"none\"")),
            "names the archive \"none\", which there is not; allowed: shop",
        ),
        (format!("{}{archive}", job("full_every = \"30min\"")), "full_every out of range"),
        (format!("{}{archive}", job("method = \"dump\"\nexclude = [\"*.log\"]")), "dumps a part alone"),
        (format!("{SHORTEST}incremental = true\n"), "allowed: false, \"binlog\""),
    ] {
        let error = refused(&text);
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(parse(&format!("{SHORTEST}incremental = false\n")).unwrap().job("nightly").unwrap().incremental, None);
}

#[test]
fn the_line_of_a_mistake_is_told_behind_thousands_of_jobs() {
    let jobs: Vec<String> = (0..5000).map(|number| format!("[job.j{number}]\nto = \"/srv/b\"\n")).collect();
    let error = refused(&format!("{}max_stal = \"5s\"\n", jobs.concat()));
    assert!(error.contains(":10001: max_stal is not a known key"), "{error}");
}
