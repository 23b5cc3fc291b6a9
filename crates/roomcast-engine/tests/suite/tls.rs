//! TLS that `serve` itself speaks: certificates from files, what fails, and what a new certificate changes.

use crate::common::counting::Counters;
use crate::common::over::Over;
use crate::common::over::tls::{CERTIFICATE, KEY, RENEWED, RENEWED_KEY, client, files, read};
use crate::common::streams::over_streams;
use crate::common::wire::{Wire, request, upgrade};
use crate::common::{Server, until, until_async};
use roomcast_engine::{EngineConfig, ServeOptions, TlsFiles, bind, limits, serve};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ALL_VERSIONS, ClientConfig, HandshakeKind, ProtocolVersion};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const POLLING: &str = "/engine.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

/// A directory with the files of one server, removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("roomcast-engine-tls-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&directory.0).unwrap();
        directory.put(CERTIFICATE, KEY);
        directory
    }

    fn certificate(&self) -> PathBuf {
        self.0.join("server.crt")
    }

    fn key(&self) -> PathBuf {
        self.0.join("server.key")
    }

    fn files(&self) -> TlsFiles {
        TlsFiles::new(self.certificate(), self.key())
    }

    /// Replaces both files, as tools that renew certificates do: by a rename.
    fn put(&self, certificate: &[u8], key: &[u8]) {
        for (path, content) in [(self.certificate(), certificate), (self.key(), key)] {
            let new = path.with_extension("new");
            fs::write(&new, content).unwrap();
            fs::rename(new, path).unwrap();
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn with_files(files: TlsFiles, change: impl FnOnce(&mut ServeOptions)) -> Server {
    let listener = bind("127.0.0.1:0").await.unwrap();
    let serving = |options: &mut ServeOptions| {
        options.tls = Some(files);
        change(options);
    };
    // The clock is moved by some of these tests.
    let calm = |config: &mut EngineConfig| config.ping_interval = Duration::from_secs(3_600);
    Server::over(Over::ServeTls, listener, calm, serving).await
}

async fn shake_hands(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(config.clone()).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// The certificate that a new connection is shown.
async fn shown(address: SocketAddr) -> CertificateDer<'static> {
    let stream = shake_hands(address, &Arc::new(client(ALL_VERSIONS))).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// Both transports, in both versions of TLS. The application is told that the request came over TLS.
async fn both_versions_and_both_transports() {
    let server = with_files(files(), |_| {}).await;
    for (version, number) in
        [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let mut config = client(&[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = shake_hands(server.address, &Arc::new(config)).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!((session.protocol_version(), session.alpn_protocol()), (Some(number), Some(&b"http/1.1"[..])));
    }
    let answer = server.get("EIO=4&transport=polling").await;
    assert_eq!(answer.status, 200);
    assert!(server.connection().handshake().is_secure());
    let mut wire = server.websocket().await;
    wire.assert_alive("x").await;
    assert!(server.connection().handshake().is_secure());
    assert!(server.connection().handshake().address().is_some_and(|address| address.ip().is_loopback()));
    server.finish().await;
}

/// A client that comes back does not need the certificate's key again, not even after a new certificate.
async fn clients_continue_their_tls_session() {
    let directory = Directory::new();
    let server = with_files(directory.files(), |_| {}).await;
    let config = Arc::new(client(&[&rustls::version::TLS12]));
    let kind = async || shake_hands(server.address, &config).await.unwrap().get_ref().1.handshake_kind();
    assert_eq!(kind().await, Some(HandshakeKind::Full));
    assert_eq!(kind().await, Some(HandshakeKind::Resumed));
    directory.put(RENEWED, RENEWED_KEY);
    next_look().await;
    until_shown(server.address, RENEWED).await;
    assert_eq!(kind().await, Some(HandshakeKind::Resumed));
    server.finish().await;
}

/// Moves the clock to the next look at the files.
async fn next_look() {
    tokio::time::pause();
    tokio::time::advance(limits::CERTIFICATE_INTERVAL).await;
    tokio::time::resume();
}

async fn until_shown(address: SocketAddr, certificate: &[u8]) {
    until_async("new connections get it", async || shown(address).await == read(certificate)).await;
}

/// New connections get the new certificate; those that are open stay.
async fn a_new_certificate_is_used_and_a_broken_one_is_not() {
    let directory = Directory::new();
    let server = with_files(directory.files(), |_| {}).await;
    assert_eq!(shown(server.address).await, read(CERTIFICATE));
    let mut wire = server.websocket().await;
    // A certificate with another key, no certificate, and no file at all.
    for (certificate, key) in [(RENEWED, Some(KEY)), (b"", Some(KEY)), (CERTIFICATE, None)] {
        directory.put(certificate, key.unwrap_or_default());
        if key.is_none() {
            fs::remove_file(directory.key()).unwrap();
        }
        next_look().await;
        for _ in 0..3 {
            assert_eq!(shown(server.address).await, read(CERTIFICATE));
        }
    }
    directory.put(RENEWED, RENEWED_KEY);
    next_look().await;
    until_shown(server.address, RENEWED).await;
    wire.assert_alive("x").await;
    server.finish().await;
}

/// The error names the file and what is wrong with it.
async fn files_that_cannot_be_used_stop_the_start() {
    const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let large = |mebibyte: usize| [CERTIFICATE, &vec![b'\n'; mebibyte - CERTIFICATE.len()]].concat();
    let directory = Directory::new();
    for (certificate, key, names_key, what) in [
        (CERTIFICATE, RENEWED_KEY, true, "it is not the key of the certificate in"),
        (b"", KEY, false, "it contains no certificate"),
        (KEY, KEY, false, "it contains no certificate"),
        (CERTIFICATE, CERTIFICATE, true, "it contains no private key"),
        (CERTIFICATE, ENCRYPTED, true, "openssl pkey"),
        (&CERTIFICATE[..200], KEY, false, "it is not valid PEM: a section has no end"),
        (&large(limits::PEM_FILE + 1), KEY, false, "it is too large; 1048576 bytes are allowed"),
    ] {
        directory.put(certificate, key);
        let mut options = ServeOptions::default();
        options.tls = Some(directory.files());
        let listener = bind("127.0.0.1:0").await.unwrap();
        let error = serve(listener, roomcast_engine::NotFound, options, std::future::ready(())).await.unwrap_err();
        let path = if names_key { directory.key() } else { directory.certificate() };
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && text.contains(what), "{text}");
        assert_eq!(directory.files().check().unwrap_err().to_string(), text);
        assert!(text.lines().count() == 1 && text.len() < 400, "{text}");
    }
    let check = |certificate: &Path| TlsFiles::new(certificate, directory.key()).check().unwrap_err().to_string();
    assert!(check(&directory.0.join("missing")).contains("missing: No such file"));
    assert!(check(&directory.0).contains("it is not a regular file"));
    // The largest file, and both in one.
    directory.put(&large(limits::PEM_FILE), KEY);
    assert_eq!(directory.files().check(), Ok(()));
    directory.put(&[KEY, CERTIFICATE].concat(), b"");
    assert_eq!(TlsFiles::new(directory.certificate(), directory.certificate()).check(), Ok(()));
}

/// Each ends soon and is counted.
async fn failed_handshakes_end_and_are_counted() {
    let counters = Counters::default();
    let _guard = metrics::set_default_local_recorder(&counters);
    let failed = || counters.of("roomcast_tls_handshakes_failed_total");
    let server = with_files(files(), |options| {
        options.header_timeout = Duration::from_millis(300);
    })
    .await;
    // Plain HTTP; the server answers with an alert.
    let mut plain = Wire::over(Over::Serve, server.address, false).await;
    plain.send(request("GET", POLLING, &[], "")).await;
    assert!(plain.rest().await.len() < 20);
    until("it is counted", || failed() == 1).await;
    // A part of a handshake, and silence: both end at the deadline.
    let mut slow = Wire::over(Over::Serve, server.address, false).await;
    slow.send(b"\x16\x03\x01\x02\0\x01").await;
    slow.assert_ended().await;
    until("it is counted", || failed() == 2).await;
    let mut silent = Wire::over(Over::Serve, server.address, false).await;
    silent.assert_ended().await;
    until("it is counted", || failed() == 3).await;
    // The time for the first request's head begins with the connection too.
    let mut half = server.connect().await;
    half.send("GET / HTTP/1.1\r\n").await;
    half.assert_ended().await;
    // A client that trusts other certificates; one that speaks only HTTP/2.
    for trusting in [false, true] {
        let mut config = client(ALL_VERSIONS);
        if trusting {
            config.alpn_protocols = vec![b"h2".to_vec()];
        } else {
            config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        }
        assert!(shake_hands(server.address, &Arc::new(config)).await.is_err());
        until("it is counted", || failed() == 4 + u64::from(trusting)).await;
    }
    // A health check that only connects is no failure.
    drop(Wire::over(Over::Serve, server.address, false).await);
    let mut wire = server.connect().await;
    wire.send(upgrade(WEBSOCKET, &[])).await;
    assert_eq!(wire.answer().await.status, 101);
    assert_eq!(failed(), 5);
    server.finish().await;
}

/// A TLS connection counts from its first byte on, and over TLS there is no answer to those beyond the limit.
async fn connections_over_tls_at_the_limit_and_one_past_it() {
    let counters = Counters::default();
    let _guard = metrics::set_default_local_recorder(&counters);
    let server = with_files(files(), |options| options.max_connections = 2).await;
    let mut websocket = server.websocket().await;
    let begun = Wire::over(Over::Serve, server.address, false).await;
    let mut beyond = Wire::over(Over::Serve, server.address, false).await;
    beyond.assert_ended().await;
    assert_eq!(counters.of("roomcast_connections_refused_total"), 1);
    websocket.assert_alive("x").await;
    drop(begun);
    let config = Arc::new(client(ALL_VERSIONS));
    let deadline = tokio::time::Instant::now() + crate::common::PATIENCE;
    let kept = loop {
        assert!(tokio::time::Instant::now() < deadline, "the place is never free");
        if let Ok(stream) = shake_hands(server.address, &config).await {
            break stream;
        }
    };
    assert!(shake_hands(server.address, &config).await.is_err());
    drop(kept);
    server.finish().await;
}

/// The PROXY protocol is spoken before TLS, by a proxy that passes TLS on.
async fn the_proxy_protocol_comes_before_tls() {
    let server = with_files(files(), |options| {
        options.proxy_protocol = true;
        options.trusted_proxies = "127.0.0.1".parse().unwrap();
    })
    .await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"PROXY TCP4 127.9.9.9 127.0.0.1 4711 443\r\n").await.unwrap();
    let connector = TlsConnector::from(Arc::new(client(ALL_VERSIONS)));
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, upgrade(WEBSOCKET, &[]).as_bytes()).await.unwrap();
    until("the session is open", || server.log.opened() == 1).await;
    let connection = server.connection();
    assert_eq!(connection.handshake().address(), Some("127.9.9.9:4711".parse().unwrap()));
    assert!(connection.handshake().is_secure());
    drop(stream);
    server.finish().await;
}

over_streams! {
    [serve_tls]
    {
        current_thread: both_versions_and_both_transports, clients_continue_their_tls_session,
            a_new_certificate_is_used_and_a_broken_one_is_not, files_that_cannot_be_used_stop_the_start,
            failed_handshakes_end_and_are_counted, connections_over_tls_at_the_limit_and_one_past_it,
            the_proxy_protocol_comes_before_tls;
    }
}
