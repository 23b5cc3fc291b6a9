//! Emits to the clients of a cluster from a program that is not a server. It reads one request per line from standard
//! input, as JSON.
//!
//! ```text
//! echo '{"do": "emit", "namespace": "/", "rooms": ["lobby"], "event": "news", "args": ["hello", {"$bytes": [1, 2]}]}' |
//!     cargo run -p roomcast-redis --example emitter -- redis://127.0.0.1
//! ```
//!
//! `do` is `emit`, `sockets-join` or `sockets-leave` (with `names`), `disconnect-sockets` (with `close`) or
//! `server-side-emit`; `rooms`, `except`, `volatile` and `compress` choose the sockets and the flags. It prints `ready`
//! when Redis answers. A second argument, `sharded-static`, `sharded-dynamic` or `sharded-dynamic-private`, chooses the
//! sharded dialect in that mode.

use roomcast_adapter::Room;
use roomcast_adapter::cluster::Emitter;
use roomcast_protocol::{Args, ArgsWriter, ToArgs, ToArgsError};
use roomcast_redis::{ClassicBroker, ClassicOptions, ShardedBroker, ShardedMode, ShardedOptions};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::error::Error;
use std::io::BufRead;

#[derive(Deserialize)]
struct Request {
    r#do: String,
    namespace: Option<String>,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    volatile: bool,
    compress: Option<bool>,
    #[serde(default)]
    event: String,
    #[serde(default)]
    args: Vec<Value>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    close: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1".to_owned());
    let emitter = match std::env::args().nth(2).as_deref() {
        None | Some("classic") => {
            let broker = ClassicBroker::new(url.parse()?, ClassicOptions::default());
            broker.check().await?;
            Emitter::new(broker)
        }
        Some(dialect) => {
            let mut options = ShardedOptions::default();
            options.mode = match dialect {
                "sharded-static" => ShardedMode::Static,
                "sharded-dynamic" => ShardedMode::Dynamic,
                "sharded-dynamic-private" => ShardedMode::DynamicPrivate,
                other => return Err(format!("unknown dialect {other}").into()),
            };
            let broker = ShardedBroker::new(url.parse()?, options);
            broker.check().await?;
            Emitter::new(broker)
        }
    };
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        send(&emitter, serde_json::from_str(&line?)?).await?;
    }
    Ok(())
}

async fn send(emitter: &Emitter, request: Request) -> Result<(), Box<dyn Error>> {
    let mut emitter = emitter.clone().of(request.namespace.as_deref().unwrap_or("/"));
    for room in &request.rooms {
        emitter = emitter.to(room);
    }
    for room in &request.except {
        emitter = emitter.except(room);
    }
    if request.volatile {
        emitter = emitter.volatile();
    }
    emitter = emitter.compress(request.compress.unwrap_or(true));
    let names: Vec<Room> = request.names.iter().map(Room::from).collect();
    let args = Args::of(&Several(&request.args))?;
    match &*request.r#do {
        "emit" => emitter.emit(&request.event, &args).await?,
        "sockets-join" => emitter.sockets_join(&names).await?,
        "sockets-leave" => emitter.sockets_leave(&names).await?,
        "disconnect-sockets" => emitter.disconnect_sockets(request.close).await?,
        "server-side-emit" => emitter.server_side_emit(&request.event, &args).await?,
        other => return Err(format!("unknown request {other}").into()),
    }
    Ok(())
}

/// The arguments of an event.
struct Several<'a>(&'a [Value]);

impl ToArgs for Several<'_> {
    fn to_args(&self, writer: &mut ArgsWriter) -> Result<(), ToArgsError> {
        self.0.iter().try_for_each(|value| writer.push_value(&Argument(value)))
    }
}

/// A value in which `{"$bytes": [..]}` stands for bytes.
struct Argument<'a>(&'a Value);

impl Serialize for Argument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Argument)),
            Value::Object(members) => {
                if let Some(Value::Array(bytes)) = members.get("$bytes") {
                    let bytes: Vec<u8> = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
                    return serializer.serialize_bytes(&bytes);
                }
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(key, value)| map.serialize_entry(key, &Argument(value)))?;
                map.end()
            }
            other => other.serialize(serializer),
        }
    }
}
