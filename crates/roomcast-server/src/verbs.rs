//! What one can say of a whole namespace, as in Node: to the server itself (of its main namespace) and to a [`Namespace`]. Both are written
//! from this one description; each verb begins a [`BroadcastOperator`].

use crate::error::EmitError;
use crate::io::SocketIo;
use crate::operator::BroadcastOperator;
use crate::parts::{Namespace, Socket};
use crate::remote::RemoteSocket;
use crate::rooms::Rooms;
use roomcast_adapter::{Acked, Answer};
use roomcast_protocol::ToArgs;
use std::time::Duration;

macro_rules! verbs {
    ($type:ty, $of:literal) => {
        /// Verbs. Those that choose return a [`BroadcastOperator`].
        impl $type {
            #[doc = concat!("Chooses the sockets of a room or rooms", $of, ". An empty list is nobody.")]
            pub fn to(&self, rooms: impl Rooms) -> BroadcastOperator {
                self.everyone().to(rooms)
            }

            #[doc = concat!("Chooses all sockets", $of, " except those in the room or rooms.")]
            pub fn except(&self, rooms: impl Rooms) -> BroadcastOperator {
                self.everyone().except(rooms)
            }

            #[doc = concat!("Chooses all sockets", $of, " on this server.")]
            pub fn local(&self) -> BroadcastOperator {
                self.everyone().local()
            }

            #[doc = concat!("Chooses all sockets", $of, "; what is emitted is dropped for those whose transport cannot take it at once.")]
            pub fn volatile(&self) -> BroadcastOperator {
                self.everyone().volatile()
            }

            #[doc = concat!("Chooses all sockets", $of, ", and says whether what is emitted may be compressed.")]
            pub fn compress(&self, compress: bool) -> BroadcastOperator {
                self.everyone().compress(compress)
            }

            #[doc = concat!("Chooses all sockets", $of, ", and says how long to wait for answers.")]
            pub fn timeout(&self, timeout: Duration) -> BroadcastOperator {
                self.everyone().timeout(timeout)
            }

            #[doc = concat!("Emits an event to all sockets", $of, ". Never waits.")]
            ///
            /// # Errors
            /// [`EmitError`]: nothing was sent.
            pub fn emit(&self, event: &str, data: impl ToArgs) -> Result<(), EmitError> {
                self.everyone().emit(event, data)
            }

            #[doc = concat!("Emits the event \"message\" to all sockets", $of, ", as Node's `send`.")]
            ///
            /// # Errors
            /// [`EmitError`]: nothing was sent.
            pub fn send(&self, data: impl ToArgs) -> Result<(), EmitError> {
                self.everyone().send(data)
            }

            #[doc = concat!("Emits an event to all sockets", $of, " and collects the answers: [`BroadcastOperator::emit_with_ack`].")]
            ///
            /// # Errors
            /// [`EmitError`]: nothing was sent.
            pub async fn emit_with_ack(&self, event: &str, data: impl ToArgs) -> Result<Acked, EmitError> {
                self.everyone().emit_with_ack(event, data).await
            }

            #[doc = concat!("All sockets", $of, ", of all servers: [`BroadcastOperator::fetch_sockets`].")]
            pub async fn fetch_sockets(&self) -> Answer<Vec<RemoteSocket>> {
                self.everyone().fetch_sockets().await
            }

            #[doc = concat!("Number of sockets", $of, ", on all servers: [`BroadcastOperator::count`].")]
            pub async fn count(&self) -> Answer<usize> {
                self.everyone().count().await
            }

            #[doc = concat!("The sockets", $of, " on this server, in no particular order, as Node's map `sockets`.")]
            pub fn local_sockets(&self) -> Vec<Socket> {
                self.everyone().local_sockets()
            }

            #[doc = concat!("The socket of that id", $of, ", if it is on this server, as Node's `sockets.get(id)`.")]
            pub fn socket(&self, id: &str) -> Option<Socket> {
                self.everyone().only(id).local_sockets().pop()
            }

            #[doc = concat!("Makes all sockets", $of, " join rooms, on all servers.")]
            ///
            /// # Errors
            /// [`EmitError::Adapter`]: the adapter refused.
            pub fn sockets_join(&self, rooms: impl Rooms) -> Result<(), EmitError> {
                self.everyone().sockets_join(rooms)
            }

            #[doc = concat!("Makes all sockets", $of, " leave rooms, on all servers.")]
            ///
            /// # Errors
            /// [`EmitError::Adapter`]: the adapter refused.
            pub fn sockets_leave(&self, rooms: impl Rooms) -> Result<(), EmitError> {
                self.everyone().sockets_leave(rooms)
            }

            #[doc = concat!("Disconnects all sockets", $of, ", on all servers; with `close` their clients' whole connections.")]
            ///
            /// # Errors
            /// [`EmitError::Adapter`]: the adapter refused.
            pub fn disconnect_sockets(&self, close: bool) -> Result<(), EmitError> {
                self.everyone().disconnect_sockets(close)
            }
        }
    };
}

verbs!(Namespace, "");
verbs!(SocketIo, " of the main namespace");
