use stockade_types::{
    EffectKind::{
        AuthGrant, ContainerDelete, ContainerRun, FsRead, FsWrite, InfraApply, NetConnect,
        PkgPublish, SecretUse,
    },
    Mark,
};

use super::{Program, Sink, Target, program, row};
use crate::{commands::Line, text::Word};

pub(super) const PROGRAMS: &[Program] = &[
    program(
        &[
            "docker",
            "podman",
            "nerdctl",
            "docker-compose",
            "podman-compose",
            "buildah",
            "finch",
            "lima",
        ],
        &[
            row("run|create|exec|start|up|restart", ContainerRun),
            row("compose up|run|exec|start|restart", ContainerRun),
            row("container run|create|exec|start", ContainerRun),
            row("build|buildx", ContainerRun),
            row("compose build", ContainerRun),
            row("push", PkgPublish).on(Target::First),
            row("image|manifest|compose push", PkgPublish),
            row("buildx build", PkgPublish).when(&["--push"]),
            row("build", PkgPublish).when(&["--push"]),
            row("login", AuthGrant),
            row("pull", NetConnect).on(Target::First),
            row("rm|rmi|kill|stop|down", ContainerDelete),
            row("container|image|network rm|prune|kill", ContainerDelete),
            row("compose down|rm|kill", ContainerDelete),
            row("compose down", ContainerDelete)
                .when(&["-v", "--volumes"])
                .marks(&[Mark::Whole]),
            row("down", ContainerDelete)
                .when(&["-v", "--volumes"])
                .marks(&[Mark::Whole]),
            row("volume rm|prune", ContainerDelete).marks(&[Mark::Whole]),
            row("system prune|reset", ContainerDelete).marks(&[Mark::Whole]),
            row("swarm|service|stack|node|secret", InfraApply),
            row("context use|create", AuthGrant),
            row("cp", FsWrite).on(Target::Last),
            row("", FsRead).on(Target::Option(&["--env-file"])),
        ],
    )
    .values(&[
        "-H",
        "--host",
        "--context",
        "-c",
        "-f",
        "--file",
        "-p",
        "--project-name",
        "-v",
        "--volume",
        "--mount",
        "-e",
        "--env",
        "--name",
        "-w",
        "--workdir",
        "-u",
        "--user",
        "--network",
        "--net",
        "--tag",
        "--entrypoint",
        "--env-file",
        "--pid",
        "--ipc",
        "--uts",
        "--userns",
        "--cap-add",
        "--security-opt",
        "--device",
        "-l",
        "--label",
        "--platform",
        "--build-arg",
        "-m",
        "--memory",
        "--cpus",
        "--publish",
        "--log-level",
        "--target",
    ])
    .by_verb()
    .special(container),
    program(
        &["ctr", "crictl", "runc", "crun", "nsinit", "machinectl"],
        &[row("", ContainerRun).marks(&[Mark::Privileged])],
    ),
    program(
        &["skopeo", "crane", "oras", "regctl", "cosign"],
        &[
            row("copy|push|sync|cp|tag|attach|mutate|append", PkgPublish).on(Target::Last),
            row("delete", PkgPublish).marks(&[Mark::Delete]),
            row("pull|inspect|ls|list-tags|manifest|digest", NetConnect),
            row("login", AuthGrant),
            row("sign|attest", SecretUse),
        ],
    ),
    program(
        &["kaniko", "img", "ko"],
        &[row("", PkgPublish).unless(&["--no-push", "--local"])],
    ),
];

/// What a container gets of the machine.
fn container(line: &Line, sink: &mut Sink<'_, '_>) {
    let shares =
        |word: &Word| matches!(word.text.as_str(), "host") || word.text.starts_with("host");
    let mut marks = Vec::new();
    let spaces = [
        "--pid",
        "--ipc",
        "--uts",
        "--userns",
        "--network",
        "--net",
        "--cgroupns",
    ];
    if line.has("--privileged") || line.values(&spaces).any(shares) {
        marks.push(Mark::Privileged);
    }
    let strong = [
        "ALL",
        "SYS_ADMIN",
        "SYS_PTRACE",
        "SYS_MODULE",
        "NET_ADMIN",
        "DAC_READ_SEARCH",
        "BPF",
    ];
    if line.values(&["--cap-add"]).any(|word| {
        strong
            .iter()
            .any(|cap| word.text.to_ascii_uppercase().ends_with(cap))
    }) || line
        .values(&["--security-opt"])
        .any(|word| word.text.contains("unconfined") || word.text.contains("disable"))
        || line.value(&["--device"]).is_some()
    {
        marks.push(Mark::Privileged);
    }
    for volume in line.values(&["-v", "--volume"]) {
        let source = volume.text.split(':').next().unwrap_or_default();
        shows(line, sink, source);
    }
    for mount in line.values(&["--mount"]) {
        let source = mount
            .text
            .split(',')
            .find_map(|part| part.strip_prefix("source=").or(part.strip_prefix("src=")));
        shows(line, sink, source.unwrap_or_default());
    }
    if line.value(&["-H", "--host"]).is_some() {
        marks.push(Mark::Url);
    }
    if !marks.is_empty() {
        sink.effect(line, ContainerRun, "", &marks);
    }
}

/// A part of the machine that is shown inside a container, unless it is of the
/// workspace or a volume by name.
fn shows(line: &Line, sink: &mut Sink<'_, '_>, source: &str) {
    use stockade_types::{FileClass, Scope};
    let by_name = !source.contains(['/', '.', '~']) && !crate::text::is_unknown(source);
    if by_name {
        return;
    }
    let harmless = |place: &crate::files::Place| {
        matches!(
            place.scope,
            Scope::Workspace | Scope::WorkspaceRoot | Scope::Temporary | Scope::Cache
        ) && place.class != FileClass::Socket
    };
    if !sink.places(source).iter().all(harmless) {
        sink.effect(line, ContainerRun, source, &[Mark::HostMount]);
    }
    if std::path::Path::new(source)
        .extension()
        .is_some_and(|end| end == "sock")
    {
        sink.effect(line, ContainerRun, source, &[Mark::Socket]);
    }
}
