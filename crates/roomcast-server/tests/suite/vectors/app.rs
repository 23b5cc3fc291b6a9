//! The application of the recorded servers, and the log of what it sees.

use crate::common::Server;
use bytes::Bytes;
use parking_lot::Mutex;
use roomcast_protocol::ByteStr;
use roomcast_server::engine::EngineConfig;
use roomcast_server::{Ack, Args, Builder, ConnectError, Cookie, Cors, DisconnectReason, Socket, SocketIo, Transport};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What happened on the server, as `[kind, namespace, …]`, with ids replaced by `sock1---------------` and so on.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    ids: Vec<String>,
    log: Vec<Value>,
}

impl Seen {
    fn push(&self, entry: Value) {
        let mut entries = self.0.lock();
        if entry[0] == "connection" {
            entries.ids.push(entry[2].as_str().unwrap().to_owned());
        }
        entries.log.push(entry);
    }

    pub(crate) fn log(&self) -> Vec<Value> {
        let log = self.0.lock().log.clone();
        log.into_iter().map(|entry| self.labelled(&entry)).collect()
    }

    /// The value with socket ids replaced by labels.
    pub(crate) fn labelled(&self, value: &Value) -> Value {
        let mut text = value.to_string();
        for (index, id) in self.0.lock().ids.iter().enumerate() {
            text = text.replace(id, &label(index + 1));
        }
        serde_json::from_str(&text).unwrap()
    }
}

pub(crate) fn label(number: usize) -> String {
    format!("{:-<20}", format!("sock{number}"))
}

/// A server with the options and the application with which a vector was recorded.
pub(crate) async fn server(name: &str, options: &Value, seen: &Seen) -> Server {
    Server::with(|builder| configured(builder, name, options), |io| app(io, seen)).await
}

fn configured(mut builder: Builder, name: &str, options: &Value) -> Builder {
    let milliseconds = |value: &Value| Duration::from_millis(value.as_u64().unwrap());
    for (option, value) in options.as_object().unwrap() {
        builder = match &**option {
            "pingInterval" => builder.ping_interval(milliseconds(value)),
            "pingTimeout" => builder.ping_timeout(milliseconds(value)),
            "upgradeTimeout" => builder.upgrade_timeout(milliseconds(value)),
            "connectTimeout" => builder.connect_timeout(milliseconds(value)),
            "maxHttpBufferSize" => builder.max_payload(value.as_u64().unwrap().try_into().unwrap()),
            "allowUpgrades" => builder.allow_upgrades(value.as_bool().unwrap()),
            "transports" => {
                builder.transports(value.as_array().unwrap().iter().filter_map(transport).collect::<Vec<_>>())
            }
            "addTrailingSlash" => builder.path("/socket.io"),
            "cookie" => builder.cookie(cookie(value)),
            "cors" => builder.cors(cors(value)),
            "allowRequest" => allow_request(builder, name),
            // There is no compression that could be switched off.
            "httpCompression" if *value == json!(false) => builder,
            _ => panic!("unknown option {option}"),
        };
    }
    builder.engine(|config| special(config, name))
}

fn special(config: &mut EngineConfig, name: &str) {
    match name {
        "generateId throws" => {
            config.generate_id = Some(Arc::new(|_| "no id".parse::<roomcast_protocol::Sid>()));
        }
        "custom headers through initial_headers/headers events" => {
            config.headers = Some(Arc::new(|_, headers, initial| {
                if initial {
                    headers.insert("x-initial", http::HeaderValue::from_static("1"));
                }
                headers.insert("x-every", http::HeaderValue::from_static("1"));
            }));
        }
        _ => {}
    }
}

fn transport(name: &Value) -> Option<Transport> {
    match name.as_str().unwrap() {
        "polling" => Some(Transport::Polling),
        "websocket" => Some(Transport::WebSocket),
        _ => None,
    }
}

fn cookie(options: &Value) -> Cookie {
    let mut cookie = Cookie::default();
    let Some(options) = options.as_object() else { return cookie };
    for (option, value) in options {
        match &**option {
            "name" => value.as_str().unwrap().clone_into(&mut cookie.name),
            "path" => value.as_str().unwrap().clone_into(&mut cookie.path),
            "httpOnly" => cookie.http_only = value.as_bool().unwrap(),
            "secure" => cookie.secure = value.as_bool().unwrap(),
            "maxAge" => cookie.max_age = value.as_u64(),
            "domain" => cookie.domain = value.as_str().map(str::to_owned),
            "sameSite" if value == "strict" => cookie.same_site = "Strict",
            _ => panic!("unknown cookie option {option}"),
        }
    }
    cookie
}

fn cors(options: &Value) -> Cors {
    let cors = match &options["origin"] {
        Value::Bool(true) => Cors::reflect(),
        Value::String(origin) => Cors::origins([origin]).unwrap(),
        Value::Array(origins) => Cors::origins(origins.iter().map(|origin| origin.as_str().unwrap())).unwrap(),
        origin => panic!("unknown origin {origin}"),
    };
    cors.credentials(options["credentials"] == json!(true))
}

fn allow_request(builder: Builder, name: &str) -> Builder {
    let once = name == "allowRequest is not asked for requests with a sid";
    let asked = Arc::new(AtomicBool::new(false));
    builder.allow_request(move |_| {
        let allowed = once && !asked.swap(true, Ordering::SeqCst);
        async move { if allowed { Ok(()) } else { Err("no thanks".to_owned()) } }
    })
}

fn app(io: &SocketIo, seen: &Seen) {
    macro_rules! serve {
        ($namespace:expr) => {{
            let (namespace, connects, events) = ($namespace, seen.clone(), seen.clone());
            namespace.on_connection(move |socket: Socket| std::future::ready(connect(&socket, &connects)));
            namespace.on_fallback(move |socket: Socket, args: Args, ack: Ack| event(socket, args, ack, events.clone()));
        }};
    }
    serve!(io.of("/"));
    serve!(io.of("/chat"));
    serve!(io.of_matching(|name| {
        name.strip_prefix("/dyn-").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    }));
    io.of("/deny").middleware(|_| async {
        // As text, because a `Value` would sort the keys.
        let data: &RawValue = serde_json::from_str(r#"{"code":7,"bin":{"type":"Buffer","data":[1]}}"#).unwrap();
        Err(ConnectError::new("not authorized").with_data(&data))
    });
    io.of("/deny-plain").middleware(|_| async { Err(ConnectError::new("nope")) });
    io.of("/late").middleware(|_| std::future::pending());
}

fn connect(socket: &Socket, seen: &Seen) {
    let auth: Value = socket.auth().unwrap();
    seen.push(json!(["connection", socket.namespace().name(), socket.id(), auth]));
    let log = seen.clone();
    socket.on_disconnecting(move |socket: Socket, reason: DisconnectReason| {
        let name = socket.namespace().name().to_owned();
        log.push(json!(["disconnecting", name, socket.id(), reason.as_str(), socket.rooms()]));
        std::future::ready(())
    });
    let log = seen.clone();
    socket.on_disconnect(move |socket: Socket, reason: DisconnectReason| {
        log.push(json!(["disconnect", socket.namespace().name(), socket.id(), reason.as_str()]));
        std::future::ready(())
    });
}

async fn event(socket: Socket, args: Args, ack: Ack, seen: Seen) {
    let mut entry = vec![json!("event"), json!(socket.namespace().name())];
    entry.extend(rendered(&args));
    if ack.is_wanted() {
        entry.push(json!("$ack"));
    }
    seen.push(Value::Array(entry));
    let name: String = args.parse().unwrap();
    let bytes = Bytes::from_static;
    match &*name {
        "hi" => {
            let rest = args.skip(1);
            let items = if rest.is_empty() { r#""ack""#.to_owned() } else { format!(r#""ack",{}"#, rest.items()) };
            ack.send(Args::from_parts(ByteStr::from(&*items), Vec::new())).unwrap();
        }
        "noarg" => ack.send(()).unwrap(),
        "bin" if ack.is_wanted() => ack.send(&(bytes(&[1, 2]), BTreeMap::from([("n", bytes(&[3]))]))).unwrap(),
        "bin" => {
            let (_, received): (String, Bytes) = args.parse().unwrap();
            socket.emit("back", &(received, "é😀")).unwrap();
        }
        "ask-me" => {
            let answer = socket.emit_with_ack("server-asks", &1).await.unwrap();
            let mut entry = vec![json!("ack received")];
            entry.extend(rendered(&answer));
            seen.push(Value::Array(entry));
        }
        "bye" => socket.disconnect(false),
        "bye-close" => socket.disconnect(true),
        _ => {}
    }
}

/// The arguments, with placeholders replaced by their bytes.
fn rendered(args: &Args) -> Vec<Value> {
    fn fill(value: &mut Value, attachments: &[Bytes]) {
        match value {
            Value::Object(members) if members.get("_placeholder") == Some(&json!(true)) => {
                *value = bin(&attachments[usize::try_from(members["num"].as_u64().unwrap()).unwrap()]);
            }
            Value::Object(members) => members.values_mut().for_each(|value| fill(value, attachments)),
            Value::Array(items) => items.iter_mut().for_each(|value| fill(value, attachments)),
            _ => {}
        }
    }
    let mut values: Vec<Value> = args.as_ref().iter().map(|item| serde_json::from_str(item).unwrap()).collect();
    values.iter_mut().for_each(|value| fill(value, args.attachments()));
    values
}

/// Bytes in the form of the vectors.
pub(crate) fn bin(bytes: &[u8]) -> Value {
    json!({"$bin": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()})
}

/// The bytes of a value that [`bin`] has written.
pub(crate) fn unbin(value: &Value) -> Option<Vec<u8>> {
    let hex = value.get("$bin")?.as_str()?;
    Some((0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect())
}
