//! The live page over HTTP: one page, what it asks again and again, and, in a testbed, what it tells a cluster to do.
//!
//! A replica's admin endpoint and a testbed serve the same [`routes`]; they differ in where the moments come from
//! ([`Source`]), in whether a token is asked for, and in whether there is anything to command. Whatever is refused is
//! refused by the [`Guard`], before anything else looks at it.

mod deed;
mod guard;
pub mod page;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use quorate_host::live::Excerpt;
use serde::Deserialize;

pub use self::deed::{COMMANDS, DEED_BYTES_MAX, Deed, DeedError};
pub use self::guard::{Access, Guard, Refusal};
pub use self::token::Token;

/// Where moments come from, and who obeys.
pub trait Source: Send + Sync + 'static {
    /// The moments from a number on; none if whoever knows them does not answer now.
    fn excerpt(&self, from: u64) -> impl Future<Output = Option<Excerpt>> + Send;

    /// Whether there is anybody to command; without, there is no `/do` at all.
    fn control(&self) -> bool {
        false
    }

    /// Does something to the cluster, and says what; or says why not, and what to do instead.
    fn obey(&self, deed: Deed) -> impl Future<Output = Result<String, String>> + Send {
        let _ = deed;
        std::future::ready(Err("there is nothing to command here; look, and do not touch".to_owned()))
    }
}

/// What the routes need to answer.
struct Served<S> {
    source: Arc<S>,
    guard: Arc<Guard>,
    plain: Arc<str>,
}

impl<S> Clone for Served<S> {
    fn clone(&self) -> Self {
        let Self { source, guard, plain } = self;
        Self { source: Arc::clone(source), guard: Arc::clone(guard), plain: Arc::clone(plain) }
    }
}

/// The page at `/` (or `plain`, for whoever does not ask for HTML), `/live?from=K`, and `/do` if the source obeys.
pub fn routes<S: Source>(source: Arc<S>, guard: Arc<Guard>, plain: &str) -> Router {
    let gate = |access| middleware::from_fn_with_state(Gate { guard: Arc::clone(&guard), access }, pass);
    let page = Router::new().route("/", get(front::<S>)).layer(gate(Access::Page));
    let live = Router::new().route("/live", get(live::<S>)).layer(gate(Access::Live));
    let mut all = page.merge(live);
    if source.control() {
        let limit = DefaultBodyLimit::max(DEED_BYTES_MAX);
        all = all.merge(Router::new().route("/do", post(obey::<S>)).layer(limit).layer(gate(Access::Deed)));
    }
    let served = Served { source, guard, plain: plain.into() };
    all.with_state(served).layer(middleware::map_response(harden))
}

/// The same guard before routes of somebody else's, as far as reading needs it.
pub(crate) fn guarded(routes: Router, guard: &Arc<Guard>) -> Router {
    let gate = Gate { guard: Arc::clone(guard), access: Access::Read };
    routes.layer(middleware::from_fn_with_state(gate, pass)).layer(middleware::map_response(harden))
}

/// A guard, and what it is asked for.
#[derive(Clone)]
struct Gate {
    guard: Arc<Guard>,
    access: Access,
}

async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.guard.admit(gate.access, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) if matches!(gate.access, Access::Live | Access::Deed) => {
            told(StatusCode::FORBIDDEN, &refusal.to_string())
        }
        Err(refusal) => (StatusCode::FORBIDDEN, format!("{refusal}\n")).into_response(),
    }
}

/// What every answer says to a browser, besides what it says already.
async fn harden(mut response: Response) -> Response {
    const SAID: [(&str, &str); 6] = [
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    for (name, value) in SAID {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// An answer of one sentence to whoever expects JSON.
fn told(code: StatusCode, error: &str) -> Response {
    (code, axum::Json(serde_json::json!({ "error": error }))).into_response()
}

async fn front<S: Source>(State(served): State<Served<S>>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accepted.contains("text/html") {
        return served.plain.to_string().into_response();
    }
    let Ok(nonce) = token::nonce() else {
        let why = "the operating system gave no randomness, without which no page is served; ask again\n";
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, page::policy(&nonce)),
    ];
    (headers, page::page(&nonce)).into_response()
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    from: u64,
}

async fn live<S: Source>(
    State(served): State<Served<S>>,
    uri: Uri,
    from: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Ok(Query(Asked { from })) = from else {
        served.guard.count_malformed();
        let asked = uri.query().unwrap_or_default();
        let fix = "say from which moment on, as a number: /live?from=0 asks for all that there is";
        return told(StatusCode::BAD_REQUEST, &format!("`{}` is no number; {fix}", guard::short(asked)));
    };
    match served.source.excerpt(from).await {
        Some(excerpt) => axum::Json(excerpt).into_response(),
        None => told(StatusCode::SERVICE_UNAVAILABLE, "the replica is too busy to answer; ask again"),
    }
}

async fn obey<S: Source>(State(served): State<Served<S>>, body: Result<Bytes, BytesRejection>) -> Response {
    let deed = body.map_err(|_| DeedError::TooLong).and_then(|body| Deed::parse(&body));
    let deed = match deed {
        Ok(deed) => deed,
        Err(error) => {
            served.guard.count_malformed();
            let code = match error {
                DeedError::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
                DeedError::Malformed(_) => StatusCode::BAD_REQUEST,
            };
            return told(code, &error.to_string());
        }
    };
    match served.source.obey(deed).await {
        Ok(done) => axum::Json(serde_json::json!({ "done": done })).into_response(),
        Err(why) => told(StatusCode::CONFLICT, &why),
    }
}

/// Why no page is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not on this machine alone.
    #[error(
        "{0} can be reached from other machines, and the page is for this one; fix: give it an address of 127.0.0.1"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be bound.
    #[error(
        "cannot serve the page at {address}: {error}; fix: give it another port, or 0 for one that is free"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// No token can be made.
    #[error("no randomness for a token: {0}")]
    Randomness(getrandom::Error),
}

/// A page on this machine, for whoever has its token. It ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    token: Token,
    guard: Arc<Guard>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves a source at a loopback address; with port 0, at one that is free.
    ///
    /// # Errors
    /// [`ServeError`] names the address and what to do.
    pub async fn start<S: Source>(address: SocketAddr, source: Arc<S>) -> Result<Self, ServeError> {
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
        let failed = |error| ServeError::Bind { address, error };
        let token = Token::new().map_err(ServeError::Randomness)?;
        let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let guard = Arc::new(Guard::new(address, Some(token.clone())));
        let plain =
            "The live page of a cluster, for a browser: open the address that was printed when it started.\n";
        let elsewhere = Router::new()
            .fallback(async || (StatusCode::NOT_FOUND, "There is nothing here. The page is at /.\n"));
        let routes = routes(source, Arc::clone(&guard), plain).merge(guarded(elsewhere, &guard));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the page stopped");
            }
        });
        Ok(Self { address, token, guard, task })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a person opens. It holds the token, behind a `#`: browsers send that to nobody.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/#{}", self.address, self.token.reveal())
    }

    /// How many requests were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.guard.refused()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
