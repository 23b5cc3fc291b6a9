//! [`Cable`]: a TCP connection that a test can cut.

use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A cable that can be cut. While it is cut, connections are accepted and closed at once.
#[derive(Clone)]
pub(crate) struct Cable(Arc<watch::Sender<bool>>);

impl Cable {
    /// Forwards connections to `to`. Returns the address to connect to instead.
    pub(crate) async fn new(to: SocketAddr, tasks: &mut JoinSet<()>) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cable = Self(Arc::new(watch::Sender::new(false)));
        let state = cable.0.clone();
        tasks.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                // As long as this receiver lives, the connection does.
                let mut cut = state.subscribe();
                passing.spawn(async move {
                    let pass = async {
                        let mut other = TcpStream::connect(to).await?;
                        copy_bidirectional(&mut stream, &mut other).await
                    };
                    tokio::select! {
                        _ = pass => {}
                        _ = cut.wait_for(|cut| *cut) => {}
                    }
                });
                while passing.try_join_next().is_some() {}
            }
        });
        (cable, address)
    }

    /// Cuts it and returns when no connection is left, or mends it.
    pub(crate) async fn cut(self, cut: bool) {
        self.0.send_replace(cut);
        if cut {
            self.0.closed().await;
        }
    }
}
