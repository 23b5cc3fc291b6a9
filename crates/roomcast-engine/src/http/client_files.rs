//! [`ClientFiles`]: the files of the JavaScript client, for pages that load them from the server.

use crate::http::body::Body;
use crate::http::compressed::count_compressed;
use crate::http::encodings::preferred;
use crate::limits::CLIENT_FILE_BYTES;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use roomcast_protocol::deflate::{Deflate, Format, compress_body};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The files that Node serves: the client as a script, as a module, and with MessagePack, each with its source map.
const NAMES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
];

/// The files of the JavaScript client, in memory: some 1.5 MB. They are served under the engine's path, as in Node:
/// `/socket.io/socket.io.js`, `socket.io.min.js`, `socket.io.esm.min.js`, `socket.io.msgpack.min.js`, and their `.map`.
#[derive(Clone)]
pub struct ClientFiles(Arc<[Option<ClientFile>; NAMES.len()]>);

struct ClientFile {
    content: Bytes,
    etag: HeaderValue,
    /// In both encodings; made when first asked for. `None` inside: it does not become smaller.
    compressed: [OnceLock<Option<Bytes>>; 2],
}

impl ClientFiles {
    /// Reads the files in this directory: `dist` of the npm package `socket.io-client`, or `client-dist` of `socket.io`.
    /// Only the eight names above are looked for. One that is missing is answered 404. A file that cannot be read, or has more
    /// than 4 MiB ([`CLIENT_FILE_BYTES`]), counts as missing. The log tells of such a file, and of a directory without any of the eight.
    ///
    /// This blocks the thread while it reads.
    pub fn read(directory: impl AsRef<Path>) -> Self {
        let directory = directory.as_ref();
        let files = Self(Arc::new(NAMES.map(|name| {
            let file = ClientFile::read(&directory.join(name));
            file.unwrap_or_else(|error| {
                tracing::warn!(directory = %directory.display(), name, %error, "a file of the client cannot be read: it is answered 404");
                None
            })
        })));
        if files.is_empty() {
            tracing::error!(
                directory = %directory.display(),
                "there is no file of the client in the directory: copy there the folder `dist` of the npm package socket.io-client"
            );
        }
        files
    }

    /// Whether none of the files was found.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The names of the files that were found.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().zip(&*self.0).filter(|(_, file)| file.is_some()).map(|(name, _)| *name)
    }

    /// The answer to a request for `rest`, which is what follows the engine's path. `None`: it names no file of the client.
    pub(crate) fn answer(
        &self,
        rest: &str,
        headers: &HeaderMap,
        compression: Option<&Deflate>,
    ) -> Option<Response<Body>> {
        let (name, file) = NAMES.iter().zip(&*self.0).find(|(name, _)| **name == rest.trim_start_matches('/'))?;
        Some(match file {
            Some(file) => file.answer(name, headers, compression),
            None => not_found(name),
        })
    }
}

fn not_found(name: &str) -> Response<Body> {
    let text = format!("{name} is not in the directory of client files (serve_client) of this server\n");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl ClientFile {
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut content = Vec::new();
        file.take(CLIENT_FILE_BYTES as u64 + 1).read_to_end(&mut content)?;
        if content.len() > CLIENT_FILE_BYTES {
            return Err(io::Error::other(format!("it has more than {CLIENT_FILE_BYTES} bytes")));
        }
        // The same on each server that has the same file.
        let etag = HeaderValue::try_from(format!("\"{:x}-{:08x}\"", content.len(), checksum(&content)));
        let etag = etag.map_err(io::Error::other)?;
        Ok(Some(Self { content: content.into(), etag, compressed: Default::default() }))
    }

    fn answer(&self, name: &str, request: &HeaderMap, compression: Option<&Deflate>) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=0"));
        headers.insert(header::ETAG, self.etag.clone());
        if compression.is_some() {
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if self.is_known(request) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let kind = if name.ends_with(".map") {
            "application/json; charset=utf-8"
        } else {
            "application/javascript; charset=utf-8"
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let format = compression.and_then(|_| preferred(request));
        let encoded =
            compression.zip(format).and_then(|(deflate, format)| Some((format, self.encoded(format, deflate)?)));
        let body = match encoded {
            Some((format, bytes)) => {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(format.as_str()));
                bytes
            }
            None => self.content.clone(),
        };
        *response.body_mut() = Body::from(body);
        response
    }

    /// Whether the client has this very file.
    fn is_known(&self, request: &HeaderMap) -> bool {
        let values = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.etag.as_bytes())
    }

    fn encoded(&self, format: Format, deflate: &Deflate) -> Option<Bytes> {
        let [gzip, zlib] = &self.compressed;
        let slot = match format {
            Format::Gzip => gzip,
            Format::Zlib => zlib,
        };
        slot.get_or_init(|| {
            let bytes = compress_body(&self.content, format, deflate.level)?;
            count_compressed("file", self.content.len(), bytes.len());
            Some(bytes.into())
        })
        .clone()
    }
}

/// FNV-1a. It tells versions of a file apart, and protects against nothing.
fn checksum(content: &[u8]) -> u32 {
    content.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl fmt::Debug for ClientFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
