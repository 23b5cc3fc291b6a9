//! [`open`]: a connection to a Redis server as a stream of bytes.

use crate::config::RedisConfig;
use crate::error::RedisError;
use redis::ConnectionAddr;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects, over TLS if the address says so.
pub(super) async fn open(address: &ConnectionAddr, config: &RedisConfig) -> Result<Box<dyn Stream>, RedisError> {
    match address {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(tcp(host, *port).await?)),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let connector = TlsConnector::from(Arc::new(config.tls_client().await?));
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
        _ => Err(RedisError::Other("this kind of address is not supported".to_owned())),
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, RedisError> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| unreachable(&error))?;
    stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
    Ok(stream)
}

pub(super) fn unreachable(error: &io::Error) -> RedisError {
    RedisError::Unreachable(error.to_string())
}
