//! How to reach Redis: the URL and its layout, credentials, certificates, timeouts.

mod advice;
pub(crate) mod credentials;
mod files;
pub(crate) mod layout;
mod redis_config;
mod timeouts;
pub(crate) mod tls;
mod url;

pub use credentials::Credentials;
pub use redis_config::RedisConfig;
pub(crate) use redis_config::ServerKind;
pub use timeouts::RedisTimeouts;
pub use tls::RedisTls;
