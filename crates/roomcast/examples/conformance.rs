//! The conformance server: one program through which a client in any language can drive everything the library can do. Its
//! twin on the npm packages is `e2e/reference-server.mjs`; the same scripts run against both.
//!
//! Environment: `HOST`, `PORT`, `ADAPTER`, `PING_INTERVAL_MS`, `PING_TIMEOUT_MS`, `CONNECT_TIMEOUT_MS`,
//! `REDIS_URL`, `UPGRADE_TIMEOUT_MS`, `MAX_PAYLOAD`, `CORS_ORIGIN`, `RECOVERY_MS`, `PARSER`, `SERVER_NAME`.

use bytes::Bytes;
use roomcast_adapter::cluster::{Cluster, ClusterOptions};
use roomcast_redis::{ClassicBroker, ClassicOptions};
use roomcast_server::{
    Ack, Answer, Args, BroadcastOperator, ConnectError, Cors, Missing, Namespace, RemoteSocket, ServerAck, Socket,
    SocketIo,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::env::var;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The events of the contract, for a namespace or a pattern of them.
macro_rules! on_each {
    ($namespace:expr, $server:expr) => {{
        let server = $server.clone();
        $namespace
            .on("message", |socket: Socket, args: Args| async move { socket.emit("message-back", &args) })
            .on("message-with-ack", |_: Socket, args: Args, ack: Ack| async move { ack.send(&args) })
            .on("echo", |_: Socket, args: Args, ack: Ack| async move { ack.send(&args) })
            .on("join", |socket: Socket, room: String, ack: Ack| async move {
                socket.join(&room)?.await;
                Outcome::Ok(ack.send(&())?)
            })
            .on("leave", |socket: Socket, room: String, ack: Ack| async move {
                socket.leave(&room);
                ack.send(&())
            })
            .on("pub", |socket: Socket, args: Args| async move {
                let room: String = args.parse()?;
                Outcome::Ok(socket.namespace().to(room).emit("msg", &args.skip(1))?)
            })
            .on("set-data", |socket: Socket, data: Box<RawValue>, ack: Ack| async move {
                socket.set_data(&data)?;
                Outcome::Ok(ack.send(&())?)
            })
            .on("call", |socket: Socket, request: Args, ack: Ack| async move {
                let reply = match call(&socket, &request).await {
                    Ok(Some(reply)) => reply,
                    Ok(None) => return Ok(()),
                    Err(error) => Reply { json: json!({"error": error.to_string()}).to_string(), attachments: vec![] },
                };
                ack.send(&reply.into_args())
            })
            .on_any_server_event(server_event($server.clone()))
            .on("whoami", move |socket: Socket, (): (), ack: Ack| {
                let server = server.clone();
                async move {
                    let rooms = socket.rooms();
                    ack.send(&json!({
                        "server": *server,
                        "id": socket.id(),
                        "recovered": false,
                        "transport": socket.transport().as_str(),
                        "rooms": rooms,
                    }))
                }
            });
    }};
}
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    for (name, supported) in [("PARSER", "default"), ("RECOVERY_MS", "0")] {
        let asked = setting(name, supported);
        if asked != supported {
            return Err(format!("{name}={asked} is not offered yet, only {supported}").into());
        }
    }
    let name = setting("SERVER_NAME", &format!("roomcast-{}", std::process::id()));
    let mut builder = SocketIo::builder()
        .ping_interval(milliseconds("PING_INTERVAL_MS", 25_000)?)
        .ping_timeout(milliseconds("PING_TIMEOUT_MS", 20_000)?)
        .connect_timeout(milliseconds("CONNECT_TIMEOUT_MS", 45_000)?)
        .upgrade_timeout(milliseconds("UPGRADE_TIMEOUT_MS", 10_000)?)
        .max_payload(setting("MAX_PAYLOAD", "1000000").parse()?);
    if let Ok(origins) = var("CORS_ORIGIN") {
        builder = builder.cors(Cors::origins(origins.split(','))?);
    }
    match &*setting("ADAPTER", "memory") {
        "memory" => {}
        "classic" => {
            let url = var("REDIS_URL").map_err(|_| "ADAPTER=classic needs REDIS_URL")?;
            let broker = ClassicBroker::new(url.parse()?, ClassicOptions::default());
            builder = builder.adapter_factory(Cluster::new(broker, ClusterOptions::default()).factory());
        }
        other => return Err(format!("ADAPTER={other} is not offered yet, only memory and classic").into()),
    }
    let io = builder.build();
    let server = Arc::new(name);

    on_each!(io.of("/"), server);
    io.of("/").on_connection(|socket: Socket| async move { socket.emit("auth", &auth(&socket)) });
    io.of("/custom").on_connection(|socket: Socket| async move { socket.emit("auth", &auth(&socket)) });
    io.of("/guarded").middleware(|socket: Socket| async move {
        let auth: Value = socket.auth().unwrap_or_default();
        if auth["token"] == "secret" {
            Ok(())
        } else {
            Err(ConnectError::new("not authorized").with_data(&json!({"code": 401})))
        }
    });
    on_each!(io.of("/guarded"), server);
    let dynamic = io.of_matching(|name| {
        name.strip_prefix("/dyn-")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    });
    on_each!(dynamic, server);

    let host = setting("HOST", "127.0.0.1");
    let port = setting("PORT", "3000");
    let listener = roomcast_server::engine::bind(format!("{host}:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    io.serve(listener, stop).await?;
    Ok(())
}

fn setting(name: &str, default: &str) -> String {
    var(name).unwrap_or_else(|_| default.to_owned())
}

fn milliseconds(name: &str, default: u64) -> Result<Duration, Box<dyn Error>> {
    Ok(Duration::from_millis(var(name).map_or(Ok(default), |text| text.parse())?))
}

/// The auth payload, or an empty object.
fn auth(socket: &Socket) -> Box<RawValue> {
    socket.auth().unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Another server's event: answered with this server's name, or passed on to this server's own sockets.
fn server_event(
    server: Arc<String>,
) -> impl Fn(Namespace, Args, ServerAck) -> std::future::Ready<Outcome<()>> + Send + Sync + 'static {
    move |namespace, args, ack| {
        let passed_on = || {
            if ack.is_wanted() {
                return Ok(ack.send(&*server)?);
            }
            let name = Args::of(&*server)?;
            let items = format!("{},{}", name.items(), args.items());
            let args = Args::from_parts(items.into(), args.attachments().to_vec());
            Ok(namespace.local().emit("server-event", &args)?)
        };
        std::future::ready(passed_on())
    }
}

/// One server-side call, as a client asks for it.
#[derive(Deserialize)]
struct Request {
    r#do: String,
    #[serde(default)]
    target: TargetRequest,
    #[serde(default)]
    event: String,
    #[serde(default)]
    args: Option<Box<RawValue>>,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    close: bool,
    timeout: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TargetRequest {
    rooms: Vec<String>,
    except: Vec<String>,
    local: bool,
    volatile: bool,
    compress: Option<bool>,
    broadcast: bool,
    timeout: Option<u64>,
}

impl TargetRequest {
    fn operator(&self, socket: &Socket) -> BroadcastOperator {
        let all = if self.broadcast { socket.broadcast() } else { socket.namespace().everyone() };
        let mut operator = all.to(&self.rooms[..]).except(&self.except[..]).compress(self.compress.unwrap_or(true));
        if self.local {
            operator = operator.local();
        }
        if self.volatile {
            operator = operator.volatile();
        }
        if let Some(timeout) = self.timeout {
            operator = operator.timeout(Duration::from_millis(timeout));
        }
        operator
    }
}

/// What a call comes to: JSON, with attachments that it refers to.
#[derive(Default)]
struct Reply {
    json: String,
    attachments: Vec<Bytes>,
}

impl Reply {
    fn ok(value: impl Serialize) -> Outcome<Self> {
        Ok(Self { json: serde_json::to_string(&json!({"ok": value}))?, attachments: Vec::new() })
    }

    /// An answer that other servers had a part in; `missing` tells of those that were silent.
    fn partial(value: impl Serialize, missing: &Missing) -> Outcome<Self> {
        if missing.is_empty() {
            return Self::ok(value);
        }
        let missing = json!({"names": missing.names, "others": missing.others});
        Ok(Self { json: json!({"ok": value, "missing": missing}).to_string(), attachments: Vec::new() })
    }

    /// The first arguments of acknowledgements as an array, their attachments numbered anew.
    fn answers(answers: &[Args]) -> Outcome<Self> {
        let mut reply = Self::default();
        let mut values = Vec::new();
        for answer in answers {
            values.push(reply.first(answer)?);
        }
        reply.json = Value::from(values).to_string();
        Ok(reply)
    }

    fn first(&mut self, answer: &Args) -> Outcome<Value> {
        let mut value = answer.as_ref().iter().next().map_or(Ok(Value::Null), serde_json::from_str)?;
        renumber(&mut value, self.attachments.len());
        self.attachments.extend_from_slice(answer.attachments());
        Ok(value)
    }

    fn wrap(self, key: &str, error: Option<&str>) -> Self {
        let error = error.map_or(String::new(), |error| format!("\"error\":{},", Value::from(error)));
        Self { json: format!("{{{error}\"{key}\":{}}}", self.json), attachments: self.attachments }
    }

    fn into_args(self) -> Args {
        Args::from_parts(self.json.into(), self.attachments)
    }
}

/// Adds `by` to the numbers of all placeholders.
fn renumber(value: &mut Value, by: usize) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| renumber(item, by)),
        Value::Object(members) if members.get("_placeholder") == Some(&Value::Bool(true)) => {
            let number = members.get("num").and_then(Value::as_u64).unwrap_or_default();
            members.insert("num".to_owned(), json!(number + by as u64));
        }
        Value::Object(members) => members.values_mut().for_each(|member| renumber(member, by)),
        _ => {}
    }
}

async fn call(socket: &Socket, request: &Args) -> Outcome<Option<Reply>> {
    let attachments = request.attachments().to_vec();
    let request: Request = request.parse()?;
    let target = request.target.operator(socket);
    let namespace = socket.namespace();
    let text = request.args.as_deref().map_or("[]", RawValue::get).trim();
    let items = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).ok_or("args must be an array")?;
    let args = Args::from_parts(items.trim().into(), attachments);
    let reply = match &*request.r#do {
        "emit" => {
            target.emit(&request.event, &args)?;
            Reply::ok(true)?
        }
        "emit-with-ack" => {
            let acked = target.emit_with_ack(&request.event, &args).await?;
            let answers = Reply::answers(&acked.answers)?;
            if acked.missing_sockets > 0 || !acked.missing.is_empty() {
                answers.wrap("answers", Some("operation has timed out"))
            } else {
                answers.wrap("ok", None)
            }
        }
        "socket-emit-with-ack" => {
            let timeout = Duration::from_millis(request.timeout.ok_or("timeout is missing")?);
            let answer = socket.emit_with_ack_within(timeout, &request.event, &args).await?;
            let mut reply = Reply::default();
            reply.json = reply.first(&answer)?.to_string();
            reply.wrap("ok", None)
        }
        "fetch-sockets" => {
            let found = target.fetch_sockets().await;
            let describe = |remote: &RemoteSocket| -> Outcome<Value> {
                let mut rooms: Vec<&str> = remote.rooms().iter().map(|room| &**room).collect();
                rooms.sort_unstable();
                let handshake: Value = serde_json::from_str(remote.handshake_json())?;
                Ok(json!({
                    "id": remote.id(),
                    "rooms": rooms,
                    "data": remote.data::<Value>()?,
                    "handshake": {"auth": handshake["auth"]},
                }))
            };
            let mut sockets = found.value.iter().map(describe).collect::<Outcome<Vec<Value>>>()?;
            sockets.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
            Reply::partial(sockets, &found.missing)?
        }
        "count" => {
            let count = target.count().await;
            Reply::partial(count.value, &count.missing)?
        }
        "sockets-join" => {
            target.sockets_join(request.rooms)?;
            Reply::ok(true)?
        }
        "sockets-leave" => {
            target.sockets_leave(request.rooms)?;
            Reply::ok(true)?
        }
        "disconnect-sockets" => {
            target.disconnect_sockets(request.close)?;
            Reply::ok(true)?
        }
        "server-side-emit" => {
            namespace.server_side_emit(&request.event, &args)?;
            Reply::ok(true)?
        }
        "server-side-emit-with-ack" => {
            let answer = namespace.server_side_emit_with_ack(&request.event, &args).await?;
            if answer.is_complete() {
                Reply::answers(&answer.value)?.wrap("ok", None)
            } else {
                Reply::answers(&answer.value)?.wrap("answers", Some("timeout reached"))
            }
        }
        "all-rooms" => {
            let Answer { value, missing } = namespace.all_rooms().await;
            let mut rooms: Vec<&str> = value.iter().map(|room| &**room).collect();
            // JavaScript sorts by UTF-16 units.
            rooms.sort_by_cached_key(|room| room.encode_utf16().collect::<Vec<_>>());
            Reply::partial(rooms, &missing)?
        }
        "server-count" => Reply::ok(namespace.server_count().await.value)?,
        "disconnect-self" => {
            socket.disconnect(request.close);
            return Ok(None);
        }
        unknown => return Err(format!("unknown call {unknown}").into()),
    };
    Ok(Some(reply))
}
