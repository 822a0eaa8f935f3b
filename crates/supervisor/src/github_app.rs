//! Tokens of a GitHub App: a process of its own that has one made for one
//! repository, prints it, and ends; another gives it back.
//!
//! It parses what a server says, so it is sealed before it asks, and holds no
//! more than the App's key and the token. By GitHub's documented REST API, version
//! 2022-11-28.

use std::{
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header, request::Builder};
use ring::{
    rand::SystemRandom,
    rsa,
    signature::{self, RsaKeyPair},
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use stockade_gateway::{Upstream, system_roots};
use stockade_types::{Redacted, env};
use stockade_vault::AppToken;
use zeroize::Zeroizing;

use crate::server::{Server, ServerError};

const API: &str = "https://api.github.com";
/// A key, or a token, has fewer bytes.
const SECRET_MAX: u64 = 64 << 10;
/// For how long the App's own word is good; GitHub takes ten minutes at most.
const WORD_LASTS: Duration = Duration::from_mins(9);
/// How far GitHub's clock may be behind.
const CLOCKS_DIFFER: Duration = Duration::from_mins(1);

/// Why there is no token. No message holds key or token, nor what the server says
/// of itself.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error(
        "the App's private key is missing: GITHUB_APP_PRIVATE_KEY holds it, or \
         GITHUB_APP_PRIVATE_KEY_FILE names its file"
    )]
    NoKey,
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the App's private key is no RSA key in PEM, as GitHub gives them")]
    Key,
    #[error("the App's private key cannot sign")]
    Sign,
    #[error("GITHUB_API_URL: {0}")]
    Address(stockade_gateway::SettingsError),
    #[error("{0}")]
    Roots(stockade_gateway::GatewayError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("it does not know the App by this key (401); is the id right, and the clock?")]
    Unknown,
    #[error("the App is not installed for that repository, or there is none of that name (404)")]
    NotInstalled,
    #[error("the App itself may not do what is asked for (422)")]
    TooMuch,
    #[error("it answers {0}")]
    Other(StatusCode),
    #[error("its reply is not one of GitHub's")]
    Reply,
    #[error("it made a token for more than was asked for, which was given back")]
    Wider,
    #[error("there is no token to give back")]
    NoToken,
    #[error(transparent)]
    System(#[from] io::Error),
}

/// The `main` of the process: prints a token as `wanted` says or, if there is none,
/// why.
///
/// # Errors
/// If there is no token.
pub fn run(wanted: &Path) -> io::Result<()> {
    let wanted: AppToken = wanted
        .to_str()
        .unwrap_or_default()
        .parse()
        .map_err(io::Error::other)?;
    answer(async {
        let app = App::of_environment(wanted.app())?;
        stockade_sandbox::seal(&[])?;
        app.token(&wanted).await
    })
}

/// The `main` of the process that gives back the token on standard input, or prints
/// why not.
///
/// # Errors
/// If it may still be used.
pub fn run_give_back() -> io::Result<()> {
    answer(async {
        let token = bounded(io::stdin().lock())?;
        let token = std::str::from_utf8(&token).map_err(|_| AppError::NoToken)?;
        let server = server()?;
        stockade_sandbox::seal(&[])?;
        give_back(&server, token.trim()).await?;
        Ok(Redacted::default())
    })
}

fn answer(work: impl Future<Output = Result<Redacted<String>, AppError>>) -> io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut stdout = io::stdout();
    match runtime.block_on(work) {
        Ok(value) => stdout.write_all(value.expose().as_bytes()),
        Err(error) => {
            writeln!(stdout, "{error}")?;
            Err(io::Error::other(error))
        }
    }
}

/// GitHub, and the App that asks it.
struct App {
    server: Server,
    word: Zeroizing<String>,
}

impl App {
    /// The one with the id `app`, whose key the environment holds or names.
    fn of_environment(app: &str) -> Result<Self, AppError> {
        Ok(Self {
            word: word(app, &key()?, SystemTime::now())?,
            server: server()?,
        })
    }

    async fn token(&self, wanted: &AppToken) -> Result<Redacted<String>, AppError> {
        let (owner, repository) = (wanted.owner(), wanted.repository());
        let path = format!("/repos/{owner}/{repository}/installation");
        let request = request(Method::GET, &self.word)?;
        let installed = match self.server.ask(request, &path, Bytes::new()).await? {
            (StatusCode::OK, said) => said["id"].as_u64().ok_or(AppError::Reply)?,
            (status, _) => return Err(refused(status)),
        };
        let asked = json!({
            "repositories": [repository], "permissions": wanted.permissions(),
        });
        let path = format!("/app/installations/{installed}/access_tokens");
        let request = request_with_json(Method::POST, &self.word)?;
        let said = match self
            .server
            .ask(request, &path, asked.to_string().into())
            .await?
        {
            (StatusCode::CREATED, said) => said,
            (status, _) => return Err(refused(status)),
        };
        let token = said["token"].as_str().ok_or(AppError::Reply)?;
        let token = Redacted::new(token.to_owned());
        if !is_as_asked(&said, wanted) {
            give_back(&self.server, token.expose()).await?;
            return Err(AppError::Wider);
        }
        Ok(token)
    }
}

async fn give_back(server: &Server, token: &str) -> Result<(), AppError> {
    let request = request(Method::DELETE, token)?;
    let path = "/installation/token";
    match server.ask(request, path, Bytes::new()).await? {
        // What is no longer known is worth nothing either.
        (StatusCode::NO_CONTENT | StatusCode::UNAUTHORIZED, _) => Ok(()),
        (status, _) => Err(refused(status)),
    }
}

/// Whether a token is for the one repository, and may do no more than was asked for.
/// Every App may read what a repository is called.
fn is_as_asked(said: &Value, wanted: &AppToken) -> bool {
    let is_named = |found: &Value| {
        let name = found["name"].as_str().unwrap_or_default();
        name.eq_ignore_ascii_case(wanted.repository())
    };
    let repositories = said["repositories"].as_array();
    let one = repositories.is_some_and(|all| matches!(all.as_slice(), [one] if is_named(one)));
    let permissions = said["permissions"].as_object();
    one && permissions.is_some_and(|all| {
        all.iter().all(|(permission, level)| {
            let asked = wanted.permissions().get(permission).map(String::as_str);
            let asked = asked.or((permission == "metadata").then_some("read"));
            rank(level.as_str()) <= asked.map_or(0, |asked| rank(Some(asked)))
        })
    })
}

fn rank(level: Option<&str>) -> u8 {
    match level {
        Some("read") => 1,
        Some("write") => 2,
        Some("admin") => 3,
        _ => u8::MAX,
    }
}

/// A request of GitHub by whoever holds `bearer`.
fn request(method: Method, bearer: &str) -> Result<Builder, AppError> {
    let bearer = Zeroizing::new(format!("Bearer {bearer}"));
    let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| AppError::NoToken)?;
    bearer.set_sensitive(true);
    Ok(Request::builder()
        .method(method)
        .header(header::AUTHORIZATION, bearer)
        .header(header::ACCEPT, "application/vnd.github+json")
        .header(header::USER_AGENT, "stockade")
        .header("x-github-api-version", "2022-11-28"))
}

fn request_with_json(method: Method, bearer: &str) -> Result<Builder, AppError> {
    Ok(request(method, bearer)?.header(header::CONTENT_TYPE, "application/json"))
}

fn refused(status: StatusCode) -> AppError {
    match status {
        StatusCode::UNAUTHORIZED => AppError::Unknown,
        StatusCode::NOT_FOUND => AppError::NotInstalled,
        StatusCode::UNPROCESSABLE_ENTITY => AppError::TooMuch,
        status => AppError::Other(status),
    }
}

fn server() -> Result<Server, AppError> {
    let address = std::env::var(env::GITHUB_API_URL).unwrap_or_else(|_| API.to_owned());
    let upstream: Upstream = address.parse().map_err(AppError::Address)?;
    let roots = system_roots().map_err(AppError::Roots)?;
    let mend = "SSL_CERT_FILE names a file with its authority";
    Ok(Server::new(upstream, roots, mend)?)
}

/// What an App says of itself, signed (RFC 7519, RS256).
fn word(app: &str, key: &RsaKeyPair, now: SystemTime) -> Result<Zeroizing<String>, AppError> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let claims = json!({
        "iat": now.saturating_sub(CLOCKS_DIFFER).as_secs(),
        "exp": (now + WORD_LASTS).as_secs(),
        "iss": app,
    });
    let head = json!({ "alg": "RS256", "typ": "JWT" });
    let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encoded(&head), encoded(&claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &signature::RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .map_err(|_| AppError::Sign)?;
    let signature = URL_SAFE_NO_PAD.encode(signature);
    Ok(Zeroizing::new(format!("{signed}.{signature}")))
}

/// The App's key, as GitHub gives it (PKCS #1) or converted (PKCS #8).
fn key() -> Result<RsaKeyPair, AppError> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let pem = if let Some(text) = named(env::GITHUB_APP_PRIVATE_KEY) {
        Zeroizing::new(text.into_encoded_bytes())
    } else if let Some(path) = named(env::GITHUB_APP_PRIVATE_KEY_FILE).map(PathBuf::from) {
        let file = std::fs::File::open(&path).and_then(bounded);
        file.map_err(|source| AppError::File { path, source })?
    } else {
        return Err(AppError::NoKey);
    };
    let read = match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(PrivateKeyDer::Pkcs1(key)) => rsa::KeyPair::from_der(key.secret_pkcs1_der()),
        Ok(PrivateKeyDer::Pkcs8(key)) => rsa::KeyPair::from_pkcs8(key.secret_pkcs8_der()),
        _ => return Err(AppError::Key),
    };
    read.map_err(|_| AppError::Key)
}

fn bounded(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(Vec::new());
    from.take(SECRET_MAX).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_for_more_than_was_asked_for_is_not_taken() {
        let wanted: AppToken = "7@acme/site:contents=write".parse().unwrap();
        let said = |repositories: Value, permissions: Value| {
            let said = json!({ "repositories": repositories, "permissions": permissions });
            is_as_asked(&said, &wanted)
        };
        let site = || json!([{ "name": "Site" }]);
        assert!(said(
            site(),
            json!({ "contents": "write", "metadata": "read" })
        ));
        assert!(said(site(), json!({ "contents": "read" })));
        for permissions in [
            json!({ "contents": "admin" }),
            json!({ "contents": "write", "issues": "read" }),
            json!({ "contents": "write", "metadata": "write" }),
            json!({ "contents": "everything" }),
            json!(null),
        ] {
            assert!(!said(site(), permissions.clone()), "{permissions}");
        }
        let contents = || json!({ "contents": "write" });
        for repositories in [
            json!([]),
            json!(null),
            json!([{ "name": "other" }]),
            json!([{ "name": "site" }, { "name": "other" }]),
        ] {
            assert!(!said(repositories.clone(), contents()), "{repositories}");
        }
    }
}
