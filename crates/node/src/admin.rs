//! The admin endpoint of a replica: read-only, on its own address, which should be a loopback one. What programs ask for is
//! plain and has a path each; for a person with a browser there is the [live page](crate::live).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use quorate_host::live::{EXCERPT_BYTES_MAX, Excerpt};
use quorate_protocol::types::Seq;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use crate::live::{self, Guard, Source};
use crate::node::Question;

/// How long the replica may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What there is to ask.
const PLACES: &str = "Ask for /status, /why, /metrics, /live?from=0 (what it sees happen), or /history?seq=1 (the head of the \
                      history after slot 1). A browser shows its live page here.\n";

/// The form of text that Prometheus asks for.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Most bytes of an answer; what a replica shows of what happens is the longest.
const ANSWER_BYTES_MAX: u64 = 2 * EXCERPT_BYTES_MAX as u64;

/// Head of a replica's history after one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryHead {
    /// The slot.
    pub seq: u64,
    /// The head, in hex; none if the slot was not executed yet, or too long ago.
    pub head: Option<String>,
}

#[derive(Debug, Deserialize)]
struct At {
    seq: u64,
}

/// An admin endpoint that answers until it is dropped.
pub(crate) struct Admin {
    guard: Arc<Guard>,
    task: tokio::task::JoinHandle<()>,
}

impl Admin {
    /// How many requests were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.guard.refused()
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn serve(
    address: SocketAddr,
    questions: mpsc::Sender<Question>,
) -> Result<Admin, std::io::Error> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    // Whoever may read the rest may look at the page, so there is no token; and there is nothing to command.
    let guard = Arc::new(Guard::new(listener.local_addr()?, None));
    let read = Router::new()
        .route("/status", get(status))
        .route("/why", get(why))
        .route("/history", get(history))
        .route("/metrics", get(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, format!("There is nothing here. {PLACES}")))
        .with_state(questions.clone());
    let plain = format!("A replica of Quorate. {PLACES}");
    let routes = live::routes(Arc::new(Asked(questions)), Arc::clone(&guard), &plain)
        .merge(live::guarded(read, &guard));
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "the admin endpoint stopped");
        }
    });
    Ok(Admin { guard, task })
}

/// What a replica sees, as it says when it is asked.
struct Asked(mpsc::Sender<Question>);

impl Source for Asked {
    async fn excerpt(&self, from: u64) -> Option<Excerpt> {
        ask(&self.0, |answer| Question::Live(from, answer)).await.ok()
    }
}

/// Why an admin endpoint gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nothing answers there.
    #[error("no answer from {address}: {error}; is the replica running?")]
    Unreachable {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// Something else answers there.
    #[error("{0} does not answer as a replica's admin endpoint does")]
    Malformed(SocketAddr),
}

/// Asks a replica's admin endpoint.
///
/// # Errors
/// [`AdminError`] if there is no answer, or none that can be read.
pub async fn fetch<T: serde::de::DeserializeOwned>(address: SocketAddr, path: &str) -> Result<T, AdminError> {
    fetch_within(address, path, PATIENCE).await
}

/// As [`fetch`], for somebody who is in more of a hurry.
///
/// # Errors
/// The same.
pub async fn fetch_within<T: serde::de::DeserializeOwned>(
    address: SocketAddr,
    path: &str,
    patience: Duration,
) -> Result<T, AdminError> {
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let answer =
        tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    let answer = answer.map_err(|error| AdminError::Unreachable { address, error })?;
    let text = std::str::from_utf8(&answer).ok();
    let body =
        text.and_then(|text| text.strip_prefix("HTTP/1.0 200")).and_then(|text| text.split_once("\r\n\r\n"));
    body.and_then(|(_, body)| serde_json::from_str(body).ok()).ok_or(AdminError::Malformed(address))
}

async fn ask<T>(
    questions: &mpsc::Sender<Question>,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Result<T, StatusCode> {
    let (answer, wait) = oneshot::channel();
    let busy = StatusCode::SERVICE_UNAVAILABLE;
    questions.try_send(question(answer)).map_err(|_| busy)?;
    tokio::time::timeout(PATIENCE, wait).await.map_err(|_| busy)?.map_err(|_| busy)
}

async fn status(State(questions): State<mpsc::Sender<Question>>) -> Response {
    match ask(&questions, Question::Status).await {
        Ok(status) => axum::Json(status).into_response(),
        Err(code) => code.into_response(),
    }
}

async fn why(State(questions): State<mpsc::Sender<Question>>) -> Response {
    match ask(&questions, Question::Why).await {
        Ok(why) => axum::Json(why).into_response(),
        Err(code) => code.into_response(),
    }
}

async fn metrics(State(questions): State<mpsc::Sender<Question>>) -> Response {
    match ask(&questions, Question::Status).await {
        Ok(status) => ([(CONTENT_TYPE, EXPOSITION)], status.prometheus()).into_response(),
        Err(code) => code.into_response(),
    }
}

async fn history(
    State(questions): State<mpsc::Sender<Question>>,
    at: Result<Query<At>, QueryRejection>,
) -> Response {
    let Ok(Query(at)) = at else {
        let fix =
            "Say which slot, as a number: /history?seq=1 asks for the head of the history after slot 1.\n";
        return (StatusCode::BAD_REQUEST, fix).into_response();
    };
    match ask(&questions, |answer| Question::History(Seq(at.seq), answer)).await {
        Ok(head) => {
            axum::Json(HistoryHead { seq: at.seq, head: head.map(|head| head.to_string()) }).into_response()
        }
        Err(code) => code.into_response(),
    }
}
