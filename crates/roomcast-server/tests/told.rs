//! Warnings about events that no handler gets, each logged once per event, and about clients that exceed a rate or use another parser.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Server, until};
use parking_lot::Mutex;
use roomcast_adapter::ServerEvent;
use roomcast_server::limits::TOLD_EVENTS;
use roomcast_server::{Args, Local, Namespace, Parser, Rate, RateLimits, Socket};
use std::fmt;
use std::future::ready;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The warnings of this thread, each with the event's name.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<(String, String)>>>);

#[derive(Default)]
struct Fields {
    message: String,
    event: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "event" => self.event = format!("{value:?}").trim_matches('"').to_owned(),
            _ => {}
        }
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.lock().push((fields.message, fields.event));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Warnings {
    /// The events of the warnings that begin with this text.
    fn of(&self, begin: &str) -> Vec<String> {
        let all = self.0.lock();
        all.iter().filter(|(message, _)| message.starts_with(begin)).map(|(_, event)| event.clone()).collect()
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_logged_once_per_event() {
    let warnings = Warnings::default();
    let _log = tracing::subscriber::set_default(warnings.clone());
    let server = Server::start(|io| {
        for name in ["a", "b"] {
            io.of("/").on(name, |_: Socket, _: u32| ready(()));
        }
    })
    .await;
    let mut wire = server.joined().await;
    for event in ["[\"a\",\"x\"]", "[\"a\"]", "[\"b\",null]", "[\"a\",1]", "[\"b\",true]"] {
        wire.say(&format!("42{event}")).await;
    }
    assert!(wire.sync().await.is_empty());
    assert_eq!(warnings.of("an event was ignored"), ["a", "b"]);
    server.finish().await;
}

/// A connection handler that awaits something before it registers handlers loses events, as in Node. Here that is logged.
#[tokio::test]
async fn events_before_their_handlers_are_logged_once_per_event() {
    let warnings = Warnings::default();
    let _log = tracing::subscriber::set_default(warnings.clone());
    let (go, wait) = tokio::sync::watch::channel(false);
    let server = Server::start(|io| {
        io.of("/").on_connection(move |socket: Socket| {
            let mut wait = wait.clone();
            async move {
                wait.wait_for(|go| *go).await.unwrap();
                socket.on("late", |_: Socket| ready(()));
            }
        });
    })
    .await;
    let mut wire = server.joined().await;
    let long = "x".repeat(1_000);
    for name in ["late", "other", "late", &long] {
        wire.say(&format!("42[\"{name}\"]")).await;
    }
    assert!(wire.sync().await.is_empty());
    assert_eq!(warnings.of("an event was lost"), ["late", "other", &long[..64]]);
    // As many names as the limit; the next one is not logged as a warning.
    for n in 3..=TOLD_EVENTS {
        wire.say(&format!("42[\"{n}\"]")).await;
    }
    assert!(wire.sync().await.is_empty());
    assert_eq!(warnings.of("an event was lost").len(), TOLD_EVENTS);
    // While no connection handler runs, an event without a handler is no reason for a warning.
    go.send_replace(true);
    let mut other = server.joined().await;
    other.say("42[\"nobody\"]").await;
    assert!(other.sync().await.is_empty());
    assert_eq!(warnings.of("an event was lost").len(), TOLD_EVENTS);
    server.finish().await;
}

#[tokio::test]
async fn a_server_event_without_a_name_is_logged() {
    let warnings = Warnings::default();
    let _log = tracing::subscriber::set_default(warnings.clone());
    let senders = Arc::new(Mutex::new(Vec::new()));
    let (made, heard) = (senders.clone(), Arc::new(Mutex::new(0)));
    let count = heard.clone();
    let builder = |builder: roomcast_server::Builder| {
        builder.adapter(move |context| {
            let local = Local::of(&context);
            made.lock().push(context.server_events);
            local
        })
    };
    let server = Server::with(builder, |io| {
        io.of("/").on_server_event_fallback(move |_: Namespace, _: Args| {
            *count.lock() += 1;
            ready(())
        });
    })
    .await;
    let sender = senders.lock()[0].clone();
    for data in [Args::of(&1).unwrap(), Args::none(), Args::event("x", &()).unwrap()] {
        sender.send(ServerEvent { data, reply: None }).await.unwrap();
    }
    until("the good one is heard", || *heard.lock() == 1).await;
    assert_eq!(warnings.of("an event of another server was ignored").len(), 2);
    drop(sender);
    senders.lock().clear();
    server.finish().await;
}

#[tokio::test]
async fn a_client_over_a_rate_is_logged_once() {
    let warnings = Warnings::default();
    let _log = tracing::subscriber::set_default(warnings.clone());
    let mut limits = RateLimits::default();
    limits.events = Rate::new(1, std::time::Duration::from_secs(86_400));
    let server = Server::with(|builder| builder.rate_limits(limits), |_| {}).await;
    for clients in 1..=2 {
        let mut wire = server.joined().await;
        for _ in 0..5 {
            wire.say("42[\"n\"]").await;
        }
        assert!(wire.sync().await.is_empty());
        assert_eq!(warnings.of("a client sends more than a rate limit allows").len(), clients);
    }
    server.finish().await;
}

#[tokio::test]
async fn another_parser_is_logged_once_for_a_server() {
    let connect = b"\x82\xa4type\x00\xa3nsp\xa1/";
    for parser in [Parser::Default, Parser::MessagePack] {
        let warnings = Warnings::default();
        let _log = tracing::subscriber::set_default(warnings.clone());
        let server = Server::with(|builder| builder.parser(parser), |_| {}).await;
        for clients in 1..=3 {
            let mut wire = server.websocket().await;
            match parser {
                Parser::Default => wire.say_bytes(connect).await,
                Parser::MessagePack => wire.say("40").await,
            }
            wire.assert_closed().await;
            assert_eq!(warnings.of("a client uses another parser").len(), 1, "{parser:?} {clients}");
        }
        // What a client of this parser does wrong is something else.
        let own = Warnings::default();
        let _log = tracing::subscriber::set_default(own.clone());
        let server_of_wrongs = Server::with(|builder| builder.parser(parser), |_| {}).await;
        let mut wire = server_of_wrongs.websocket().await;
        match parser {
            Parser::Default => wire.say("4x").await,
            Parser::MessagePack => wire.say_bytes(b"\xc1").await,
        }
        wire.assert_closed().await;
        assert!(own.of("a client uses another parser").is_empty(), "{parser:?}");
        server_of_wrongs.finish().await;
        server.finish().await;
    }
}
