//! A bare WebSocket echo on the frame codec, without Engine.IO: what the Autobahn case files are run against. It accepts
//! permessage-deflate, and compresses what it sends then, whatever its size.
//!
//! Environment: `HOST`, `PORT`.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use roomcast_engine::{Body, bind};
use roomcast_protocol::deflate::{compress_message, negotiate};
use roomcast_protocol::frame::{
    FrameDecoder, FrameLimits, Message, Opcode, close_frame, push_compressed_frame, push_frame,
};
use roomcast_protocol::websocket::accept_key;
use std::convert::Infallible;
use std::env::var;
use std::error::Error;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The largest message of the case files is 16 MiB.
const LIMITS: FrameLimits = FrameLimits { max_payload: 16 * 1024 * 1024, max_fragments: u32::MAX };

/// Appends a message, compressed if that makes it smaller.
fn push_deflated(out: &mut Vec<u8>, opcode: Opcode, message: &[u8]) {
    match compress_message(message, 6) {
        Some(compressed) => push_compressed_frame(out, opcode, &compressed),
        None => push_frame(out, opcode, message),
    }
}

async fn echo(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, deflate: bool) -> io::Result<()> {
    let mut decoder = FrameDecoder::new(LIMITS).with_deflate(deflate);
    let mut buffer = vec![0; 64 * 1024];
    let mut out = Vec::new();
    loop {
        let received = stream.read(&mut buffer).await?;
        if received == 0 {
            return Ok(());
        }
        let mut input = &mut buffer[..received];
        let closed = loop {
            match decoder.decode(&mut input) {
                Ok(None) => break false,
                Ok(Some(Message::Text(text))) if deflate => push_deflated(&mut out, Opcode::Text, text.as_bytes()),
                Ok(Some(Message::Binary(bytes))) if deflate => push_deflated(&mut out, Opcode::Binary, bytes),
                Ok(Some(Message::Text(text))) => push_frame(&mut out, Opcode::Text, text.as_bytes()),
                Ok(Some(Message::Binary(bytes))) => push_frame(&mut out, Opcode::Binary, bytes),
                Ok(Some(Message::Ping(bytes))) => push_frame(&mut out, Opcode::Pong, bytes),
                Ok(Some(Message::Pong(_))) => {}
                Ok(Some(Message::Close(code))) => {
                    out.extend(close_frame(code.map(|(code, _)| code), code.map_or("", |(_, reason)| reason)));
                    break true;
                }
                Err(error) => {
                    out.extend(close_frame(Some(error.close_code()), ""));
                    break true;
                }
            }
        };
        stream.write_all(&out).await?;
        out.clear();
        if closed {
            return stream.shutdown().await;
        }
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let upgrade = hyper::upgrade::on(&mut request);
    let mut response = Response::new(Body::empty());
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = accept_key(key.as_bytes());
    for (name, value) in [(UPGRADE, "websocket"), (CONNECTION, "Upgrade"), (SEC_WEBSOCKET_ACCEPT, &accept)] {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    let offers = request.headers().get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
    let offers: Vec<&str> = offers.filter_map(|offer| offer.to_str().ok()).collect();
    let agreed = if offers.is_empty() { None } else { negotiate(&offers.join(",")).unwrap_or_default() };
    let deflate = agreed.is_some();
    if let Some(Ok(agreed)) = agreed.map(|agreed| agreed.to_string().parse()) {
        response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, agreed);
    }
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            // Clients of the case files break off as they like.
            let _ = echo(TokioIo::new(upgraded), deflate).await;
        }
    });
    Ok(response)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = bind(format!("{host}:{port}")).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer))
            .with_upgrades();
        tokio::spawn(async move { drop(connection.await) });
    }
}
