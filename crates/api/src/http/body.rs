//! Bodies: read whole and small, sent whole or as they come.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{
    Response, StatusCode,
    body::{Frame, Incoming, SizeHint},
    header,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::mpsc::Receiver, time::timeout};

use super::{Kind, Problem, set};

/// The largest body that is read. The control socket takes a line of 1 MiB,
/// and base64 makes a third more of what a command is to read.
const BODY_MAX: usize = 700 * 1024;
/// How long a client may take to send it.
const BODY_TIME: Duration = Duration::from_secs(30);

/// What is sent.
#[derive(Debug)]
pub(crate) enum Body {
    /// At once.
    Whole(Bytes),
    /// Piece by piece; the next is taken once there is room for it.
    Pieces(Receiver<Bytes>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces(pieces) => pieces
                .poll_recv(context)
                .map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// The body as a document; no body is an empty one.
pub(crate) async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Problem> {
    let whole = timeout(BODY_TIME, Limited::new(body, BODY_MAX).collect());
    let bytes = match whole.await {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("the body has more than {BODY_MAX} bytes");
            return Err(Problem::new(Kind::TooLarge, detail)
                .fix("put long input into a file: stockade cp FILE TASK:FILE"));
        }
        Ok(Err(error)) => {
            let detail = format!("the body could not be read: {error}");
            return Err(Problem::new(Kind::Invalid, detail));
        }
        Err(_) => {
            let seconds = BODY_TIME.as_secs();
            let detail = format!("the body was not there after {seconds} seconds");
            return Err(Problem::new(Kind::Slow, detail));
        }
    };
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    let invalid = |detail: String| {
        Problem::new(Kind::Invalid, detail).fix("/v1/openapi.json describes every field")
    };
    // A list would be taken for the fields in their order.
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(invalid("expected an object, not a list".to_owned()));
    }
    serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))
}

/// A document as an answer.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    let mut text = serde_json::to_vec(document).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Body::Whole(text.into()));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, "application/json");
    response
}
