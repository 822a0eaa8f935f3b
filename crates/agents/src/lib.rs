//! The coding agents that Stockade knows: how each is found on the host, what
//! of it is mounted, how it is started with or without a person watching, and
//! which of its own guards are switched off because the sandbox is on.
//!
//! One file per agent; a fifth is one more file and one more line in
//! [`AgentKind`]. Nothing is judged here, and no program is started: what this
//! room returns is data for the sandbox and the gateway.
//!
//! Agents keep talking to their own real hosts with an API key that is a
//! placeholder; the gateway puts the real one in. No base URL is changed.
//!
//! **An agent's exit code 0 says only that it ended by itself.** It does not
//! mean that the task is done: Claude Code and Codex exit with 0 when every
//! tool call failed. 1 is a failure of the model's API for both. What was done
//! is seen in the workspace, never in the exit code.

mod claude;
mod codex;
mod digest;
mod digest_cache;
mod error;
mod find;
mod gemini;
mod hook;
mod host_config;
mod kind;
mod launch;
mod mcp_servers;
mod npm;
mod opencode;
mod route;
mod start;

pub use self::{
    digest_cache::DigestCache,
    error::AgentError,
    find::{Found, MountKind, ToolMount, find, find_cached},
    hook::{EVENT_MAX, HookError, Opinion, Tool, ToolCall},
    kind::{AgentKind, UnknownAgent},
    launch::{
        HomeFile, Launch, LaunchRequest, ManagedFile, McpServer, Mode, command, launch, route,
    },
    mcp_servers::{Configured, Unread, mcp_servers},
    route::{Api, Endpoint, RouteTemplate, SigningTemplate},
};
