//! From lines to HTTP and back: an MCP server that speaks Streamable HTTP, as if it were a
//! program that speaks on standard input and output.
//!
//! It runs in the sandbox of that server, whose gateway holds secrets and decides where
//! requests go; what comes back is read here and by the firewall, and trusted by neither.

mod endpoint;
mod events;
mod message;
mod session;

use std::{
    io::{self, BufRead, Write},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinSet,
    time::timeout,
};

pub use self::{
    endpoint::BridgeError,
    events::{Events, TooLong},
};
use self::{endpoint::Endpoint, message::Sent, session::Session};

/// The longest message, in bytes; the firewall takes none that is longer.
const MESSAGE_MAX: usize = 4 << 20;
/// Requests that wait for answers at once.
const AT_ONCE: usize = 256;
/// How long answers are waited for once nobody asks any more.
const ENDING: Duration = Duration::from_secs(5);

/// Serves until standard input ends. The first of `words` is the server's URL, the others
/// are headers, as `Name: value`, in which `${NAME}` is the value of a variable.
pub fn run(words: impl Iterator<Item = String>) -> Result<(), BridgeError> {
    let endpoint = Endpoint::new(words, |name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (say, said) = channel(AT_ONCE);
    let (hear, heard) = channel(AT_ONCE);
    std::thread::Builder::new().spawn(move || read(&hear))?;
    let writer = std::thread::Builder::new().spawn(move || write(said))?;
    runtime.block_on(serve(endpoint, heard, say));
    // What still listens has nobody to tell.
    drop(runtime);
    // What is said last is written before this process ends.
    let _ = writer.join();
    Ok(())
}

/// Reads lines until there are no more, or nobody wants them.
fn read(hear: &Sender<Vec<u8>>) {
    let mut input = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        match input.read_until(b'\n', &mut line) {
            Ok(1..) if hear.blocking_send(line).is_ok() => {}
            _ => return,
        }
    }
}

fn write(mut said: Receiver<Vec<u8>>) {
    let mut output = io::stdout().lock();
    while let Some(line) = said.blocking_recv() {
        if output
            .write_all(&line)
            .and_then(|()| output.flush())
            .is_err()
        {
            return;
        }
    }
}

async fn serve(endpoint: Endpoint, mut heard: Receiver<Vec<u8>>, say: Sender<Vec<u8>>) {
    let session = Arc::new(Session::new(endpoint));
    let mut asked = JoinSet::new();
    while let Some(line) = heard.recv().await {
        while asked.try_join_next().is_some() {}
        let Some(sent) = Sent::of(line) else { continue };
        if let Some(id) = sent.cancels() {
            session.cancel(&id);
        }
        if sent.id.is_none() {
            // News come in order, before what follows them.
            let begins = sent.method == "notifications/initialized";
            session.tell(sent).await;
            if begins {
                let (session, say) = (Arc::clone(&session), say.clone());
                tokio::spawn(async move { session.listen(&say).await });
            }
            continue;
        }
        let key = sent.key();
        let (own, say) = (Arc::clone(&session), say.clone());
        if sent.method == "subscriptions/listen" {
            // It has no end of its own, and nobody waits for one.
            let task = tokio::spawn(async move { own.ask(sent, &say).await });
            session.began(key, task.abort_handle());
            continue;
        }
        if asked.len() >= AT_ONCE {
            let _ = asked.join_next().await;
        }
        let task = asked.spawn(async move { own.ask(sent, &say).await });
        session.began(key, task);
    }
    let _ = timeout(ENDING, async { while asked.join_next().await.is_some() {} }).await;
    session.end().await;
}

#[cfg(test)]
mod tests;
