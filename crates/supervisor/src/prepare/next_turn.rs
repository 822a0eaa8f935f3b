//! The plan of an ended agent that goes on with its session.

use std::path::Path;

use stockade_agents::{AgentKind, LaunchRequest, Mode};
use stockade_sandbox::INSIDE_HOME;

use super::{Host, refused};
use crate::{
    error::SupervisorError,
    task::{Plan, TaskStatus},
};

/// `plan` with the command that lets the agent go on with `prompt`. Its home
/// is not written to again: by now it is the agent's.
pub fn next_turn(
    host: &Host,
    status: &TaskStatus,
    mut plan: Plan,
    kind: AgentKind,
    prompt: Option<&str>,
) -> Result<Plan, SupervisorError> {
    let found = stockade_agents::find(kind, &host.search_path)?;
    if plan.contract.agent.digest.as_ref() != Some(&found.digest) {
        return Err(refused(format!(
            "{kind} is another program than when the task began; start a new task to use it"
        )));
    }
    let route = plan.routes.first();
    let route = route.map(|route| (&*route.key, &*route.placeholder));
    let (key_variable, placeholder) = route.unwrap_or_default();
    let mode = if plan.main.terminal {
        Mode::Interactive
    } else {
        Mode::Headless
    };
    let launch = stockade_agents::launch(
        &found,
        &LaunchRequest {
            prompt: prompt.or((mode == Mode::Headless).then_some("Go on.")),
            mode,
            resume: true,
            model: status.model.as_deref(),
            key_variable,
            placeholder,
            region: plan.region(),
            home: Path::new(INSIDE_HOME),
            workspace: Path::new(&plan.main.cwd),
            host_config: host.home.as_deref(),
            // Its settings are in the plan, as they were.
            hook: None,
            mcp_servers: &[],
        },
    )?;
    plan.main.argv = launch.argv;
    Ok(plan)
}
