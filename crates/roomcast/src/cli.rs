//! Flags and environment. A flag wins over its variable.

use clap::{Parser, ValueEnum};

/// A Socket.IO server with rooms: clients join, leave and publish; GET / is a chat page.
///
/// It listens until it gets SIGTERM or Ctrl-C, and then disconnects its clients and stops.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Address or name to listen on; 0.0.0.0 for all of the machine's addresses
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// Port to listen on; 0 for any free one
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub(crate) port: u16,

    /// Web origins that may use the server, separated by commas (such as https://app.example.com), or * for all.
    /// Without it pages of any origin can open WebSockets, and those of the server's own can poll
    #[arg(long, env = "APP_URL", value_delimiter = ',')]
    pub(crate) app_url: Vec<String>,

    /// Most connections at once; the next one is answered 503
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = roomcast_server::engine::limits::CONNECTIONS)]
    pub(crate) max_connections: usize,

    /// How log lines are written. What is written is chosen by RUST_LOG (such as "info" or "roomcast_engine=debug")
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line, for programs
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound_and_origins_are_split() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["roomcast", "--app-url", "https://a.example,https://b.example", "--port", "0"]);
        assert_eq!(cli.app_url, ["https://a.example", "https://b.example"]);
        assert_eq!(cli.port, 0);
    }
}
