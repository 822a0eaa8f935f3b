//! Connections: who may have one, how many there are, and how they end.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    Settings,
    calls::Service,
    http::{Problem, answer},
    listener::Listener,
};

/// How many connections there may be at once.
const CONNECTIONS_MAX: usize = 256;
/// How many more are told so at once; the rest wait in the kernel's queue.
const REFUSALS_MAX: usize = 32;
/// How long a client may take for the head of a request, and be idle.
const HEAD_TIME: Duration = Duration::from_mins(1);
/// How much of a connection is held in memory, in each direction.
const BUFFER: usize = 64 * 1024;
/// How many headers a request may have.
const HEADERS_MAX: usize = 64;
/// How long requests may go on once the server is to end.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// So that a lack of descriptors does not spin.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// A server that could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket.
    #[error("the socket: {0}")]
    Socket(#[from] std::io::Error),
}

/// Serves until `stop` resolves. Requests that are under way then have a few
/// seconds; commands that still run end with everything they started, and so do
/// sessions. Sandboxes go on.
pub async fn serve(
    listener: &Listener,
    settings: Settings,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let socket = UnixListener::from_std(listener.socket.try_clone()?)?;
    let service = Arc::new(Service::new(settings));
    let (ending, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    let accepting = async {
        let (room, refusals) = (
            Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            Arc::new(Semaphore::new(REFUSALS_MAX)),
        );
        loop {
            while connections.try_join_next().is_some() {}
            let Ok((stream, _)) = socket.accept().await else {
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                continue;
            };
            let place = match Arc::clone(&room).try_acquire_owned() {
                Ok(permit) => Place::new(true, permit),
                Err(_) => match Arc::clone(&refusals).acquire_owned().await {
                    Ok(permit) => Place::new(false, permit),
                    Err(_) => return,
                },
            };
            let service = Arc::clone(&service);
            connections.spawn(connection(stream, place, service, ending.subscribe()));
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop => {}
    }
    drop(socket);
    ending.send_replace(true);
    let _ = timeout(LAST_WORDS, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    Ok(())
}

/// What a connection has of the server.
struct Place {
    is_served: bool,
    /// Held while it lasts.
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(is_served: bool, permit: OwnedSemaphorePermit) -> Self {
        Self {
            is_served,
            _permit: permit,
        }
    }

    /// Why the connection gets nothing, if it does not.
    fn refusal(&self, stream: &UnixStream) -> Option<Problem> {
        let own = rustix::process::geteuid().as_raw();
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == own => (!self.is_served)
                .then(|| Problem::busy(format!("there are {CONNECTIONS_MAX} connections already"))),
            _ => Some(Problem::foreign()),
        }
    }
}

async fn connection(
    stream: UnixStream,
    place: Place,
    service: Arc<Service>,
    mut ending: watch::Receiver<bool>,
) {
    let refusal = place.refusal(&stream);
    let keep_alive = refusal.is_none();
    let respond = service_fn(move |request: hyper::Request<Incoming>| {
        let (service, refusal) = (Arc::clone(&service), refusal.clone());
        async move {
            Ok::<_, Infallible>(match refusal {
                Some(problem) => problem.into_response(),
                None => answer(&service, request).await,
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(BUFFER)
        .max_headers(HEADERS_MAX)
        .keep_alive(keep_alive)
        .serve_connection(TokioIo::new(stream), respond);
    let mut connection = std::pin::pin!(connection);
    let ended = async { drop(ending.wait_for(|ending| *ending).await) };
    tokio::select! {
        _ = connection.as_mut() => {}
        () = ended => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
