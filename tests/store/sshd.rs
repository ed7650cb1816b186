//! A private sshd on a loopback port, with keys of its own, for as long as a test lasts.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysnap::store::SshOptions;
use mysnap::sys::cancel::Cancel;
use mysnap::sys::cmd::Call;

pub struct Sshd {
    pub directory: tempfile::TempDir,
    pub port: u16,
    stop: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Sshd {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        for key in ["host", "user", "other"] {
            Call::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]).run().unwrap();
        }
        std::fs::copy(at("user.pub"), at("authorized")).unwrap();
        // sshd insists on this directory when root starts it.
        if nix::unistd::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let sshd = Self { port, stop: Cancel::new(), thread: None, directory };
        sshd.trust("known", "host.pub");
        sshd.trust("wrong", "other.pub");
        sshd.listening()
    }

    fn listening(mut self) -> Self {
        let program =
            which::which_in("sshd", Some("/usr/local/sbin:/usr/sbin:/sbin"), "/").expect("openssh-server is installed");
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let options = [
            format!("Port={}", self.port),
            "ListenAddress=127.0.0.1".to_owned(),
            format!("HostKey={}", at("host")),
            format!("AuthorizedKeysFile={}", at("authorized")),
            format!("PidFile={}", at("pid")),
            "StrictModes=no".to_owned(),
            "UsePAM=no".to_owned(),
            format!("SetEnv=PATH={}:/usr/local/bin:/usr/bin:/bin", at("bin")),
            "PasswordAuthentication=no".to_owned(),
            "PermitRootLogin=prohibit-password".to_owned(),
        ];
        let stop = self.stop.clone();
        let mut args = vec!["-D".to_owned(), "-e".to_owned(), "-f/dev/null".to_owned()];
        args.extend(options.iter().map(|option| format!("-o{option}")));
        self.thread = Some(std::thread::spawn(move || {
            let day = Duration::from_secs(86_400);
            let error = Call::new(program).args(args).deadline(day).cancel(&stop).run().unwrap_err();
            assert!(stop.signal().is_some(), "sshd ended: {error}");
        }));
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        self
    }

    fn trust(&self, file: &str, key: &str) {
        let key = std::fs::read_to_string(self.directory.path().join(key)).unwrap();
        let line = format!("[127.0.0.1]:{} {key}", self.port);
        mysnap::sys::durable::write(&self.directory.path().join(file), line.as_bytes()).unwrap();
    }

    /// `user@host:`, as a destination begins.
    pub fn prefix() -> String {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
        format!("{user}@127.0.0.1:")
    }

    pub fn options(&self, known_hosts: &str, key: &str) -> SshOptions {
        let at = |name: &str| self.directory.path().join(name);
        SshOptions { port: Some(self.port), key: Some(at(key)), known_hosts: Some(at(known_hosts)) }
    }

    /// From now on nobody listens.
    #[allow(dead_code, reason = "store_contract.rs uses it")]
    pub fn end(&self) {
        self.stop.set(15);
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop.set(15);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}
