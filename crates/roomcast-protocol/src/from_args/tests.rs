//! Arguments into types of every shape.

use super::*;
use crate::Attachment;
use crate::limits::{MAX_DEPTH_OPTION, MAX_TYPED_DEPTH};
use serde::{Deserialize, de};
use serde_bytes::ByteBuf;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;

const ZERO: &str = r#"{"_placeholder":true,"num":0}"#;
const ONE: &str = r#"{"_placeholder":true,"num":1}"#;

fn args(items: &str, attachments: &[&'static [u8]]) -> Args {
    Args::from_parts(items.into(), attachments.iter().map(|bytes| Bytes::from_static(bytes)).collect())
}

#[test]
fn one_argument_several_and_none() {
    let three = args(r#""a",2,{"k":[true]}"#, &[]);
    assert_eq!(three.parse::<String>().unwrap(), "a");
    assert_eq!(three.parse::<(String, u8)>().unwrap(), ("a".to_owned(), 2));
    assert_eq!(three.parse::<(String, u8, Value)>().unwrap().2, json!({"k": [true]}));
    three.parse::<()>().unwrap();
    assert_eq!(three.parse::<Args>().unwrap(), three);
    assert_eq!(args("[1,2]", &[]).parse::<Vec<u8>>().unwrap(), [1, 2]);
    // A tuple of one takes the first argument; missing ones are null.
    assert_eq!(three.parse::<(String,)>().unwrap().0, "a");
    assert_eq!(args("1", &[]).parse::<(u8, Option<u8>)>().unwrap(), (1, None));
    assert_eq!(Args::none().parse::<Option<String>>().unwrap(), None);
    assert!(Args::none().parse::<String>().is_err());
    assert!(three.parse::<u8>().is_err());
    // A lone surrogate cannot be a Rust string, but it can be passed over.
    let lone = args(r#""\ud800",1"#, &[]);
    assert!(lone.parse::<String>().is_err());
    assert_eq!(lone.parse::<(de::IgnoredAny, u8)>().unwrap().1, 1);
}

/// Whoever reads to the end gets to one.
#[test]
fn a_tuple_that_reads_to_its_end_has_one() {
    struct Collect;
    impl<'de> Visitor<'de> for Collect {
        type Value = (Vec<Option<u8>>,);
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("numbers")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = access.next_element()? {
                all.push(item);
            }
            Ok((all,))
        }
    }
    let two = args("1,2", &[]);
    let all = TopLevel::new(two.as_ref()).deserialize_tuple(3, Collect).unwrap();
    assert_eq!(all.0, [Some(1), Some(2), None]);
}

#[test]
fn arrays_and_tuple_structs_are_one_argument() {
    #[derive(Deserialize, Debug, PartialEq)]
    struct Pair(u8, u8);
    #[derive(Deserialize, Debug, PartialEq)]
    struct Wrapped((u8, u8));
    #[derive(Deserialize, Debug, PartialEq)]
    struct Named(String, Attachment);

    let point = args("[1,2],[3,4]", &[]);
    assert_eq!(point.parse::<[u8; 2]>().unwrap(), [1, 2]);
    assert_eq!(point.parse::<Pair>().unwrap(), Pair(1, 2));
    assert_eq!(point.parse::<Wrapped>().unwrap(), Wrapped((1, 2)));
    assert_eq!(point.parse::<([u8; 2], Pair)>().unwrap(), ([1, 2], Pair(3, 4)));
    assert_eq!(point.parse::<((u8, u8), Wrapped)>().unwrap(), ((1, 2), Wrapped((3, 4))));
    for several in [args("1,2", &[]), args("[1,2,3]", &[]), args("[1]", &[])] {
        assert!(several.parse::<[u8; 2]>().is_err());
        assert!(several.parse::<Pair>().is_err());
    }
    // The same where an attachment is among them.
    let named = args(&format!(r#"["a",{ZERO}],["b",{ONE}]"#), &[b"zero", b"one"]);
    let (zero, one) = (Attachment::from(b"zero".to_vec()), Attachment::from(b"one".to_vec()));
    assert_eq!(named.parse::<Named>().unwrap(), Named("a".into(), zero.clone()));
    let both = named.parse::<(Named, (String, Attachment))>().unwrap();
    assert_eq!(both, (Named("a".into(), zero), ("b".into(), one)));
    assert!(args(&format!(r#"["a",{ZERO},1]"#), &[b"zero"]).parse::<Named>().is_err());
}

#[test]
fn placeholders_are_read_as_their_attachments() {
    #[derive(Deserialize, Debug, PartialEq)]
    struct File {
        name: String,
        parts: Vec<Bytes>,
        thumb: Option<ByteBuf>,
    }
    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Shape {
        Blob(Bytes),
    }
    let file = args(
        r#"{"name":"f","parts":[{"_placeholder":true,"num":1},{"num":0,"x":[],"_placeholder":true}],"thumb":null}"#,
        &[b"zero", b"one"],
    );
    let expected = File { name: "f".into(), parts: vec![Bytes::from("one"), Bytes::from("zero")], thumb: None };
    assert_eq!(file.parse::<File>().unwrap(), expected);
    let raw = args(ZERO, &[b"zero"]);
    assert_eq!(raw.parse::<Bytes>().unwrap(), "zero");
    assert_eq!(raw.parse::<Option<Bytes>>().unwrap().unwrap(), "zero");
    assert!(args(ONE, &[b"zero"]).parse::<Bytes>().is_err());
    assert!(args(r#"{"_placeholder":false,"num":0}"#, &[b"zero"]).parse::<Bytes>().is_err());
    assert_eq!(args("[1,2]", &[]).parse::<Bytes>().unwrap(), vec![1, 2]);
    let blob = args(&format!(r#"{{"blob":{ZERO}}}"#), &[b"zero"]);
    assert_eq!(blob.parse::<Shape>().unwrap(), Shape::Blob(Bytes::from("zero")));
    assert_eq!(blob.parse::<Box<RawValue>>().unwrap().get(), format!(r#"{{"blob":{ZERO}}}"#));
}

/// serde reads these into a buffer of its own first, which knows nothing of placeholders.
#[test]
fn bytes_arrive_inside_of_what_serde_buffers() {
    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(tag = "kind")]
    enum Tagged {
        Image { data: Bytes, thumb: Option<ByteBuf>, parts: Vec<Attachment> },
        Text { text: String },
    }
    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(tag = "t", content = "c")]
    enum Adjacent {
        Image(Attachment),
    }
    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(untagged)]
    enum Untagged {
        // serde gives buffered bytes to a `String` as well if they are UTF-8, so types of bytes come first.
        Raw(Attachment),
        Image { data: ByteBuf },
        Text(String),
    }
    #[derive(Deserialize, Debug, PartialEq)]
    struct Flattened {
        id: u8,
        #[serde(flatten)]
        image: Image,
        #[serde(flatten)]
        more: HashMap<String, ByteBuf>,
    }
    #[derive(Deserialize, Debug, PartialEq)]
    struct Image {
        data: Attachment,
    }

    let image = |text: &str| args(text, &[b"zero", b"one"]);
    let (zero, one) = (Attachment::from(b"zero".to_vec()), Attachment::from(b"one".to_vec()));
    // The tag after what it tells about, too.
    for text in [
        format!(r#"{{"kind":"Image","data":{ZERO},"thumb":{ONE},"parts":[{ONE},{ZERO}]}}"#),
        format!(r#"{{"parts":[{ONE},{ZERO}],"data":{ZERO},"thumb":{ONE},"kind":"Image"}}"#),
    ] {
        let expected = Tagged::Image {
            data: Bytes::from("zero"),
            thumb: Some(ByteBuf::from("one")),
            parts: vec![one.clone(), zero.clone()],
        };
        assert_eq!(image(&text).parse::<Tagged>().unwrap(), expected);
    }
    let text = format!(r#"{{"kind":"Text","text":"a"}},{ZERO}"#);
    assert_eq!(image(&text).parse::<Tagged>().unwrap(), Tagged::Text { text: "a".into() });
    for text in [format!(r#"{{"t":"Image","c":{ONE}}}"#), format!(r#"{{"c":{ONE},"t":"Image"}}"#)] {
        assert_eq!(image(&text).parse::<Adjacent>().unwrap(), Adjacent::Image(one.clone()));
    }
    let untagged = image(&format!(r#"[{ZERO},{{"data":{ONE}}},"a"]"#));
    let expected =
        [Untagged::Raw(zero.clone()), Untagged::Image { data: ByteBuf::from("one") }, Untagged::Text("a".into())];
    assert_eq!(untagged.parse::<Vec<Untagged>>().unwrap(), expected);
    let flattened = image(&format!(r#"{{"data":{ZERO},"id":7,"other":{ONE}}}"#)).parse::<Flattened>().unwrap();
    assert_eq!((flattened.id, &flattened.image.data), (7, &zero));
    assert_eq!(flattened.more["other"], ByteBuf::from("one"));

    let map = image(&format!(r#"{{"a":{ZERO},"b":{ONE}}}"#));
    let expected = HashMap::from([("a".to_owned(), ByteBuf::from("zero")), ("b".to_owned(), ByteBuf::from("one"))]);
    assert_eq!(map.parse::<HashMap<String, ByteBuf>>().unwrap(), expected);
    assert_eq!(image(ONE).parse::<Option<Option<Attachment>>>().unwrap().unwrap().unwrap(), one);
    assert_eq!(image(&format!("[{ONE},null]")).parse::<Vec<Option<Bytes>>>().unwrap(), [Some("one".into()), None]);
    assert_eq!(image(ONE).parse::<Vec<u8>>().unwrap(), b"one");
    assert_eq!(image(ONE).parse::<([u8; 3],)>().unwrap().0, *b"one");
}

#[test]
fn an_attachment_is_shared_wherever_it_is_read() {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Image { data: Attachment },
    }
    let bytes = Bytes::from(vec![7; 1_000]);
    let text = format!(r#"{ZERO},[{ZERO}],{{"data":{ZERO}}},[1,2]"#);
    let args = Args::from_parts(text.as_str().into(), vec![bytes.clone(), Bytes::new()]);
    let (one, several, Untagged::Image { data }, numbers) =
        args.parse::<(Attachment, Vec<Attachment>, Untagged, Attachment)>().unwrap();
    for attachment in [&one, &several[0], &data] {
        assert_eq!((attachment.as_ptr(), attachment.len()), (bytes.as_ptr(), bytes.len()));
    }
    assert_eq!(&*numbers, [1, 2]);
    assert_eq!(args.parse::<Bytes>().unwrap(), bytes);
}

/// `serde_json::to_value` makes numbers of bytes, and `from_value` bytes of numbers.
#[test]
fn in_a_value_bytes_are_numbers() {
    #[derive(Deserialize, Debug, PartialEq)]
    struct File {
        name: String,
        data: Attachment,
    }
    let args = args(&format!(r#"{{"name":"a","data":{ZERO}}},[{ZERO}]"#), &[&[1, 255]]);
    let (file, list) = args.parse::<(Value, Value)>().unwrap();
    assert_eq!(file, json!({"name": "a", "data": [1, 255]}));
    assert_eq!(list, json!([[1, 255]]));
    assert_eq!(file["data"], serde_json::to_value(ByteBuf::from([1, 255])).unwrap());
    let expected = File { name: "a".into(), data: vec![1, 255].into() };
    assert_eq!(serde_json::from_value::<File>(file).unwrap(), expected);
    assert!(args.parse::<BTreeMap<String, Value>>().unwrap()["data"] == json!([1, 255]));
}

/// Its object must not pass for what the client never sent.
#[test]
fn a_placeholder_is_never_handed_out_as_data() {
    #[derive(Deserialize, Debug)]
    #[serde(tag = "kind")]
    #[allow(dead_code, reason = "read, and refused")]
    enum Tagged {
        Any { data: Value },
        Map { data: HashMap<String, Value> },
    }
    #[derive(Deserialize, Debug)]
    struct Lookalike {
        num: u8,
    }
    let bytes: &[&'static [u8]] = &[b"zero"];
    assert!(args(ZERO, bytes).parse::<HashMap<String, Value>>().is_err());
    assert!(args(ZERO, bytes).parse::<Lookalike>().is_err());
    assert!(args(ZERO, bytes).parse::<String>().is_err());
    assert!(args(ZERO, bytes).parse::<bool>().is_err());
    assert!(args(&format!("[{ZERO}]"), bytes).parse::<Vec<()>>().is_err());
    for kind in ["Any", "Map"] {
        assert!(args(&format!(r#"{{"kind":"{kind}","data":{ZERO}}}"#), bytes).parse::<Tagged>().is_err());
    }
    // Without attachments it is data like any other, in Node too; and raw text is what came.
    assert_eq!(args(ZERO, &[]).parse::<Lookalike>().unwrap().num, 0);
    assert_eq!(args(ZERO, &[]).parse::<Value>().unwrap(), json!({"_placeholder": true, "num": 0}));
    assert!(args(ZERO, &[]).parse::<Bytes>().is_err());
    assert!(args("\"text\"", &[]).parse::<Attachment>().is_err());
    assert_eq!(args(ZERO, bytes).parse::<Box<RawValue>>().unwrap().get(), ZERO);
}

#[test]
fn a_number_that_names_no_attachment_is_an_error_everywhere() {
    for number in ["1", "-1", "0.5", "1e400", "\"0\"", "null", "[0]"] {
        let odd = args(&format!(r#"{{"_placeholder":true,"num":{number}}}"#), &[b"zero"]);
        assert!(odd.parse::<Bytes>().is_err(), "{number}");
        assert!(odd.parse::<Attachment>().is_err(), "{number}");
        assert!(odd.parse::<Value>().is_err(), "{number}");
        assert!(odd.parse::<Vec<u8>>().is_err(), "{number}");
    }
    for number in ["0", "-0", "0.0", "0e5"] {
        let even = args(&format!(r#"{{"num":{number},"x":[{ONE}],"\u005fplaceholder":true}}"#), &[b"zero"]);
        assert_eq!(even.parse::<Bytes>().unwrap(), "zero", "{number}");
        assert_eq!(even.parse::<(Value,)>().unwrap().0, json!(b"zero"), "{number}");
    }
}

#[test]
fn what_is_beside_an_attachment_is_read_as_by_serde_json() {
    #[derive(Deserialize, Debug, PartialEq)]
    enum Shape {
        Unit,
        New(u8),
        Pair(u8, Attachment),
        Named { data: Attachment },
    }
    #[derive(Deserialize, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Word {
        A,
        B,
    }
    #[derive(Deserialize, Debug)]
    #[allow(dead_code, reason = "some are only read")]
    struct Odd {
        data: Bytes,
        unit: (),
        big: i128,
        float: f64,
        letter: char,
        text: String,
        none: Option<u8>,
        some: Option<bool>,
        shapes: Vec<Shape>,
        by_number: BTreeMap<i8, String>,
        by_bool: BTreeMap<bool, u8>,
        by_word: BTreeMap<Option<Word>, u8>,
        raw: Box<RawValue>,
        empty: Vec<u8>,
        nothing: BTreeMap<String, u8>,
    }
    let text = format!(
        r#" {{ "data" : {ZERO} , "unit":null,"big":-170141183460469231731687303715884105728,"float":1e2,
        "letter":"\u00e9","text":"\"\ud83d\ude00","none":null,"some":true,"skipped":[{{"x":{ZERO}}},"\ud800",1e999],
        "shapes":["Unit",{{"New":1}},{{"Pair":[2,{ZERO}]}},{{ "Named" : {{"data":{ZERO}}} }}],
        "by_number":{{"-5":"a","7":"b"}},"by_bool":{{"true":1}},"by_word":{{"A":1,"\u0042":2}},
        "raw":[ {ZERO} ],"empty":[ ],"nothing":{{ }} }} "#
    );
    let zero = Attachment::from(b"zero".to_vec());
    let odd = args(&text, &[b"zero"]).parse::<Odd>().unwrap();
    assert_eq!(odd.data, "zero");
    assert_eq!((odd.big, odd.float, odd.letter, odd.text), (i128::MIN, 100.0, 'é', "\"😀".to_owned()));
    assert_eq!((odd.none, odd.some), (None, Some(true)));
    assert_eq!(odd.shapes, [Shape::Unit, Shape::New(1), Shape::Pair(2, zero.clone()), Shape::Named { data: zero }]);
    assert_eq!(odd.by_number, BTreeMap::from([(-5, "a".to_owned()), (7, "b".to_owned())]));
    assert_eq!((odd.by_bool[&true], odd.by_word[&Some(Word::A)], odd.by_word[&Some(Word::B)]), (1, 1, 2));
    assert_eq!(odd.raw.get(), format!("[ {ZERO} ]"));

    // What serde_json refuses is refused here.
    for text in [
        "[ZERO,1]",
        r#"[ZERO "a"]"#,
        r#"[ZERO,"a","b"]"#,
        r#"[ZERO,"a",]"#,
        "[ZERO]",
        r#"[ZERO,"a""#,
        r#"[,ZERO,"a"]"#,
        r#"{"0":ZERO,"1":"a"}"#,
    ] {
        let args = args(&text.replace("ZERO", ZERO), &[b"zero"]);
        assert!(args.parse::<((Attachment, String),)>().is_err(), "{text}");
    }
    let keys = |key: &str| args(&format!("{{{key}:{ZERO}}}"), &[b"zero"]);
    assert!(keys("\"1\"").parse::<BTreeMap<u8, Bytes>>().is_ok());
    for key in ["\"\"", "\" 1\"", "\"1 \"", "\"256\"", "\"a\"", "1"] {
        assert!(keys(key).parse::<BTreeMap<u8, Bytes>>().is_err(), "{key}");
    }
}

#[test]
fn names_that_are_serde_jsons_own_are_refused() {
    for name in [
        "$serde_json::private::RawValue",
        "$serde_json::private::Number",
        r"\u0024serde_json::private::RawValue",
        r"$serde_json::priv\u0061te::RawValue",
    ] {
        let hidden = args(&format!(r#"[{{"{name}":"[1]"}}]"#), &[]);
        assert!(hidden.parse::<Value>().is_err(), "{name}");
        assert!(args(&format!(r#"[{ZERO},{{"{name}":"[1]"}}]"#), &[b""]).parse::<Value>().is_err(), "{name}");
        // Where nobody looks into it, it is a name.
        assert!(hidden.parse::<Args>().is_ok() && hidden.parse::<de::IgnoredAny>().is_ok());
    }
    let text = args(r#"{"\u0024":"$serde_json::private::RawValue"}"#, &[]);
    let expected = json!({"$": "$serde_json::private::RawValue"});
    assert_eq!(text.parse::<Value>().unwrap(), expected);
    assert_eq!(crate::json::from_str::<Value>(text.items()).unwrap(), expected);
    assert_eq!(crate::json::from_str::<(u8, String)>(r#"[1,"A"]"#).unwrap(), (1, "A".to_owned()));
    for wrong in [r#"{"$serde_json::private::RawValue":"1"}"#, r#"["A"] 1"#, "[1] 1"] {
        assert!(crate::json::from_str::<Value>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn copies_at_the_limit_and_one_past_it() {
    let repeated = |times: usize, attachments: Vec<Bytes>| {
        let items = format!("[{}]", vec![ZERO; times].join(","));
        Args::from_parts(items.as_str().into(), attachments)
    };
    let bytes = Bytes::from(vec![7; 1_000]);
    let at = repeated(MAX_ATTACHMENT_COPIES, vec![bytes.clone()]);
    assert_eq!(at.parse::<Vec<Bytes>>().unwrap(), vec![bytes.clone(); MAX_ATTACHMENT_COPIES]);
    assert_eq!(at.parse::<Vec<Vec<u8>>>().unwrap().len(), MAX_ATTACHMENT_COPIES);
    assert!(at.parse::<Value>().is_ok());
    let past = repeated(MAX_ATTACHMENT_COPIES + 1, vec![bytes.clone()]);
    for error in [
        past.parse::<Vec<Bytes>>().unwrap_err(),
        past.parse::<Vec<ByteBuf>>().unwrap_err(),
        past.parse::<Vec<Vec<u8>>>().unwrap_err(),
        past.parse::<Value>().unwrap_err(),
    ] {
        let expected = "argument 1: the attachments would be copied more than 2 times; `Attachment` shares them";
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(past.parse::<Vec<Attachment>>().unwrap().len(), MAX_ATTACHMENT_COPIES + 1);
    // All attachments and all arguments count together, to the byte.
    let one_less = Bytes::from(vec![7; 999]);
    let share = |other: Bytes| repeated(3, vec![bytes.clone(), other]).parse::<Vec<Bytes>>();
    assert!(share(bytes.slice(..500)).is_ok() && share(one_less.slice(..499)).is_err());
    let args = Args::from_parts(format!("{ZERO},{ZERO},{ZERO}").as_str().into(), vec![bytes.clone()]);
    assert!(args.parse::<(Bytes, Attachment, Bytes)>().is_ok());
    assert_eq!(args.parse::<(Bytes, Bytes, Bytes)>().unwrap_err().argument(), Some(3));
}

#[test]
fn an_error_names_the_argument_and_what_was_expected() {
    let error = |args: &Args| args.parse::<(String, u8, Option<Bytes>)>().unwrap_err();
    let wrong = error(&args(r#""a","secret""#, &[]));
    assert_eq!(wrong.to_string(), "argument 2: invalid type: string …, expected u8 at line 1 column 8");
    assert_eq!((wrong.argument(), wrong.is_missing()), (Some(2), false));
    assert!(wrong.source().unwrap().to_string().contains("secret"));
    let missing = error(&args(r#""a""#, &[]));
    assert_eq!(missing.to_string(), "argument 2 was not sent: invalid type: null, expected u8 at line 1 column 4");
    assert_eq!((missing.argument(), missing.is_missing()), (Some(2), true));
    let none = Args::none().parse::<u8>().unwrap_err();
    assert_eq!(none.to_string(), "argument 1 was not sent: invalid type: null, expected u8 at line 1 column 4");
    let attachment = error(&args(&format!(r#""a",{ZERO}"#), &[b"zero"]));
    assert_eq!(attachment.to_string(), "argument 2: invalid type: an attachment, expected u8");
    let third = error(&args(r#""a",1,{}"#, &[]));
    assert!(third.to_string().starts_with("argument 3: invalid type: map, expected byte array"), "{third}");
}

#[test]
fn a_handler_may_see_what_does_not_fit() {
    let two = args(r#""a",2"#, &[]);
    assert_eq!(two.parse::<Checked<(String, u8)>>().unwrap().0.unwrap(), ("a".to_owned(), 2));
    let error = two.parse::<Checked<(u8, u8)>>().unwrap().0.unwrap_err();
    assert_eq!(error.argument(), Some(1));
    assert_eq!(two.parse::<Checked<Args>>().unwrap().0.unwrap(), two);
}

#[test]
fn nesting_at_the_limit_and_one_past_it() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let plain = |depth: usize| args(&nested(depth), &[]);
    let beside = |depth: usize| args(&format!("[{ZERO},{}]", nested(depth - 1)), &[b"zero"]);
    let objects = |depth: usize| {
        let inner = format!(r#"{{"b":{ZERO}}}"#);
        args(&(r#"{"a":"#.repeat(depth - 1) + &inner + &"}".repeat(depth - 1)), &[b"zero"])
    };
    let shapes: [&dyn Fn(usize) -> Args; 3] = [&plain, &beside, &objects];
    for shape in shapes {
        assert!(shape(MAX_TYPED_DEPTH).parse::<Value>().is_ok());
        let error = shape(MAX_TYPED_DEPTH + 1).parse::<Value>().unwrap_err();
        assert!(error.to_string().starts_with("argument 1: recursion limit exceeded"), "{error}");
        assert!(shape(MAX_DEPTH_OPTION - 1).parse::<Args>().is_ok());
        assert!(shape(MAX_DEPTH_OPTION - 1).parse::<de::IgnoredAny>().is_ok());
    }
    assert!(plain(100_000).parse::<Value>().is_err());
}
