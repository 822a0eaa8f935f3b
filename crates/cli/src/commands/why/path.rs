//! What a task sees of a path, and what hides it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use stockade_sandbox::{Access, Grant, Sight, files::DEFAULT_SECRET_PATHS};
use stockade_supervisor::{PLAN, Plan};
use stockade_types::{Denial, visible};

use crate::{
    failure::Failure,
    host::Task,
    print::{Printer, Tone},
};

/// What may be done with a path, and why.
struct Told {
    /// Where it is inside, if anything is.
    inside: Option<PathBuf>,
    kind: Kind,
    denial: Option<Denial>,
}

/// What a path is to a task.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Absent,
    Hidden,
    Masked,
    ReadOnly,
    ReadWrite,
    Own,
    Workspace,
    Scratch,
    Made,
}

impl Kind {
    fn sentence(self) -> &'static str {
        match self {
            Self::Absent => "does not exist inside",
            Self::Hidden => "is hidden",
            Self::Masked => "has placeholders for its content",
            Self::ReadOnly => "may be read and not changed",
            Self::ReadWrite => "may be read and changed, without review",
            Self::Own => "is the task's own",
            Self::Workspace => "is the task's own copy; changes come back through review",
            Self::Scratch => "is the sandbox's own, and empty at first",
            Self::Made => "is the sandbox's own, and nothing of this machine",
        }
    }
}

pub(super) fn explain(task: &Task, path: &Path, printer: Printer) -> Result<(), Failure> {
    let plan: Plan = task.directory.read(PLAN)?;
    let path = std::path::absolute(path)?;
    let told = tell(task, &plan, &path);
    printer.json(&json!({
        "path": path, "inside": told.inside, "is": told.kind, "denial": told.denial,
    }));
    let shown = |path: &Path| visible::line(path.as_os_str().as_encoded_bytes());
    printer.line(&format!("path    {}", shown(&path)));
    if let Some(inside) = &told.inside {
        printer.line(&format!("inside  {}", shown(inside)));
    }
    printer.line(&format!(
        "it      {}",
        printer.paint(Tone::Strong, told.kind.sentence())
    ));
    if let Some(denial) = &told.denial {
        super::print(denial, printer);
    }
    Ok(())
}

fn tell(task: &Task, plan: &Plan, path: &Path) -> Told {
    let workspace = |below: PathBuf| of_workspace(plan, &below);
    if let Ok(below) = path.strip_prefix(&task.status.repository) {
        return workspace(below.to_owned());
    }
    match plan.sandbox.sight(path) {
        Sight::Workspace { below } => workspace(below),
        Sight::Made { inside } => Told {
            inside: Some(inside),
            kind: Kind::Made,
            denial: None,
        },
        Sight::Scratch { inside } => Told {
            inside: Some(inside),
            kind: Kind::Scratch,
            denial: path.exists().then(|| absent_denial(path)),
        },
        Sight::Granted { inside, grant } => {
            let own = grant.source.starts_with(task.directory.path());
            Told {
                inside: Some(inside),
                kind: match (grant.access, own) {
                    (Access::ReadOnly, _) => Kind::ReadOnly,
                    (Access::ReadWrite, true) => Kind::Own,
                    (Access::ReadWrite, false) => Kind::ReadWrite,
                },
                denial: None,
            }
        }
        Sight::Hidden {
            inside,
            grant,
            hidden,
        } => Told {
            inside: Some(inside),
            kind: Kind::Hidden,
            denial: Some(hidden_denial(path, grant, hidden)),
        },
        Sight::Absent => Told {
            inside: None,
            kind: Kind::Absent,
            denial: Some(absent_denial(path)),
        },
    }
}

fn of_workspace(plan: &Plan, below: &Path) -> Told {
    let inside = Some(plan.sandbox.workspace.target.join(below));
    let name = visible::line(below.as_os_str().as_encoded_bytes());
    if !plan.contract.masked.contains(&name) {
        return Told {
            inside,
            kind: Kind::Workspace,
            denial: None,
        };
    }
    Told {
        inside,
        kind: Kind::Masked,
        denial: Some(Denial {
            what: format!("show what {name} holds"),
            rule: "files.masked".to_owned(),
            reason: "its name is one under which repositories keep secrets.".to_owned(),
            instead: Some(
                "Bind the secret, so that it is used and not held: stockade secret bind --help."
                    .to_owned(),
            ),
            allow: Some(
                "write its pattern under `except` in [hide] of Stockade's config.toml".to_owned(),
            ),
        }),
    }
}

fn hidden_denial(path: &Path, grant: &Grant, hidden: &Path) -> Denial {
    let of_defaults = DEFAULT_SECRET_PATHS
        .iter()
        .find(|known| hidden.ends_with(known));
    let reason = if let Some(known) = of_defaults {
        format!("`{known}` is a known place of secrets, hidden wherever it would be shown.")
    } else if grant.target.starts_with("/etc") {
        "it holds keys of this machine.".to_owned()
    } else {
        let hidden = visible::line(hidden.as_os_str().as_encoded_bytes());
        format!("`{hidden}` is hidden by `paths` in [hide] of Stockade's config.toml.")
    };
    Denial {
        what: show(path),
        rule: "files.hidden".to_owned(),
        reason,
        instead: None,
        allow: None,
    }
}

fn absent_denial(path: &Path) -> Denial {
    let shown = visible::line(path.as_os_str().as_encoded_bytes());
    Denial {
        what: show(path),
        rule: "files.default-deny".to_owned(),
        reason: "nothing of this machine is shown but what the contract names.".to_owned(),
        instead: None,
        allow: path
            .exists()
            .then(|| format!("stockade run --ro {shown} …")),
    }
}

fn show(path: &Path) -> String {
    format!(
        "show {}",
        visible::line(path.as_os_str().as_encoded_bytes())
    )
}
