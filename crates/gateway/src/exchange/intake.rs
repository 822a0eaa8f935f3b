use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::reply::{MALFORMED, Refusal};

/// Request bodies held in memory at once, in KiB, for the whole task.
const BUFFERED_KIB: usize = 64 * 1024;
/// The longest pause within a request body.
const BODY_PAUSE: Duration = Duration::from_mins(1);

/// Reads request bodies whole: nothing of one may leave before all of it was
/// judged.
pub(super) struct Intake(Arc<Semaphore>);

/// A body, and its share of the memory for bodies.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    pub(super) memory: Option<OwnedSemaphorePermit>,
}

/// A body of which more is to come.
#[derive(Default)]
pub(super) struct Growing {
    bytes: BytesMut,
    memory: Option<OwnedSemaphorePermit>,
}

impl Growing {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn whole(self) -> Held {
        Held {
            bytes: self.bytes.freeze(),
            memory: self.memory,
        }
    }
}

impl Intake {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUFFERED_KIB)))
    }

    /// The whole of `body`, if it has at most `limit` bytes.
    pub(super) async fn read(&self, mut body: Incoming, limit: u64) -> Result<Held, Refusal> {
        // A length that was told is not waited for.
        if body.size_hint().lower() > limit {
            return Err(too_large(limit));
        }
        let mut growing = Growing::default();
        loop {
            let frame = timeout(BODY_PAUSE, body.frame()).await.map_err(|_| {
                let reason = "its body stopped arriving.";
                Refusal::new(StatusCode::REQUEST_TIMEOUT, "http.body-timeout", reason)
            })?;
            let Some(frame) = frame else {
                return Ok(growing.whole());
            };
            let frame =
                frame.map_err(|_| Refusal::malformed(MALFORMED, "its body is malformed."))?;
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            if (growing.len() + chunk.len()) as u64 > limit {
                return Err(too_large(limit));
            }
            self.add(&mut growing, &chunk)?;
        }
    }

    /// Adds `chunk`, if there is memory for it.
    pub(super) fn add(&self, growing: &mut Growing, chunk: &[u8]) -> Result<(), Refusal> {
        let length = growing.len() + chunk.len();
        let grown = length.div_ceil(1024) - growing.len().div_ceil(1024);
        let grown = u32::try_from(grown).unwrap_or(u32::MAX);
        // Not waited for: two half-read bodies could wait for each other.
        let permit = Arc::clone(&self.0)
            .try_acquire_many_owned(grown)
            .map_err(|_| {
                let reason = "too many large requests are under way; send fewer at once.";
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "http.body-memory", reason)
            })?;
        match &mut growing.memory {
            Some(memory) => memory.merge(permit),
            none => *none = Some(permit),
        }
        growing.bytes.extend_from_slice(chunk);
        Ok(())
    }
}

fn too_large(limit: u64) -> Refusal {
    let reason = format!("its body is larger than {limit} bytes.");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "http.body-length", reason)
}
