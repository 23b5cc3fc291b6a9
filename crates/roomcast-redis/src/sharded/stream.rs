//! [`open`]: a connection to a Redis server, as bytes.

use crate::bus::topology::CONNECT_TIMEOUT;
use crate::error::RedisError;
use redis::{ConnectionAddr, ConnectionInfo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Bytes in and out.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects, over TLS if the server is reached by it.
pub(super) async fn open(server: &ConnectionInfo) -> Result<Box<dyn Stream>, RedisError> {
    timeout(CONNECT_TIMEOUT * 2, connect(server.addr())).await.map_err(|_| RedisError::Timeout)?
}

async fn connect(address: &ConnectionAddr) -> Result<Box<dyn Stream>, RedisError> {
    match address {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(tcp(host, *port).await?)),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let connector = TlsConnector::from(Arc::new(tls().await?));
            let name = ServerName::try_from(host.clone()).map_err(|error| RedisError::Tls(error.to_string()))?;
            let stream = connector.connect(name, tcp(host, *port).await?).await;
            Ok(Box::new(stream.map_err(|error| match error.get_ref() {
                Some(inner) if inner.is::<rustls::Error>() => RedisError::Tls(error.to_string()),
                _ => unreachable(&error),
            })?))
        }
        ConnectionAddr::Unix(path) => {
            Ok(Box::new(UnixStream::connect(path).await.map_err(|error| unreachable(&error))?))
        }
        _ => Err(RedisError::Other("an unknown kind of address".to_owned())),
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, RedisError> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| unreachable(&error))?;
    stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
    Ok(stream)
}

/// Trusts the system's roots, or those in the file that SSL_CERT_FILE names, as they are now.
async fn tls() -> Result<ClientConfig, RedisError> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let loaded = loaded.map_err(|error| RedisError::Tls(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

pub(super) fn unreachable(error: &io::Error) -> RedisError {
    RedisError::Unreachable(error.to_string())
}
