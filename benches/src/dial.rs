//! [`dial`]: opens connections from several addresses and with small buffers, which `std` cannot do.

use crate::wire::STEP_TIMEOUT;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

/// Connections from one address. The system has about 28,000 ports for each address.
const FROM_ONE_ADDRESS: usize = 20_000;

/// Size of a TCP segment on the internet, in bytes. With the 64 KiB of loopback the kernel would keep megabytes for a client that does not
/// read.
const SEGMENT: u32 = 1_460;

/// Connects over loopback. The number of the connection selects its source address. `receive` is the size in bytes of the kernel's receive
/// buffer, which the kernel doubles; with it, segments have the size that they have on the internet.
///
/// # Errors
/// The server does not accept the connection.
pub fn dial(server: SocketAddr, number: usize, receive: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if let Some(bytes) = receive {
        // Before connecting, because a window that was offered cannot be made smaller.
        socket.set_recv_buffer_size(bytes)?;
        socket.set_tcp_mss(SEGMENT)?;
    }
    let host = u8::try_from(1 + number / FROM_ONE_ADDRESS).map_err(io::Error::other)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)).into())?;
    socket.connect_timeout(&server.into(), STEP_TIMEOUT)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::net::TcpListener;

    #[test]
    fn addresses_and_buffers() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = listener.local_addr().unwrap();
        for (number, host) in [(0, 1), (FROM_ONE_ADDRESS - 1, 1), (FROM_ONE_ADDRESS, 2)] {
            let stream = dial(server, number, Some(4_096)).unwrap();
            assert_eq!(stream.local_addr().unwrap().ip(), Ipv4Addr::new(127, 0, 0, host));
            assert_eq!(SockRef::from(&stream).recv_buffer_size().unwrap(), 8_192);
        }
    }
}
