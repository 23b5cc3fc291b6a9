//! A chat as part of a web application: axum serves the routes, a JSON Web Token says who somebody is, to the routes and to the
//! sockets alike, and messages are kept in a database.
//!
//! ```text
//! cargo run -p roomcast-examples --bin chat
//! curl -X POST localhost:3000/login -H 'content-type: application/json' -d '{"name":"ann"}'
//! ```
//!
//! With the token in `auth`, a client emits `join(room)`, which answers with the last messages, and `say(room, text)`.
//!
//! Environment: `HOST`, `PORT`; `SECRET` signs the tokens (without it, tokens end with the process); `DATABASE` is the file (`chat.redb`).

mod database;

use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use database::{Database, Message};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode};
use roomcast::{ConnectError, Reply, Socket, SocketId, SocketIo, State};
use roomcast_examples::{Outcome, listener, stopped};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::env::var;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a token is valid.
const LOGIN: Duration = Duration::from_secs(3600);

/// The longest name, room and text, in characters.
const NAME: usize = 32;
const TEXT: usize = 2000;

/// How many of the last messages somebody who comes to a room gets.
const HISTORY: usize = 50;

/// What both the routes and the handlers of sockets use.
#[derive(Clone)]
struct App {
    database: Database,
    keys: Arc<Keys>,
}

struct Keys {
    sign: EncodingKey,
    check: DecodingKey,
}

/// Who somebody is: the token's contents, and the data of the socket.
#[derive(Clone, Serialize, Deserialize)]
struct Claims {
    /// The user's name.
    sub: String,
    /// When the token ends, in seconds since 1970.
    exp: u64,
}

impl App {
    fn new() -> Outcome<Self> {
        let secret = var("SECRET").or_else(|_| SocketId::random().map(|random| random.to_string()))?;
        let keys = Keys {
            sign: EncodingKey::from_secret(secret.as_bytes()),
            check: DecodingKey::from_secret(secret.as_bytes()),
        };
        let database = Database::open(&var("DATABASE").unwrap_or_else(|_| "chat.redb".into()))?;
        Ok(Self { database, keys: Arc::new(keys) })
    }

    fn token(&self, name: &str) -> Outcome<String> {
        let claims = Claims { sub: name.to_owned(), exp: now()?.saturating_add(LOGIN).as_secs() };
        Ok(encode(&Header::default(), &claims, &self.keys.sign)?)
    }

    fn claims(&self, token: &str) -> Option<Claims> {
        Some(decode(token, &self.keys.check, &Validation::default()).ok()?.claims)
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let app = App::new()?;
    let io = SocketIo::builder().state(app.clone()).build();
    serve_sockets(&io, &app);

    let routes = Router::new()
        .route("/login", post(login))
        .route("/history/{room}", get(history))
        .fallback_service(io.clone().into_service())
        .with_state(app);
    let stopped = stopped()?;
    let closed = async move {
        stopped.await;
        io.close().await;
    };
    axum::serve(listener().await?, routes).with_graceful_shutdown(closed).await?;
    Ok(())
}

// --- the routes ---

#[derive(Deserialize)]
struct Login {
    name: String,
}

/// Anybody may have any name here. A real application checks a password first.
async fn login(Shared(app): Shared<App>, Json(Login { name }): Json<Login>) -> Result<Json<Value>, StatusCode> {
    if !fits(&name, NAME) {
        return Err(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let token = app.token(&name).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(json!({"token": token})))
}

async fn history(
    Shared(app): Shared<App>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Vec<Message>>, StatusCode> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
    app.claims(token).ok_or(StatusCode::UNAUTHORIZED)?;
    let messages = app.database.last(room, HISTORY).await;
    messages.map(Json).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

// --- the sockets ---

#[derive(Deserialize)]
struct Auth {
    token: String,
}

fn serve_sockets(io: &SocketIo, app: &App) {
    let app = app.clone();
    let everybody = io.of("/");
    everybody.middleware(move |socket: Socket| {
        let claims = socket.auth().ok().and_then(|Auth { token }| app.claims(&token));
        async move {
            let claims = claims.ok_or(ConnectError::new("not authorized").with_data(&json!({"login": "/login"})))?;
            // From now on all connections of this user share the limits of rates, if there are any.
            socket.set_user(&claims.sub);
            Ok(socket.set_data(&claims)?)
        }
    });

    // Joined first, and read then: what is said in between comes twice, and its number tells that to the client.
    everybody.on("join", |socket: Socket, room: String, State(app): State<App>| async move {
        if !fits(&room, NAME) {
            return Err(format!("a room's name has 1 to {NAME} characters").into());
        }
        socket.join(&room)?.await;
        Outcome::Ok(Reply(app.database.last(room, HISTORY).await?))
    });

    everybody.on("say", |socket: Socket, (room, text): (String, String), State(app): State<App>| async move {
        if !socket.rooms().iter().any(|joined| **joined == *room) {
            return Err("join the room first".into());
        }
        if !fits(&text, TEXT) {
            return Err(format!("a message has 1 to {TEXT} characters").into());
        }
        let Claims { sub: from, .. } = socket.data()?;
        let at = u64::try_from(now()?.as_millis())?;
        let message = app.database.add(&room, Message { number: 0, from, text, at }).await?;
        socket.to(&room).emit("said", (room.as_str(), &message))?;
        Outcome::Ok(Reply(message))
    });
}

fn fits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count())
}

/// The time since 1970.
fn now() -> Outcome<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}
