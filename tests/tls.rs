//! Whoever answers in the server's place must not get a login: certificates that prove nothing, and
//! a way in between that says that the server has no TLS (C3).

#![cfg(test)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use mysnap::fault::{Kind, kind_of};
use mysnap::server::{Access, TlsMode};
use mysnap::sys::cancel::Cancel;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

const USER: &str = "mysnap_tls_canary";
/// CLIENT_SSL among the capabilities.
const SSL: u32 = 0x800;
/// COM_QUIT.
const GOODBYE: [u8; 5] = [1, 0, 0, 0, 1];
/// Protocol 4.1 with authentication plugins.
const CAPABILITIES: u32 = 0x0008_0000 | 0x8000 | 0x2000 | 0x200 | 0x1;

fn data(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/tls", name].iter().collect()
}

/// What somebody else's server heard from the client.
#[derive(Default)]
struct Heard {
    /// Without TLS.
    plain: Vec<u8>,
    /// With it; nothing where the client broke it off.
    encrypted: Vec<u8>,
}

/// A server that answers one client with `certificate`, or says that it has no TLS.
struct Imposter {
    port: u16,
    thread: JoinHandle<Heard>,
}

impl Imposter {
    fn with(certificate: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            answer(client, certificate)
        });
        Self { port, thread }
    }
}

fn answer(mut client: TcpStream, certificate: Option<&str>) -> Heard {
    let mut heard = Heard::default();
    client.write_all(&greeting(certificate.is_some())).unwrap();
    let Some(certificate) = certificate else {
        client.read_to_end(&mut heard.plain).unwrap();
        return heard;
    };
    let mut ssl_request = [0; 36];
    client.read_exact(&mut ssl_request).unwrap();
    heard.plain.extend(ssl_request);
    let mut tls = ServerConnection::new(Arc::new(identity(certificate))).unwrap();
    let mut buffer = [0; 4096];
    let mut stream = Stream::new(&mut tls, &mut client);
    // A client that does not trust us ends it here.
    if let Ok(count) = stream.read(&mut buffer) {
        heard.encrypted.extend(&buffer[..count]);
        stream.write_all(&packet(3, b"\xff\x15\x04#28000no")).unwrap();
    }
    heard
}

fn identity(certificate: &str) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_file(data(certificate)).unwrap()];
    let key = PrivateKeyDer::from_pem_file(data("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

fn greeting(has_tls: bool) -> Vec<u8> {
    let [low, high] = [0, 16].map(|shift| ((CAPABILITIES | if has_tls { SSL } else { 0 }) >> shift).to_le_bytes());
    let mut payload = b"\x0a8.0.36\0\x01\0\0\0saltsalt\0".to_vec();
    payload.extend([low[0], low[1], 45, 2, 0, high[0], high[1], 21]);
    payload.extend([0; 10]);
    payload.extend(b"saltsaltsalt\0mysql_native_password\0");
    packet(0, &payload)
}

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&length[..3], &[number], payload].concat()
}

/// How a client fares that trusts `authority`, and what the imposter heard of it.
fn connect(certificate: Option<&'static str>, authority: Option<&str>) -> (anyhow::Error, Heard) {
    let imposter = Imposter::with(certificate);
    let home = tempfile::tempdir().unwrap();
    let option_file = home.path().join("my.cnf");
    let mut file = mysnap::sys::durable::create_private_file(&option_file).unwrap();
    writeln!(file, "[client]\nuser={USER}\npassword=geheim").unwrap();
    let access = Access {
        option_file: Some(option_file),
        host: Some("127.0.0.1".into()),
        port: Some(imposter.port),
        tls: Some(TlsMode::VerifyIdentity),
        ssl_ca: authority.map(data),
        ..Access::default()
    };
    let error = access.connect(&Cancel::new()).unwrap_err();
    (error, imposter.thread.join().unwrap())
}

fn assert_refused(certificate: Option<&'static str>, authority: Option<&str>) {
    let (error, heard) = connect(certificate, authority);
    assert_eq!(kind_of(&error), Some(Kind::Config), "{certificate:?}: {error:#}");
    assert!(format!("{error:#}").contains("did not prove who it is"), "{certificate:?}: {error:#}");
    let told = [heard.plain, heard.encrypted].concat();
    assert!(!told.windows(USER.len()).any(|bytes| bytes == USER.as_bytes()), "{certificate:?} got a login");
}

#[test]
fn a_certificate_that_nobody_signed_is_refused() {
    assert_refused(Some("self-signed.pem"), None);
    assert_refused(Some("self-signed.pem"), Some("authority.pem"));
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    assert_refused(Some("another-name.pem"), Some("authority.pem"));
}

#[test]
fn a_certificate_of_an_authority_that_was_not_named_is_refused() {
    assert_refused(Some("right.pem"), None);
}

#[test]
fn a_server_that_says_it_has_no_tls_gets_no_login() {
    assert_refused(None, Some("authority.pem"));
    let (_, heard) = connect(None, None);
    assert_eq!(heard.plain, GOODBYE, "nothing else may be said in plain text");
}

/// What the cases above lack nothing but the proof for.
#[test]
fn a_server_that_proves_itself_gets_a_login() {
    let (error, heard) = connect(Some("right.pem"), Some("authority.pem"));
    assert!(format!("{error:#}").contains("refused the login"), "{error:#}");
    assert!(heard.encrypted.windows(USER.len()).any(|bytes| bytes == USER.as_bytes()));
}
