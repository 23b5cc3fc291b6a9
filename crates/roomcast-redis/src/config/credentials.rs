//! [`Credentials`]: user and password, obtained anew for each connection.

use super::files;
use crate::error::RedisError;
use futures_util::future::{BoxFuture, FutureExt};
use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Most bytes of a password file. A cloud provider's token has some 2,000.
pub(crate) const MAX_PASSWORD_FILE: u64 = 64 << 10;

/// User and password for Redis. Whichever is not set is taken from the URL.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    user: Option<String>,
    password: Option<String>,
}

impl Credentials {
    /// A password, or a token that serves as one.
    pub fn password(password: impl Into<String>) -> Self {
        Self { user: None, password: Some(password.into()) }
    }

    /// Sets the user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The settings with these credentials in place of their own.
    pub(crate) fn apply(&self, mut settings: redis::RedisConnectionInfo) -> redis::RedisConnectionInfo {
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        settings
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.password.as_ref().map(|_| "***");
        f.debug_struct("Credentials").field("user", &self.user).field("password", &hidden).finish()
    }
}

/// Where credentials come from.
#[derive(Clone)]
pub(crate) enum Provider {
    /// The program's function.
    Function(Arc<Function>),
    /// A file that holds the password.
    File(Arc<PathBuf>),
}

type Function = dyn Fn() -> BoxFuture<'static, Result<Credentials, String>> + Send + Sync;

impl Provider {
    pub(crate) fn function<F, A, E>(provider: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let provider = Arc::new(provider);
        Self::Function(Arc::new(move || {
            let provider = provider.clone();
            let asked = async move { provider().await.map_err(|error| error.into().to_string()) };
            // A panic of the program's function must not end the subscriber's task.
            let asked = AssertUnwindSafe(asked).catch_unwind();
            Box::pin(asked.map(|credentials| credentials.unwrap_or_else(|_| Err("it panicked".to_owned()))))
        }))
    }

    pub(crate) fn file(path: PathBuf) -> Self {
        Self::File(Arc::new(path))
    }

    /// Obtains the credentials. Fails when `patience` is over.
    pub(crate) async fn ask(&self, patience: Duration) -> Result<Credentials, RedisError> {
        let source = self.source();
        let asked: BoxFuture<'_, _> = match self {
            Self::Function(function) => function(),
            Self::File(path) => {
                let path = path.clone();
                Box::pin(async move { read_password(&path).await })
            }
        };
        match timeout(patience, asked).await {
            Ok(answer) => answer.map_err(|why| RedisError::Credentials(format!("{source}: {why}"))),
            Err(_) => Err(RedisError::Credentials(format!("{source}: no answer within {patience:?}"))),
        }
    }

    /// The source of the credentials, for errors.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::Function(_) => "the program's credentials provider".to_owned(),
            Self::File(path) => format!("the password file {}", path.display()),
        }
    }
}

/// The file's content, without the line end.
async fn read_password(path: &Arc<PathBuf>) -> Result<Credentials, String> {
    let bytes = files::read(path.clone(), MAX_PASSWORD_FILE).await?;
    // No error quotes the file.
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let password = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
    match password {
        "" => Err("it is empty".to_owned()),
        password if password.contains('\n') => {
            Err("it has several lines; it must contain nothing but the password".to_owned())
        }
        password => Ok(Credentials::password(password)),
    }
}

#[cfg(test)]
mod tests {
    use super::files::Scratch;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn of_file(content: &[u8]) -> Result<Credentials, String> {
        let file = Scratch::new(content);
        let answer = Provider::file(file.path().to_owned()).ask(PATIENCE).await;
        answer.map_err(|error| {
            let error = error.to_string();
            assert!(error.contains(&file.path().display().to_string()), "the file is named: {error}");
            error
        })
    }

    #[tokio::test]
    async fn the_password_of_a_file() {
        let (most, more) = (vec![b'x'; MAX_PASSWORD_FILE as usize], vec![b'x'; MAX_PASSWORD_FILE as usize + 1]);
        let most_text = String::from_utf8(most.clone()).unwrap();
        for (content, password) in [
            (&b"secret"[..], "secret"),
            (b"secret\n", "secret"),
            (b"secret\r\n", "secret"),
            (b" sec ret ", " sec ret "),
            ("\u{1f511}\n".as_bytes(), "\u{1f511}"),
            (&most, &most_text),
        ] {
            assert_eq!(of_file(content).await, Ok(Credentials::password(password)));
        }
        for (content, why) in [
            (&b""[..], "it is empty"),
            (b"\n", "it is empty"),
            (b"\xffsecret", "it is not UTF-8"),
            (b"secret\n\n", "several lines"),
            (b"user\nsecret\n", "several lines"),
            (&more, "65536 bytes are allowed"),
        ] {
            let error = of_file(content).await.unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named() {
        for (path, why) in
            [("/nowhere/at/all", "No such file"), ("/", "not a regular file"), ("/dev/zero", "not a regular file")]
        {
            let error = Provider::file(path.into()).ask(PATIENCE).await.unwrap_err();
            assert!(error.to_string().contains(path) && error.to_string().contains(why), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_is_timed_out_and_may_fail_or_panic() {
        let after = |seconds| {
            Provider::function(move || async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok::<_, std::io::Error>(Credentials::password("token").user("id"))
            })
        };
        let patience = Duration::from_secs(5);
        assert_eq!(after(4).ask(patience).await, Ok(Credentials::password("token").user("id")));
        let error = after(6).ask(patience).await.unwrap_err();
        assert!(error.to_string().contains("no answer within 5s"), "{error}");
        let fails = Provider::function(|| async { Err::<Credentials, _>("the vault is sealed") });
        let error = fails.ask(patience).await.unwrap_err();
        assert!(error.to_string().contains("the vault is sealed"), "{error}");
        // It may panic in the call, or when it is awaited.
        let in_the_call = Provider::function(move || {
            assert!(patience.is_zero(), "on purpose");
            async { Ok::<_, std::io::Error>(Credentials::default()) }
        });
        let awaited = Provider::function(move || async move {
            assert!(patience.is_zero(), "on purpose");
            Ok::<_, std::io::Error>(Credentials::default())
        });
        for panics in [in_the_call, awaited] {
            let error = panics.ask(patience).await.unwrap_err();
            assert!(error.to_string().contains("it panicked"), "{error}");
        }
    }

    #[test]
    fn whichever_is_not_set_is_taken_from_the_url() {
        let url = redis::IntoConnectionInfo::into_connection_info("redis://u:p@h").unwrap().redis_settings().clone();
        let login = |credentials: Credentials| {
            let settings = credentials.apply(url.clone());
            (settings.username().map(str::to_owned), settings.password().map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(login(Credentials::default()), (some("u"), some("p")));
        assert_eq!(login(Credentials::password("q")), (some("u"), some("q")));
        assert_eq!(login(Credentials::password("q").user("v")), (some("v"), some("q")));
        assert!(!format!("{:?}", Credentials::password("secret").user("u")).contains("secret"));
    }
}
