//! [`RedisTls`]: certificates and keys for TLS with Redis.

use super::files;
use crate::error::RedisError;
use redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Most bytes of a file with certificates or a key. All of Debian's roots together have some 220 KiB.
pub(crate) const MAX_PEM_FILE: u64 = 1 << 20;

/// Certificates for TLS with one Redis: which roots to trust, and which client certificate to present. Without it the
/// system's roots are trusted, or those in the file that `SSL_CERT_FILE` names, and no client certificate is presented.
///
/// Files are read at each connect, so a replaced file needs no restart. Everything is PEM.
///
/// ```
/// use roomcast_redis::{RedisConfig, RedisTls};
///
/// # fn main() -> Result<(), roomcast_redis::RedisError> {
/// let tls = RedisTls::new().ca_file("/etc/redis/ca.crt").client_files("/etc/redis/client.crt", "/etc/redis/client.key");
/// let config = "rediss://redis.example:6380".parse::<RedisConfig>()?.with_tls(tls);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct RedisTls {
    roots: Option<Pem>,
    /// Certificate and key.
    client: Option<(Pem, Pem)>,
}

#[derive(Clone)]
enum Pem {
    File(PathBuf),
    Bytes(Arc<[u8]>),
}

impl RedisTls {
    /// Trusts the usual roots, and presents no certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts only the certificates in this file. It may hold several, and at most 1 MiB.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots = Some(Pem::File(path.into()));
        self
    }

    /// Trusts only these certificates.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(Pem::Bytes(pem.into().into()));
        self
    }

    /// Presents the certificate in the first file, followed by any intermediate ones, and proves it by the key in the
    /// second. Both may be the same file; at most 1 MiB each. The key must not be encrypted.
    #[must_use]
    pub fn client_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client = Some((Pem::File(certificate.into()), Pem::File(key.into())));
        self
    }

    /// The same without files.
    #[must_use]
    pub fn client_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.client = Some((Pem::Bytes(certificate.into().into()), Pem::Bytes(key.into().into())));
        self
    }

    /// The server with these certificates, which are read on a thread that may block.
    pub(crate) async fn apply(&self, server: ConnectionInfo) -> Result<ConnectionInfo, RedisError> {
        let tls = self.clone();
        let read = tokio::task::spawn_blocking(move || tls.read()).await;
        let certificates = read.map_err(|_| RedisError::Tls("the runtime is ending".to_owned()))??;
        Ok(Client::build_with_tls(server, certificates)?.get_connection_info().clone())
    }

    /// The rustls configuration, for a connection that the `redis` crate does not make.
    pub(crate) async fn client(self) -> Result<ClientConfig, RedisError> {
        let read = tokio::task::spawn_blocking(move || {
            let TlsCertificates { client_tls, root_cert } = self.read()?;
            let mut roots = RootCertStore::empty();
            match root_cert {
                Some(pem) => {
                    roots.add_parsable_certificates(chain(&pem).map_err(RedisError::Tls)?);
                }
                None => {
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                }
            }
            let config = ClientConfig::builder().with_root_certificates(roots);
            let Some(ClientTlsConfig { client_cert, client_key }) = client_tls else {
                return Ok(config.with_no_client_auth());
            };
            let key = PrivateKeyDer::from_pem_slice(&client_key).map_err(|error| RedisError::Tls(broken(&error)))?;
            let chain = chain(&client_cert).map_err(RedisError::Tls)?;
            config.with_client_auth_cert(chain, key).map_err(|error| RedisError::Tls(error.to_string()))
        });
        read.await.map_err(|_| RedisError::Tls("the runtime is ending".to_owned()))?
    }

    /// Reads and checks everything, because the `redis` crate could not say which file is to blame.
    fn read(&self) -> Result<TlsCertificates, RedisError> {
        let root_cert = match &self.roots {
            Some(pem) => Some(pem.read("the CA's certificates", check_roots)?),
            None => None,
        };
        let client_tls = match &self.client {
            Some((certificate, key)) => {
                let client_cert = certificate.read("the client's certificate", |pem| chain(pem).map(drop))?;
                let chain = chain(&client_cert).unwrap_or_default();
                let client_key = key.read("the client's key", |pem| check_key(pem, chain, certificate))?;
                Some(ClientTlsConfig { client_cert, client_key })
            }
            None => None,
        };
        Ok(TlsCertificates { client_tls, root_cert })
    }
}

impl fmt::Debug for RedisTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |pem: &Pem| pem.to_string();
        let client = self.client.as_ref().map(|(certificate, key)| (shown(certificate), shown(key)));
        f.debug_struct("RedisTls").field("ca", &self.roots.as_ref().map(shown)).field("client", &client).finish()
    }
}

/// Where the PEM is from, never its content.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Bytes(_) => f.write_str("(given as bytes)"),
        }
    }
}

impl Pem {
    fn read(&self, what: &str, check: impl FnOnce(&[u8]) -> Result<(), String>) -> Result<Vec<u8>, RedisError> {
        let read = match self {
            Self::File(path) => files::read_now(path, MAX_PEM_FILE),
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
        };
        let checked = read.and_then(|bytes| check(&bytes).map(|()| bytes));
        checked.map_err(|why| RedisError::TlsFile(format!("{what}, {self}: {why}")))
    }
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

fn check_roots(pem: &[u8]) -> Result<(), String> {
    let mut store = RootCertStore::empty();
    chain(pem)?.into_iter().try_for_each(|root| store.add(root)).map_err(|error| error.to_string())
}

fn check_key(pem: &[u8], chain: Vec<CertificateDer<'static>>, certificate: &Pem) -> Result<(), String> {
    let has = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound if has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") => {
            "the key is encrypted, and there is no way to enter its password; decrypt it with `openssl pkey -in FILE -out NEW`"
                .to_owned()
        }
        pem::Error::NoItemsFound => "it contains no private key (-----BEGIN PRIVATE KEY-----)".to_owned(),
        error => broken(&error),
    })?;
    if has(b"Proc-Type: 4,ENCRYPTED") {
        return Err("the key is encrypted; decrypt it with `openssl pkey -in FILE -out NEW`".to_owned());
    }
    // The process has had a provider since the configuration was first used.
    let ours = ring::default_provider();
    let provider = CryptoProvider::get_default().map_or(&ours, |provider| &**provider);
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(format!("it is not the key of the certificate in {certificate}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

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

/// Chooses the process-wide cryptography of rustls, unless the program has. Without a choice, rustls panics at the
/// first connection if several are compiled in, or none.
pub(crate) fn choose_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may be quicker; any provider will do.
        let _ = ring::default_provider().install_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cryptography_that_the_program_chose_stays() {
        choose_cryptography();
        let chosen = Arc::as_ptr(CryptoProvider::get_default().unwrap());
        choose_cryptography();
        assert_eq!(Arc::as_ptr(CryptoProvider::get_default().unwrap()), chosen);
    }
}
