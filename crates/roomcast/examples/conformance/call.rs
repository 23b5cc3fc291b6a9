//! The `call` event: runs a server-side operation that a client requests.

use crate::Outcome;
use bytes::Bytes;
use roomcast_server::{Answer, Args, BroadcastOperator, Missing, RemoteSocket, Socket};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::time::Duration;

/// The request of a client.
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
        // To no rooms is to nobody, and in the contract it is to everybody, as in Node.
        let chosen = if self.rooms.is_empty() { all } else { all.to(&self.rooms[..]) };
        let mut operator = chosen.except(&self.except[..]).compress(self.compress.unwrap_or(true));
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

/// The answer to a call: JSON, and the attachments that it refers to.
#[derive(Default)]
struct Reply {
    json: String,
    attachments: Vec<Bytes>,
}

impl Reply {
    fn ok(value: impl Serialize) -> Outcome<Self> {
        Ok(Self { json: serde_json::to_string(&json!({"ok": value}))?, attachments: Vec::new() })
    }

    /// An answer to which other servers have contributed. `missing` are the servers that have not answered.
    fn partial(value: impl Serialize, missing: &Missing) -> Outcome<Self> {
        if missing.is_empty() {
            return Self::ok(value);
        }
        let missing = json!({"names": missing.names, "others": missing.others});
        Ok(Self { json: json!({"ok": value, "missing": missing}).to_string(), attachments: Vec::new() })
    }

    /// The first arguments of acknowledgements as an array. Their attachments are renumbered.
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

/// Runs a request and returns the answer for the client; `None` if there is none.
pub(crate) async fn answer(socket: &Socket, request: &Args) -> Option<Args> {
    let reply = match run(socket, request).await {
        Ok(reply) => reply?,
        Err(error) => Reply { json: json!({"error": error.to_string()}).to_string(), attachments: Vec::new() },
    };
    Some(Args::from_parts(reply.json.into(), reply.attachments))
}

async fn run(socket: &Socket, request: &Args) -> Outcome<Option<Reply>> {
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
            let answer = socket.timeout(timeout).emit_with_ack(&request.event, &args).await?;
            let mut reply = Reply::default();
            reply.json = reply.first(&answer)?.to_string();
            reply.wrap("ok", None)
        }
        "fetch-sockets" => {
            let found = target.fetch_sockets().await;
            let describe = |remote: &RemoteSocket| -> Outcome<Value> {
                let mut rooms: Vec<&str> = remote.rooms().iter().map(|room| &**room).collect();
                sort(&mut rooms);
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
            sort(&mut rooms);
            Reply::partial(rooms, &missing)?
        }
        "server-count" => {
            let count = namespace.server_count().await;
            Reply::partial(count.value, &count.missing)?
        }
        "disconnect-self" => {
            socket.disconnect(request.close);
            return Ok(None);
        }
        unknown => return Err(format!("unknown call {unknown}").into()),
    };
    Ok(Some(reply))
}

/// Sorts like JavaScript, by UTF-16 code units.
fn sort(rooms: &mut [&str]) {
    rooms.sort_by_cached_key(|room| room.encode_utf16().collect::<Vec<_>>());
}
