//! The program's events: what clients may name as rooms, and what they are answered.

use crate::client::Client;
use crate::program::Program;
use serde_json::{Value, json};
use std::net::SocketAddr;

struct Talk(Client);

impl Talk {
    async fn to(program: &mut Program) -> Self {
        let address: SocketAddr = format!("127.0.0.1:{}", program.port()).parse().unwrap();
        Self(Client::connect(address).await)
    }

    /// Sends an event and returns the first argument of its acknowledgement.
    async fn ask(&mut self, event: &Value) -> Value {
        self.0.send(format!("420{event}")).await;
        loop {
            let packet = self.0.next().await.unwrap();
            if let Some(answer) = packet.strip_prefix("430") {
                return serde_json::from_str::<Vec<Value>>(answer).unwrap().swap_remove(0);
            }
        }
    }
}

#[tokio::test]
async fn every_request_is_answered() {
    let mut program = Program::start(&[]);
    let mut talk = Talk::to(&mut program).await;
    for (event, answer) in [
        (json!(["join", "a"]), json!({"ok": true, "room": "a", "members": 1})),
        (json!(["join", 42]), json!({"ok": true, "room": "42", "members": 1})),
        (json!(["join", ["b", "c"]]), json!({"ok": true, "rooms": ["b", "c"], "members": [1, 1]})),
        (json!(["leave", 42]), json!({"ok": true, "room": "42", "members": 0})),
        (
            json!(["leave", ["b", "never joined"]]),
            json!({"ok": true, "rooms": ["b", "never joined"], "members": [0, 0]}),
        ),
        // Ids of other systems have 20 characters too.
        (json!(["join", "7Qm2LkX0vTzB9sYpWc4R"]), json!({"ok": true, "room": "7Qm2LkX0vTzB9sYpWc4R", "members": 1})),
        (json!(["publish", "-NkP3c9XyZ_abcDEFghi", "e", 1]), json!({"ok": true})),
        (json!(["publish", 42, "e"]), json!({"ok": true})),
    ] {
        assert_eq!(talk.ask(&event).await, answer, "{event}");
    }
    for event in [
        json!(["join"]),
        json!(["join", null]),
        json!(["join", ""]),
        json!(["leave", {}]),
        json!(["publish", "r"]),
        json!(["publish", "r", 7]),
        json!(["publish", null, "e"]),
        json!(["publish", "r", "disconnect"]),
    ] {
        let answer = talk.ask(&event).await;
        assert!(answer["ok"] == json!(false) && answer["error"].is_string(), "{event}: {answer}");
    }
}

#[tokio::test]
async fn the_private_room_of_another_socket_is_closed() {
    let mut program = Program::start(&[]);
    let mut talk = Talk::to(&mut program).await;
    let address: SocketAddr = format!("127.0.0.1:{}", program.port()).parse().unwrap();
    let (mut other, id) = Client::connect_with_id(address).await;
    for event in [json!(["join", id]), json!(["join", ["a", id]]), json!(["publish", id, "e"])] {
        let answer = talk.ask(&event).await;
        assert!(answer["error"].as_str().unwrap().ends_with("is the private room of another socket"), "{answer}");
    }
    // Nothing was joined, and the other socket got nothing.
    assert_eq!(talk.ask(&json!(["leave", "a"])).await["members"], json!(0));
    other.send(format!("420{}", json!(["publish", id, "mine"]))).await;
    assert_eq!(other.next().await.unwrap(), "42[\"mine\"]");
    assert_eq!(other.next().await.unwrap(), "430[{\"ok\":true}]");
    other.close().await;
    // Once it has gone, the room is one like any other.
    let mut answer = json!(null);
    while answer["ok"] != json!(true) {
        answer = talk.ask(&json!(["join", id])).await;
    }
}

#[tokio::test]
async fn events_can_be_switched_off() {
    let mut program = Program::start(&[("ROOMCAST_CLIENT_EVENTS", "join,leave")]);
    let mut talk = Talk::to(&mut program).await;
    talk.0.send("420[\"publish\",\"a\",\"e\"]").await;
    talk.0.send("421[\"join\",\"a\"]").await;
    assert!(talk.0.next().await.unwrap().starts_with("431["), "publish is not answered");
}

#[tokio::test]
async fn rooms_of_a_client_at_the_limit_and_one_past_it() {
    let mut program = Program::start(&[("ROOMCAST_LIMITS_ROOMS", "2")]);
    let mut talk = Talk::to(&mut program).await;
    assert_eq!(talk.ask(&json!(["join", ["a", "b"]])).await["ok"], json!(true));
    for event in [json!(["join", "c"]), json!(["join", ["a", "c"]])] {
        let answer = talk.ask(&event).await;
        assert!(answer["error"].as_str().unwrap().contains("at most 2 rooms"), "{answer}");
    }
    // A room that it is in already is no further one.
    assert_eq!(talk.ask(&json!(["join", ["b", "a", "a"]])).await["members"], json!([1, 1, 1]));
    assert_eq!(talk.ask(&json!(["leave", "a"])).await["ok"], json!(true));
    assert_eq!(talk.ask(&json!(["join", "c"])).await["members"], json!(1));
}
