//! What stands between a server and those that reach it over TCP: it can lead to another server, and cut a connection
//! by which a binary log is sent after any byte of it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The command of the servers' protocol by which a replica asks for a binary log.
const BINLOG_DUMP: u8 = 0x12;

pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// The port of the server.
    to: AtomicU16,
    /// How many bytes of a binary log may still pass before the connection that sends it is cut.
    cut_after: Mutex<Option<usize>>,
    /// How often a binary log was asked for.
    asked: AtomicUsize,
    ended: AtomicBool,
}

impl Proxy {
    /// One to the server at `port` of this host.
    pub fn to(port: u16) -> Self {
        let listens = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            to: AtomicU16::new(port),
            cut_after: Mutex::new(None),
            asked: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let (own, at) = (listens.local_addr().unwrap().port(), Arc::clone(&shared));
        std::thread::spawn(move || {
            for client in listens.incoming() {
                if at.ended.load(Ordering::SeqCst) {
                    return;
                }
                // Nobody there: the client's connection ends too.
                let (Ok(client), Ok(server)) =
                    (client, TcpStream::connect(("127.0.0.1", at.to.load(Ordering::SeqCst))))
                else {
                    continue;
                };
                Connection::between(client, server, &at);
            }
        });
        Self { port: own, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// New connections lead to another server.
    pub fn lead_to(&self, port: u16) {
        self.shared.to.store(port, Ordering::SeqCst);
    }

    /// Cuts the connection that sends a binary log when so many more bytes of it have passed.
    pub fn cut_after(&self, bytes: usize) {
        *self.shared.cut_after.lock().unwrap() = Some(bytes);
    }

    /// Whether what was to be cut is.
    pub fn has_cut(&self) -> bool {
        self.shared.cut_after.lock().unwrap().is_none()
    }

    /// How often a binary log was asked for.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// A client's and a server's end, and whether a binary log is sent from one to the other.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    dumps: AtomicBool,
    shared: Arc<Shared>,
}

impl Connection {
    fn between(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) {
        let connection = Arc::new(Self { client, server, dumps: AtomicBool::new(false), shared: Arc::clone(shared) });
        let other = Arc::clone(&connection);
        std::thread::spawn(move || drop((connection.asks(), connection.end())));
        std::thread::spawn(move || drop((other.answers(), other.end())));
    }

    /// From the client to the server.
    fn asks(&self) -> std::io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            let (mut from, mut to) = (&self.client, &self.server);
            let sent = match from.read(&mut buffer)? {
                0 => return Ok(()),
                count => &buffer[..count],
            };
            // A command is the first packet: three bytes of length, a zero, what it is.
            if sent.len() > 4 && sent[3] == 0 && sent[4] == BINLOG_DUMP {
                self.dumps.store(true, Ordering::SeqCst);
                self.shared.asked.fetch_add(1, Ordering::SeqCst);
            }
            to.write_all(sent)?;
        }
    }

    /// From the server to the client, as far as that may go.
    fn answers(&self) -> std::io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            let (mut from, mut to) = (&self.server, &self.client);
            let sent = match from.read(&mut buffer)? {
                0 => return Ok(()),
                count => &buffer[..count],
            };
            let passes = if self.dumps.load(Ordering::SeqCst) { self.passing(sent) } else { sent };
            to.write_all(passes)?;
            if passes.len() < sent.len() {
                return Ok(());
            }
        }
    }

    /// What of `sent` may pass; less than all of it where the connection is to be cut.
    fn passing<'a>(&self, sent: &'a [u8]) -> &'a [u8] {
        let mut cut_after = self.shared.cut_after.lock().unwrap_or_else(PoisonError::into_inner);
        match *cut_after {
            Some(left) if left < sent.len() => {
                *cut_after = None;
                &sent[..left]
            }
            left => {
                *cut_after = left.map(|left| left - sent.len());
                sent
            }
        }
    }

    fn end(&self) {
        drop((self.client.shutdown(Shutdown::Both), self.server.shutdown(Shutdown::Both)));
    }
}
