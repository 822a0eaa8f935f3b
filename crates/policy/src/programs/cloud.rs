use stockade_types::{
    EffectKind,
    EffectKind::{
        AuthGrant, ContainerDelete, DbSchema, FsRead, InfraAccess, InfraApply, InfraDestroy,
        InfraRead, InfraState, MsgSend, NetSession, NetUpload, Pay, PkgInstall, PkgPublish,
        SecretRead,
    },
    Mark,
};

use super::{Program, Sink, Target, program, row};
use crate::{commands::Line, text::is_unknown};

pub(super) const PROGRAMS: &[Program] = &[
    program(
        &["terraform", "tofu", "terragrunt", "tf"],
        &[
            row("plan|show|output|validate|graph|providers|version|console", InfraRead),
            row("init|get", PkgInstall),
            row("apply|run-all|import", InfraApply),
            row("apply", InfraDestroy).when(&["-destroy"]),
            row("destroy", InfraDestroy),
            row("run-all destroy", InfraDestroy),
            row("state rm|mv|push|replace-provider", InfraState),
            row("force-unlock|taint|untaint", InfraState),
            row("workspace delete", InfraDestroy),
            row("login", AuthGrant),
        ],
    )
    .values(&["-target", "-var", "-var-file", "-state", "-out", "--terragrunt-working-dir"])
    .by_verb()
    .special(production),
    program(
        &["pulumi", "cdk", "cdktf", "serverless", "sls", "sst", "sam", "copilot", "amplify", "eb", "chalice", "zappa", "nitric", "crossplane", "spacectl"],
        &[
            row("preview|diff|synth|list|ls|package|validate|build|init", InfraRead),
            row("up|deploy|update|import|bootstrap|push|publish", InfraApply),
            row("destroy|remove|delete|down|terminate|undeploy", InfraDestroy),
            row("stack rm", InfraDestroy),
            row("state delete|unprotect", InfraState),
            row("login", AuthGrant),
        ],
    )
    .values(&["-s", "--stack", "-C", "--cwd", "--stage", "--profile", "--region", "-c", "--context"])
    .by_verb()
    .special(production),
    program(
        &["kubectl", "oc", "k", "k3s", "kubecolor"],
        &[
            row("get|describe|logs|top|explain|version|api-resources|diff|events|cluster-info", InfraRead),
            row("get|describe secret|secrets", SecretRead),
            row("apply|create|replace|patch|edit|set|label|annotate|expose|autoscale|run|rollout|cordon|drain|taint|uncordon|exec|cp|debug|attach", InfraApply),
            row("delete", InfraDestroy).on(Target::First),
            row("scale", InfraApply),
            row("scale", InfraDestroy).when(&["--replicas=0"]),
            row("create|delete clusterrolebinding|rolebinding|clusterrole|role|serviceaccount|token", InfraAccess),
            row("certificate approve", InfraAccess),
            row("auth can-i", InfraRead),
            row("port-forward|proxy", NetSession),
            row("config set|set-context|set-credentials|set-cluster|use-context", AuthGrant),
            row("adm policy", InfraAccess),
        ],
    )
    .values(&["-n", "--namespace", "--context", "--kubeconfig", "-f", "--filename", "-l", "--selector", "-o", "--output", "-c", "--container", "--cluster", "--user", "-s", "--server", "--as", "--token"])
    .by_verb()
    .special(kubernetes),
    program(
        &["helm", "helmfile", "kustomize", "flux", "argocd", "skaffold", "kops", "eksctl", "kind", "minikube"],
        &[
            row("list|ls|get|status|template|lint|show|history|diff|build|search", InfraRead),
            row("install|upgrade|apply|sync|rollback|reconcile|run|deploy", InfraApply),
            row("app sync|set|create", InfraApply),
            row("create|update", InfraApply),
            row("uninstall|delete|del|destroy", InfraDestroy),
            row("app delete", InfraDestroy),
            row("push", PkgPublish),
            row("repo add|update", PkgInstall).marks(&[Mark::Index]),
            row("plugin install", PkgInstall).marks(&[Mark::Url, Mark::Global]),
        ],
    )
    .values(&["-n", "--namespace", "--kube-context", "--kubeconfig", "-f", "--values", "-e", "--environment", "--set"])
    .by_verb()
    .special(production),
    program(&["aws", "awslocal"], &[])
        .values(&["--profile", "--region", "--output", "--endpoint-url", "--query", "--ca-bundle", "--color"])
        .by_verb()
        .special(aws),
    program(&["gcloud", "az", "doctl", "linode-cli", "ibmcloud", "oci", "aliyun", "hcloud", "scw", "civo", "exo", "vultr-cli", "ovhcloud"], &[])
        .values(&["--project", "--region", "--zone", "--account", "--subscription", "-g", "--resource-group", "-n", "--name", "--format", "--output", "-o", "--context"])
        .by_verb()
        .special(by_words),
    program(&["flyctl", "fly", "heroku", "vercel", "netlify", "railway", "render", "wrangler", "firebase", "supabase", "surge", "now", "gh-pages", "ntl", "dokku", "platform", "shopify", "expo", "eas", "fastlane", "convex", "modal", "cf", "deployctl", "fleek"], &[])
        .values(&["-a", "--app", "--project", "--token", "-e", "--env", "--config", "--scope"])
        .special(platform),
    program(
        &["gsutil", "s3cmd", "mc", "azcopy", "b2", "s5cmd", "swift-client"],
        &[
            row("ls|stat|du|cat", InfraRead),
            row("cp|mv|put|sync|rsync|copy|mirror|upload|pipe", NetUpload).on(Target::Last),
            row("rm|del|rb|remove", InfraDestroy).on(Target::Last),
            row("acl|iam|setacl|policy|anonymous|share|signurl", InfraAccess),
        ],
    )
    .by_verb(),
    program(
        &["ansible", "ansible-playbook", "salt", "salt-ssh", "puppet", "chef-client", "knife", "fab", "cap", "mina", "nixops", "colmena", "pyinfra"],
        &[
            row("", InfraApply).unless(&["--check", "--syntax-check", "--list-hosts", "--list-tasks", "--version", "--noop"]),
            row("", InfraRead).when(&["--check", "--syntax-check", "--list-hosts", "--list-tasks"]),
        ],
    )
    .special(production),
    program(&["ansible-galaxy"], &[row("install|collection|role", PkgInstall).marks(&[Mark::Unpinned])]),
    program(
        &["packer", "vagrant", "multipass", "virsh", "vboxmanage", "lxc", "incus"],
        &[row("destroy|delete|undefine|unregistervm", ContainerDelete), row("build|up|launch|start|create", InfraApply), row("validate|status|list|ls", InfraRead)],
    ),
    program(
        &["vault", "op", "bw", "pass", "lpass", "doppler", "infisical", "chamber", "sops", "gopass", "keepassxc-cli", "aws-vault", "teller", "secret-tool", "berglas", "credstash"],
        &[
            row("", SecretRead).unless(&["--version", "version", "status", "--help", "signin"]),
            row("kv put|delete", InfraAccess),
            row("write|delete|policy|token", InfraAccess),
        ],
    ),
    program(&["consul", "nomad", "boundary", "etcdctl", "zkcli"], &[
        row("get|members|status|catalog", InfraRead),
        row("kv get", InfraRead),
        row("kv put|delete", InfraApply),
        row("job run", InfraApply),
        row("job stop", InfraDestroy),
        row("put|del|delete", InfraApply),
        row("run", InfraApply),
        row("stop|system", InfraDestroy),
        row("acl", InfraAccess),
    ]),
];

const WORDS_OF_PRODUCTION: &[&str] = &["prod", "production", "live", "prd"];

/// Whether a word names what users rely on: `prod`, `env=production`, `my-prod`.
pub(super) fn names_production(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| WORDS_OF_PRODUCTION.contains(&part.to_ascii_lowercase().as_str()))
}

pub(super) fn is_production(line: &Line) -> bool {
    line.words.iter().any(|word| names_production(&word.text))
}

/// On production the same effects are marked so.
fn production(line: &Line, sink: &mut Sink<'_, '_>) {
    if is_production(line) {
        sink.mark_all(Mark::Production);
    }
}

fn kubernetes(line: &Line, sink: &mut Sink<'_, '_>) {
    let names_secret = |text: &str| {
        matches!(text.split(['/', '.']).next(), Some("secret" | "secrets"))
            || text.split(',').any(|kind| kind == "secrets")
    };
    if matches!(line.operand(0), "get" | "describe") && names_secret(line.operand(1)) {
        sink.effect(line, SecretRead, line.operand(1), &[]);
    }
    if line
        .value(&["--replicas"])
        .is_some_and(|word| word.text == "0")
        && line.operand(0) == "scale"
    {
        sink.effect(line, InfraDestroy, line.operand(1), &[]);
    }
    production(line, sink);
}

/// What a verb of a cloud's tool does, by the word that it begins with.
fn by_verb_word(verb: &str) -> Option<EffectKind> {
    let first = verb.split('-').next().unwrap_or_default();
    Some(match first {
        "list" | "describe" | "get" | "show" | "ls" | "head" | "wait" | "help" | "view"
        | "check" | "search" | "lookup" | "batch" | "filter" | "read" | "info" | "logs"
        | "tail" | "query" | "scan" | "estimate" | "validate" | "test" | "simulate" => InfraRead,
        "delete" | "terminate" | "remove" | "rb" | "rm" | "destroy" | "purge" | "deregister"
        | "empty" | "release" | "stop" | "disable" | "drop" | "wipe" | "cancel" | "undelete"
        | "reset" => InfraDestroy,
        "attach" | "detach" | "grant" | "revoke" | "assume" | "authorize" | "add"
            if verb.contains("role")
                || verb.contains("policy")
                || verb.contains("user")
                || verb.contains("permission")
                || verb.contains("iam")
                || verb.contains("ingress") =>
        {
            InfraAccess
        }
        "create" | "update" | "put" | "set" | "run" | "start" | "deploy" | "apply" | "modify"
        | "add" | "attach" | "detach" | "enable" | "register" | "copy" | "restore" | "import"
        | "invoke" | "publish" | "send" | "up" | "scale" | "reboot" | "restart" | "tag"
        | "execute" | "resize" | "patch" | "promote" | "rollback" | "submit" | "call" | "ssh"
        | "scp" | "export" | "upload" | "sync" | "cp" | "mv" | "grant" | "revoke" | "authorize"
        | "replace" | "associate" | "allocate" | "move" | "upgrade" | "rotate" | "generate" => {
            InfraApply
        }
        _ => return None,
    })
}

/// Services and nouns that decide who may do what.
const ACCESS: &[&str] = &[
    "iam",
    "sts",
    "organizations",
    "sso-admin",
    "role",
    "ad",
    "keyvault",
    "kms",
    "service-accounts",
    "add-iam-policy-binding",
    "set-iam-policy",
    "service-principal",
    "sp",
];

fn aws(line: &Line, sink: &mut Sink<'_, '_>) {
    let (service, verb) = (line.operand(0), line.operand(1));
    let kind = match (service, verb) {
        ("" | "help", _) | ("sts", "get-caller-identity") => InfraRead,
        ("configure" | "sso", "set" | "login" | "") => AuthGrant,
        ("secretsmanager", "get-secret-value")
        | ("ssm", "get-parameter" | "get-parameters" | "get-parameters-by-path")
        | ("ecr", "get-login-password")
        | ("sts", _)
        | ("kms", "decrypt") => SecretRead,
        ("s3", "cp" | "mv" | "sync")
            if line
                .operands
                .last()
                .is_some_and(|to| to.text.starts_with("s3://") || is_unknown(&to.text)) =>
        {
            for file in line
                .operands
                .iter()
                .skip(2)
                .filter(|file| !file.text.starts_with("s3://"))
            {
                sink.on(line, FsRead, file, &[]);
            }
            NetUpload
        }
        ("s3", "cp" | "mv" | "sync" | "ls" | "presign") => InfraRead,
        ("s3", "website") => InfraAccess,
        ("ses" | "sesv2" | "sns", verb) if verb.starts_with("send") || verb == "publish" => MsgSend,
        ("service-quotas", "request-service-quota-increase") => Pay,
        (service, verb)
            if verb.starts_with("purchase")
                || service == "savingsplans" && verb.starts_with("create") =>
        {
            Pay
        }
        (service, verb) => match by_verb_word(verb) {
            Some(InfraRead) => InfraRead,
            _ if ACCESS.contains(&service)
                || verb.contains("policy")
                || verb.contains("acl")
                || verb.contains("permission")
                || verb.contains("public-access")
                || verb.contains("ingress") =>
            {
                InfraAccess
            }
            Some(kind) => kind,
            None => InfraApply,
        },
    };
    let marks: &[Mark] = if line
        .words
        .iter()
        .any(|word| word.text.contains("public-read"))
    {
        &[Mark::Public]
    } else {
        &[]
    };
    sink.effect(
        line,
        if marks.is_empty() { kind } else { InfraAccess },
        &format!("{service} {verb}"),
        marks,
    );
    production(line, sink);
}

/// A tool whose verb stands after the nouns: `gcloud compute instances delete`.
fn by_words(line: &Line, sink: &mut Sink<'_, '_>) {
    let words: Vec<&str> = line
        .operands
        .iter()
        .map(|word| word.text.as_str())
        .collect();
    let verbs: Vec<_> = words.iter().filter_map(|word| by_verb_word(word)).collect();
    let access = words.iter().any(|word| ACCESS.contains(word));
    let kind = match (words.first().copied(), verbs.as_slice()) {
        (None | Some("version" | "info" | "help"), _) => InfraRead,
        (Some("auth" | "login"), _) if words.contains(&"print-access-token") => SecretRead,
        (Some("auth" | "login" | "config" | "init"), _) => {
            if verbs == [InfraRead] {
                InfraRead
            } else {
                AuthGrant
            }
        }
        _ if words.contains(&"secrets") && words.contains(&"access")
            || words.contains(&"secret") && words.contains(&"show") =>
        {
            SecretRead
        }
        (_, [InfraRead, ..]) if !verbs.contains(&InfraDestroy) => InfraRead,
        _ if access => InfraAccess,
        (_, verbs) if verbs.contains(&InfraDestroy) => InfraDestroy,
        (_, [kind, ..]) => *kind,
        (_, []) => InfraApply,
    };
    sink.effect(line, kind, &words.join(" "), &[]);
    production(line, sink);
}

/// A platform's tool: without a verb it deploys.
fn platform(line: &Line, sink: &mut Sink<'_, '_>) {
    let words: Vec<&str> = line
        .operands
        .iter()
        .map(|word| word.text.as_str())
        .collect();
    let asks = ["--version", "--help", "-h", "-v"]
        .iter()
        .any(|option| line.words.iter().any(|word| word.text == *option));
    let kind = match words.as_slice() {
        _ if asks => InfraRead,
        [
            "logs" | "status" | "whoami" | "list" | "ls" | "info" | "dev" | "version" | "tail"
            | "build" | "inspect" | "emulators:start" | "serve" | "start",
            ..,
        ] => InfraRead,
        ["login" | "logout" | "auth" | "auth:token" | "tokens", ..] => AuthGrant,
        [
            "env" | "secrets" | "secret" | "config" | "variables",
            "pull" | "get" | "ls" | "list",
            ..,
        ]
        | ["config" | "config:get", ..] => SecretRead,
        [
            "env" | "secrets" | "secret" | "config:set" | "variables" | "access" | "members"
            | "teams",
            ..,
        ] => InfraAccess,
        [
            "destroy" | "delete" | "remove" | "rm" | "apps:destroy" | "hosting:disable"
            | "firestore:delete" | "database:remove" | "pg:reset" | "down",
            ..,
        ]
        | [_, "destroy" | "delete" | "remove" | "rm" | "reset", ..] => InfraDestroy,
        ["db", "push" | "migrate"] => DbSchema,
        ["publish", ..] => PkgPublish,
        _ => InfraApply,
    };
    sink.effect(line, kind, &words.join(" "), &[]);
    if line.words.iter().any(|word| word.text == "--prod") {
        sink.mark_all(Mark::Production);
    }
    production(line, sink);
}
