//! What is asked and answered, as HTTP has it.

mod body;
mod description;
mod events;
mod problem;
mod routes;

use hyper::{Request, Response, StatusCode, body::Incoming, header};

pub use self::description::description;
pub(crate) use self::{
    body::{Body, json, read},
    events::{EventSender, Form, Gone},
    problem::{Kind, Problem},
    routes::{Operation, Target},
};
use crate::calls::Service;

/// Answers one request.
pub(crate) async fn answer(service: &Service, request: Request<Incoming>) -> Response<Body> {
    let target = routes::find(request.method(), request.uri());
    let answered = match target {
        Ok(target) => service.call(&target, request).await,
        Err(problem) => Err(problem),
    };
    answered.unwrap_or_else(Problem::into_response)
}

/// An answer without a body.
pub(crate) fn nothing() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Adds a header whose value is known to be one.
pub(crate) fn set(response: &mut Response<Body>, name: header::HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}
