//! Requests and replies as bytes and words, whoever they are for.

use std::error::Error;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;

use crate::{record::bounded, reply::Refusal, settings::Upstream};

/// The URL of a request to `upstream`, written anew.
pub(super) fn outward_uri(
    upstream: &Upstream,
    path: &str,
    query: Option<&str>,
) -> Result<Uri, Refusal> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let (scheme, authority) = (upstream.scheme.name(), upstream.authority());
    let prefix = &upstream.path_prefix;
    Uri::try_from(format!("{scheme}://{authority}{prefix}{path}{query}"))
        .map_err(|_| Refusal::malformed("network.path", "its URL cannot be written again."))
}

/// Bytes that a request takes on the wire, without TLS and framing.
pub(super) fn request_size(request: &Request<Full<Bytes>>) -> u64 {
    use hyper::body::Body;
    let headers: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let head = request.method().as_str().len() + request.uri().to_string().len() + 12 + headers;
    (head as u64).saturating_add(request.body().size_hint().lower())
}

/// An error with its causes, which hyper's own text leaves out.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    bounded(&text)
}
