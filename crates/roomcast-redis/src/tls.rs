//! [`RedisTls`]: certificates of our own for TLS with Redis; and what the `redis` crate leaves to whoever uses it.

use crate::error::RedisError;
use crate::files;
use redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of a file with certificates or a key, at most. Debian's roots, all together, have some 220 KiB.
pub(crate) const MAX_PEM_FILE: u64 = 1 << 20;

/// Certificates for TLS with one Redis: whom to trust, and who we are. Without it the system's roots are trusted, or those in the file
/// that `SSL_CERT_FILE` names, and we show no certificate.
///
/// Files are read at each connect, so what is replaced needs no restart. All is PEM.
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
    /// Certificates and key.
    client: Option<(Pem, Pem)>,
}

#[derive(Clone)]
enum Pem {
    File(PathBuf),
    Bytes(Arc<[u8]>),
}

impl RedisTls {
    /// As without it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificates in this file alone. It may hold several; 1 MiB at most.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots = Some(Pem::File(path.into()));
        self
    }

    /// Trusts these certificates alone.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(Pem::Bytes(pem.into().into()));
        self
    }

    /// Shows the certificate in the first file, with those between it and its root if there are any, and proves it by the key in the
    /// second, which may be the same file; 1 MiB each at most. The key must not be encrypted.
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

    /// A server as it is to be connected to, its certificates read off the runtime's threads.
    pub(crate) async fn apply(&self, server: ConnectionInfo) -> Result<ConnectionInfo, RedisError> {
        let tls = self.clone();
        let read = tokio::task::spawn_blocking(move || tls.read()).await;
        let certificates = read.map_err(|_| RedisError::Tls("the runtime is ending".to_owned()))??;
        Ok(Client::build_with_tls(server, certificates)?.get_connection_info().clone())
    }

    /// Everything is looked at here, as the `redis` crate could not say which file is to blame.
    fn read(&self) -> Result<TlsCertificates, RedisError> {
        let root_cert = match &self.roots {
            Some(pem) => Some(pem.read("the CA's certificates", roots_are_good)?),
            None => None,
        };
        let client_tls = match &self.client {
            Some((certificate, key)) => {
                let client_cert = certificate.read("the client's certificate", |pem| chain(pem).map(drop))?;
                let chain = chain(&client_cert).unwrap_or_default();
                let client_key = key.read("the client's key", |pem| key_fits(pem, chain, certificate))?;
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

/// Where it is; never what is in it.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Bytes(_) => f.write_str("(given as bytes)"),
        }
    }
}

impl Pem {
    fn read(&self, what: &str, look: impl FnOnce(&[u8]) -> Result<(), String>) -> Result<Vec<u8>, RedisError> {
        let read = match self {
            Self::File(path) => files::read_now(path, MAX_PEM_FILE),
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
        };
        let looked_at = read.and_then(|bytes| look(&bytes).map(|()| bytes));
        looked_at.map_err(|why| RedisError::TlsFile(format!("{what}, {self}: {why}")))
    }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| broken(&error))?;
    if chain.is_empty() { Err("no certificate (-----BEGIN CERTIFICATE-----) is in it".to_owned()) } else { Ok(chain) }
}

fn roots_are_good(pem: &[u8]) -> Result<(), String> {
    let mut store = RootCertStore::empty();
    chain(pem)?.into_iter().try_for_each(|root| store.add(root)).map_err(|error| error.to_string())
}

fn key_fits(pem: &[u8], chain: Vec<CertificateDer<'static>>, certificate: &Pem) -> Result<(), String> {
    let has = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound if has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") => {
            "the key is encrypted, and nobody can be asked for its password; `openssl pkey -in FILE -out NEW` decrypts it"
                .to_owned()
        }
        pem::Error::NoItemsFound => "no private key (-----BEGIN PRIVATE KEY-----) is in it".to_owned(),
        error => broken(&error),
    })?;
    if has(b"Proc-Type: 4,ENCRYPTED") {
        return Err("the key is encrypted; `openssl pkey -in FILE -out NEW` decrypts it".to_owned());
    }
    // The process has one since the configuration was used first.
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

/// What is wrong with PEM, without a word of it: some of these errors have the line in them.
fn broken(error: &pem::Error) -> String {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "the first line of a section is broken",
        pem::Error::Base64Decode(_) => "what is in a section is no base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "it cannot be read",
    };
    format!("it is no good PEM: {what}")
}

/// Gives rustls its cryptography, if the program has not: it panics at the first connection if none was chosen, or if several
/// are compiled in. The choice is one of the whole process, and stays the program's if it comes first.
pub(crate) fn choose_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been quicker; any provider will do.
        let _ = ring::default_provider().install_default();
    }
}

/// Whether an error is one of TLS itself: a certificate that is not trusted, a server that speaks something else.
pub(crate) fn is_tls_error(error: &redis::RedisError) -> bool {
    // The crate hands out its own pointer to the error as the source.
    let source = error.source().and_then(|source| source.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    let Some(source) = source else { return false };
    let inner = source.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    source.is::<rustls::Error>() || inner.is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_tls_are_told_apart() {
        let tls = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(is_tls_error(&io::Error::new(io::ErrorKind::InvalidData, tls()).into()));
        assert!(is_tls_error(&tls().into()));
        assert!(!is_tls_error(&io::Error::from(io::ErrorKind::ConnectionRefused).into()));
        assert!(!is_tls_error(&(redis::ErrorKind::Io, "closed").into()));
    }

    #[test]
    fn the_cryptography_of_the_program_stays() {
        choose_cryptography();
        let chosen = Arc::as_ptr(CryptoProvider::get_default().unwrap());
        choose_cryptography();
        assert_eq!(Arc::as_ptr(CryptoProvider::get_default().unwrap()), chosen);
    }
}
