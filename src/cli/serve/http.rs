//! Connections and requests.

use super::Limits;
use super::answer::{self, Answer, CancelOnDrop, Events, Failure};
use super::ask::Ask;
use super::metrics::{Counted, Metrics};
use super::models::Models;
use super::workers::{Job, Reply, Workers};
use crate::pipeline::Cancellation;
use crate::{Error, Result};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// How long a client may take for the head of a request, and again for its body.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection lives: whoever reads or writes without end is cut off, others connect again.
const LIFETIME: Duration = Duration::from_secs(300);

/// Everything that a request needs.
pub(super) struct Service {
    pub models: Models,
    pub workers: Workers,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
}

/// Serves connections to `address`, until an error.
///
/// # Errors
/// The address cannot be listened on.
pub(super) async fn listen(address: SocketAddr, service: Arc<Service>) -> Result<ExitCode> {
    let fail = |error| Error::io(format!("cannot listen on {address}"), error);
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    println!("siskin: listening on http://{address}");
    if !address.ip().is_loopback() {
        eprintln!("siskin: whoever reaches {address} can use this service, and read what others send to it");
    }
    let room = Arc::new(Semaphore::new(service.limits.connections));
    loop {
        let place = Arc::clone(&room).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely too many open files: some will be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            service.connection(stream).await;
            drop(place);
        });
    }
}

impl Service {
    /// Serves the requests of one connection. What goes wrong with it concerns nobody else.
    async fn connection(&self, stream: TcpStream) {
        let _counted = Counted::new(&self.metrics.connections);
        let _ = stream.set_nodelay(true);
        let respond = |request| async move {
            let began = Instant::now();
            let answer = self.answer(request).await;
            self.metrics.answered(answer.status().as_u16(), began.elapsed());
            Ok::<_, Infallible>(answer)
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        let connection = http.serve_connection(TokioIo::new(stream), service_fn(respond));
        let _ = timeout(LIFETIME, connection).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match (request.uri().path(), request.method()) {
            ("/translate", &Method::POST) => self.translate(request).await.unwrap_or_else(Answer::from),
            ("/translate", _) => answer::only("POST"),
            ("/languages", &Method::GET) => answer::json(StatusCode::OK, &self.languages()),
            ("/health", &Method::GET) => answer::json(StatusCode::OK, &json!({ "status": "ok" })),
            ("/metrics", &Method::GET) => {
                answer::text(StatusCode::OK, "text/plain; version=0.0.4", self.metrics.render())
            }
            ("/languages" | "/health" | "/metrics", _) => answer::only("GET"),
            _ => {
                let paths = "there are /translate, /languages, /health and /metrics";
                Failure::new(StatusCode::NOT_FOUND, paths).into()
            }
        }
    }

    fn languages(&self) -> Value {
        let languages = self.models.languages();
        let language = |(code, targets)| json!({ "code": code, "name": code, "targets": targets });
        languages.into_iter().map(language).collect()
    }

    /// The answer to a request to translate.
    async fn translate(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        let bad = |message| Failure::new(StatusCode::BAD_REQUEST, message);
        let header = |name| request.headers().get(&name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let content_type = header(CONTENT_TYPE).to_ascii_lowercase();
        let wants_events = header(ACCEPT).contains("text/event-stream");
        let body = self.body(request.into_body()).await?;
        let mut ask = Ask::parse(&content_type, &body).map_err(bad)?;
        ask.stream |= wants_events && !ask.list;
        if ask.texts.len() > self.limits.texts {
            let message = format!("{} texts, more than {}", ask.texts.len(), self.limits.texts);
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let model = self.models.choose(&ask).map_err(bad)?;
        if ask.stream { self.stream(model, ask) } else { self.whole(model, ask).await }
    }

    /// The body of a request, which has a largest size and a longest time.
    async fn body(&self, body: Incoming) -> Result<Vec<u8>, Failure> {
        let most = self.limits.bytes;
        match timeout(PATIENCE, Limited::new(body, most).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes().into()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                let message = format!("the request has more than {most} bytes");
                Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message))
            }
            Ok(Err(error)) => Err(Failure::new(StatusCode::BAD_REQUEST, error.to_string())),
            Err(_) => Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "the request takes too long to arrive")),
        }
    }

    fn submit(&self, model: usize, ask: Ask, reply: Reply) -> Result<CancelOnDrop, Failure> {
        let cancellation = Cancellation::default();
        let cancel = CancelOnDrop(cancellation.clone());
        if self.workers.submit(Job { model, ask, cancellation, reply }) {
            return Ok(cancel);
        }
        Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests wait already: try again later"))
    }

    async fn whole(&self, model: usize, ask: Ask) -> Result<Answer, Failure> {
        let (list, alternatives) = (ask.list, ask.alternatives);
        let (sender, receiver) = oneshot::channel();
        let _cancel = self.submit(model, ask, Reply::Whole(sender))?;
        match timeout(self.limits.time, receiver).await {
            Ok(Ok(Ok(translations))) => {
                let answer = answer::translations(&translations, list, alternatives);
                Ok(answer::json(StatusCode::OK, &answer))
            }
            Ok(Ok(Err(error))) => Err(Failure::from(&error)),
            Ok(Err(_)) => {
                let message = "a defect of Siskin ended the request";
                Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message))
            }
            Err(_) => {
                let message = format!("not done in {} s, given up", self.limits.time.as_secs());
                Err(Failure::new(StatusCode::GATEWAY_TIMEOUT, message))
            }
        }
    }

    fn stream(&self, model: usize, ask: Ask) -> Result<Answer, Failure> {
        let alternatives = ask.alternatives;
        let (sender, receiver) = mpsc::unbounded_channel();
        let cancel = self.submit(model, ask, Reply::Parts(sender))?;
        Ok(Events::answer(receiver, alternatives, self.limits.time, cancel))
    }
}
