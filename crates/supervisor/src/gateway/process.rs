//! What runs in the gateway process.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use stockade_gateway::{
    CertificateAuthority, EventSink, Gateway, LiveRules, OriginalDestination, Settings, SinkError,
    UpstreamAccess,
};
use stockade_sandbox::Channel;
use stockade_types::Event;
use tokio::sync::oneshot;

use super::{Heard, MESSAGE_MAX, Told, listeners};

/// The `main` of the gateway process; its channel is standard input. Returns
/// when the supervisor is gone.
pub fn run() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let channel = Arc::new(Channel::from_descriptor(
        io::stdin().as_fd().try_clone_to_owned()?,
    ));
    if let Err(error) = prepare_and_serve(&channel) {
        let _ = tell(&channel, &Heard::Failed(error.to_string()));
        return Err(error);
    }
    Ok(())
}

fn prepare_and_serve(channel: &Arc<Channel>) -> io::Result<()> {
    let (Told::Settings(settings), _) = receive(channel)? else {
        return Err(io::Error::other("settings were expected"));
    };
    let settings: Settings = *settings;
    settings.validate().map_err(io::Error::other)?;
    let authority = CertificateAuthority::new(&settings.task).map_err(io::Error::other)?;
    // The sandbox, which needs this, is built during the rest.
    tell(channel, &Heard::Authority(authority.certificate_pem()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let upstream = {
        let _entered = runtime.enter();
        UpstreamAccess::from_host().map_err(io::Error::other)?
    };
    let (Told::Listeners, descriptors) = receive(channel)? else {
        return Err(io::Error::other("listeners were expected"));
    };
    let listeners =
        listeners(descriptors).ok_or_else(|| io::Error::other("listeners are missing"))?;
    stockade_sandbox::seal(&[])?;
    tell(channel, &Heard::Sealed)?;

    let rules = LiveRules::new(&settings.allow, &settings.deny);
    let sink = Arc::new(Recorded {
        rules: rules.clone(),
        channel: Arc::clone(channel),
        next: AtomicU64::new(0),
        waiting: Mutex::default(),
    });
    let (stop, stopped) = oneshot::channel();
    let answers = Arc::clone(&sink);
    std::thread::spawn(move || {
        answers.pump();
        let _ = stop.send(());
    });
    let gateway = Gateway {
        rules,
        settings,
        authority,
        listeners,
        upstream,
        sink,
        original_destination: Arc::new(Tracked),
    };
    runtime
        .block_on(gateway.serve(async {
            let _ = stopped.await;
        }))
        .map_err(io::Error::other)
}

/// Destinations as the kernel's connection tracker knows them.
struct Tracked;

impl OriginalDestination for Tracked {
    fn of(&self, socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
        stockade_sandbox::original_destination(socket)
    }
}

type Waiting = HashMap<u64, oneshot::Sender<bool>>;

/// Events go to the supervisor, which has them recorded; rules come from it.
struct Recorded {
    rules: LiveRules,
    channel: Arc<Channel>,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
}

impl Recorded {
    /// Takes answers until the supervisor is gone.
    fn pump(&self) {
        while let Ok((told, _)) = receive(&self.channel) {
            let (event, recorded) = match told {
                Told::Recorded { event } => (event, true),
                Told::NotRecorded { event } => (event, false),
                Told::Grant {
                    grant,
                    rule,
                    seconds,
                } => {
                    let answer = self.rules.grant(rule, seconds.map(Duration::from_secs));
                    let answer = answer.map_err(|error| error.to_string());
                    if tell(&self.channel, &Heard::Granted { grant, answer }).is_err() {
                        return;
                    }
                    continue;
                }
                Told::Settings(_) | Told::Listeners => return,
            };
            let waiting = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&event);
            if let Some(waiting) = waiting {
                let _ = waiting.send(recorded);
            }
        }
    }

    async fn send(&self, what: Event) -> Result<(), SinkError> {
        let event = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(event, sender);
        tell(&self.channel, &Heard::Event { event, what })
            .map_err(|error| SinkError(error.to_string()))?;
        match answer.await {
            Ok(true) => Ok(()),
            _ => Err(SinkError("the recorder did not take it".to_owned())),
        }
    }
}

impl EventSink for Recorded {
    fn record(
        &self,
        event: Event,
    ) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + '_>> {
        Box::pin(self.send(event))
    }
}

fn tell(channel: &Channel, message: &Heard) -> io::Result<()> {
    channel.send(&serde_json::to_vec(message)?, &[])
}

fn receive(channel: &Channel) -> io::Result<(Told, Vec<rustix::fd::OwnedFd>)> {
    let received = channel
        .receive(MESSAGE_MAX)?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((
        serde_json::from_slice(&received.bytes)?,
        received.descriptors,
    ))
}
