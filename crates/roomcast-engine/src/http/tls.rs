//! [`TlsFiles`]: certificate and key of a server that speaks TLS itself, read again when they change.

use crate::limits::{CERTIFICATE_INTERVAL, PEM_FILE};
use crate::transport::writer::{Stream, Writer, keep_little_unsent};
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ProducesTickets;
use rustls::{InconsistentKeys, ServerConfig};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{ReadHalf, split};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// The files with the certificate and the key of a server that speaks TLS itself
/// ([`ServeOptions::tls`](crate::ServeOptions::tls)).
///
/// Both are PEM, at most 1 MiB each, and may be the same file. The certificate is followed by any intermediate ones. The
/// key must not be encrypted. [`serve`](crate::serve) checks every 10 s whether a file has changed, so a renewed
/// certificate needs no restart: new connections get it, and those that are open stay. If the new files cannot be used,
/// an error is logged and the server goes on with those that it has.
///
/// TLS 1.2 and 1.3 are spoken, with HTTP/1.1. Clients are not asked for certificates. The cryptography is the one that
/// the process has chosen for rustls (`CryptoProvider::install_default`), otherwise *ring*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
}

/// Certificate or key cannot be used. The text names the file and says why; it quotes nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

impl TlsFiles {
    /// The file with the certificate, and the one with its key.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }

    /// Reads the files as [`serve`](crate::serve) will, on the current thread.
    ///
    /// # Errors
    /// [`TlsError`] for a file that cannot be read, is too large, has no certificate or key in it, and for a key that is
    /// not the certificate's.
    pub fn check(&self) -> Result<(), TlsError> {
        self.read().map(drop)
    }

    /// The configuration without tickets.
    fn read(&self) -> Result<ServerConfig, TlsError> {
        let wrong = |what: &str, path: &Path, why: String| TlsError(format!("{what}, {}: {why}", path.display()));
        let of_certificate = |why| wrong("the server's certificate", &self.certificate, why);
        let of_key = |why| wrong("the server's key", &self.key, why);
        let chain = read_file(&self.certificate).and_then(|pem| chain(&pem)).map_err(of_certificate)?;
        let key = read_file(&self.key).and_then(|pem| private_key(&pem)).map_err(of_key)?;
        let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()));
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| TlsError(format!("the cryptography of this process: {error}")))?;
        let mut config = config.with_no_client_auth().with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                of_key(format!("it is not the key of the certificate in {}", self.certificate.display()))
            }
            rustls::Error::InvalidCertificate(_) => of_certificate(error.to_string()),
            error => of_key(error.to_string()),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.certificate, &self.key].map(|path| std::fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata)))
    }
}

/// The rules and words of roomcast-redis for the files of an operator.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let text = |error: io::Error| error.to_string();
    // A pipe or a device may never end, and opening a pipe may block forever.
    if !std::fs::metadata(path).map_err(text)?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    // Not the size from above: the file may have grown since.
    File::open(path).map_err(text)?.take(PEM_FILE as u64 + 1).read_to_end(&mut bytes).map_err(text)?;
    if bytes.len() > PEM_FILE { Err(format!("it is too large; {PEM_FILE} bytes are allowed")) } else { Ok(bytes) }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| broken(&error))?;
    if chain.is_empty() {
        Err("it contains no certificate (-----BEGIN CERTIFICATE-----)".to_owned())
    } else {
        Ok(chain)
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let has = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound if has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") => ENCRYPTED.to_owned(),
        pem::Error::NoItemsFound => "it contains no private key (-----BEGIN PRIVATE KEY-----)".to_owned(),
        error => broken(&error),
    })?;
    if has(b"Proc-Type: 4,ENCRYPTED") { Err(ENCRYPTED.to_owned()) } else { Ok(key) }
}

const ENCRYPTED: &str =
    "the key is encrypted, and there is no way to enter its password; decrypt it with `openssl pkey -in FILE -out NEW`";

/// What is wrong with PEM, without quoting it: some of these errors contain the line.
fn broken(error: &pem::Error) -> String {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "the first line of a section is broken",
        pem::Error::Base64Decode(_) => "a section is not base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "it cannot be read",
    };
    format!("it is not valid PEM: {what}")
}

/// What changes if a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device and inode.
    file: (u64, u64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let file = {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let file = (0, 0);
        Self { bytes: metadata.len(), modified: metadata.modified().ok(), file }
    }
}

/// The certificate that is in use.
pub(crate) struct Certificates {
    files: TlsFiles,
    current: Mutex<Arc<ServerConfig>>,
    /// Clients that come back continue their TLS session without public-key cryptography, also after a new certificate.
    /// The tickets are held by the clients.
    tickets: Arc<dyn ProducesTickets>,
    seen: Mutex<Seen>,
}

/// What the last look at the files found.
struct Seen {
    stamps: [Option<Stamp>; 2],
    error: Option<TlsError>,
}

/// What came of a look at the files.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Unchanged,
    Renewed,
    /// They cannot be used, and this is not known yet.
    Failed(TlsError),
}

impl Certificates {
    /// Reads the files on a thread that may block.
    pub(crate) async fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let read = tokio::task::spawn_blocking(move || Self::read(files)).await;
        read.map_err(|_| TlsError("the runtime is ending".to_owned()))?
    }

    fn read(files: TlsFiles) -> Result<Self, TlsError> {
        // Before the files are read, so that a change meanwhile is noticed at the next look.
        let stamps = files.stamps();
        let tickets = ring::Ticketer::new().map_err(|error| TlsError(format!("no keys for TLS tickets: {error}")))?;
        let mut config = files.read()?;
        config.ticketer = tickets.clone();
        Ok(Self {
            files,
            current: Mutex::new(Arc::new(config)),
            tickets,
            seen: Mutex::new(Seen { stamps, error: None }),
        })
    }

    /// Begins a connection's handshake.
    pub(crate) fn accept(&self, stream: TcpStream) -> Accept<TcpStream> {
        let config = self.current.lock().clone();
        TlsAcceptor::from(config).accept(stream)
    }

    /// Looks at the files from time to time, for as long as it is polled.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            sleep(CERTIFICATE_INTERVAL).await;
            let certificates = self.clone();
            match tokio::task::spawn_blocking(move || certificates.look()).await {
                Ok(Look::Unchanged) => {}
                Ok(Look::Renewed) => {
                    tracing::info!(certificate = %self.files.certificate.display(), "new connections get the new certificate");
                }
                Ok(Look::Failed(error)) => {
                    tracing::error!(%error, "the new certificate cannot be used: the server goes on with the one that it has, until that expires");
                }
                // The runtime is ending.
                Err(_) => return,
            }
        }
    }

    /// Reads the files if they have changed, or if they could not be used.
    fn look(&self) -> Look {
        let stamps = self.files.stamps();
        let mut seen = self.seen.lock();
        if stamps == seen.stamps && seen.error.is_none() {
            return Look::Unchanged;
        }
        let changed = std::mem::replace(&mut seen.stamps, stamps) != stamps;
        match self.files.read() {
            Ok(mut config) => {
                config.ticketer = self.tickets.clone();
                *self.current.lock() = Arc::new(config);
                seen.error = None;
                Look::Renewed
            }
            Err(error) => {
                let known = seen.error.replace(error.clone()).is_some_and(|known| known == error);
                if known && !changed { Look::Unchanged } else { Look::Failed(error) }
            }
        }
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

/// A connection whose TLS handshake is over.
pub(crate) type TlsTcpStream = TlsStream<TcpStream>;

impl Stream for Box<TlsTcpStream> {
    type Reader = ReadHalf<Self>;

    fn into_halves(self) -> (ReadHalf<Self>, Writer) {
        keep_little_unsent(self.get_ref().0);
        let (reader, half) = split(self);
        (reader, Writer::other(half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const CERTIFICATE: &[u8] = include_bytes!("../../tests/common/over/tls/localhost.crt");
    const KEY: &[u8] = include_bytes!("../../tests/common/over/tls/localhost.key");
    const RENEWED: &[u8] = include_bytes!("../../tests/common/over/tls/renewed.crt");
    const RENEWED_KEY: &[u8] = include_bytes!("../../tests/common/over/tls/renewed.key");

    /// What each look finds, and whether connections get another certificate.
    #[test]
    fn a_failure_is_told_once_and_the_old_certificate_stays() {
        let directory = std::env::temp_dir().join(format!("roomcast-certificates-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let files = TlsFiles::new(directory.join("a.crt"), directory.join("a.key"));
        let put = |path: &Path, content: &[u8]| {
            // A new file each time, so that its stamp differs however coarse the clock is.
            let new = path.with_extension("new");
            fs::write(&new, content).unwrap();
            fs::rename(new, path).unwrap();
        };
        put(&files.certificate, CERTIFICATE);
        put(&files.key, KEY);
        let certificates = Certificates::read(files.clone()).unwrap();
        let first = certificates.current.lock().clone();
        let stays = || Arc::ptr_eq(&first, &certificates.current.lock());
        assert_eq!(certificates.look(), Look::Unchanged);
        // The certificate first, then its key: in between they do not belong together.
        put(&files.certificate, RENEWED);
        let Look::Failed(error) = certificates.look() else { panic!("a wrong key is used") };
        assert!(error.to_string().contains("a.key: it is not the key of the certificate in"), "{error}");
        assert_eq!(certificates.look(), Look::Unchanged);
        // Another failure is told, and so is the same one of other files.
        fs::remove_file(&files.key).unwrap();
        assert!(matches!(certificates.look(), Look::Failed(error) if error.to_string().contains("No such file")));
        assert_eq!(certificates.look(), Look::Unchanged);
        put(&files.certificate, CERTIFICATE);
        assert!(matches!(certificates.look(), Look::Failed(_)));
        assert!(stays());
        put(&files.certificate, RENEWED);
        put(&files.key, RENEWED_KEY);
        assert_eq!(certificates.look(), Look::Renewed);
        assert!(!stays());
        assert_eq!(certificates.look(), Look::Unchanged);
        // A failure that is not the files' fault, such as too many open files, passes without a change of them.
        certificates.seen.lock().error = Some(TlsError("too many open files".to_owned()));
        assert_eq!(certificates.look(), Look::Renewed);
        assert_eq!(certificates.look(), Look::Unchanged);
        fs::remove_dir_all(&directory).unwrap();
    }
}
