//! TLS for tests: a server named `localhost`, and clients that trust only its certificates.
//!
//! `tls/localhost.crt` is self-signed, for `localhost` and 127.0.0.1, and valid from 2020 to 2120, so that the clock
//! does not matter. It was made by OpenSSL 3: a key and a request by
//! `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost`, then
//! `openssl ca -selfsign -startdate 20200101000000Z -enddate 21200101000000Z` with the extensions
//! `subjectAltName=DNS:localhost,IP:127.0.0.1` and `basicConstraints=critical,CA:FALSE`. The key is of use only in
//! tests. `tls/renewed.crt` is another one for the same names, made in the same way.

use roomcast_engine::TlsFiles;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub const CERTIFICATE: &[u8] = include_bytes!("tls/localhost.crt");
pub const KEY: &[u8] = include_bytes!("tls/localhost.key");

pub type ServerStream = tokio_rustls::server::TlsStream<TcpStream>;
pub type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

pub const RENEWED: &[u8] = include_bytes!("tls/renewed.crt");
pub const RENEWED_KEY: &[u8] = include_bytes!("tls/renewed.key");

fn certificate() -> CertificateDer<'static> {
    read(CERTIFICATE)
}

pub fn read(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).unwrap()
}

/// The files of certificate and key, for a server that reads them.
pub fn files() -> TlsFiles {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/over/tls");
    TlsFiles::new(directory.join("localhost.crt"), directory.join("localhost.key"))
}

static ACCEPTOR: LazyLock<TlsAcceptor> = LazyLock::new(|| {
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate()], key).unwrap()))
});

static CONNECTOR: LazyLock<TlsConnector> = LazyLock::new(|| TlsConnector::from(Arc::new(client(ALL_VERSIONS))));

/// A client that trusts both certificates.
pub fn client(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    roots.add(read(RENEWED)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    config.with_no_client_auth()
}

/// The server's side of a handshake.
pub async fn accept(stream: TcpStream) -> io::Result<ServerStream> {
    ACCEPTOR.accept(stream).await
}

/// The client's side.
pub async fn connect(stream: TcpStream) -> io::Result<ClientStream> {
    CONNECTOR.connect(ServerName::try_from("localhost").unwrap(), stream).await
}
