use stockade_types::{
    EffectKind::{AgentBypass, AgentConfig, AgentSpawn, AuthGrant, McpInstall},
    Mark,
};

use super::{Program, Sink, Target, program, row};
use crate::{commands::Line, text::is_unknown};

pub(super) const PROGRAMS: &[Program] = &[
    program(
        &[
            "claude",
            "codex",
            "gemini",
            "opencode",
            "aider",
            "cursor-agent",
            "cursor",
            "goose-agent",
            "amp",
            "crush",
            "qwen",
            "droid",
            "cline",
            "plandex",
            "openhands",
            "q",
            "kiro",
            "auggie",
            "continue",
            "cn",
            "pi",
        ],
        &[
            row("", AgentSpawn).unless(&["--version", "--help", "mcp", "config"]),
            row("", AgentSpawn)
                .when(&[
                    "--dangerously-skip-permissions",
                    "--dangerously-bypass-approvals-and-sandbox",
                    "--yolo",
                    "--full-auto",
                    "--trust-all-tools",
                    "--allow-all-tools",
                    "--skip-permissions",
                    "--force-allow",
                    "--yes-always",
                    "--auto-approve",
                    "--allow-dangerously-skip-permissions",
                    "--skip-permissions-unsafe",
                    "-y",
                ])
                .marks(&[Mark::Weakened]),
            row("mcp add|add-json|add-from-claude-desktop", McpInstall),
            row("mcp remove|reset-project-choices", AgentConfig),
            row("config set|add|remove", AgentConfig),
            row("plugin install|marketplace", AgentConfig),
            row("login|setup-token|auth", AuthGrant),
        ],
    )
    .values(&[
        "-p",
        "--prompt",
        "--model",
        "-m",
        "--permission-mode",
        "--approval-mode",
        "-s",
        "--sandbox",
        "-a",
        "--ask-for-approval",
        "-c",
        "--settings",
        "--mcp-config",
    ])
    .special(agent),
    program(
        &["stockade"],
        &[row("", AgentBypass)
            .unless(&["--version", "--help", "help", "doctor"])
            .on(Target::First)],
    ),
    program(
        &[
            "mcp",
            "mcp-cli",
            "smithery",
            "mcp-remote",
            "mcpm",
            "toolhive",
            "thv",
        ],
        &[row("install|add|run", McpInstall).on(Target::Last)],
    ),
];

/// Modes and settings by which an agent guards itself less.
fn agent(line: &Line, sink: &mut Sink<'_, '_>) {
    let weak = [
        "bypassPermissions",
        "danger-full-access",
        "never",
        "yolo",
        "auto_edit",
        "dontAsk",
    ];
    let modes = [
        "--permission-mode",
        "--approval-mode",
        "-s",
        "--sandbox",
        "-a",
        "--ask-for-approval",
        "-c",
    ];
    let loosened = line
        .values(&modes)
        .any(|word| weak.iter().any(|mode| word.text.contains(mode)) || is_unknown(&word.text));
    if loosened {
        sink.effect(line, AgentSpawn, "", &[Mark::Weakened]);
    }
}
