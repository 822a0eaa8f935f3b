use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{header, response::Parts};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stockade_scan::{RedactedStream, Redactor};
use tokio::time::{Instant, Sleep, sleep};

use super::expansion::Expansion;
use crate::{
    head,
    meter::Spent,
    model::UsageMeter,
    record::{Record, Reserved, bounded, bounded_to},
    upstream::Dialled,
};

/// A model may think for long; silence beyond this is a dead connection.
const IDLE_MAX: Duration = Duration::from_mins(10);

/// Why a reply was cut.
pub(crate) const TAKEN_BACK: &str = "the secret that it was asked with was taken back";

/// Writes what became of a request when dropped, however it ended.
pub(crate) struct Outcome {
    record: Record,
    body: Value,
    received: u64,
    found: u64,
    ended: &'static str,
    meter: Option<UsageMeter>,
    reserved: Option<Reserved>,
    /// Of what was received, where that is kept.
    digest: Option<Sha256>,
}

/// Characters of a URL that the record keeps.
const URL_MAX: usize = 1024;

impl Outcome {
    /// The outcome of the request that `intent` describes, of which `sent`
    /// bytes go out.
    pub(crate) fn new(record: Record, intent: &Value, sent: u64) -> Self {
        let mut body = intent.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.remove("verdict");
        }
        body["sent"] = json!(sent);
        Self {
            record,
            body,
            received: 0,
            found: 0,
            ended: "client-left",
            meter: None,
            reserved: None,
            digest: None,
        }
    }

    /// So much was reserved for it, of which all counts from now on unless
    /// something else is known in the end.
    pub(crate) fn sending(&mut self, mut reserved: Reserved) {
        reserved.spent = Spent::Unknown;
        self.reserved = Some(reserved);
    }

    /// It did not reach the provider, or was refused there.
    pub(crate) fn costs_nothing(&mut self) {
        if let Some(reserved) = &mut self.reserved {
            reserved.spent = Spent::Nothing;
        }
    }

    /// Of the bytes that go out, these are the body.
    pub(crate) fn sent_body(&mut self, bytes: u64) {
        self.body["sent_body"] = json!(bytes);
    }

    /// What comes is told by where it is from and by its digest.
    pub(crate) fn fetched(&mut self, url: &str) {
        self.body["url"] = json!(bounded_to(url, URL_MAX));
        self.digest = Some(Sha256::new());
    }

    /// The head of a reply has come.
    pub(crate) fn answered(&mut self, head: &Parts) {
        self.body["status"] = json!(head.status.as_u16());
        if let Some(Dialled(address)) = head.extensions.get() {
            self.body["address"] = json!(address.ip());
        }
        let encoding = head.headers.get(header::CONTENT_ENCODING);
        if let Some(encoding) = encoding.and_then(|encoding| encoding.to_str().ok()) {
            self.body["encoding"] = json!(bounded(encoding));
        }
    }

    pub(crate) fn measure(&mut self, meter: UsageMeter) {
        self.meter = Some(meter);
    }

    pub(crate) fn failed(&mut self, message: &str) {
        self.ended = "upstream-failed";
        self.body["error"] = json!(bounded(message));
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.body["received"] = json!(self.received);
        self.body["ended"] = json!(self.ended);
        if self.found > 0 {
            self.body["secret_echoes_replaced"] = json!(self.found);
        }
        // Half a reply is another one.
        if let Some(digest) = self.digest.take()
            && self.ended == "complete"
        {
            self.body["sha256"] = json!(hex::encode(digest.finalize()));
        }
        if let Some(meter) = &mut self.meter {
            let usage = meter.finish();
            if let Some(usage) = usage {
                self.body["usage"] = json!(usage);
            }
            if let Some(reserved) = &mut self.reserved {
                reserved.asked = meter.asked();
                // A reply that broke off told only the beginning.
                if let Some(usage) = usage.filter(|_| self.ended == "complete") {
                    reserved.spent = Spent::Reported(usage);
                }
            }
        }
        self.record.outcome(self.body.take(), self.reserved.take());
    }
}

/// The reply's body as it goes inside: measured, searched for the secret, and
/// passed on as it arrives.
pub(crate) struct InwardBody {
    upstream: Incoming,
    /// What undoes its coding, if it has one and is searched.
    expansion: Option<Expansion>,
    /// What is searched for, if a secret went out.
    search: Option<(Arc<Redactor>, RedactedStream)>,
    /// Ends when the secret that went out is taken back.
    cut: Option<Cut>,
    idle: Pin<Box<Sleep>>,
    outcome: Outcome,
    done: bool,
}

/// What ends when a reply must not go on.
pub(crate) type Cut = Pin<Box<dyn Future<Output = ()> + Send>>;

impl InwardBody {
    /// A reply to a request that may have carried a secret.
    pub(crate) fn searched(
        upstream: Incoming,
        expansion: Option<Expansion>,
        redactor: Arc<Redactor>,
        outcome: Outcome,
        cut: Option<Cut>,
    ) -> Self {
        let search = Some((redactor, RedactedStream::default()));
        Self {
            expansion,
            ..Self::new(upstream, search, outcome, cut)
        }
    }

    /// A reply that is passed on as it is.
    pub(crate) fn passing(upstream: Incoming, outcome: Outcome) -> Self {
        Self::new(upstream, None, outcome, None)
    }

    fn new(
        upstream: Incoming,
        search: Option<(Arc<Redactor>, RedactedStream)>,
        outcome: Outcome,
        cut: Option<Cut>,
    ) -> Self {
        let mut body = Self {
            upstream,
            expansion: None,
            search,
            cut,
            idle: Box::pin(sleep(IDLE_MAX)),
            outcome,
            done: false,
        };
        body.note_end();
        body
    }

    /// A body whose length was told is not asked again after its last byte.
    fn note_end(&mut self) {
        if self.upstream.is_end_stream() {
            self.outcome.ended = "complete";
        }
    }

    fn fail(&mut self, message: &str) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.done = true;
        self.outcome.failed(message);
        // The connection inside is cut: a shortened reply never looks whole.
        Poll::Ready(Some(Err(io::Error::other("the reply broke off"))))
    }

    fn take(&mut self, chunk: Bytes) -> Bytes {
        let outcome = &mut self.outcome;
        outcome.received = outcome.received.saturating_add(chunk.len() as u64);
        if let Some(digest) = &mut outcome.digest {
            digest.update(&chunk);
        }
        match &mut self.expansion {
            Some(expansion) => {
                expansion.take(chunk);
                Bytes::new()
            }
            None => self.read(chunk),
        }
    }

    /// What passes on of `chunk`, which is no more packed.
    fn read(&mut self, chunk: Bytes) -> Bytes {
        let outcome = &mut self.outcome;
        if let Some(meter) = &mut outcome.meter {
            meter.see(&chunk);
        }
        let Some((redactor, stream)) = &mut self.search else {
            self.note_end();
            return chunk;
        };
        let passed = stream.push(redactor, chunk);
        outcome.found = stream.found();
        passed
    }

    /// Trailers, which gRPC ends with. No model API has any, so where a secret
    /// is searched for they end here.
    fn take_trailers(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let trailers = frame.into_trailers().ok()?;
        if self.search.is_some() {
            return None;
        }
        // Nothing follows, and nobody asks whether it does.
        self.done = true;
        self.outcome.ended = "complete";
        Some(Frame::trailers(head::inward(&trailers, |_| None)))
    }
}

impl Body for InwardBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = &mut *self;
        loop {
            if body.done {
                return Poll::Ready(None);
            }
            if let Some(cut) = &mut body.cut
                && cut.as_mut().poll(context).is_ready()
            {
                body.cut = None;
                return body.fail(TAKEN_BACK);
            }
            if let Some(said) = body.expansion.as_mut().and_then(Expansion::next) {
                match said {
                    Ok(said) => {
                        let passed = body.read(said);
                        if passed.is_empty() {
                            continue;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(passed))));
                    }
                    Err(error) => return body.fail(&format!("the reply {error}")),
                }
            }
            match Pin::new(&mut body.upstream).poll_frame(context) {
                Poll::Pending => {
                    return match body.idle.as_mut().poll(context) {
                        Poll::Ready(()) => body.fail("the upstream fell silent"),
                        Poll::Pending => Poll::Pending,
                    };
                }
                Poll::Ready(Some(Ok(frame))) => {
                    body.idle.as_mut().reset(Instant::now() + IDLE_MAX);
                    match frame.into_data() {
                        Ok(chunk) => {
                            let passed = body.take(chunk);
                            if !passed.is_empty() {
                                return Poll::Ready(Some(Ok(Frame::data(passed))));
                            }
                        }
                        Err(frame) => {
                            if let Some(trailers) = body.take_trailers(frame) {
                                return Poll::Ready(Some(Ok(trailers)));
                            }
                        }
                    }
                }
                Poll::Ready(Some(Err(source))) => return body.fail(&source.to_string()),
                Poll::Ready(None) => {
                    if let Some(Err(error)) = body.expansion.as_ref().map(Expansion::finish) {
                        return body.fail(&format!("the reply {error}"));
                    }
                    body.done = true;
                    body.outcome.ended = "complete";
                    let rest = match &mut body.search {
                        Some((_, stream)) => stream.finish(),
                        None => Bytes::new(),
                    };
                    return Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || (self.search.is_none() && self.upstream.is_end_stream())
    }

    /// Unknown if something may be replaced: a placeholder may be longer than
    /// the secret.
    fn size_hint(&self) -> SizeHint {
        match self.search {
            Some(_) => SizeHint::default(),
            None => self.upstream.size_hint(),
        }
    }
}
