//! [`Entrance`]: what comes before HTTP on an accepted connection: the rate of its address, the PROXY protocol, and the
//! TLS handshake.

use crate::http::address_rates::AddressRates;
use crate::http::lately::Lately;
use crate::http::proxy_header::{Malformed, Progress, ProxyHeader, line_part};
use crate::http::server_stream::ServerStream;
#[cfg(feature = "tls")]
use crate::http::tls::{Certificates, TlsTcpStream};
use crate::http::trusted_proxies::TrustedProxies;
use crate::limits::{PROXY_HEADER_BYTES, REFUSAL_TIMEOUT, REFUSALS, REFUSED_ADDRESSES, REFUSED_ADDRESSES_TIME};
use crate::rates::rate::Rate;
use crate::transport::writer::send;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// What a listener asks of each connection before HTTP begins.
#[derive(Debug)]
pub(crate) struct Entrance {
    proxies: TrustedProxies,
    proxy_protocol: bool,
    rates: Option<AddressRates>,
    /// The peers about whose missing PROXY protocol a line was logged lately.
    logged: Lately<IpAddr>,
    /// Places for refused connections that are given a moment to read why.
    refusals: Arc<Semaphore>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<Certificates>>,
}

/// Why a connection is answered and closed before its first request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refusal {
    /// As many as allowed are open.
    Full,
    /// Its address has opened too many lately.
    RateLimited { retry_after: u32 },
}

/// Why a connection has no PROXY header.
#[derive(Debug, Clone, Copy)]
enum NoHeader {
    /// The peer has left.
    Left,
    Malformed,
}

impl Entrance {
    pub(crate) fn new(proxies: TrustedProxies, proxy_protocol: bool, rate: Option<Rate>) -> Self {
        Self {
            proxies,
            proxy_protocol,
            rates: rate.map(|rate| AddressRates::new(rate, "connections_per_address")),
            logged: Lately::new(REFUSED_ADDRESSES, REFUSED_ADDRESSES_TIME),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(self, certificates: Arc<Certificates>) -> Self {
        Self { tls: Some(certificates), ..self }
    }

    fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        let has = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let has = false;
        has
    }

    /// Whether HTTP begins with the connection's first byte.
    pub(crate) fn is_open(&self) -> bool {
        !self.proxy_protocol && !self.has_tls()
    }

    /// Whether a connection that was just accepted may go on. If not, it is answered and closed.
    pub(crate) fn admit(&self, stream: TcpStream, peer: SocketAddr) -> Option<TcpStream> {
        if !self.proxy_protocol {
            return self.count(stream, peer.ip());
        }
        if self.proxies.contains(peer.ip()) {
            return Some(stream);
        }
        refuse_header("untrusted");
        if self.logged.is_new(peer.ip(), Instant::now()) {
            tracing::warn!(
                address = %peer.ip(),
                "a connection is closed, as only trusted proxies may speak the PROXY protocol. If this is a proxy of yours, add it to the trusted proxies; clients must connect to the proxy"
            );
        }
        None
    }

    /// Counts a connection against the rate of its address.
    fn count(&self, stream: TcpStream, client: IpAddr) -> Option<TcpStream> {
        let Some(rates) = &self.rates else { return Some(stream) };
        // All clients come from there.
        if self.proxies.contains(client) {
            return Some(stream);
        }
        match rates.take(client, Instant::now()) {
            Ok(()) => Some(stream),
            Err(retry_after) => {
                self.refuse(stream, Refusal::RateLimited { retry_after });
                None
            }
        }
    }

    /// Reads what comes before HTTP, until the deadline. Returns `None` if the connection is over; it is counted then.
    pub(crate) async fn enter(
        &self,
        mut stream: TcpStream,
        mut peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> Option<(ServerStream, SocketAddr)> {
        if self.proxy_protocol {
            let header = timeout_at(deadline, read_header(&mut stream)).await;
            if let ProxyHeader::Client(client) = self.judge(header.ok(), peer)? {
                peer = client;
            }
            stream = self.count(stream, peer.ip())?;
        }
        #[cfg(feature = "tls")]
        if let Some(certificates) = &self.tls {
            let stream = shake_hands(certificates, stream, peer, deadline).await?;
            return Some((ServerStream::tls(stream, permit), peer));
        }
        Some((ServerStream::tcp(stream, permit), peer))
    }

    /// Counts and logs why there is no header. `None` stands for the deadline.
    fn judge(&self, header: Option<Result<ProxyHeader, NoHeader>>, peer: SocketAddr) -> Option<ProxyHeader> {
        let why = match header {
            Some(Ok(header)) => return Some(header),
            // A health check that only connects.
            Some(Err(NoHeader::Left)) => return None,
            Some(Err(NoHeader::Malformed)) => "malformed",
            None => "late",
        };
        refuse_header(why);
        if self.logged.is_new(peer.ip(), Instant::now()) {
            tracing::warn!(
                address = %peer.ip(),
                why,
                "a trusted proxy does not begin its connections with the PROXY protocol, and they are closed: switch it on in the proxy (`send-proxy-v2` in HAProxy, also `check-send-proxy`; `proxy_protocol on` in a stream of nginx), or off in this server"
            );
        }
        None
    }

    /// Answers a connection, and gives it a moment to read that. If it were closed while bytes of its request are unread,
    /// the kernel would reset it, and the reset may overtake the answer. A client of TLS could not read the answer.
    pub(crate) fn refuse(&self, mut stream: TcpStream, refusal: Refusal) {
        let answer = match refusal {
            Refusal::Full => {
                metrics::counter!("roomcast_connections_refused_total").increment(1);
                "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
                    .to_owned()
            }
            Refusal::RateLimited { retry_after } => {
                metrics::counter!("roomcast_connections_rate_limited_total").increment(1);
                format!(
                    "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n"
                )
            }
        };
        if self.has_tls() {
            return;
        }
        // A new connection takes these few bytes at once, or the client is gone.
        let _ = send(&stream, answer.as_bytes());
        let Ok(place) = self.refusals.clone().try_acquire_owned() else { return };
        tokio::spawn(async move {
            let goodbye = async {
                stream.shutdown().await?;
                let mut buffer = [0; 512];
                while stream.read(&mut buffer).await? > 0 {}
                io::Result::Ok(())
            };
            let _ = timeout(REFUSAL_TIMEOUT, goodbye).await;
            drop(place);
        });
    }
}

fn refuse_header(why: &'static str) {
    metrics::counter!("roomcast_proxy_headers_refused_total", "why" => why).increment(1);
}

/// Reads a header of the PROXY protocol, and no byte behind it.
async fn read_header(stream: &mut TcpStream) -> Result<ProxyHeader, NoHeader> {
    let mut bytes = Vec::with_capacity(64);
    loop {
        let more = match ProxyHeader::read(&bytes) {
            Ok(Progress::Done(header)) => return Ok(header),
            Ok(Progress::Needs(more)) => more,
            Ok(Progress::NeedsLine(most)) => {
                let mut ahead = [0; 128];
                let peeked = stream.peek(&mut ahead).await.map_err(|_| NoHeader::Left)?;
                line_part(ahead.get(..peeked).unwrap_or_default(), most)
            }
            Err(Malformed) => return Err(NoHeader::Malformed),
        };
        debug_assert!(bytes.len() + more <= PROXY_HEADER_BYTES);
        match stream.take(more as u64).read_buf(&mut bytes).await {
            Ok(0) if !bytes.is_empty() => return Err(NoHeader::Malformed),
            Ok(0) | Err(_) => return Err(NoHeader::Left),
            Ok(_) => {}
        }
    }
}

#[cfg(feature = "tls")]
async fn shake_hands(
    certificates: &Certificates,
    stream: TcpStream,
    peer: SocketAddr,
    deadline: Instant,
) -> Option<TlsTcpStream> {
    let shaken = timeout_at(deadline, async {
        // A connection without a byte is a health check, and no failure.
        if matches!(stream.peek(&mut [0]).await, Ok(0)) {
            return None;
        }
        Some(certificates.accept(stream).await)
    });
    let error = match shaken.await {
        Ok(Some(Ok(stream))) => return Some(stream),
        Ok(Some(Err(error))) => error,
        Ok(None) => return None,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    metrics::counter!("roomcast_tls_handshakes_failed_total").increment(1);
    tracing::debug!(%peer, %error, "a TLS handshake failed");
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// At the limit a refused connection is given its moment; one past it is answered and closed at once.
    #[tokio::test]
    async fn refusals_at_their_limit_and_one_past_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut entrance = Entrance::new(TrustedProxies::none(), false, None);
        entrance.refusals = Arc::new(Semaphore::new(1));
        let mut clients = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (stream, _) = listener.accept().await.unwrap();
            entrance.refuse(stream, Refusal::Full);
            assert_eq!(entrance.refusals.available_permits(), 0);
        }
        for client in &mut clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        }
        // The first goes when its client does.
        drop(clients);
        drop(entrance.refusals.acquire().await.unwrap());
    }
}
