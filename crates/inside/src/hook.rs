//! What an agent's hook runs inside: tells the tool call to the gateway, and says
//! what comes back.
//!
//! Agents go on where a hook fails, so that every failure here says no, and in time.

use std::{
    ffi::OsString,
    io::{Read, Write},
    net::TcpStream,
    process::ExitCode,
    sync::mpsc::channel,
    time::Duration,
};

use stockade_types::hook::{ADDRESS, ANSWER_MAX, Answer, EVENT_MAX, REFUSED, told};

/// The name under which the executable does this.
pub(crate) const NAME: &str = "hook";
/// How long it takes at most. Agents wait longer, and go on when they do not.
const LONGEST: Duration = Duration::from_secs(10);

/// Answers the event on standard input for the agent that `words` name.
pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let agent = words.next().and_then(|word| word.into_string().ok());
    let (tell, heard) = channel();
    let asking = std::thread::Builder::new().spawn(move || {
        let agent = agent.ok_or("the hook is started without the agent's name");
        let _ = tell.send(agent.and_then(|agent| ask(&agent)));
    });
    let answer = match asking.map(|_| heard.recv_timeout(LONGEST)) {
        Ok(Ok(Ok(answer))) => answer,
        Ok(Ok(Err(reason))) => cannot(reason),
        Ok(Err(_)) => cannot("no answer came in time"),
        Err(_) => cannot("it could not start a thread"),
    };
    say(&answer)
}

/// What is answered to the event on standard input.
fn ask(agent: &str) -> Result<Answer, &'static str> {
    let mut event = Vec::new();
    let input = std::io::stdin();
    let read = input
        .lock()
        .take(EVENT_MAX as u64 + 1)
        .read_to_end(&mut event);
    read.map_err(|_| "the agent's event could not be read")?;
    let told = told(agent, &event).ok_or("the agent's event is too large")?;
    let unreached = |_| "nobody outside answers";
    let mut socket = TcpStream::connect_timeout(&ADDRESS.into(), LONGEST).map_err(unreached)?;
    socket.write_all(&told).map_err(unreached)?;
    let mut answer = Vec::new();
    let heard = socket.take(ANSWER_MAX as u64 + 1).read_to_end(&mut answer);
    heard.map_err(unreached)?;
    Answer::decode(&answer).ok_or("nobody outside answers")
}

fn cannot(reason: &str) -> Answer {
    Answer::refused(format!("Stockade cannot judge this tool call: {reason}."))
}

/// Says `answer` as agents take it. What cannot be written is a no as well.
fn say(answer: &Answer) -> ExitCode {
    let mut output = std::io::stdout();
    let mut written = output.write_all(answer.output.as_bytes());
    written = written.and_then(|()| output.flush());
    if !answer.error.is_empty() {
        let line = format!("{}\n", answer.error);
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    ExitCode::from(if written.is_ok() {
        answer.code
    } else {
        REFUSED
    })
}
