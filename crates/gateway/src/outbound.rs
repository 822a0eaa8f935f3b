//! What must not leave, and how it is found in requests.

use std::{future::Future, pin::Pin, sync::Arc};

use http::request::Parts;
use stockade_scan::{BuildError, FormatStream, Formats, KnownValues, SourceIndex, SourceStream};
use tokio::sync::OnceCell;

use crate::{
    credential::{self, unescaped},
    reply::Refusal,
    rules::Carries,
    settings::{GuardedValue, ModelRoute},
};

/// What asking for the fingerprints of the repository's files comes to.
pub type Fingerprints<'a> = Pin<Box<dyn Future<Output = Result<SourceIndex, String>> + Send + 'a>>;

/// Who knows the fingerprints of the repository's own files.
pub trait OwnSources: Send + Sync {
    /// These, asked for when something is sent for the first time.
    fn fingerprints(&self) -> Fingerprints<'_>;
}

/// How much is searched before others have their turn.
const PART: usize = 64 << 10;
/// Shorter texts hold no piece of a file that could be told.
const SOURCES_FROM: usize = 512;

/// Finds what must not leave.
pub(crate) struct Outbound {
    guarded: KnownValues<Guarded>,
    formats: Formats,
    sources: Arc<dyn OwnSources>,
    index: OnceCell<SourceIndex>,
}

/// A value that must not leave.
pub(crate) struct Guarded {
    name: String,
    honeytoken: bool,
}

impl Outbound {
    /// Guards `values`, and the keys of `routes`.
    pub(crate) fn new(
        values: &[GuardedValue],
        routes: &[ModelRoute],
        sources: Arc<dyn OwnSources>,
    ) -> Result<Self, BuildError> {
        let values = values.iter().map(|guarded| {
            let (name, honeytoken) = (guarded.name.clone(), guarded.honeytoken);
            (
                Guarded { name, honeytoken },
                guarded.value.expose().as_str(),
            )
        });
        let keys = routes.iter().map(|route| {
            let (name, honeytoken) = (route.secret_name.clone(), false);
            (Guarded { name, honeytoken }, route.secret.expose().as_str())
        });
        Ok(Self {
            guarded: KnownValues::new(values.chain(keys))?,
            formats: Formats::new()?,
            sources,
            index: OnceCell::new(),
        })
    }

    /// Refuses a head in which a guarded value stands.
    pub(crate) fn judge_head(&self, parts: &Parts, url: &str) -> Result<(), Refusal> {
        match credential::place_in_head(parts, url, &self.guarded, &[]) {
            Some((place, guarded)) => Err(guarded.refusal(&place)),
            None => Ok(()),
        }
    }

    /// Refuses a body in which a guarded value stands.
    pub(crate) fn judge_body(&self, body: &[u8]) -> Result<(), Refusal> {
        match self.guarded.find(body) {
            Some(guarded) => Err(guarded.refusal("the request body")),
            None => Ok(()),
        }
    }

    /// Refuses what looks like a key, or like pieces of the repository's own
    /// files, where no rule lets the request carry it: with what would.
    pub(crate) async fn judge_content(
        &self,
        url: &str,
        body: &[u8],
        carries: Carries,
    ) -> Result<(), (Refusal, Carries)> {
        if !carries.keys {
            for (place, text) in [
                ("URL", url.as_bytes()),
                ("URL", unescaped(url).as_bytes()),
                ("body", body),
            ] {
                if let Some(kind) = self.key_in(text).await {
                    let needed = Carries {
                        keys: true,
                        ..carries
                    };
                    return Err((key(place, kind), needed));
                }
            }
        }
        if !carries.sources && body.len() >= SOURCES_FROM {
            let needed = Carries {
                sources: true,
                ..carries
            };
            match self.sources_in(body).await {
                Ok(None) => {}
                Ok(Some(characters)) => return Err((own_sources(characters), needed)),
                Err(reason) => return Err((not_compared(&reason), needed)),
            }
        }
        Ok(())
    }

    async fn key_in(&self, text: &[u8]) -> Option<&'static str> {
        let mut stream = FormatStream::default();
        for part in text.chunks(PART) {
            stream.push(&self.formats, part);
            tokio::task::yield_now().await;
        }
        let found = stream.finish(&self.formats);
        found.first().map(|finding| finding.kind)
    }

    async fn sources_in(&self, text: &[u8]) -> Result<Option<u64>, String> {
        let index = self.index.get_or_try_init(|| self.sources.fingerprints());
        let index = index.await?;
        let mut stream = SourceStream::default();
        if !index.is_empty() {
            for part in text.chunks(PART) {
                stream.push(index, part);
                tokio::task::yield_now().await;
            }
        }
        Ok(stream.characters(index))
    }
}

impl Guarded {
    /// Whether it is bait is not said: that would tell whom it is for.
    fn refusal(&self, place: &str) -> Refusal {
        let refusal = guarded(&self.name, place);
        if self.honeytoken {
            refusal.of_honeytoken()
        } else {
            refusal
        }
    }
}

/// The refusal of a value that must not leave, found in `place`.
pub(crate) fn guarded(name: &str, place: &str) -> Refusal {
    let reason =
        format!("the value of `{name}` stands in {place}; it must not be sent, to any host.");
    Refusal::forbidden("scan.known-value", reason).alarming()
}

fn key(place: &str, kind: &str) -> Refusal {
    let reason = format!(
        "its {place} holds what looks like {kind}; keys go to a host only if a rule lets them."
    );
    Refusal::forbidden("scan.key-format", reason)
}

fn own_sources(characters: u64) -> Refusal {
    let reason = format!(
        "its body holds about {characters} characters of this repository's own files; they go \
         to a host only if a rule lets them."
    );
    Refusal::forbidden("scan.own-sources", reason)
}

fn not_compared(reason: &str) -> Refusal {
    let reason = format!("it could not be compared with the repository's own files: {reason}.");
    Refusal::forbidden("scan.own-sources", reason)
}
