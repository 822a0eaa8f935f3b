//! A task with a gateway, and clients inside it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use stockade_supervisor::{
    Answer, Connection, ExecRequest, Report as Printed, Request, StateDirectory, SupervisorError,
};
use stockade_types::TaskId;

use crate::{
    failure::Failure,
    job::{AGENT, Job, ORIGIN, Told, Way, Work},
    origin::Origin,
    peers::{HOST, told},
    place::{PATH, Place, finish},
    processes::Processes,
    task::Task,
};

/// The host of the agent's model.
const MODEL_HOST: &str = "api.anthropic.com";
/// What the gateway gives instead of the placeholder.
const KEY: &str = "sk-decoy-of-a-bench";
/// How long the ledger may take to book what was asked.
const BOOKED: Duration = Duration::from_secs(10);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(50);
/// Nothing that an agent does is too much.
const CONFIGURATION: &str = "[budget.breakers]\ntokens_a_minute = 0\nrequests_a_minute = 0\n\
                             turns_without_progress = 0\n";

/// A task that waits.
pub(crate) struct Own {
    id: TaskId,
    way: Connection,
    /// The gateway, and supervisor and recorder beside it.
    pub(crate) processes: Processes,
}

/// Puts the client where the agent is looked for, and the caller's settings.
pub(crate) fn prepare(place: &Place) -> Result<(), Failure> {
    let folder = place.join("bin");
    let settings = place.join("home/.config/stockade");
    let own = std::env::current_exe().map_err(Failure::file("/proc/self/exe"))?;
    fs::create_dir_all(&folder).map_err(Failure::file(&folder))?;
    fs::create_dir_all(&settings).map_err(Failure::file(&settings))?;
    let file = settings.join("config.toml");
    fs::write(&file, CONFIGURATION).map_err(Failure::file(&file))?;
    fs::copy(&own, folder.join(AGENT)).map_err(Failure::file(&own))?;
    Ok(())
}

impl Own {
    /// A task that may reach the origin as its model, as `HOST` and by each of
    /// `names`, with a place of its own for each.
    pub(crate) fn start(
        place: &Place,
        origin: &Origin,
        names: &[String],
        cap: &str,
    ) -> Result<Self, Failure> {
        let port = origin.address.port();
        let mut run = place.stockade(&["--json", "run", AGENT, "wait", "--detach", "--yes"]);
        let path = format!("{}:{}", place.join("bin").display(), PATH);
        run.env("PATH", path)
            .env("SSL_CERT_FILE", &origin.authority)
            .env("ANTHROPIC_API_KEY", KEY)
            .args(["--max-cost", cap, "--allow", "ANY *.bench.test"])
            .args(["--model-url", &format!("https://{ORIGIN}:{port}")])
            .args(["--service", &format!("{HOST}=https://{ORIGIN}:{port}")]);
        for name in names {
            let place = format!("{name}=https://{ORIGIN}:{port}/{name}");
            run.args(["--service", &place]);
        }
        let answer = finish(run)?.stdout;
        let answer: serde_json::Value =
            serde_json::from_slice(&answer).map_err(|_| Failure::Answer {
                words: "stockade run".to_owned(),
                answer: String::from_utf8_lossy(&answer).into_owned(),
            })?;
        let id = answer["task"].as_str().and_then(|id| id.parse().ok());
        let id: TaskId = id.ok_or_else(|| Failure::InVain("a task's id".to_owned()))?;
        let processes = processes(&Task::new(place, id.as_str()));
        let state = StateDirectory::open(Some(place.state()), None, None).map_err(control)?;
        let mut way = Connection::ask(&state.task(&id), &Request::Status).map_err(control)?;
        way.answer().map_err(control)?;
        Ok(Self { id, way, processes })
    }

    /// Has a client inside work with `HOST`, or with the model.
    pub(crate) fn run(&mut self, work: Work) -> Result<Told, Failure> {
        let host = match work {
            Work::Events { .. } | Work::Spend { .. } => MODEL_HOST,
            _ => HOST,
        };
        let job = Job {
            host: host.to_owned(),
            way: Way::Named,
            trust: None,
            work,
        };
        let job =
            serde_json::to_string(&job).map_err(|error| Failure::InVain(error.to_string()))?;
        let request = ExecRequest {
            argv: vec![AGENT.to_owned(), job],
            report: Printed::Collected,
            no_policy: true,
            ..ExecRequest::default()
        };
        let request = Request::Exec(Box::new(request));
        self.way.ask_again(&request).map_err(control)?;
        match self.way.answer().map_err(control)? {
            Some(Answer::Ended {
                exit: 0,
                result: Some(result),
            }) => told(
                result
                    .stdout
                    .map_or_else(String::new, |out| out.text)
                    .as_bytes(),
            ),
            other => Err(Failure::InVain(format!("a client's end, not {other:?}"))),
        }
    }

    /// What its model requests have cost, in dollars, once so many are booked.
    pub(crate) fn spent(&self, place: &Place, requests: u32) -> Result<f64, Failure> {
        let deadline = Instant::now() + BOOKED;
        loop {
            let answer = place.answer(&["budget", "--by", "task"])?;
            let mut lines = answer["lines"].as_array().into_iter().flatten();
            let line = lines.find(|line| line["name"] == self.id.as_str());
            let booked = line.filter(|line| line["requests"] == requests);
            let cost = booked.and_then(|line| line["cost"].as_str()?.strip_prefix('$'));
            if let Some(dollars) = cost.and_then(|cost| cost.parse().ok()) {
                return Ok(dollars);
            }
            if Instant::now() > deadline {
                let what = format!("{requests} requests were booked, not {answer}");
                return Err(Failure::InVain(what));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn processes(task: &Task) -> Processes {
    let mut processes = Processes::default();
    for (part, id) in task.host_processes() {
        match part.as_str() {
            "__gateway" => processes.proxy.push(id),
            "__supervisor" | "__recorder" => processes.beside.push(id),
            _ => {}
        }
    }
    processes
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn control(error: SupervisorError) -> Failure {
    Failure::InVain(format!("the task's answer: {error}"))
}

/// Whether this process is the client.
pub(crate) fn is_client(name: &Path) -> bool {
    name.file_name().is_some_and(|name| name == AGENT)
}
