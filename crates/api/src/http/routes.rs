//! The one list of what can be asked.

use hyper::{Method, Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{Kind, Problem};
use crate::calls::{
    Exec, Health, NewSandbox, NewSession, Outcome, OutputPiece, Sandbox, Sandboxes, Session,
    SessionText, Sessions, Started,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Health,
    Describe,
    ListSandboxes,
    StartSandbox,
    ShowSandbox,
    StopSandbox,
    Exec,
    Output,
    ListSessions,
    OpenSession,
    ShowSession,
    CloseSession,
    SessionExec,
}

/// A kind of document, for the description.
pub(super) type Document = fn(&mut SchemaGenerator) -> Schema;

fn document<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// One thing that can be asked.
pub(super) struct Route {
    pub(super) operation: Operation,
    pub(super) method: &'static str,
    /// Its path; a segment in braces is a parameter.
    pub(super) path: &'static str,
    /// What it does, in a sentence.
    pub(super) does: &'static str,
    pub(super) takes: Option<Document>,
    /// The status when it works, and what comes with it.
    pub(super) gives: (u16, Option<Document>),
    /// Whether what a command prints can come as events.
    pub(super) streams: bool,
    /// What may follow a question mark.
    pub(super) query: &'static [(&'static str, &'static str)],
}

const fn route(
    operation: Operation,
    method: &'static str,
    path: &'static str,
    does: &'static str,
    takes: Option<Document>,
    gives: (u16, Option<Document>),
) -> Route {
    Route {
        operation,
        method,
        path,
        does,
        takes,
        gives,
        streams: false,
        query: &[],
    }
}

/// All of it.
pub(super) static ROUTES: [Route; 13] = [
    route(
        Operation::Health,
        "GET",
        "/v1/health",
        "Tells that the server answers, which version it is, and how much it may do at once.",
        None,
        (200, Some(document::<Health>)),
    ),
    route(
        Operation::Describe,
        "GET",
        "/v1/openapi.json",
        "This description.",
        None,
        (200, None),
    ),
    route(
        Operation::ListSandboxes,
        "GET",
        "/v1/sandboxes",
        "Lists the sandboxes that run, the newest first, whoever started them.",
        None,
        (200, Some(document::<Sandboxes>)),
    ),
    route(
        Operation::StartSandbox,
        "POST",
        "/v1/sandboxes",
        "Starts a sandbox on a copy of a repository. Without the digest of the contract, or with \
         another one, nothing starts, and the answer (409) holds the contract and its digest.",
        Some(document::<NewSandbox>),
        (201, Some(document::<Started>)),
    ),
    route(
        Operation::ShowSandbox,
        "GET",
        "/v1/sandboxes/{sandbox}",
        "Tells where a sandbox stands, also one that has ended.",
        None,
        (200, Some(document::<Sandbox>)),
    ),
    route(
        Operation::StopSandbox,
        "DELETE",
        "/v1/sandboxes/{sandbox}",
        "Ends everything inside and saves the work, which `stockade review` shows.",
        None,
        (200, Some(document::<Sandbox>)),
    ),
    Route {
        streams: true,
        ..route(
            Operation::Exec,
            "POST",
            "/v1/sandboxes/{sandbox}/exec",
            "Runs a command and answers when it has ended. If the client goes first, the command \
             ends with everything that it started.",
            Some(document::<Exec>),
            (200, Some(document::<Outcome>)),
        )
    },
    Route {
        query: &[
            ("offset", "The byte at which to begin; 0 without it."),
            (
                "length",
                "How many bytes at most; 65536 without it, 1048576 at most.",
            ),
        ],
        ..route(
            Operation::Output,
            "GET",
            "/v1/sandboxes/{sandbox}/execs/{exec}/output",
            "A piece of what a command printed that was too long for its result; both its outputs, \
             in the order in which they came. Kept are 16 MiB of each of the last 100 commands.",
            None,
            (200, Some(document::<OutputPiece>)),
        )
    },
    route(
        Operation::ListSessions,
        "GET",
        "/v1/sandboxes/{sandbox}/sessions",
        "Lists the sessions of a sandbox that this server has opened.",
        None,
        (200, Some(document::<Sessions>)),
    ),
    route(
        Operation::OpenSession,
        "POST",
        "/v1/sandboxes/{sandbox}/sessions",
        "Opens a session: a shell that stays, with its folder, variables and functions.",
        Some(document::<NewSession>),
        (201, Some(document::<Session>)),
    ),
    route(
        Operation::ShowSession,
        "GET",
        "/v1/sandboxes/{sandbox}/sessions/{session}",
        "Tells whether a session takes texts, and how it ended if it has.",
        None,
        (200, Some(document::<Session>)),
    ),
    route(
        Operation::CloseSession,
        "DELETE",
        "/v1/sandboxes/{sandbox}/sessions/{session}",
        "Ends a session with everything that was started in it.",
        None,
        (204, None),
    ),
    Route {
        streams: true,
        ..route(
            Operation::SessionExec,
            "POST",
            "/v1/sandboxes/{sandbox}/sessions/{session}/exec",
            "Runs a text in the shell of a session. The session ends with it if the text ends the \
             shell, if its time is up, or if the client goes first.",
            Some(document::<SessionText>),
            (200, Some(document::<Outcome>)),
        )
    },
];

/// What a request is about.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) operation: Operation,
    /// The parameters of the path, in order.
    parameters: Vec<String>,
    query: Vec<(String, u64)>,
}

impl Target {
    /// A parameter of the path.
    pub(crate) fn parameter(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("", String::as_str)
    }

    /// A parameter that is a number, or what is not found without one.
    pub(crate) fn number(&self, index: usize) -> Result<u32, Problem> {
        let text = self.parameter(index);
        text.parse()
            .map_err(|_| Problem::new(Kind::NotFound, format!("`{text}` is no number")))
    }

    /// What the query says of `name`.
    pub(crate) fn query(&self, name: &str) -> Option<u64> {
        let mut query = self.query.iter();
        query
            .find(|(known, _)| known == name)
            .map(|(_, value)| *value)
    }
}

/// The operation for a request.
pub(super) fn find(method: &Method, uri: &Uri) -> Result<Target, Problem> {
    let path = uri.path();
    let fitting: Vec<_> = ROUTES
        .iter()
        .filter_map(|route| Some((route, parameters(route.path, path)?)))
        .collect();
    if fitting.is_empty() {
        let detail = format!("there is nothing at `{path}`");
        return Err(
            Problem::new(Kind::NotFound, detail).fix("/v1/openapi.json tells what there is")
        );
    }
    let allowed = fitting.iter().map(|(route, _)| route.method);
    let allowed = allowed.collect::<Vec<_>>().join(", ");
    let found = fitting
        .into_iter()
        .find(|(route, _)| route.method == method.as_str());
    let Some((route, parameters)) = found else {
        return Err(Problem::method(allowed));
    };
    Ok(Target {
        operation: route.operation,
        parameters,
        query: query(route, uri.query().unwrap_or_default())?,
    })
}

/// The parameters of `path`, if it has the form of `route`.
fn parameters(route: &str, path: &str) -> Option<Vec<String>> {
    let (mut route, mut path) = (route.split('/'), path.split('/'));
    let mut parameters = Vec::new();
    loop {
        match (route.next(), path.next()) {
            (None, None) => return Some(parameters),
            (Some(name), Some(value)) if name.starts_with('{') && !value.is_empty() => {
                parameters.push(value.to_owned());
            }
            (Some(name), Some(value)) if name == value => {}
            _ => return None,
        }
    }
}

fn query(route: &Route, text: &str) -> Result<Vec<(String, u64)>, Problem> {
    let invalid = |detail: String| Problem::new(Kind::Invalid, detail);
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if route.query.iter().all(|(known, _)| *known != name) {
                return Err(invalid(format!("unknown query parameter `{name}`")));
            }
            let number = value.parse();
            let number = number.map_err(|_| invalid(format!("`{name}` must be a number")))?;
            Ok((name.to_owned(), number))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(method: &Method, uri: &str) -> Result<Target, String> {
        let found = find(method, &uri.parse().unwrap());
        found.map_err(|problem| problem.into_response().status().as_str().to_owned())
    }

    #[test]
    fn a_path_and_a_method_are_one_operation() {
        let target = at(&Method::POST, "/v1/sandboxes/abc/sessions/7/exec").unwrap();
        assert_eq!(target.operation, Operation::SessionExec);
        assert_eq!((target.parameter(0), target.number(1).unwrap()), ("abc", 7));
        let target = at(&Method::GET, "/v1/sandboxes/a/execs/2/output?offset=5").unwrap();
        assert_eq!(target.query("offset"), Some(5));
        assert_eq!(target.query("length"), None);
    }

    #[test]
    fn other_paths_methods_and_parameters_are_told_apart() {
        for (uri, status) in [
            ("/", "404"),
            ("/v1/sandboxes/", "404"),
            ("/v2/health", "404"),
            ("/v1/sandboxes/a/../b", "404"),
            ("/v1/health?x=1", "400"),
            ("/v1/sandboxes/a/execs/2/output?offset=-1", "400"),
            ("/v1/sandboxes/a/exec", "405"),
        ] {
            assert_eq!(at(&Method::GET, uri).unwrap_err(), status, "{uri}");
        }
    }
}
