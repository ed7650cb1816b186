//! Drills of dumps that don't come to their end: what is held against the backup, and what against the drill.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mysnap::sys::cmd::Call;
use mysnap::sys::durable;
use serde_json::Value;

use crate::config_of;
use crate::room::Room;
use crate::server::{Server, numbers};

/// A job whose backups are dumps, and its records on this host.
struct Job {
    directory: tempfile::TempDir,
    config: PathBuf,
    name: String,
}

impl Job {
    fn of(server: &Server, name: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        passable(directory.path());
        let config = directory.path().join("mysnap.toml");
        let name = format!("{name}-{}", std::process::id());
        let text = config_of(server, directory.path(), more, "").replace("[job.live]", &format!("[job.{name}]"));
        durable::write(&config, text.as_bytes()).unwrap();
        Self { directory, config, name }
    }

    fn mysnap(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let call = Call::new(env!("CARGO_BIN_EXE_mysnap")).arg("--config").arg(&self.config);
        let finished = call.args(arguments.iter().copied()).finish().unwrap();
        (finished.status.code(), String::from_utf8([finished.stdout, finished.stderr].concat()).unwrap())
    }

    fn backup(&self) {
        let (status, said) = self.mysnap(&["backup", &self.name]);
        assert_eq!(status, Some(0), "{said}");
    }

    /// A drill in `scratch` that ends so, with these words.
    fn drill(&self, scratch: &Path, status: i32, words: &[&str]) {
        let (ended, said) = self.mysnap(&["drill", &self.name, "--scratch", &scratch.display().to_string()]);
        assert!(ended == Some(status) && words.iter().all(|word| said.contains(word)), "{ended:?}: {said}");
        assert_eq!(scratch.read_dir().unwrap().count(), 0, "{said}");
    }

    /// What `status` says of its drills.
    fn status(&self) -> Vec<String> {
        let call = Call::new(env!("CARGO_BIN_EXE_mysnap")).arg("--config").arg(&self.config);
        let told = call.args(["status", &self.name, "--json"]).finish().unwrap().stdout;
        let told: Value = serde_json::from_slice(&told).unwrap();
        let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
        let lines = told["lines"].as_array().unwrap().iter().filter(|line| line["what"] == "drill");
        lines.map(|line| format!("{} {}", text(line, "level"), text(line, "text"))).collect()
    }

    /// Whether `list` and `expire` take the backup for one that can't be used.
    fn is_bad(&self) -> bool {
        let ((_, listed), (_, shown)) =
            (self.mysnap(&["list", "--job", &self.name]), self.mysnap(&["expire", &self.name, "--dry-run"]));
        assert_eq!(listed.contains(" FAILED "), shown.contains("BAD"), "{listed}{shown}");
        shown.contains("BAD")
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        for ending in ["json", "lock", "hindered"] {
            drop(std::fs::remove_file(format!("/var/lib/mysnap/drills/{}.{ending}", self.name)));
        }
    }
}

/// The second server is not root.
fn passable(directory: &Path) {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711)).unwrap();
}

#[test]
fn what_hinders_a_drill_is_told_until_one_is_done_and_never_held_against_the_backup() {
    let server = Server::start();
    server.sql(&format!(
        "CREATE DATABASE shop; USE shop; CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t SELECT seq FROM {}",
        numbers(100)
    ));
    let job = Job::of(&server, "hindered", "keep = { last = 3 }");
    job.backup();
    assert_eq!(job.status(), Vec::<String>::new());
    let scratch = job.directory.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let is_told = |words: &str| {
        let said = job.status();
        let [line] = &said[..] else { panic!("{said:?}") };
        assert!(line.starts_with("warning the last drill, of backup ") && line.contains(words), "{line}");
        assert!(line.contains("says nothing about the backup") && !job.is_bad(), "{line}");
    };
    // The server's account can't reach it.
    std::fs::set_permissions(&scratch, std::fs::Permissions::from_mode(0o700)).unwrap();
    job.drill(&scratch, 3, &["can't pass through"]);
    is_told("can't pass through");
    // Nothing has room in it.
    passable(&scratch);
    let little = Room::of(&scratch, "16m");
    passable(&scratch);
    job.drill(&scratch, 3, &["are needed in", "--scratch"]);
    is_told("are needed in");
    drop(little);
    job.drill(&scratch, 0, &["comes back"]);
    let said = job.status();
    assert!(said.len() == 1 && said[0].starts_with("ok backup ") && !job.is_bad(), "{said:?}");
    // What a drill has said stays when another one is hindered.
    std::fs::set_permissions(&scratch, std::fs::Permissions::from_mode(0o700)).unwrap();
    job.drill(&scratch, 3, &["can't pass through"]);
    let said = job.status();
    assert!(said.len() == 2 && said[0].starts_with("ok backup ") && said[1].starts_with("warning "), "{said:?}");
}

#[test]
fn a_dump_that_an_empty_server_does_not_take_has_not_come_back() {
    let server = Server::start();
    server.sql(
        "CREATE DATABASE shop; CREATE DATABASE other; CREATE TABLE other.t (id INT); CREATE TABLE shop.t (id INT); \
         CREATE VIEW shop.of_both AS SELECT t.id FROM shop.t JOIN other.t o USING (id)",
    );
    let job = Job::of(&server, "untaken", "keep = { last = 3 }\nexclude = [\"other\"]");
    job.backup();
    let scratch = job.directory.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    passable(&scratch);
    job.drill(&scratch, 8, &["an empty server does not take all of the dump", "shop.of_both", "other.t"]);
    let (_, told) = job.mysnap(&["drill", &job.name, "--scratch", &scratch.display().to_string()]);
    assert_eq!(told.matches("hint: ").count(), 1, "what it says of a server that is gone: {told}");
    let said = job.status();
    assert!(
        said.len() == 1 && said[0].starts_with("critical backup ") && said[0].contains("did not come back"),
        "{said:?}"
    );
    assert!(job.is_bad());
}

#[test]
fn the_latest_is_one_that_comes_back() {
    let server = Server::start();
    server.sql(
        "CREATE DATABASE shop; CREATE DATABASE other; CREATE TABLE other.t (id INT); CREATE TABLE shop.t (id INT)",
    );
    let job = Job::of(&server, "latest", "keep = { last = 3 }\nexclude = [\"other\"]");
    let made = || {
        job.backup();
        let (_, shown) = job.mysnap(&["show", "latest", "--job", &job.name, "--json"]);
        serde_json::from_str::<Value>(&shown).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let first = made();
    server.sql("CREATE VIEW shop.of_both AS SELECT t.id FROM shop.t JOIN other.t o USING (id)");
    let second = made();
    let restore = |id: &str| {
        let target = ["--database", "shop", "--as", "then", "--dry-run"];
        let (status, said) = job.mysnap(&[&["restore", id, "--job", &job.name][..], &target].concat());
        assert_eq!(status, Some(0), "{said}");
        said
    };
    let taken = |id: &str, said: &str| said.lines().any(|line| line.starts_with(&format!("plan, backup {id} for")));
    assert!(taken(&second, &restore("latest")), "{}", restore("latest"));
    let scratch = job.directory.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    passable(&scratch);
    job.drill(&scratch, 8, &["an empty server does not take all of the dump"]);

    let said = restore("latest");
    assert!(said.contains(&format!("backup {second} is newer, but did not come back in a drill at")), "{said}");
    assert!(taken(&first, &said), "{said}");
    // Whoever names it means it; and a drill goes on to ask what the newest is worth.
    assert!(restore(&second).contains(&format!("backup {second} did not come back in a drill at")));
    assert!(!restore(&first).contains("did not come back"));
    job.drill(&scratch, 8, &["an empty server does not take all of the dump"]);
    assert!(job.status()[0].starts_with(&format!("critical backup {second}")), "{:?}", job.status());
}
