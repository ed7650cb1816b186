//! A server whose dumps and binary logs are kept, and the way back to any point.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use mysnap::sys::cmd::Call;
use mysnap::sys::durable;

use crate::room::Room;
use crate::server::Server;

/// A busy machine takes long.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Where whoever starts it has temporary files, and no other account: Debian's libpam-tmpdir makes such ones.
const OWN: &str = "own";

/// Backups, an archive, and a configuration for both.
pub struct Bench {
    _room: Room,
    directory: tempfile::TempDir,
    config: PathBuf,
}

impl Bench {
    pub fn new(server: &Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let room = Room::over(directory.path());
        // The isolated server is not root.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).unwrap();
        let at = |name: &str| directory.path().join(name);
        let (option_file, socket) = (server.access().option_file.unwrap(), server.socket());
        let text = format!(
            "[server]\noption_file = {option_file:?}\nsocket = {socket:?}\nuser = \"root\"\n\
             [job.nightly]\nto = {:?}\nmethod = \"dump\"\nsource = \"live\"\n\
             [binlog.shop]\nto = {:?}\n",
            at("backups"),
            at("logs")
        );
        durable::create_private_directory(&at(OWN)).unwrap();
        let config = at("mysnap.toml");
        durable::write(&config, text.as_bytes()).unwrap();
        Self { _room: room, directory, config }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the command says on both of its outputs.
    pub fn command(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let call = Call::new(env!("CARGO_BIN_EXE_mysnap")).arg("--config").arg(&self.config);
        let finished = call.args(arguments).deadline(PATIENCE).finish().unwrap();
        let both = [finished.stdout, finished.stderr].concat();
        (finished.status, String::from_utf8(both).unwrap())
    }

    pub fn works(&self, arguments: &[&str]) -> String {
        let (status, said) = self.command(arguments);
        assert!(status.success(), "{arguments:?}: {said}");
        said
    }

    /// It must end with `code`, and say these words.
    pub fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let (status, said) = self.command(arguments);
        assert_eq!(status.code(), Some(code), "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    /// A full one or an increment.
    pub fn backup(&self) -> String {
        let said = self.works(&["backup", "nightly"]);
        let id = said.split_whitespace().nth(1).filter(|id| id.starts_with('2'));
        id.unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    pub fn ship(&self) {
        self.works(&["binlog", "ship"]);
    }

    /// From now on backups are increments of the newest full one.
    pub fn make_increments(&self) {
        self.configure("incremental = \"binlog\"");
    }

    /// From now on files of the archive are stored as they are.
    pub fn store_unpacked(&self) {
        let text = fs::read_to_string(&self.config).unwrap() + "compression = \"none\"\n";
        durable::write(&self.config, text.as_bytes()).unwrap();
    }

    /// What a server on a backup is asked, and must answer with "true".
    pub fn ask(&self, queries: &[&str]) {
        self.configure(&format!("queries = {queries:?}"));
    }

    /// How long a server on a backup may take to answer.
    pub fn wait_for_servers(&self, timeout: &str) {
        self.configure(&format!("start_timeout = {timeout:?}"));
    }

    /// From now on dumps are of this database alone.
    pub fn dump_only(&self, database: &str) {
        self.configure(&format!("include = [{database:?}]"));
    }

    /// One more line for the job.
    fn configure(&self, line: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        let text = text.replace("source = \"live\"\n", &format!("source = \"live\"\n{line}\n"));
        durable::write(&self.config, text.as_bytes()).unwrap();
    }

    /// A restore at work, which tells nobody.
    pub fn begin(&self, arguments: &[&str]) -> Child {
        self.program(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// A restore at work, which tells by its standard output what it does.
    pub fn begin_telling(&self, arguments: &[&str]) -> Child {
        let arguments = [&["--events", "json"], arguments].concat();
        self.program(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "what happens to it meanwhile is the test")]
    fn program(&self, arguments: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_mysnap"));
        program.arg("--config").arg(&self.config).args(arguments).stdin(Stdio::null()).env("TMPDIR", self.at(OWN));
        program
    }

    /// A server on what was restored to `name`.
    pub fn started(&self, name: &str) -> Server {
        self.started_with(name, &[])
    }

    pub fn started_with(&self, name: &str, options: &[&str]) -> Server {
        Server::on_data(&self.at(name), &[&["--server-id=1"], options].concat())
    }

    /// The names beside the target.
    pub fn names(&self) -> Vec<String> {
        names(self.directory.path())
    }
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = directory.read_dir().unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
