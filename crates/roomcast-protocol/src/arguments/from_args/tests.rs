//! Arguments into types of every shape.

mod attachments;

use super::*;
use crate::Attachment;
use crate::limits::{MAX_ATTACHMENT_COPIES, MAX_DEPTH_OPTION, MAX_TYPED_DEPTH};
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
    // A lone surrogate cannot be a Rust string, but it can be skipped.
    let lone = args(r#""\ud800",1"#, &[]);
    assert!(lone.parse::<String>().is_err());
    assert_eq!(lone.parse::<(de::IgnoredAny, u8)>().unwrap().1, 1);
}

/// A type that reads a tuple until it ends must reach an end.
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
    // The same if there is an attachment among them.
    let named = args(&format!(r#"["a",{ZERO}],["b",{ONE}]"#), &[b"zero", b"one"]);
    let (zero, one) = (Attachment::from(b"zero".to_vec()), Attachment::from(b"one".to_vec()));
    assert_eq!(named.parse::<Named>().unwrap(), Named("a".into(), zero.clone()));
    let both = named.parse::<(Named, (String, Attachment))>().unwrap();
    assert_eq!(both, (Named("a".into(), zero), ("b".into(), one)));
    assert!(args(&format!(r#"["a",{ZERO},1]"#), &[b"zero"]).parse::<Named>().is_err());
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

    // What serde_json refuses is refused here too.
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
        // Where it is not parsed further, it is a name like any other.
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
