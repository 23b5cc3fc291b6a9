//! Placeholders, read as their attachments.

use super::*;

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

/// serde first reads these into a buffer of its own, which knows nothing of placeholders.
#[test]
fn bytes_arrive_inside_what_serde_buffers() {
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
        // serde gives buffered bytes to a `String` too if they are UTF-8, so variants of bytes come first.
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
    // The tag may come after the content.
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

/// `serde_json::to_value` makes numbers from bytes, and `from_value` makes bytes from numbers.
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

/// Its object must not be read as data that the client never sent.
#[test]
fn a_placeholder_is_never_read_as_data() {
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
    // Without attachments it is data like any other, as in Node. Raw text is always what came.
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
