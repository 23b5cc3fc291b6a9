//! Payloads published by hand (`inbound-sharded.json`): which are messages, which are counted as malformed, and which
//! are ignored.

use super::js::unhex;
use crate::sharded::decode::decode;
use crate::wire::read::MAX_ROOMS;
use crate::wire::recorded::file;
use bytes::Bytes;
use proptest::prelude::*;
use roomcast_adapter::cluster::Body;
use roomcast_adapter::{Room, Target};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Messages that are only counted as malformed. Node ignores them.
const MALFORMED: [&str; 8] = [
    "BROADCAST without nsp",
    "BROADCAST type as string \"3\"",
    "unknown type 99",
    "malformed JSON",
    "malformed msgpack",
    "msgpack nil on the main channel",
    "response without data on the response channel",
    "BROADCAST without data",
];

/// Messages that arrive and are for nobody here.
const PASSED_OVER: [&str; 5] = [
    "BROADCAST own uid",
    "BROADCAST other nsp on this channel",
    "INITIAL_HEARTBEAT (1)",
    "HEARTBEAT (2)",
    "ADAPTER_CLOSE (13)",
];

#[test]
fn every_payload_published_by_hand() {
    #[derive(Deserialize)]
    struct File {
        tests: Vec<Test>,
    }
    #[derive(Deserialize)]
    struct Test {
        name: String,
        payload_hex: String,
    }
    let file: File = serde_json::from_str(&file("inbound-sharded.json")).unwrap();
    let (mut malformed, mut passed_over, mut messages) = (BTreeSet::new(), BTreeSet::new(), 0);
    for Test { name, payload_hex } in &file.tests {
        match decode(&unhex(payload_hex).into(), "/", &"b000000000000000".into()) {
            Ok(Some(message)) => {
                messages += 1;
                assert_eq!(message.sender.is_none(), name.contains("without uid"), "{name}");
                let broadcast = matches!(message.body, Body::Broadcast { .. });
                assert_eq!(broadcast, name.starts_with("BROADCAST"), "{name}");
            }
            Ok(None) => {
                passed_over.insert(name.as_str());
            }
            Err(_) => {
                malformed.insert(name.as_str());
            }
        }
    }
    assert_eq!(malformed, MALFORMED.into_iter().collect());
    assert_eq!(passed_over, PASSED_OVER.into_iter().collect());
    assert_eq!(messages + malformed.len() + passed_over.len(), 26);
}

fn fetch(rooms: &str, except: &str) -> Result<Target, String> {
    let text = format!(
        r#"{{"type":7,"data":{{"opts":{{"rooms":{rooms},"except":{except}}},"requestId":"r"}},"uid":"n","nsp":"/"}}"#
    );
    let read = decode(&text.into_bytes().into(), "/", &"me".into()).map_err(|error| error.to_string())?;
    let Some(Body::FetchSockets { target, .. }) = read.map(|read| read.body) else { panic!("another message") };
    Ok(target)
}

#[test]
fn values_that_cannot_be_rooms_match_nobody_and_do_no_harm() {
    for odd in ["null", "true", "{}", "[1]"] {
        assert_eq!(fetch("[]", &format!("[{odd}]")).unwrap(), Target::everyone());
        assert_eq!(fetch(&format!("[\"a\",{odd}]"), "[]").unwrap(), Target::room("a"));
        assert_eq!(fetch(&format!("[{odd}]"), "null").unwrap(), Target::room(Room::nobody()), "not everybody");
    }
    assert_eq!(fetch("[42]", "[]").unwrap(), Target::room("42"));
}

#[test]
fn rooms_at_the_limit_and_one_past_it() {
    for (rooms, taken) in [(MAX_ROOMS, true), (MAX_ROOMS + 1, false)] {
        let list = format!("[{}]", vec!["\"r\""; rooms].join(","));
        assert_eq!(fetch(&list, "[]").is_ok(), taken, "{rooms}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_decoded_without_a_panic(bytes: Vec<u8>, json in "\\{\"type\":[0-9]{1,2},\"data\":[\\[\\]{}\":a-z0-9,]{0,40}") {
        let _ = decode(&Bytes::from(bytes.clone()), "/", &"me".into());
        let _ = crate::sharded::decode::trailer(&bytes, "/");
        let _ = decode(&Bytes::from(json.into_bytes()), "/", &"me".into());
    }
}
