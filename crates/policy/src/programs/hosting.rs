use stockade_types::{
    EffectKind::{
        AgentConfig, AuthGrant, ContainerRun, InfraApply, InfraRead, MsgSend, NetConnect,
        NetUpload, PkgInstall, PkgPublish, RepoDelete, RepoMerge, RepoPropose, RepoRelease,
        RepoSettings, RepoWorkflow, SecretRead,
    },
    Mark,
};

use super::{Program, Sink, Target, program, row};
use crate::commands::Line;

pub(super) const PROGRAMS: &[Program] = &[
    program(
        &["gh"],
        &[
            row("pr create|edit|ready|reopen|close", RepoPropose).unless(&["--draft", "-d"]),
            row("pr create", RepoPropose)
                .when(&["--draft", "-d"])
                .marks(&[Mark::Draft]),
            row("pr merge", RepoMerge),
            row("pr comment|review", MsgSend),
            row("issue create|comment|edit|close|reopen|transfer", MsgSend),
            row("issue delete", RepoDelete),
            row("gist create|edit", NetUpload),
            row("gist create", NetUpload)
                .when(&["--public", "-p"])
                .marks(&[Mark::Public]),
            row("gist delete", RepoDelete),
            row(
                "release create|edit|upload|delete|delete-asset",
                RepoRelease,
            )
            .on(Target::First),
            row("repo delete", RepoDelete).on(Target::First),
            row(
                "repo create|fork|rename|edit|archive|unarchive|sync|set-default",
                RepoSettings,
            )
            .on(Target::First),
            row("repo create", RepoSettings)
                .when(&["--public"])
                .marks(&[Mark::Public]),
            row("repo edit", RepoSettings)
                .when(&["--visibility"])
                .marks(&[Mark::Public]),
            row("repo clone", NetConnect).on(Target::First),
            row("repo deploy-key|autolink", RepoSettings),
            row("secret set|delete|remove", RepoSettings)
                .marks(&[Mark::Secret])
                .on(Target::First),
            row("variable set|delete", RepoSettings).on(Target::First),
            row("ssh-key|gpg-key add|delete", AuthGrant),
            row("auth token", SecretRead),
            row("auth login|refresh|logout|setup-git", AuthGrant),
            row("workflow run|enable|disable", RepoWorkflow).on(Target::First),
            row("run rerun|cancel", RepoWorkflow),
            row("run delete", RepoDelete),
            row("cache delete", RepoDelete),
            row("ruleset", InfraRead),
            row("codespace create|ssh|delete", InfraApply),
            row("extension install|upgrade", PkgInstall).marks(&[Mark::Unpinned, Mark::Global]),
            row("alias set|import", AgentConfig),
            row("project create|edit|delete|item-add|item-edit", MsgSend),
            row("label create|edit|delete|clone", RepoSettings),
        ],
    )
    .values(&[
        "-R",
        "--repo",
        "-t",
        "--title",
        "-b",
        "--body",
        "-B",
        "--base",
        "-H",
        "--head",
        "-F",
        "--body-file",
        "-X",
        "--method",
        "-f",
        "--field",
        "--raw-field",
        "--input",
        "-q",
        "--jq",
        "--hostname",
    ])
    .by_verb()
    .special(api),
    program(
        &["glab"],
        &[
            row("mr create|update|rebase|close|reopen", RepoPropose),
            row("mr merge|accept", RepoMerge),
            row("mr note|approve", MsgSend),
            row("issue create|note|close|update", MsgSend),
            row("issue|repo|project delete", RepoDelete),
            row("release create|delete|upload", RepoRelease),
            row("variable set|delete|update", RepoSettings).marks(&[Mark::Secret]),
            row("repo|project create|transfer|archive", RepoSettings),
            row("ci run|retry|trigger|delete", RepoWorkflow),
            row("pipeline run|retry", RepoWorkflow),
            row("deploy-key|ssh-key add|delete", RepoSettings),
            row("auth login", AuthGrant),
        ],
    )
    .values(&[
        "-R", "--repo", "-t", "-d", "-X", "--method", "-f", "--field",
    ])
    .by_verb()
    .special(api),
    program(
        &["tea", "bb", "az-repos"],
        &[
            row("pr|pulls create|close", RepoPropose),
            row("pr|pulls merge", RepoMerge),
            row("release|releases create|delete", RepoRelease),
            row("comment", MsgSend),
        ],
    )
    .by_verb(),
    program(
        &["act", "circleci"],
        &[
            row("pipeline|run|trigger", RepoWorkflow),
            row("", ContainerRun).unless(&["-l", "--list", "validate", "config"]),
        ],
    ),
    program(
        &[
            "semantic-release",
            "release-it",
            "np",
            "goreleaser",
            "standard-version",
            "changeset",
            "lerna",
        ],
        &[
            row("", RepoRelease)
                .when(&["release", "publish", "--ci"])
                .unless(&["--dry-run", "-d", "--snapshot", "--skip-publish"]),
            row("publish", PkgPublish).unless(&["--dry-run"]),
        ],
    )
    .special(releases),
];

/// `gh api`: the method and the path tell.
fn api(line: &Line, sink: &mut Sink<'_, '_>) {
    if line.operand(0) != "api" {
        return;
    }
    let path = line.operand(1);
    let sends = line
        .value(&["-f", "--field", "--raw-field", "--input", "-F"])
        .is_some();
    let given = line
        .value(&["-X", "--method"])
        .map(|word| word.text.to_ascii_uppercase());
    let method = given.unwrap_or_else(|| if sends { "POST".into() } else { "GET".into() });
    let kind = match method.as_str() {
        // A query of GraphQL is a POST, and so is a mutation.
        _ if path == "graphql" => {
            let mutates = line
                .words
                .iter()
                .any(|word| word.text.contains("mutation") || crate::text::is_unknown(&word.text));
            if mutates { RepoSettings } else { InfraRead }
        }
        "GET" | "HEAD" => InfraRead,
        "DELETE" => RepoDelete,
        _ if path.ends_with("/merge") || path.ends_with("/merges") => RepoMerge,
        _ if path.contains("/releases") => RepoRelease,
        _ if path.contains("/comments") || path.contains("/issues") => MsgSend,
        _ if path.ends_with("/pulls") => RepoPropose,
        _ if path.contains("/dispatches") => RepoWorkflow,
        _ => RepoSettings,
    };
    sink.effect(line, kind, path, &[]);
}

/// Tools that release when they are only called.
fn releases(line: &Line, sink: &mut Sink<'_, '_>) {
    let rehearses = [
        "--dry-run",
        "-d",
        "--snapshot",
        "--help",
        "--version",
        "--skip-publish",
    ];
    let plain = matches!(
        line.program.as_str(),
        "semantic-release" | "release-it" | "np"
    );
    if plain && !rehearses.iter().any(|option| line.has_any(&[option])) {
        sink.effect(line, RepoRelease, "", &[]);
    }
}
