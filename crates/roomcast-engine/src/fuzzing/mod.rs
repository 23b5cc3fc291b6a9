//! Entry points for the repository's own fuzz targets (`fuzz/`). Not part of the API: they may change at any time.

pub mod headers;
pub mod proxy_header;
