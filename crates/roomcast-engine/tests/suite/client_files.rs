//! The files of the JavaScript client under the path.

use crate::common::{Server, streams::over_streams};
use flate2::read::{GzDecoder, ZlibDecoder};
use roomcast_engine::limits::CLIENT_FILE_BYTES;
use roomcast_engine::{ClientFiles, Cors, Deflate};
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

const SCRIPT: &str = "/*! the client */ void 0;\n";

/// A directory with files, which is removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(files: &[(&str, &[u8])]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("roomcast-client-files-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (name, content) in files {
            fs::write(path.join(name), content).unwrap();
        }
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn server(directory: &Directory, compress: bool) -> Server {
    Server::with(|config| {
        config.client_files = Some(ClientFiles::read(&directory.0));
        config.http_compression = compress.then(Deflate::default);
    })
    .await
}

async fn files_have_their_type_and_are_asked_for_again_each_time() {
    let directory =
        Directory::new(&[("socket.io.js", SCRIPT.as_bytes()), ("socket.io.js.map", b"{}"), ("secret.txt", b"x")]);
    let server = server(&directory, false).await;
    for (name, kind, body) in [
        ("socket.io.js", "application/javascript; charset=utf-8", SCRIPT),
        ("socket.io.js.map", "application/json; charset=utf-8", "{}"),
    ] {
        let target = format!("/engine.io/{name}");
        for target in [target.clone(), format!("{target}?v=1")] {
            let answer = server.ask("GET", &target, &[("Accept-Encoding", "gzip")], "").await;
            assert_eq!((answer.status, &*answer.body), (200, body), "{target}");
            assert_eq!(answer.header("content-type").as_deref(), Some(kind));
            assert_eq!(answer.header("cache-control").as_deref(), Some("public, max-age=0"));
            assert_eq!(answer.header("content-length"), Some(body.len().to_string()));
            assert_eq!((answer.header("vary"), answer.header("content-encoding")), (None, None));
        }
        let head = server.ask("HEAD", &target, &[], "").await;
        assert_eq!((head.status, head.header("content-length")), (200, Some(body.len().to_string())));
        let tag = head.header("etag").unwrap();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 4, "{tag}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let answer = server.ask("GET", &target, &[("If-None-Match", &known)], "").await;
            assert_eq!((answer.status, &*answer.body, answer.header("etag")), (304, "", Some(tag.clone())), "{known}");
        }
        let answer = server.ask("GET", &target, &[("If-None-Match", "\"4.8.4\"")], "").await;
        assert_eq!(answer.status, 200);
    }
    // The engine itself is still there.
    assert_eq!(server.get("EIO=4&transport=polling").await.status, 200);
    server.finish().await;
}

async fn only_the_clients_files_can_be_asked_for() {
    let directory = Directory::new(&[("socket.io.js", SCRIPT.as_bytes()), ("secret.txt", b"x")]);
    let server = server(&directory, false).await;
    let missing = server.ask("GET", "/engine.io/socket.io.min.js", &[], "").await;
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("socket.io.min.js") && missing.body.contains("serve_client"), "{}", missing.body);
    for other in [
        "secret.txt",
        "../secret.txt",
        "..%2fsecret.txt",
        "socket.io.js/../secret.txt",
        "x/socket.io.js",
        "",
        "socket.io.js%00",
    ] {
        let answer = server.ask("GET", &format!("/engine.io/{other}"), &[], "").await;
        assert_eq!((answer.status, &*answer.body), (400, r#"{"code":0,"message":"Transport unknown"}"#), "{other}");
    }
    let off = Server::start().await;
    let answer = off.ask("GET", "/engine.io/socket.io.js", &[], "").await;
    assert_eq!((answer.status, &*answer.body), (400, r#"{"code":0,"message":"Transport unknown"}"#));
    off.finish().await;
    server.finish().await;
}

async fn files_are_compressed_where_compression_is_on() {
    let script = SCRIPT.repeat(1_000);
    let directory = Directory::new(&[("socket.io.min.js", script.as_bytes())]);
    let server = server(&directory, true).await;
    let ask = async |accepts: &str| {
        server.ask("GET", "/engine.io/socket.io.min.js", &[("Accept-Encoding", accepts)], "").await
    };
    for _ in 0..2 {
        let (mut gzip, mut zlib) = (Vec::new(), Vec::new());
        let answer = ask("gzip, deflate, br").await;
        assert_eq!(answer.header("content-encoding").as_deref(), Some("gzip"));
        assert_eq!(answer.header("vary").as_deref(), Some("Accept-Encoding"));
        GzDecoder::new(&answer.bytes[..]).read_to_end(&mut gzip).unwrap();
        let answer = ask("deflate").await;
        assert_eq!(answer.header("content-encoding").as_deref(), Some("deflate"));
        ZlibDecoder::new(&answer.bytes[..]).read_to_end(&mut zlib).unwrap();
        assert!(gzip == script.as_bytes() && zlib == script.as_bytes());
    }
    let answer = ask("br").await;
    assert_eq!((answer.header("content-encoding"), answer.body == script), (None, true));
    assert_eq!(answer.header("vary").as_deref(), Some("Accept-Encoding"));
    server.finish().await;
}

async fn cors_applies_to_files() {
    let directory = Directory::new(&[("socket.io.js", SCRIPT.as_bytes())]);
    let server = Server::with(|config| {
        config.client_files = Some(ClientFiles::read(&directory.0));
        config.http_compression = Some(Deflate::default());
        config.cors = Some(Cors::origins(["http://a.example"]).unwrap());
    })
    .await;
    let answer = server.ask("GET", "/engine.io/socket.io.js", &[("Origin", "http://a.example")], "").await;
    assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some("http://a.example"));
    let vary = answer.header("vary").unwrap();
    assert!(vary.contains("Accept-Encoding") && vary.contains("Origin"), "{vary}");
    server.finish().await;
}

#[test]
fn files_at_the_limit_and_one_past_it() {
    let at = vec![b' '; CLIENT_FILE_BYTES];
    let past = vec![b' '; CLIENT_FILE_BYTES + 1];
    let directory = Directory::new(&[("socket.io.js", &at), ("socket.io.min.js", &past), ("other.js", b"")]);
    let files = ClientFiles::read(&directory.0);
    assert_eq!(files.names().collect::<Vec<_>>(), ["socket.io.js"]);
    assert_eq!(format!("{files:?}"), r#"{"socket.io.js"}"#);
    let nothing = ClientFiles::read(directory.0.join("none"));
    assert!(nothing.is_empty() && !files.is_empty());
}

over_streams! {
    [serve, axum]
    {
        current_thread: files_have_their_type_and_are_asked_for_again_each_time, only_the_clients_files_can_be_asked_for,
            files_are_compressed_where_compression_is_on, cors_applies_to_files;
    }
}
