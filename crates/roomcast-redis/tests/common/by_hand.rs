//! `vectors/inbound-classic.json`: payloads published by hand while a Node server was subscribed, and their effects.

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct File {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) channel: String,
    payload_hex: String,
    #[serde(default)]
    pub(crate) client_received: Vec<Value>,
    #[serde(default)]
    pub(crate) node_commands: Vec<Answer>,
    pub(crate) rooms_after: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) server_side_events: Vec<Value>,
    pub(crate) crash: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Answer {
    pub(crate) channel: String,
    pub(crate) decoded: Value,
}

impl Test {
    pub(crate) fn payload(&self) -> Vec<u8> {
        let hex = &self.payload_hex;
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/inbound-classic.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file: File = serde_json::from_str(&text).expect("the vectors");
    assert_eq!(file.tests.len(), 63);
    file.tests
}
