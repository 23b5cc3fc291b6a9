//! The targets: one for each decoder of a peer's bytes, and two for the whole way from a connection's bytes to a
//! handler.

mod arguments;
mod classic;
mod deflate;
mod engine_packet;
mod frames;
mod handshake;
mod headers;
mod json;
mod machines;
mod msgpack;
mod packed;
mod proxy_header;
mod requests;
mod resp;
mod socketio;

use crate::{seeds, watch};

/// Something to be fuzzed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, also of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Panics if something goes wrong with the input.
    pub run: fn(&[u8]),
    /// The inputs with which mutation begins, in addition to the committed corpus.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that random bytes would rarely make.
    pub dictionary: &'static [&'static [u8]],
    /// Its share of all executions, in thousandths. Cheap targets have most.
    pub share: u64,
    /// Most bytes of a mutated input. Short inputs are quick, and find most.
    pub longest: usize,
}

const JSON_WORDS: &[&[u8]] = &[
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"9007199254740993",
    b"\"",
    b"\\\"",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00",
    b"\"__proto__\":",
    b"{\"_placeholder\":true,\"num\":0}",
    b"{\"num\":1,\"_placeholder\":true}",
    b"\"_placeholder\":true",
    b"[[[[[[[[",
    b"]]]]]]]]",
    "\u{e9}\u{20ac}\u{1f600}".as_bytes(),
];

const DEFLATE_WORDS: &[&[u8]] = &[
    b"\x00\x00\xff\xff",
    b"\x00\x00\x00\xff\xff",
    b"\x01\x00\x00\xff\xff",
    b"\x03\x00",
    b"\xf2\x48\xcd\xc9\xc9\x07\x00",
    b"permessage-deflate",
    b"server_no_context_takeover",
    b"client_no_context_takeover",
    b"server_max_window_bits",
    b"client_max_window_bits",
    b"=15",
    b"=\"8\"",
    b"; ",
    b", ",
];

const PACKET_WORDS: &[&[u8]] = &[
    b"0",
    b"0/admin,",
    b"1",
    b"2",
    b"2[\"a\"]",
    b"20[\"a\"]",
    b"3",
    b"30[]",
    b"4",
    b"51-",
    b"52-",
    b"61-",
    b"5",
    b"6",
    b"/",
    b"/chat,",
    b"?token=1",
    b"9007199254740991",
    b"{\"_placeholder\":true,\"num\":0}",
    b"{\"_placeholder\":true,\"num\":1}",
    b"[\"a\",",
    b"[\"connect\"]",
    b"]",
    b"\x1e",
    b"b",
    b"bAQID",
    b"==",
];

const MSGPACK_WORDS: &[&[u8]] = &[
    b"\x80",
    b"\x90",
    b"\x91",
    b"\xa0",
    b"\xc0",
    b"\xc1",
    b"\xc4\x01",
    b"\xc6\xff\xff\xff\xff",
    b"\xc7\x02\x00",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xca\x7f\xc0\x00\x00",
    b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
    b"\xd4\x00\x00",
    b"\xd6\xff\x00\x00\x00\x00",
    b"\xd7\x00\x00\x00\x01\x00\x00\x00\x00\x00",
    b"\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd9\x01",
    b"\xdb\xff\xff\xff\xff",
    b"\xdc\x00\x01",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xa4type",
    b"\xa4data",
    b"\xa3nsp",
    b"\xacrooms",
    b"\xad_placeholder\xc3",
    b"\xa3num\x00",
];

const CLASSIC_WORDS: &[&[u8]] = &[
    b"\x93\xa6zzzzzz",
    b"\x83\xa4type\x02\xa4data\x91\xa1x\xa3nsp\xa1/",
    b"\x83\xa5rooms\x90\xa6except\x90\xa5flags\x80",
    b"\xa7timeout\xcd\x03\xe8",
    b"\xc4\x01\x07",
    b"{\"uid\":\"zzzzzz\",\"requestId\":\"r\",\"type\":0,",
    b"\"type\":",
    b"\"requestId\":\"r\"",
    b"\"opts\":{\"rooms\":[\"a\"],\"except\":[1],\"flags\":{}}",
    b"\"rooms\":[\"a\"]",
    b"\"close\":true",
    b"\"data\":[\"x\",1]",
    b"\"packet\":{\"data\":[\"x\"],\"nsp\":\"/\"}",
    b"\"sockets\":[{\"id\":\"a\",\"handshake\":{},\"rooms\":[],\"data\":null}]",
    b"\"sockets\":[\"a\"]",
    b"\"clientCount\":3",
    b"\"sid\":\"a\",\"room\":\"b\"",
    b"\"rc\":\"010070d2182d010203040506070800000000000000090000000000000102\"",
    b"\"alive\":[[\"/\",\"\",1]]",
    b"{\"_placeholder\":true,\"num\":0}",
    b"null",
    b"]}",
];

const RESP_WORDS: &[&[u8]] = &[
    b"\r\n",
    b"*1\r\n",
    b"*3\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b">3\r\n",
    b">-1\r\n",
    b"%1\r\n",
    b"%9223372036854775807\r\n",
    b"~2\r\n",
    b"$0\r\n\r\n",
    b"$1\r\nx\r\n",
    b"$9\r\n",
    b"$10\r\n",
    b"$-1\r\n",
    b"$-2\r\n",
    b"$8000001\r\n",
    b"$8000002\r\n",
    b"$536870913\r\n",
    b"$8\r\nsmessage\r\n",
    b"$10\r\nssubscribe\r\n",
    b"=8\r\ntxt:id=5\r\n",
    b"=3\r\ntxt\r\n",
    b"!5\r\nERR x\r\n",
    b"!3\r\n\xff\xfe\xfd\r\n",
    b"-MOVED 1 h:7\r\n",
    b"+PONG\r\n",
    b":-1\r\n",
    b":+1\r\n",
    b",1.5e9\r\n",
    b"#t\r\n",
    b"(3492890328409238509324850943850943825024385\r\n",
    b"_\r\n",
    b"|1\r\n",
    b"$?\r\n",
];

const HTTP_WORDS: &[&[u8]] = &[
    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n",
    b"EIO=4",
    b"EIO=3",
    b"&transport=websocket",
    b"&transport=polling",
    b"&sid=",
    b"&b64=1",
    b"%00",
    b"%f",
    b"+",
    b"__proto__",
    b"Connection: Upgrade\r\n",
    b"Connection: close\r\n",
    b"Upgrade: websocket\r\n",
    b"Upgrade: h2c\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Protocol: a, b\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 4\r\n",
    b"Expect: 100-continue\r\n",
    b"Origin: https://a.example\r\n",
    b"Content-Type: application/octet-stream\r\n",
    b"HTTP/1.0",
    b"\r\n\r\n",
    b"\r\n",
    b"https://",
    b":443",
    b"null",
    b"xn--",
];

const PROXY_WORDS: &[&[u8]] = &[
    b"PROXY ",
    b"PROXY UNKNOWN",
    b"TCP4",
    b"TCP6",
    b" ",
    b"\r\n",
    b"\n",
    b"192.0.2.1",
    b"255.255.255.255",
    b"01",
    b"256",
    b"2001:db8::1",
    b"::",
    b"::ffff:192.0.2.1",
    b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    b"65535",
    b"65536",
    b" 0",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x20\x00\0\0",
    b"\x21\x11\0\x0c",
    b"\x21\x21\0\x24",
    b"\x21\x12\x07\xf0",
    b"\x21\x00\x07\xf1",
    b"\x21\x31\0\xd8",
    b"\x04\0\x01\0",
];

const HEADER_WORDS: &[&[u8]] = &[
    b",",
    b", ",
    b";q=",
    b"; q = 0.001",
    b";q=0",
    b";q=1.000",
    b";q=0.999",
    b";q=0.250",
    b";q=0.251",
    b"*",
    b"gzip",
    b"deflate",
    b"identity",
    b"upgrade",
    b"keep-alive, Upgrade",
    b"10.0.0.2",
    b"198.51.100.1",
    b"192.0.2.8:4711",
    b"[2001:db8::5]:4711",
    b"[::1]",
    b"::ffff:10.0.0.3",
    b"unknown",
    b"\xe9",
    b"\t",
    b"10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2",
    b"EIO=4",
    b"&transport=polling",
    b"&sid=",
    b"&b64=1",
    b"&j=0",
    b"%E",
    b"%00",
    b"+",
    b"&&",
];

const EVENT_WORDS: &[&[u8]] = &[
    b"40",
    b"40/admin,",
    b"40/admin,{\"token\":\"secret\"}",
    b"40/late,",
    b"40/dyn-a,",
    b"41",
    b"41/admin,",
    b"420[\"echo\",1]",
    b"42[\"join\",\"a\"]",
    b"42[\"leave\",\"a\"]",
    b"42[\"to\",\"a\",\"x\"]",
    b"421[\"ask\",\"a\"]",
    b"430[\"yes\"]",
    b"42[\"all\",{}]",
    b"42[\"burst\",300,1000]",
    b"42[\"later\",1000]",
    b"42[\"bye\",true]",
    b"42[\"panic\"]",
    b"42[\"kick\",\"a\"]",
    b"451-[\"echo\",{\"_placeholder\":true,\"num\":0}]",
    b"42/dyn-a,1[\"echo\"]",
    b"2probe",
    b"5",
    b"3",
    b"\x1e",
    b"b",
];

const FRAME_WORDS: &[&[u8]] = &[
    b"\x81\x80\0\0\0\0",
    b"\x01\x81\0\0\0\0a",
    b"\x80\x80\0\0\0\0",
    b"\x00\x81\0\0\0\0\xe2",
    b"\x82\xfe\0\x7e\0\0\0\0",
    b"\x82\xff\0\0\0\0\0\x01\0\0\0\0\0\0",
    b"\x88\x82\0\0\0\0\x03\xe8",
    b"\x88\x80\0\0\0\0",
    b"\x89\x80\0\0\0\0",
    b"\x8a\x81\x01\x02\x03\x04x",
    b"\xb1\x81\0\0\0\0\x32",
    b"\xf0\x9f\x98\x80",
];

/// All targets.
pub const ALL: &[Target] = &[
    Target {
        name: "frames",
        run: frames::run,
        seeds: seeds::frames,
        dictionary: FRAME_WORDS,
        share: 180,
        longest: 300,
    },
    Target {
        name: "deflate",
        run: deflate::run,
        seeds: seeds::deflate,
        dictionary: DEFLATE_WORDS,
        share: 20,
        longest: 400,
    },
    Target {
        name: "engine_packet",
        run: engine_packet::run,
        seeds: seeds::engine_packets,
        dictionary: PACKET_WORDS,
        share: 180,
        longest: 200,
    },
    Target { name: "json", run: json::run, seeds: seeds::json, dictionary: JSON_WORDS, share: 180, longest: 200 },
    Target {
        name: "socketio",
        run: socketio::run,
        seeds: seeds::socketio,
        dictionary: PACKET_WORDS,
        share: 150,
        longest: 400,
    },
    Target {
        name: "arguments",
        run: arguments::run,
        seeds: seeds::arguments,
        dictionary: JSON_WORDS,
        share: 14,
        longest: 400,
    },
    Target {
        name: "msgpack",
        run: msgpack::run,
        seeds: seeds::msgpack,
        dictionary: MSGPACK_WORDS,
        share: 12,
        longest: 200,
    },
    Target {
        name: "msgpack_from_json",
        run: msgpack::run_from_json,
        seeds: seeds::arguments,
        dictionary: JSON_WORDS,
        share: 50,
        longest: 200,
    },
    Target {
        name: "packed",
        run: packed::run,
        seeds: seeds::packed,
        dictionary: MSGPACK_WORDS,
        share: 30,
        longest: 200,
    },
    Target {
        name: "classic",
        run: classic::run,
        seeds: seeds::classic,
        dictionary: CLASSIC_WORDS,
        share: 50,
        longest: 600,
    },
    Target { name: "resp", run: resp::run, seeds: seeds::resp, dictionary: RESP_WORDS, share: 50, longest: 400 },
    Target {
        name: "handshake",
        run: handshake::run,
        seeds: seeds::handshakes,
        dictionary: HTTP_WORDS,
        share: 10,
        longest: 400,
    },
    Target {
        name: "proxy_header",
        run: proxy_header::run,
        seeds: seeds::proxy_headers,
        dictionary: PROXY_WORDS,
        share: 40,
        longest: 300,
    },
    Target {
        name: "headers",
        run: headers::run,
        seeds: seeds::headers,
        dictionary: HEADER_WORDS,
        share: 30,
        longest: 300,
    },
    Target {
        name: "requests",
        run: requests::run,
        seeds: seeds::requests,
        dictionary: HTTP_WORDS,
        share: 1,
        longest: 800,
    },
    Target {
        name: "origins",
        run: requests::run_origins,
        seeds: seeds::origins,
        dictionary: HTTP_WORDS,
        share: 1,
        longest: 200,
    },
    Target {
        name: "engine",
        run: machines::run_engine,
        seeds: seeds::engine,
        dictionary: HTTP_WORDS,
        share: 1,
        longest: 600,
    },
    Target {
        name: "server",
        run: machines::run_server,
        seeds: seeds::server,
        dictionary: EVENT_WORDS,
        share: 1,
        longest: 800,
    },
];

/// Runs a target on one input, for libFuzzer. A panic that was caught on the way counts too.
///
/// # Panics
/// If the target fails, or there is no target of that name.
pub fn run(name: &str, input: &[u8]) {
    let target = named(name).expect("a target of that name");
    if let Err(fault) = watch::run(target.run, input) {
        panic!("{}: {}", fault.place, fault.message);
    }
}

/// The target with this name.
pub fn named(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn shares_are_thousandths_and_names_differ() {
        assert_eq!(ALL.iter().map(|target| target.share).sum::<u64>(), 1_000);
        let mut names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
