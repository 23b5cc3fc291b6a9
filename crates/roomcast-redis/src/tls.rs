//! What the `redis` crate leaves to whoever uses it for TLS: the cryptography, and telling its errors apart.

use rustls::crypto::{CryptoProvider, ring};
use std::error::Error;
use std::io;
use std::sync::Arc;

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
