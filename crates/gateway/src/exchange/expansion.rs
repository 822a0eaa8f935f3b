//! Bodies with a content coding, read as what they say.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
};

use super::{
    gatekeeper::{Gatekeeper, Head},
    intake::{Growing, Held, Intake},
};
use crate::{
    coding::{Coding, CodingError, Expander, PIECE},
    credential,
    reply::Refusal,
};

/// Replies of one task that are expanded at once: a decoder looks back at up to
/// 16 MiB of what it wrote.
const REPLIES_MAX: usize = 32;
/// The most that a request's body may say.
const SAID_MAX: usize = 32 << 20;

/// Where compressed replies wait for their turn to be told what they say.
pub(super) struct Expansions(Arc<Semaphore>);

/// A reply's body on its way to what it says.
pub(crate) struct Expansion {
    expander: Expander,
    packed: Bytes,
    _place: OwnedSemaphorePermit,
}

impl Expansions {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(REPLIES_MAX)))
    }

    /// What reads the body that `headers` announce; `None` if it stands as it
    /// is. Without that, the sentence for whoever asked.
    pub(super) fn begin(&self, headers: &HeaderMap) -> Result<Option<Expansion>, String> {
        let unreadable =
            |error: CodingError| format!("cannot be searched for secrets, for it {error}");
        let Some(coding) = Coding::of(headers).map_err(unreadable)? else {
            return Ok(None);
        };
        let place = Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            format!("is compressed, and {REPLIES_MAX} others are being expanded; try again")
        })?;
        Ok(Some(Expansion {
            expander: Expander::new(coding).map_err(unreadable)?,
            packed: Bytes::new(),
            _place: place,
        }))
    }
}

impl Expansion {
    /// More of the body has come. What came before was read.
    pub(super) fn take(&mut self, packed: Bytes) {
        self.packed = packed;
    }

    /// What the next piece of it says; `None` once all that came was read.
    pub(super) fn next(&mut self) -> Option<Result<Bytes, CodingError>> {
        if self.packed.is_empty() {
            return None;
        }
        let piece = self.packed.split_to(PIECE.min(self.packed.len()));
        Some(self.expander.push(&piece).map(Bytes::from))
    }

    /// The body has ended.
    pub(super) fn finish(&self) -> Result<(), CodingError> {
        self.expander.finish()
    }
}

impl Intake {
    /// What `body` says, if `headers` tell that it is coded, or if it begins
    /// as a compressed file does.
    pub(super) async fn said(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Option<Held>, Refusal> {
        if body.is_empty() {
            return Ok(None);
        }
        match Coding::of(headers).map_err(unreadable)? {
            Some(coding) => self.expand(coding, body).await.map(Some),
            None => match Coding::of_file(body) {
                // That it is one was only a guess.
                Some(coding) => match self.expand(coding, body).await {
                    Err(refusal) if refusal.status == StatusCode::BAD_REQUEST => Ok(None),
                    said => said.map(Some),
                },
                None => Ok(None),
            },
        }
    }

    async fn expand(&self, coding: Coding, body: &Bytes) -> Result<Held, Refusal> {
        let mut expander = Expander::new(coding).map_err(unreadable)?;
        let mut growing = Growing::default();
        for piece in body.chunks(PIECE) {
            let said = expander.push(piece).map_err(unreadable)?;
            if growing.len() + said.len() > SAID_MAX {
                return Err(unreadable(CodingError::Bomb));
            }
            self.add(&mut growing, &said)?;
            yield_now().await;
        }
        expander.finish().map_err(unreadable)?;
        Ok(growing.whole())
    }
}

impl Gatekeeper {
    /// Judges what a compressed body to a host says, beside its bytes: whoever
    /// unpacks it reads that.
    pub(super) async fn judge_said(
        &self,
        head: &Head<'_>,
        url: &str,
        body: &Bytes,
    ) -> Result<(), Refusal> {
        let Some(said) = self.intake.said(&head.parts.headers, body).await? else {
            return Ok(());
        };
        if let Some(secret) = self.placeholders.find(&said.bytes) {
            return Err(credential::misplaced_in("the request body", secret));
        }
        self.judge_known(&said.bytes)?;
        self.judge_content(head, url, &said.bytes).await
    }
}

fn unreadable(error: CodingError) -> Refusal {
    let status = match error {
        CodingError::Unknown => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        CodingError::Bomb => StatusCode::PAYLOAD_TOO_LARGE,
        CodingError::Corrupt | CodingError::Truncated => StatusCode::BAD_REQUEST,
    };
    let reason = format!("its body {error}, so that it cannot be searched.");
    Refusal::new(status, "http.content-encoding", reason)
}
