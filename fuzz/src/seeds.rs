//! Inputs with which mutation begins: what Node's packages sent and received (`vectors/`), and attacks known from
//! advisories, each in the form that its target reads.

use crate::input::piece;
use serde_json::Value;

/// Most bytes of a seed. Longer ones would add nothing new and slow down every run.
const LONGEST: usize = 1_500;

const VECTORS: [&str; 5] = [
    include_str!("../../vectors/parser-socketio.json"),
    include_str!("../../vectors/parser-engineio.json"),
    include_str!("../../vectors/parser-msgpack.json"),
    include_str!("../../vectors/adapter-classic.json"),
    include_str!("../../vectors/inbound-classic.json"),
];
const SOCKETIO: usize = 0;
const ENGINEIO: usize = 1;
const MSGPACK: usize = 2;

/// All values under a key that `wanted` accepts. Of arrays, their elements.
fn harvest(value: &Value, wanted: &dyn Fn(&str) -> bool, found: &mut Vec<Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| harvest(value, wanted, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if wanted(key) {
                    found.push(value.clone());
                }
                harvest(value, wanted, found);
            }
        }
        _ => {}
    }
}

fn values(file: usize, wanted: &dyn Fn(&str) -> bool) -> Vec<Value> {
    let mut found = Vec::new();
    harvest(&serde_json::from_str(&without_lone_surrogates(VECTORS[file])).unwrap(), wanted, &mut found);
    found
}

/// A JavaScript string may hold a lone surrogate, a Rust string may not: it becomes U+FFFD.
fn without_lone_surrogates(json: &str) -> String {
    let mut parts = json.split("\\ud");
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut high = false;
    let halves: Vec<&str> = parts.collect();
    for (at, half) in halves.iter().enumerate() {
        let is_high = half.starts_with(['8', '9', 'a', 'b']);
        // The escape has six characters, of which three are here. The other half must follow at once.
        let paired =
            is_high && half.len() == 3 && halves.get(at + 1).is_some_and(|next| next.starts_with(['c', 'd', 'e', 'f']));
        let kept =
            paired || (high && !is_high) || half.starts_with(|digit: char| digit.is_ascii_digit() && digit < '8');
        text.push_str(if kept { "\\ud" } else { "\\ufffd" });
        text.push_str(if kept { half } else { half.get(3..).unwrap_or_default() });
        high = paired;
    }
    text
}

fn texts(file: usize, wanted: &dyn Fn(&str) -> bool) -> Vec<String> {
    values(file, wanted).iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    Some(digits?.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Seeds of a fitting length, each with `prefix` before it.
fn with(prefix: &[u8], seeds: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    seeds.into_iter().filter(|seed| seed.len() <= LONGEST).map(|seed| [prefix, &seed].concat()).collect()
}

pub(crate) fn frames() -> Vec<Vec<u8>> {
    let attacks: [&[u8]; 12] = [
        b"\x81\x85\0\0\0\0hello\x89\x80\0\0\0\0\x88\x82\0\0\0\0\x03\xe8",
        b"\x01\x82\x01\x02\x03\x04ik\x89\x81\0\0\0\0p\x80\x81\0\0\0\0!",
        b"\x82\xfe\x00\x7e\0\0\0\0",
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        b"\x82\xff\0\0\0\0\0\x01\0\0\0\0\0\0",
        b"\xb1\x81\0\0\0\0\x32",
        b"\x81\x84\0\0\0\0\xf0\x9f\x98\x80",
        b"\x01\x82\0\0\0\0\xf0\x9f\x80\x82\0\0\0\0\x98\x80",
        b"\x88\x87\0\0\0\0\x0f\xa0again",
        b"\x02\x80\0\0\0\0\x00\x80\0\0\0\0\x80\x80\0\0\0\0",
        b"\x81\x01a",
    ];
    let mut seeds = with(&[0, 0, 7], attacks.map(<[u8]>::to_vec));
    let long = [&b"\x82\xfe\x01\x2c\x11\x22\x33\x44"[..], &[5; 300]].concat();
    seeds.extend(with(&[1, 0, 9], [long.clone()]));
    seeds.extend(with(&[0, 1, 9], [[long.as_slice(), &long].concat()]));
    seeds
}

pub(crate) fn deflate() -> Vec<Vec<u8>> {
    let messages: [&[u8]; 6] = [
        b"\xf2\x48\xcd\xc9\xc9\x07\x00",
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        // A thousand zeros.
        b"\x62\x60\x18\x05\xa3\x60\x14\x0c\x77\x00\x00",
        b"\x00",
    ];
    let offers: [&[u8]; 3] = [
        b"permessage-deflate; client_max_window_bits",
        b"permessage-deflate; server_max_window_bits=9, permessage-deflate; server_max_window_bits=15; client_max_window_bits=\"10\"",
        b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    ];
    let mut seeds = with(&[0, 3, 1], messages.map(<[u8]>::to_vec));
    seeds.extend(with(&[2, 9, 1], messages.map(<[u8]>::to_vec)));
    seeds.extend(with(&[0, 0, 7], offers.map(<[u8]>::to_vec)));
    seeds
}

pub(crate) fn engine_packets() -> Vec<Vec<u8>> {
    let texts =
        texts(ENGINEIO, &|key| matches!(key, "input" | "encoded" | "binary_supported" | "binary_not_supported"));
    let mut seeds = with(b"", texts.into_iter().map(String::into_bytes));
    seeds.extend([b"4".to_vec(), b"\x1e".repeat(300), b"4\x1e".repeat(300), b"bAQIDBA==\x1eb_-\x1e6".to_vec()]);
    seeds
}

pub(crate) fn json() -> Vec<Vec<u8>> {
    let texts = texts(SOCKETIO, &|key| key == "frames");
    let frames = values(SOCKETIO, &|key| key == "frames");
    let frames = frames.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    let json = frames.filter_map(|frame| frame.find(['[', '{', '"']).map(|at| frame.as_bytes()[at..].to_vec()));
    let mut seeds = with(&[1], json.chain(texts.into_iter().map(String::into_bytes)));
    let attacks = ["[".repeat(1_030), "{\"a\":".repeat(200), r#"["\ud800",1e999,-0.0e-0]"#.into(), "[1,]".into()];
    seeds.extend(with(&[0], attacks.map(String::into_bytes)));
    seeds
}

/// Messages of one client, as the target reads them.
fn messages(messages: &[(bool, &[u8])]) -> Vec<u8> {
    messages.iter().flat_map(|(binary, bytes)| [vec![u8::from(*binary)], piece(bytes)].concat()).collect()
}

pub(crate) fn socketio() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for frames in values(SOCKETIO, &|key| key == "frames").iter().filter_map(Value::as_array) {
        let read = frames.iter().filter_map(|frame| match frame {
            Value::String(text) => Some((false, text.clone().into_bytes())),
            other => Some((true, unhex(other.get("$bin")?.as_str()?)?)),
        });
        let read: Vec<(bool, Vec<u8>)> = read.collect();
        let read: Vec<(bool, &[u8])> = read.iter().map(|(binary, bytes)| (*binary, bytes.as_slice())).collect();
        seeds.push(messages(&read));
    }
    let attacks: [&[(bool, &[u8])]; 10] = [
        &[(false, b"511-[\"x\"]")],
        &[(false, b"599999999-[")],
        &[(false, br#"51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#), (true, b"xyz")],
        &[(false, br#"52-["a",{"_placeholder":true,"num":1}]"#), (true, b""), (true, b"1"), (false, br#"2["b"]"#)],
        &[(false, br#"51-["a",{"_placeholder":true,"num":7}]"#), (true, b"1")],
        &[(false, b"29007199254740993[\"a\"]"), (false, b"29007199254740991[\"a\"]")],
        &[(false, br#"2["\ud800",1e999]"#), (false, b"2[1e999]"), (false, b"3"), (false, b"4{\"message\":\"x\"}")],
        &[(false, br#"42[{"toString":"foo"}]"#), (false, br#"2["connect"]"#)],
        &[(false, b"0/ns?token=1,{\"a\":1}"), (false, b"1/ns,"), (false, b"2/ns,7[\"a\",[[[[]]]]] ")],
        &[(false, br#"61-/ns,3[{"_placeholder":true,"num":0}]"#), (true, &[9; 120])],
    ];
    seeds.extend(attacks.iter().map(|attack| messages(attack)));
    with(&[0, 0, 0], seeds)
}

pub(crate) fn arguments() -> Vec<Vec<u8>> {
    let texts = [
        r#""a",1,{"_placeholder":true,"num":0}"#,
        r#"{"type":"A","a":{"_placeholder":true,"num":0},"b":{}}"#,
        r#"{"type":"B","id":1,"data":[{"_placeholder":true,"num":0}],"x":{"_placeholder":true,"num":1}}"#,
        r#"{"t":"A","c":[{"_placeholder":true,"num":0},255]}"#,
        r#"{"c":{"list":[{"_placeholder":true,"num":1}]},"t":"B"}"#,
        r#"{"Struct":{"a":1.5,"b":{"Tuple":[-1,{"_placeholder":true,"num":0}]}}}"#,
        r#"[[1,null],[2,{}]]"#,
        r#"{"next":{"next":{"list":[{},{}]}},"list":[]}"#,
        r#"{"1":{"a":[]},"2":"x"}"#,
        r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
        r#"{"_placeholder":true,"num":18446744073709551616}"#,
        r#"170141183460469231731687303715884105728,-1.5e-7,"\u0000\ud83d\ude00",true"#,
        r#"[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]"#,
    ];
    let attachments = [&[2][..], &piece(b"\x01\x02\x03"), &piece(&[7; 100])].concat();
    let mut seeds = with(&[&[0][..], &attachments].concat(), texts.map(|text| text.as_bytes().to_vec()));
    seeds.extend(with(&[0, 0], texts.map(|text| text.as_bytes().to_vec())));
    seeds.push([&[1, 0][..], "[".repeat(700).as_bytes(), "]".repeat(700).as_bytes()].concat());
    seeds
}

pub(crate) fn msgpack() -> Vec<Vec<u8>> {
    let frames = texts(MSGPACK, &|key| matches!(key, "frame_hex" | "$bin"));
    let mut seeds = with(&[0], frames.iter().filter_map(|text| unhex(text)));
    let attacks = ["ddffffffff", "dfffffffff", "c6ffffffff", "dbffffffff", "c9ffffffff01", "d40000", "d7ff00", "c1"];
    seeds.extend(with(&[0], attacks.iter().filter_map(|text| unhex(text))));
    seeds.extend(with(&[1], [vec![0x91; 1_100], vec![0x81; 300]]));
    let mixed = b"\x9a\xc4\x02ab\xcb\x7f\xf8\0\0\0\0\0\0\xd6\xff\0\0\0\x01\xc7\x01\x00x\xc7\x01\x05y\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xd9\x02\xc3\x28\x82\x01\xc2\xd4\0\0\xc0\xc0\xca\x7f\x80\0\0";
    seeds.extend(with(&[0], [mixed.to_vec()]));
    seeds
}

pub(crate) fn packed() -> Vec<Vec<u8>> {
    let frames = texts(MSGPACK, &|key| matches!(key, "frame_hex" | "$bin"));
    let mut seeds = with(&[0, 0], frames.iter().filter_map(|text| unhex(text)));
    let event = |data: &[u8]| [&b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data"[..], data].concat();
    let attacks: [&[u8]; 7] = [
        b"\x92\xa1e\x82\xac_placeholder\xc3\xa3num\x00",
        b"\x93\xa1e\x82\xac_placeholder\xc3\xa3num\x00\xc4\x01x",
        b"\x94\xa1e\xc4\x00\xc4\x00\xc4\x00",
        b"\x92\xa1e\xd7\x00\x00\x00\x01\x8b\xcf\xe5\x68\x7b",
        b"\x93\xa1e\xd4\x00\x00\xd6\xff\x65\x93\x7d\x25",
        b"\x92\xcb\x3f\xf8\0\0\0\0\0\0\xdf\xff\xff\xff\xff",
        b"\x91\xaadisconnect",
    ];
    seeds.extend(with(&[0, 0], attacks.map(event)));
    let deep = event(&[&b"\x92\xa1e"[..], &[0x91; 130], b"\xc0"].concat());
    seeds.extend(with(&[1, 1], [event(&[&b"\x9f\xa1e"[..], &[0xc2; 14]].concat()), deep]));
    let auth = b"\x83\xa4type\x00\xa3nsp\xa2/a\xa4data\x82\xa1k\xc4\x03abc\xa1n\xc0";
    seeds.extend(with(&[0, 0], [auth.to_vec()]));
    seeds
}

pub(crate) fn classic() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for file in [3, 4] {
        for object in
            values(file, &|key| matches!(key, "commands" | "tests")).iter().filter_map(Value::as_array).flatten()
        {
            let (Some(channel), Some(payload)) = (
                object.get("channel").and_then(Value::as_str),
                object.get("payload_hex").and_then(Value::as_str).and_then(unhex),
            ) else {
                continue;
            };
            let kind = match channel {
                channel if channel.contains("-request") => 1,
                channel if channel.contains("-response") => 2,
                _ => 0,
            };
            seeds.extend(with(&[kind], [payload]));
        }
    }
    seeds.extend(with(&[3], [br#"{"uid":"a","alive":[["/","",7]]}"#.to_vec(), br#"{"uid":"a"}"#.to_vec()]));
    seeds
}

pub(crate) fn resp() -> Vec<Vec<u8>> {
    let trailer = "010070d2182d010203040506070800000000000000090000000000000102";
    let message =
        format!(r#"{{"type":3,"data":{{"packet":{{"type":2,"data":["e"]}}}},"uid":"a","nsp":"/","rc":"{trailer}"}}"#);
    let smessage = format!(">3\r\n$8\r\nsmessage\r\n$14\r\nsocket.io#/#a#\r\n${}\r\n{message}\r\n", message.len());
    let said: [&[u8]; 21] = [
        smessage.as_bytes(),
        b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\nx\r\ny\r\n",
        b">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$0\r\n\r\n",
        b">3\r\n$10\r\nssubscribe\r\n$12\r\nsocket.io#/#\r\n:1\r\n",
        b">3\r\n$12\r\nsunsubscribe\r\n$12\r\nsocket.io#/#\r\n:0\r\n",
        b">3\r\n$12\r\nsunsubscribe\r\n_\r\n:0\r\n",
        // HELLO 3.
        b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:5\r\n\
          $4\r\nmode\r\n$7\r\ncluster\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
        b"+PONG\r\n+OK\r\n",
        b"$4\r\nPONG\r\n",
        b"-MOVED 15495 127.0.0.1:7001\r\n-CLUSTERDOWN The cluster is down\r\n",
        b"-NOPERM this user has no permissions to access one of the channels used as arguments\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n-NOPROTO unsupported protocol version\r\n",
        b"!21\r\nSYNTAX invalid syntax\r\n",
        b"=15\r\ntxt:Some string\r\n=4\r\nmkd:\r\n=2\r\nab\r\n",
        b"_\r\n$-1\r\n*-1\r\n",
        b"(3492890328409238509324850943850943825024385\r\n,1.23\r\n,inf\r\n,-inf\r\n,nan\r\n#t\r\n#f\r\n:-9223372036854775808\r\n",
        b"*3\r\n$6\r\nmaster\r\n:7\r\n*2\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n7002\r\n$1\r\n0\r\n*0\r\n",
        b"~2\r\n+a\r\n%1\r\n+b\r\n~1\r\n:1\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n_\r\n",
        b">3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$20\r\n12345678901234567890\r\n+PONG\r\n",
        b"*3\r\n$9\r\n123456789\r\n!9\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\r\n$2\r\nab\r\n",
    ];
    let usual = with(&[0; 6], said.map(<[u8]>::to_vec));
    // With small limits, of which each input meets the last.
    let small = with(&[0, 1, 0, 1, 1, 7], said.map(<[u8]>::to_vec));
    let least = with(&[1, 2, 1, 2, 2, 9], said.map(<[u8]>::to_vec));
    [usual, small, least, with(&[0; 6], [said.concat()])].concat()
}

pub(crate) fn handshakes() -> Vec<Vec<u8>> {
    let headers: [&[(&str, &str)]; 3] = [
        &[("host", "chat.example"), ("connection", "Upgrade"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")],
        &[("cookie", "a=b"), ("cookie", "c=\u{e9}"), ("x-own", ""), ("accept", "*/*"), ("origin", "null")],
        &[("sec-websocket-protocol", "a, b ,c"), ("sec-websocket-protocol", "a,,b"), ("upgrade", "x")],
    ];
    let urls = ["/socket.io/?EIO=4&transport=websocket", "/socket.io/?a=%00&b=+&=&a", "*"];
    let seeds = urls.iter().zip(headers).map(|(url, headers)| {
        let headers = headers.iter().flat_map(|(name, value)| [piece(name.as_bytes()), piece(value.as_bytes())]);
        [piece(url.as_bytes()), headers.flatten().collect()].concat()
    });
    seeds.collect()
}

pub(crate) fn proxy_headers() -> Vec<Vec<u8>> {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let lines = [
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\nGET / HTTP/1.1\r\n",
        "PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
        "PROXY TCP6 2001:db8::1 ::1 4711 443\r\n",
        "PROXY TCP6 ::ffff:192.0.2.1 1:2:3:4:5:6:7:8 4711 443\r\n",
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.1 04711 443\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.1 4711 443 \n",
        "GET / HTTP/1.1\r\n",
    ];
    // The longest line, and one past it.
    let long = [91, 92].map(|length| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length)));
    let lines = lines.into_iter().map(str::to_owned).chain(long).map(String::into_bytes);
    let four = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xbb];
    let with_extension = [&four[..], b"\x04\0\x01\0\xea\0\x05abcde"].concat();
    let binary = |command: u8, family: u8, rest: &[u8]| {
        [SIGNATURE, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
    };
    let headers = [
        binary(0x21, 0x11, &four),
        binary(0x21, 0x12, &with_extension),
        binary(0x21, 0x21, &[9; 36]),
        binary(0x21, 0x22, &[9; 60]),
        binary(0x20, 0x00, &[]),
        binary(0x20, 0xff, &[1, 2, 3]),
        binary(0x21, 0x31, &[0; 216]),
        binary(0x21, 0x11, &four[..11]),
        binary(0x11, 0x11, &four),
        binary(0x21, 0x43, &four),
    ];
    let mut seeds = with(&[3, 0], lines.chain(headers));
    // The longest header, and one past it.
    seeds.extend(with(&[3, 1], [b"\x21\x11\x07\xf0", b"\x21\x11\x07\xf1"].map(|rest| [SIGNATURE, rest].concat())));
    seeds
}

pub(crate) fn headers() -> Vec<Vec<u8>> {
    let lines = |first: &[u8], values: &[&[u8]]| {
        [first, &values.iter().flat_map(|value| piece(value)).collect::<Vec<u8>>()].concat()
    };
    let chain = [&b"198.51.100.1"[..], &b", 10.0.0.2".repeat(32)].concat();
    let mut seeds = vec![
        lines(&[0, 0, 0], &[b"198.51.100.1"]),
        lines(&[0, 0, 1], &[b"1.1.1.1", b"198.51.100.1,10.0.0.9", b"10.0.0.2"]),
        lines(&[0, 0, 0], &[b"\xe9, [2001:db8::5]:4711, ::ffff:10.0.0.3,10.0.0.2:80"]),
        lines(&[0, 0, 4], &[b"198.51.100.1, unknown, 10.0.0.2"]),
        lines(&[0, 0, 0], &[&chain]),
        lines(&[0, 2, 2], &[b"192.0.2.7,2001:db8:8000::, 2001:db8::, 192.0.2.15"]),
        lines(&[0, 4, 5], &[b"198.51.100.1,[::1]"]),
    ];
    let accepted: [&[u8]; 9] = [
        b"gzip, deflate, br, zstd",
        b"deflate, gzip;q=0.5",
        b"gzip;q=0, *",
        b"*;q=0.5, deflate;q=0.4",
        b"GZIP ; a=1;q=0.001 , deflate;q=0",
        b"gzip;q=x, deflate;q=-1",
        b"*, identity;q=0",
        b"gzip;q=0.001, deflate;q=0.002",
        // Cut to thousandths in binary, the two are equal.
        b"gzip;q=0.250, deflate;q=0.251",
    ];
    seeds.extend(accepted.map(|value| lines(&[1], &[value])));
    seeds.push(lines(&[1], &[b"gzip;q=0.1", b"deflate"]));
    seeds.push(lines(&[2], &[b"keep-alive, Upgrade"]));
    seeds.push(lines(&[2], &[b"close", b"upgrade\t,x", b"\xe9,upgrade"]));
    let queries: [&[u8]; 4] = [
        b"EIO=4&transport=polling&t=x&sid=abc&b64=1&j=0",
        b"transport=web%73ocket&E%49O=4&sid=&sid=%ff%zz+%2B",
        b"&&=&a&b64=&sid==&transport&EIO=3&EIO=4",
        "sid=\u{e9}%C3%A9&b64".as_bytes(),
    ];
    seeds.extend(with(&[3], queries.map(<[u8]>::to_vec)));
    seeds
}

/// A request, as the target reads it: its method, query, headers and pieces of a body.
fn request(method: u8, query: &str, headers: &[(&str, &str)], body: &[&[u8]]) -> Vec<u8> {
    let mut seed = vec![method];
    seed.extend(piece(query.as_bytes()));
    seed.push(headers.len() as u8);
    for (name, value) in headers {
        seed.extend([piece(name.as_bytes()), piece(value.as_bytes())].concat());
    }
    seed.push(body.len() as u8);
    body.iter().for_each(|part| seed.extend(piece(part)));
    seed
}

pub(crate) fn requests() -> Vec<Vec<u8>> {
    let open = request(0, "EIO=4&transport=polling", &[("host", "a")], &[]);
    let poll = request(0, "EIO=4&transport=polling&sid=$SID", &[], &[]);
    let post = |headers: &[(&str, &str)], body: &[&[u8]]| request(1, "EIO=4&transport=polling&sid=$SID", headers, body);
    let upgrade = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "a,b"),
    ];
    let mut offer = upgrade.to_vec();
    offer.extend([
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
        ("accept-encoding", "gzip"),
    ]);
    let seeds = [
        [open.clone(), poll.clone(), post(&[], &[b"4hel", b"lo\x1ebAQID"]), poll.clone()].concat(),
        [open.clone(), poll.clone(), poll.clone()].concat(),
        [open.clone(), post(&[("content-type", "application/octet-stream")], &[b"4"])].concat(),
        [open.clone(), poll.clone(), post(&[("content-length", "5000")], &[b"1"])].concat(),
        [open.clone(), post(&[], &[&[b'4'; 900], &[b'4'; 900]])].concat(),
        [open.clone(), request(0, "EIO=4&transport=websocket&sid=$SID", &upgrade, &[])].concat(),
        request(0, "EIO=4&transport=websocket", &upgrade, &[]),
        request(0, "EIO=3&transport=polling", &[], &[]),
        request(0, "transport=__proto__&EIO=4.0&sid=constructor", &[("origin", "https://evil.example")], &[]),
        request(2, "EIO=4&transport=polling", &[("origin", "a"), ("access-control-request-headers", "x-y")], &[]),
        request(0, "EIO=4&transport=polling&j=0&b64=1&t=x", &[], &[]),
        request(4, "EIO=4&transport=polling&sid=%ff", &[], &[]),
    ];
    let compressed = with(&[4], [request(0, "EIO=4&transport=websocket", &offer, &[]), seeds[1].clone()]);
    [with(&[0], seeds), compressed].concat()
}

pub(crate) fn origins() -> Vec<Vec<u8>> {
    let case = |origins: &[&str], host: &str, origin: &str| {
        let mut seed = vec![1, origins.len() as u8];
        origins.iter().for_each(|origin| seed.extend(piece(origin.as_bytes())));
        [seed, piece(host.as_bytes()), piece(origin.as_bytes())].concat()
    };
    vec![
        case(&["https://app.example"], "rt.example", "https://app.example"),
        case(&["https://app.example", "http://b.example:8080"], "rt.example", "https://evil.example"),
        case(&["https://app.example"], "rt.example:443", "https://RT.example"),
        case(&["*"], "a", "null"),
        case(&["capacitor://localhost", "https://x/"], "[::1]:80", "http://[::1]"),
        case(&[], "a", "https://app.example.evil"),
    ]
}

/// Steps of a machine: each is its number and the input that it reads.
fn steps(steps: &[(u8, &[u8])]) -> Vec<u8> {
    steps.iter().flat_map(|(step, rest)| [&[*step], *rest].concat()).collect()
}

/// Steps for both machines, with messages that the application of each understands.
fn machine_seeds(first: &[&[u8]], words: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let say = |word: &[u8]| [&[14][..], &piece(word)].concat();
    let said: Vec<u8> = first.iter().chain(words).flat_map(|word| say(word)).collect();
    let opened: Vec<u8> = first.iter().flat_map(|word| say(word)).collect();
    for word in words {
        seeds.push([&[0, 0, 3][..], &opened, &say(word), &[8, 3, 9, 0]].concat());
    }
    // Over WebSocket, through a wide pipe and a narrow one.
    seeds.push([&[0, 0, 3][..], &said, &[9, 0, 8, 7, 9, 0]].concat());
    seeds.push([&[0, 3, 3][..], &said, &[8, 8]].concat());
    // By polling: two connections, one that polls and one that posts.
    let bodies = first.iter().chain(words).flat_map(|word| [&[6][..], &piece(&[b"4", *word].concat())].concat());
    seeds.push([&[0, 0, 4, 5, 0, 0][..], &bodies.collect::<Vec<u8>>(), &[12, 0, 9, 0, 5, 9, 0]].concat());
    // An upgrade.
    let upgrade = [
        steps(&[(0, &[0]), (4, &[]), (5, &[]), (0, &[0]), (7, &[])]),
        [&[2, 0x81][..], &piece(b"2probe"), &[8, 2, 2, 0x81], &piece(b"5")].concat(),
        said,
    ];
    seeds.push(upgrade.concat());
    // Ends of every kind: half closed, dropped, by the server, by a close frame.
    seeds.push([&[0, 0, 3][..], &opened, &[11, 8, 0]].concat());
    seeds.push([&[0, 0, 3][..], &opened, &[10, 8, 0]].concat());
    seeds.push([&[0, 0, 3][..], &opened, &[13, 0, 8, 5]].concat());
    seeds.push([&[0, 0, 3, 2, 0x88][..], &piece(b"\x03\xe8"), &[8, 5]].concat());
    // Raw heads, whole and byte by byte, and bytes that are not HTTP.
    for raw in [
        &b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"POST /engine.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n4abcd\r\n0\r\n\r\n",
        b"OPTIONS * HTTP/1.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        seeds.push([&[0, 0, 1][..], &piece(raw), &[9, 0]].concat());
        seeds.push([&[0, 0, 15][..], &piece(raw), &[9, 0]].concat());
    }
    seeds
}

pub(crate) fn engine() -> Vec<Vec<u8>> {
    machine_seeds(&[b"hello"], &[b"v", b"h", b"after", b"l\x02", b"b\x20\x60", b"p", b"c"])
}

pub(crate) fn server() -> Vec<Vec<u8>> {
    let words: [&[u8]; 18] = [
        b"20[\"echo\",1,{\"a\":[]}]",
        b"2[\"join\",\"a\"]",
        b"2[\"to\",\"a\",\"x\"]",
        b"2[\"leave\",\"a\"]",
        b"21[\"ask\",\"a\"]",
        b"30[\"yes\"]",
        b"2[\"poll\"]",
        b"31[7]",
        b"2[\"all\",null]",
        b"2[\"burst\",100,1000]",
        b"2[\"later\",900]",
        b"2[\"kick\",\"a\"]",
        b"0/admin,{\"token\":\"secret\"}",
        b"0/late,",
        b"0/dyn-a,",
        b"2/dyn-a,5[\"echo\"]",
        b"1/dyn-a,",
        b"2[\"bye\",true]",
    ];
    machine_seeds(&[b"0"], &words)
}

#[cfg(test)]
mod tests {
    use crate::targets::ALL;

    #[test]
    fn every_target_has_seeds() {
        for target in ALL {
            let seeds = (target.seeds)();
            assert!(seeds.len() >= 3, "{}", target.name);
        }
    }
}
