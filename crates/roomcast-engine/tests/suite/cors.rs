//! CORS headers, which browsers check.

use crate::common::Server;
use roomcast_engine::Cors;

const TARGET: &str = "/engine.io/?EIO=4&transport=polling";

/// Allow-Origin, Vary and Allow-Credentials of a handshake from this origin.
async fn cors(cors: Cors, origin: Option<&str>) -> [Option<String>; 3] {
    let server = Server::with(|config| config.cors = Some(cors)).await;
    let headers: Vec<_> = origin.iter().map(|origin| ("Origin", *origin)).collect();
    let answer = server.ask("GET", TARGET, &headers, "").await;
    assert_eq!(answer.status, 200);
    server.finish().await;
    ["access-control-allow-origin", "vary", "access-control-allow-credentials"].map(|name| answer.header(name))
}

#[tokio::test]
async fn cors_headers_depend_on_the_rule() {
    let some = |text: &str| Some(text.to_owned());
    let (a, b, evil) = ("http://a.example", "http://b.example", "https://evil.example");
    let list = || Cors::origins([a, b]).unwrap();
    let one = || Cors::origins([a]).unwrap();
    assert_eq!(cors(Cors::any(), Some(a)).await, [some("*"), None, None]);
    assert_eq!(cors(Cors::origins(["*"]).unwrap(), None).await, [some("*"), None, None]);
    assert_eq!(cors(one().credentials(true), Some(a)).await, [some(a), some("Origin"), some("true")]);
    // A single origin is sent to every client, as in Node.
    assert_eq!(cors(one().credentials(true), Some(evil)).await, [some(a), some("Origin"), some("true")]);
    // Whatever the spelling in the list, as a browser compares the answer with its own spelling.
    let spelled = Cors::origins(["HTTP://A.Example:80/"]).unwrap();
    assert_eq!(cors(spelled.clone(), Some(a)).await, [some(a), some("Origin"), None]);
    assert_eq!(cors(spelled, None).await, [some(a), some("Origin"), None]);
    let below = || Cors::origins(["https://*.b.example"]).unwrap();
    assert_eq!(cors(below(), Some("https://x.b.example")).await, [some("https://x.b.example"), some("Origin"), None]);
    assert_eq!(cors(below(), None).await, [None, some("Origin"), None]);
    let matching = || Cors::matching(|origin, _| origin.ends_with("b.example"));
    assert_eq!(cors(matching(), Some(b)).await, [some(b), some("Origin"), None]);
    assert_eq!(cors(matching(), Some(evil)).await, [None, some("Origin"), None]);
    assert_eq!(cors(one(), None).await, [some(a), some("Origin"), None]);
    assert_eq!(cors(list(), Some(b)).await, [some(b), some("Origin"), None]);
    assert_eq!(cors(list(), Some(evil)).await, [None, some("Origin"), None]);
    assert_eq!(cors(list(), None).await, [None, some("Origin"), None]);
    assert_eq!(cors(Cors::reflect().credentials(true), Some(b)).await, [some(b), some("Origin"), some("true")]);
}

#[tokio::test]
async fn a_preflight_is_answered_204() {
    let server = Server::with(|config| config.cors = Some(Cors::any())).await;
    let asked = [("Origin", "http://a.example"), ("Access-Control-Request-Headers", "x-b")];
    let answer = server.ask("OPTIONS", TARGET, &asked, "").await;
    assert_eq!(answer.status, 204);
    let header = |name| answer.header(name);
    assert_eq!(header("access-control-allow-origin").as_deref(), Some("*"));
    assert_eq!(header("access-control-allow-methods").as_deref(), Some("GET,HEAD,PUT,PATCH,POST,DELETE"));
    assert_eq!(header("access-control-allow-headers").as_deref(), Some("x-b"));
    assert_eq!(header("vary").as_deref(), Some("Access-Control-Request-Headers"));
    server.finish().await;

    let server = Server::with(|config| {
        let cors = Cors::origins(["http://a.example", "http://b.example"]).unwrap();
        let cors = cors.allowed_headers("x-a,x-c").unwrap().exposed_headers("x-b").unwrap();
        config.cors = Some(cors.methods("GET,POST").unwrap().max_age(60));
    })
    .await;
    let answer = server.ask("OPTIONS", TARGET, &[("Origin", "http://b.example"), asked[1]], "").await;
    let header = |name| answer.header(name);
    assert_eq!(header("access-control-allow-origin").as_deref(), Some("http://b.example"));
    assert_eq!(header("access-control-allow-headers").as_deref(), Some("x-a,x-c"));
    assert_eq!(header("access-control-max-age").as_deref(), Some("60"));
    assert_eq!(header("access-control-allow-methods").as_deref(), Some("GET,POST"));
    assert_eq!(header("access-control-expose-headers").as_deref(), Some("x-b"));
    assert_eq!(header("vary").as_deref(), Some("Origin"));
    assert_eq!(server.engine.sessions(), 0);
    server.finish().await;
}

#[tokio::test]
async fn refusals_and_polls_have_cors_headers_too() {
    let server = Server::with(|config| config.cors = Some(Cors::any())).await;
    let answer = server.get("EIO=4&transport=foo").await;
    assert_eq!(answer.error().1, 0);
    assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some("*"));
    let sid = server.handshake().await;
    assert_eq!(server.post(&sid, "4x").await.header("access-control-allow-origin").as_deref(), Some("*"));
    assert_eq!(server.poll(&sid).await.header("access-control-allow-origin").as_deref(), Some("*"));
    server.finish().await;
}

/// Nothing is reflected unless it is configured.
#[tokio::test]
async fn without_rules_there_is_no_cors_header() {
    let server = Server::start().await;
    for method in ["GET", "OPTIONS"] {
        let answer = server.ask(method, TARGET, &[("Origin", "https://evil.example")], "").await;
        assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{answer:?}");
    }
    server.finish().await;
}
