//! What a client is answered.

use super::workers::Part;
use crate::pipeline::{Cancellation, Translation};
use crate::{Error, ErrorKind};
use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Sleep, sleep};

/// A whole answer, or one that grows.
pub(super) type Answer = Response<Either<Full<Bytes>, Events>>;

/// An answer that is a text of `content_type`.
pub(super) fn text(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut response = Response::new(Either::Left(Full::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    text(status, "application/json", value.to_string())
}

/// Why a request is not answered.
pub(super) struct Failure {
    pub status: StatusCode,
    pub message: String,
}

impl Failure {
    /// A failure for a reason that the client is told.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<&Error> for Failure {
    /// A translator refused the request.
    fn from(error: &Error) -> Self {
        let status = match error.kind() {
            ErrorKind::InvalidOption | ErrorKind::Vocabulary => StatusCode::BAD_REQUEST,
            ErrorKind::InputTooLong | ErrorKind::MemoryLimit => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Cancelled => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Failure> for Answer {
    /// As LibreTranslate writes errors.
    fn from(Failure { status, message }: Failure) -> Self {
        let mut response = json(status, &json!({ "error": message }));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The answer to a method that a path does not have.
pub(super) fn only(method: &'static str) -> Answer {
    let mut response = Answer::from(Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("use {method}")));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    response
}

/// Translations as LibreTranslate writes them; of a list, lists.
pub(super) fn translations(translations: &[Translation], list: bool, alternatives: usize) -> Value {
    let others = |translation: &Translation| -> Vec<String> {
        (1..translation.alternatives()).map(|rank| translation.ranked(rank)).collect()
    };
    let one = |values: Vec<Value>| if list { Value::from(values) } else { values.into_iter().next().into() };
    let texts = translations.iter().map(|translation| Value::from(translation.text()));
    let mut answer = json!({ "translatedText": one(texts.collect()) });
    if alternatives > 0 {
        let others = translations.iter().map(|translation| Value::from(others(translation)));
        answer["alternatives"] = one(others.collect());
    }
    answer
}

/// Cancels a job when nobody waits for it any more.
pub(super) struct CancelOnDrop(pub Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Server-sent events: a part of the output each, at last `done` with all of it, or `error`.
pub(super) struct Events {
    parts: UnboundedReceiver<Part>,
    alternatives: usize,
    deadline: Pin<Box<Sleep>>,
    over: bool,
    _cancel: CancelOnDrop,
}

impl Events {
    /// An answer of events, which ends with an error after `time`.
    pub fn answer(
        parts: UnboundedReceiver<Part>,
        alternatives: usize,
        time: Duration,
        cancel: CancelOnDrop,
    ) -> Answer {
        let deadline = Box::pin(sleep(time));
        let events = Self { parts, alternatives, deadline, over: false, _cancel: cancel };
        let mut response = Response::new(Either::Right(events));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn event(&mut self, part: Option<Part>) -> String {
        let (name, value) = match part {
            Some(Part::Text(text)) => return format!("data: {}\n\n", json!({ "text": text })),
            Some(Part::End(Ok(translation))) => {
                ("done", translations(&[translation], false, self.alternatives))
            }
            Some(Part::End(Err(error))) => ("error", json!({ "error": error.to_string() })),
            None => ("error", json!({ "error": "the request was given up" })),
        };
        self.over = true;
        format!("event: {name}\ndata: {value}\n\n")
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let part = match self.parts.poll_recv(context) {
            Poll::Ready(part) => part,
            Poll::Pending => match self.deadline.as_mut().poll(context) {
                Poll::Ready(()) => None,
                Poll::Pending => return Poll::Pending,
            },
        };
        let event = self.event(part);
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}
