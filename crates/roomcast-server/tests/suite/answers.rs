//! What handlers take and return: arguments in any order, states, and what a client is answered.

use crate::common::Server;
use roomcast_server::{
    Ack, Args, Builder, Checked, EventName, ExtractError, Failure, Namespace, Reply, Socket, SocketIo, State,
};
use serde_json::json;
use std::sync::Arc;

/// The answer to an event, which is asked for.
async fn ask(server: &Server, event: &str) -> String {
    let mut wire = server.joined().await;
    wire.say(&format!("421{event}")).await;
    let answer = wire.text().await;
    answer.strip_prefix("431").unwrap_or_else(|| panic!("{event}: {answer}")).to_owned()
}

/// Whether nothing at all is answered.
async fn is_silent(server: &Server, event: &str) -> bool {
    let mut wire = server.joined().await;
    wire.say(event).await;
    wire.sync().await.is_empty()
}

#[derive(serde::Serialize)]
struct Sum {
    sum: i64,
}

#[tokio::test]
async fn what_a_handler_returns_is_the_answer() {
    let server = Server::start(|io| {
        let nsp = io.of("/");
        nsp.on("number", |n: i64| async move { n + 1 });
        nsp.on("at once", |n: i64| n + 1);
        nsp.on("text", || async { "fixed" });
        nsp.on("owned", |text: String| async move { text });
        nsp.on("reply", |(a, b): (i64, i64)| async move { Reply(Sum { sum: a + b }) });
        nsp.on("several", || async { (1, "b", json!({ "c": 2 })) });
        nsp.on("list", || async { vec![1, 2] });
        nsp.on("option", |given: Option<i64>| async move { given.map(|given| given * 2) });
        nsp.on("value", || async { json!([null]) });
        nsp.on("args", |args: Args| async move { args });
        nsp.on("checked", |(a, b): (i64, i64)| async move { a.checked_add(b).ok_or("too large") });
        nsp.on("nothing", |_: Args| async {});
        nsp.on("ok", || async { Ok::<(), String>(()) });
        nsp.on("tail", |socket: Socket| async move { socket.join("a") });
        nsp.on("own", |ack: Ack| async move { ack.send("own") });
        nsp.on("own, and an error", |ack: Ack| async move {
            drop(ack);
            Err::<(), _>("not told")
        });
    })
    .await;
    for (event, answer) in [
        (r#"["number",1]"#, "[2]"),
        (r#"["at once",1]"#, "[2]"),
        (r#"["text"]"#, r#"["fixed"]"#),
        (r#"["owned","é"]"#, r#"["é"]"#),
        (r#"["reply",1,2]"#, r#"[{"sum":3}]"#),
        (r#"["several"]"#, r#"[1,"b",{"c":2}]"#),
        (r#"["list"]"#, "[[1,2]]"),
        (r#"["option",3]"#, "[6]"),
        (r#"["option"]"#, "[null]"),
        (r#"["value"]"#, "[[null]]"),
        (r#"["args",1,"b"]"#, r#"[1,"b"]"#),
        (r#"["checked",1,2]"#, "[3]"),
        (r#"["checked",9223372036854775807,1]"#, r#"[{"error":"too large","ok":false}]"#),
        (r#"["own"]"#, r#"["own"]"#),
    ] {
        assert_eq!(ask(&server, event).await, answer, "{event}");
    }
    // Node sends no answer by itself either.
    for event in [r#"421["nothing"]"#, r#"421["ok"]"#, r#"421["tail"]"#, r#"421["own, and an error"]"#] {
        assert!(is_silent(&server, event).await, "{event}");
    }
    // Without an id nothing is asked for.
    for event in [r#"42["number",1]"#, r#"42["checked",9223372036854775807,1]"#, r#"42["number","x"]"#, r#"42["own"]"#]
    {
        assert!(is_silent(&server, event).await, "{event}");
    }
    server.finish().await;
}

#[derive(Debug, thiserror::Error)]
#[error("cannot save")]
struct Unsaved(#[source] std::io::Error);

fn failing(io: &SocketIo) {
    let nsp = io.of("/");
    nsp.on("error", || async { Err::<(), _>(Unsaved(std::io::Error::other("disk full"))) });
    nsp.on("boxed", || async { Err::<i64, Box<dyn std::error::Error + Send + Sync>>("boxed".into()) });
    nsp.on("number", |n: u8| async move { n });
    nsp.on("state", |State(_): State<Arc<u64>>| async {});
    nsp.on("panic", |_: Args| async { panic_now() });
    nsp.on("panic later", |_: Args| async {
        tokio::task::yield_now().await;
        panic_now();
    });
    nsp.on("panic at once", |_: Args| panic_now());
    nsp.on("panic of an argument", |_: Broken| async {});
    nsp.on("twice", |_: Ack, _: Ack| async {});
}

/// An argument whose code has a bug.
struct Broken;

impl<'de> serde::Deserialize<'de> for Broken {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic_now();
        Ok(Self)
    }
}

fn panic_now() {
    panic!("a bug");
}

/// An error, a mismatch and a panic are answered, so that no client waits for its own timeout.
#[tokio::test]
async fn failures_are_answered() {
    let server = Server::start(failing).await;
    for (event, error) in [
        (r#"["error"]"#, "cannot save"),
        (r#"["boxed"]"#, "boxed"),
        (r#"["number",256]"#, "argument 1: invalid value: integer …"),
        (r#"["number"]"#, "argument 1 was not sent: "),
        (r#"["state"]"#, "Server error"),
        (r#"["panic"]"#, "Server error"),
        (r#"["panic later"]"#, "Server error"),
        (r#"["panic at once"]"#, "Server error"),
        (r#"["panic of an argument",1]"#, "Server error"),
        (r#"["twice"]"#, "Server error"),
    ] {
        let answer = ask(&server, event).await;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer[0]["ok"], json!(false), "{event}");
        let told = answer[0]["error"].as_str().unwrap();
        let (begin, end) = error.split_once('…').unwrap_or((error, ""));
        assert!(told.starts_with(begin) && told.ends_with(end), "{event}: {told}");
    }
    server.finish().await;
}

#[tokio::test]
async fn the_application_chooses_what_failures_are_answered_with() {
    let change = |builder: Builder| {
        builder.answer_failures(|failure| match failure {
            Failure::Error(error) => json!(["error", error.to_string()]),
            Failure::Extract(ExtractError::Arguments(error)) => json!(["argument", error.argument()]),
            Failure::Extract(_) => json!("extract"),
            _ => json!("panic"),
        })
    };
    let server = Server::with(change, failing).await;
    for (event, answer) in [
        (r#"["error"]"#, r#"[["error","cannot save"]]"#),
        (r#"["number","x"]"#, r#"[["argument",1]]"#),
        (r#"["state"]"#, r#"["extract"]"#),
        (r#"["panic later"]"#, r#"["panic"]"#),
    ] {
        assert_eq!(ask(&server, event).await, answer, "{event}");
    }
    server.finish().await;
}

#[derive(Clone)]
struct Database(&'static str);

#[tokio::test]
async fn arguments_come_in_any_order_and_number() {
    let change = |builder: Builder| builder.state(Database("old")).state(Database("db")).state(7_u32);
    let server = Server::with(change, |io| {
        let nsp = io.of("/");
        nsp.on(
            "all",
            |n: i64,
             State(limit): State<u32>,
             _: Namespace,
             socket: Socket,
             EventName(name): EventName,
             ack: Ack,
             State(database): State<Database>,
             Checked(fits): Checked<(i64,)>| async move {
                let known = socket.is_connected() && fits.is_ok();
                ack.send(&(n, limit, database.0, name, known))
            },
        );
        nsp.on("none", || async { 0 });
        nsp.on("unchecked", |Checked(fits): Checked<u8>| async move { fits.is_err() });
        nsp.on_fallback(|EventName(name): EventName, args: Args| async move { format!("{name} {}", args.items()) });
        nsp.on_connection(|socket: Socket| async move {
            socket.on("of the socket", |State(Database(name)): State<Database>| async move { name });
        });
    })
    .await;
    for (event, answer) in [
        (r#"["all",1]"#, r#"[1,7,"db","all",true]"#),
        (r#"["none"]"#, "[0]"),
        (r#"["unchecked","x"]"#, "[true]"),
        (r#"["other",1]"#, r#"["other \"other\",1"]"#),
        (r#"["of the socket"]"#, r#"["db"]"#),
    ] {
        assert_eq!(ask(&server, event).await, answer, "{event}");
    }
    server.finish().await;
}
