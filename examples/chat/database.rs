//! [`Database`]: the messages of all rooms, in a file. It is redb, which is written in Rust and needs no server; with another database,
//! such as `sqlx::PgPool`, only this file changes.

use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use roomcast_examples::Outcome;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Room and number, and the message as JSON.
const MESSAGES: TableDefinition<'_, (&str, u64), &str> = TableDefinition::new("messages");

/// A message of a room.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Counts the room's messages, from 1.
    pub(crate) number: u64,
    pub(crate) from: String,
    pub(crate) text: String,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
}

/// The database. Its calls wait for the disk, so they run on tokio's threads for that, and never hold up other clients.
#[derive(Clone)]
pub(crate) struct Database(Arc<redb::Database>);

impl Database {
    pub(crate) fn open(path: &str) -> Outcome<Self> {
        let database = redb::Database::create(path).map_err(|error| format!("cannot open {path}: {error}"))?;
        // So that there is a table to read from before the first message.
        let write = database.begin_write()?;
        write.open_table(MESSAGES)?;
        write.commit()?;
        Ok(Self(Arc::new(database)))
    }

    /// Adds a message to a room, and returns it with its number.
    pub(crate) async fn add(&self, room: &str, mut message: Message) -> Outcome<Message> {
        let (database, room) = (self.0.clone(), room.to_owned());
        spawn_blocking(move || {
            let room = room.as_str();
            let write = database.begin_write()?;
            {
                let mut messages = write.open_table(MESSAGES)?;
                let last = messages.range((room, 0)..=(room, u64::MAX))?.next_back().transpose()?;
                message.number = last.map_or(0, |(key, _)| key.value().1).saturating_add(1);
                messages.insert((room, message.number), serde_json::to_string(&message)?.as_str())?;
            }
            write.commit()?;
            Ok(message)
        })
        .await?
    }

    /// The last messages of a room, the oldest of them first.
    pub(crate) async fn last(&self, room: String, most: usize) -> Outcome<Vec<Message>> {
        let database = self.0.clone();
        spawn_blocking(move || {
            let room = room.as_str();
            let messages = database.begin_read()?.open_table(MESSAGES)?;
            let mut last = Vec::new();
            for entry in messages.range((room, 0)..=(room, u64::MAX))?.rev().take(most) {
                last.push(serde_json::from_str(entry?.1.value())?);
            }
            last.reverse();
            Ok(last)
        })
        .await?
    }
}
