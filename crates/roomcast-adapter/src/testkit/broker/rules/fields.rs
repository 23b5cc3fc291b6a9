//! Rules about the content of a message.

use crate::Room;
use crate::Target;
use crate::cluster::SERVERS;
use crate::cluster::Trailer;
use crate::cluster::{Body, Message};
use crate::testkit::broker::rules::bodies::{all, canonical, essence, may_be_missing, servers};
use crate::testkit::broker::stage::{BrokerStage, Messages, NAMESPACE};
use crate::testkit::stage::{Outcome, data, eventually, must};
use roomcast_protocol::Args;
use serde::{Serialize, Serializer};

/// Bytes of a large message.
const LARGE: usize = 1_000_000;

/// The largest integer that JavaScript can represent exactly.
const LARGEST: u64 = (1 << 53) - 1;

/// Publishes messages at broker 0, and compares what arrives at broker 1 with what the dialect states.
async fn carried(stage: &mut BrokerStage, namespace: &str, messages: &[Message]) -> Outcome {
    let inbox = stage.open(1, namespace).await?;
    for message in messages {
        let before = inbox.messages().len();
        let said = (stage.dialect().arrives)(message.clone());
        let given_up = || {
            format!("the dialect states a loss that no dialect may have: {}", Messages(std::slice::from_ref(message)))
        };
        let Some(expected) = said else {
            must!(may_be_missing(&message.body), "{}", given_up());
            continue;
        };
        must!(essence(&expected.body) == essence(&message.body), "{}", given_up());
        stage.publish(0, namespace, std::slice::from_ref(message)).await?;
        eventually(|| inbox.messages().len() > before).await;
        let heard = inbox.messages().split_off(before);
        // The channel that a message arrives on may tell whom it is for.
        let expected = canonical(&expected);
        let same = |heard: &Message| Message { to: expected.to.clone(), ..canonical(heard) } == expected;
        must!(
            heard.len() == 1 && heard.iter().all(same),
            "of {} came {}",
            Messages(std::slice::from_ref(&expected)),
            Messages(&heard)
        );
    }
    // A broadcast is for sockets: a broker need not carry it between the servers themselves.
    if namespace != SERVERS {
        stage.fence(0, namespace, Target::everyone()).await?;
    }
    stage.close(1, namespace).await
}

/// Answers go to the server that asked, everything else to all servers.
fn message(body: Body) -> Message {
    let to = body.answers().map(|_| BrokerStage::id(1));
    Message { sender: Some(BrokerStage::id(0)), to, trailer: None, body }
}

fn events(values: impl IntoIterator<Item = Result<Args, String>>) -> Result<Vec<Message>, String> {
    let broadcast =
        |data| message(Body::Broadcast { data, target: Target::everyone(), volatile: false, compress: true });
    values.into_iter().map(|data| data.map(broadcast)).collect()
}

pub(super) async fn bodies(stage: &mut BrokerStage) -> Outcome {
    let messages: Vec<Message> = all()?.into_iter().map(message).collect();
    carried(stage, NAMESPACE, &messages).await?;
    let messages: Vec<Message> = servers().into_iter().map(message).collect();
    carried(stage, SERVERS, &messages).await
}

pub(super) async fn envelope(stage: &mut BrokerStage) -> Outcome {
    let mut messages = Vec::new();
    for body in all()?.into_iter().filter(|body| body.answers().is_none() && !may_be_missing(body)) {
        let plain = message(body);
        for number in [0, 1, u64::MAX] {
            let mut trailer = Trailer::new(NAMESPACE, number ^ 7, number, number);
            (trailer.again, trailer.one) = (number == 1, number == 0);
            messages.push(Message { trailer: Some(trailer), ..plain.clone() });
        }
        messages.push(Message { sender: Some("emitter".into()), ..plain.clone() });
        messages.push(plain);
    }
    let event = Body::Broadcast { data: data("e", &())?, target: Target::everyone(), volatile: false, compress: true };
    messages.push(Message { sender: None, ..message(event) });
    carried(stage, NAMESPACE, &messages).await
}

/// Bytes that serialize as binary.
struct Binary(Vec<u8>);

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

pub(super) async fn attachments(stage: &mut BrokerStage) -> Outcome {
    let bytes = || Binary((0..=255).collect());
    let several = (bytes(), "between", vec![Binary(b"[1]".to_vec()), Binary(vec![0; 300])]);
    let mut messages = events([
        data("one", &bytes()),
        data("empty", &Binary(Vec::new())),
        data("several", &several),
        // This is not a placeholder, as there is no attachment.
        data("text", &serde_json::json!({ "_placeholder": true, "num": 0 })),
    ])?;
    messages.push(message(Body::ServerSideEmit { request: None, data: data("text", &"none")? }));
    carried(stage, NAMESPACE, &messages).await
}

pub(super) async fn text(stage: &mut BrokerStage) -> Outcome {
    let odd = "\"quoted\" \\ \u{0} \u{1f} \r\n\t \u{7f} \u{80} ß \u{2028} 語 \u{ffff} 🦀 \u{10ffff}";
    let long = "n".repeat(crate::limits::MAX_ROOM_BYTES);
    let target = Target {
        rooms: vec![Room::from(odd), Room::from(&long)],
        except: vec![Room::from(odd)],
        local: false,
        one: false,
    };
    let mut messages = events([
        data(odd, &odd),
        data("", &""),
        data("none", &()),
        data("keys", &serde_json::json!({ odd: odd, "": null, "a": [[], {}, true, false] })),
        data("numbers", &(0, -1, 1.5, u32::MAX, -0.000_001, LARGEST)),
    ])?;
    let broadcast = Body::Broadcast { data: data("e", &())?, target: target.clone(), volatile: false, compress: true };
    messages.push(message(broadcast));
    messages.push(message(Body::Join { target, rooms: vec![Room::from(odd), Room::from(&long)], request: None }));
    carried(stage, NAMESPACE, &messages).await
}

pub(super) async fn large(stage: &mut BrokerStage) -> Outcome {
    let bytes: Vec<u8> = (0..LARGE).map(|number| (number % 251) as u8).collect();
    let messages = events([data("text", &"x".repeat(LARGE)), data("binary", &Binary(bytes)), data("after", &1)])?;
    carried(stage, NAMESPACE, &messages).await
}
