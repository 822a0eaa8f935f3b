//! What the plan of a task comes to, in words.

use stockade_budget::{Breakers, Scope, Unit};
use stockade_gateway::{HostRule, Upstream};
use stockade_sandbox::{Access, Grant, Keeper, layers};
use stockade_types::visible;
use stockade_workspace::{BackEnd, PoolEntry};

use super::{Agent, groups, links, servers};
use crate::{
    contract::{AgentLine, Assurance, Cap, Contract, PolicyLine, Strength},
    honeytoken::Honeytoken,
    network::Ruled,
    output,
    project::Project,
    task::{Plan, Route},
};

pub(super) fn of(
    plan: &Plan,
    agent: &Agent,
    pool: &PoolEntry,
    back_end: BackEnd,
    project: &Project,
    ruled: &Ruled,
) -> Contract {
    let own = plan.sandbox.workspace.target.display();
    let shown = |access| {
        let lines = plan
            .sandbox
            .grants
            .iter()
            .filter(move |grant| grant.access == access);
        lines
            .filter(|grant| !grant.source.starts_with("/nonexistent"))
            .map(|grant| line(grant, plan))
    };
    let mut writes = vec![format!("{own} (a copy; nothing comes back but by review)")];
    writes.extend(shown(Access::ReadWrite));
    let caps = caps(plan);
    let weaker = weaker(plan, back_end);
    Contract {
        assurance: assurance(&caps, &weaker),
        agent: AgentLine {
            name: agent.name.clone(),
            version: agent.found.as_ref().and_then(|found| found.version.clone()),
            digest: agent.found.as_ref().map(|found| found.digest.clone()),
        },
        base: pool.base().commit.to_string(),
        workspace: match back_end {
            BackEnd::Overlay => "copy-on-write over the base tree".to_owned(),
            BackEnd::Checkout => "a copy of the base tree".to_owned(),
            BackEnd::Btrfs => "a btrfs snapshot of the base tree".to_owned(),
        },
        reads: shown(Access::ReadOnly).collect(),
        writes,
        masked: pool
            .base()
            .masked
            .iter()
            .map(|masked| visible::line(masked.path.as_bytes()))
            .collect(),
        reaches: plan
            .routes
            .iter()
            .map(reach)
            .chain(reached(plan, ruled))
            .collect(),
        asks: ruled.asked.iter().map(in_words).collect(),
        approvals: approvals(plan),
        denies: plan.deny.iter().map(ToString::to_string).collect(),
        publishes: plan
            .publish
            .iter()
            .map(|published| published.in_words())
            .collect(),
        keys: plan
            .routes
            .iter()
            .flat_map(Route::keys)
            .map(str::to_owned)
            .collect(),
        secrets: plan.secret_lines(),
        mcp: servers::in_words(&plan.mcp),
        tools: plan
            .tools
            .iter()
            .map(|(name, tool)| tool.in_words(name))
            .collect(),
        honeytoken: plan.honeytoken.as_ref().map(|_| Honeytoken::in_words()),
        asked_secrets: Vec::new(),
        setup: project.setup.run.clone(),
        policy: PolicyLine::default(),
        caps,
        records_programs: plan.sandbox.watch_execs,
        hooks: false,
        switched_off: agent.launch.inner_switches.clone(),
        weaker,
        required: None,
        accepted: None,
    }
}

/// What a person is asked about meanwhile.
fn approvals(plan: &Plan) -> Vec<String> {
    let minutes = plan.approvals.wait_seconds.div_ceil(60);
    let asked = format!(
        "before it reaches a host that no rule names, and before what its policy asks about; \
         after {minutes} min: no"
    );
    plan.asks.then_some(asked).into_iter().collect()
}

fn weaker(plan: &Plan, back_end: BackEnd) -> Vec<String> {
    let mut weaker = groups::that_matter();
    weaker.extend(links::elsewhere(&plan.sandbox.grants));
    weaker.extend(layers::weaker());
    if plan.sandbox.nested {
        weaker.push(
            "programs inside may make sandboxes of their own (--nested): mounts alone guard \
             files, without Landlock, and more of the kernel can be reached"
                .to_owned(),
        );
    }
    if back_end == BackEnd::Checkout {
        weaker.push(
            "folders are shown as they are: /proc/self/mountinfo tells inside where on this \
             machine they lie"
                .to_owned(),
        );
    }
    weaker
}

/// The task's own folders are the same in each contract but for their id.
fn line(grant: &Grant, plan: &Plan) -> String {
    let target = grant.target.display();
    if grant.over.is_some() {
        return format!("{target} (a copy of your cache; what is written stays in the task)");
    }
    let source = grant.source.display().to_string();
    let own = source.contains(plan.task.as_str()) || source.contains("/pool/");
    let source = if own {
        "the task's own folder".to_owned()
    } else {
        source
    };
    let hidden = match grant.hidden.len() {
        0 => String::new(),
        count => format!(" ({count} secret paths hidden)"),
    };
    if source == target.to_string() {
        format!("{source}{hidden}")
    } else {
        format!("{target} from {source}{hidden}")
    }
}

fn reach(route: &Route) -> String {
    let requests: Vec<String> = route
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.metered)
        .map(|endpoint| {
            format!(
                "{} {}",
                endpoint.method,
                String::from(endpoint.path.clone())
            )
        })
        .collect();
    let requests = requests.join(", ");
    let direct = Upstream::https(route.host.clone());
    if route.upstream == direct {
        format!("{} ({requests})", route.host)
    } else {
        format!(
            "{} ({requests}), answered by {}",
            route.host, route.upstream
        )
    }
}

/// What rules allow, each with its methods, and where services lead.
fn reached(plan: &Plan, ruled: &Ruled) -> Vec<String> {
    let own = plan.allow.iter().filter(|rule| !ruled.asked.contains(rule));
    let services = plan.services.iter().map(|service| {
        format!(
            "{} at {}, where a rule allows it",
            service.name, service.upstream
        )
    });
    own.map(in_words).chain(services).collect()
}

/// A rule with its methods at the end, whether it names them or not.
fn in_words(rule: &HostRule) -> String {
    let methods = rule.allowed_methods().join(", ");
    let target = HostRule {
        methods: None,
        ..rule.clone()
    };
    let target = match target.to_string().as_str() {
        "**" => "every host".to_owned(),
        "http://**" => "every host by plain http".to_owned(),
        text => text.to_owned(),
    };
    let mark = rule.host.mark().map(|mark| format!(", {mark}"));
    format!("{target} ({methods}{})", mark.unwrap_or_default())
}

fn caps(plan: &Plan) -> Vec<Cap> {
    let limits = plan.sandbox.limits;
    let cap = |of: &str, limit: String, strength| Cap {
        of: of.to_owned(),
        limit,
        strength,
    };
    let mut caps = vec![
        cap("processes", limits.processes.to_string(), Strength::Kernel),
        cap(
            "open files of a process",
            limits.open_files.to_string(),
            Strength::Kernel,
        ),
        cap("size of a file", bytes(limits.file_bytes), Strength::Kernel),
        cap("/tmp", bytes(limits.scratch_bytes), Strength::Kernel),
        cap(
            "output that is kept",
            bytes(output::LOG_MAX),
            Strength::Supervisor,
        ),
        cap("sent outward", bytes(plan.byte_limit), Strength::Gateway),
        // The supervisor ends it in time to save its work; if it cannot, the
        // kernel ends everything inside a minute later.
        cap("time", duration(plan.wall_seconds), Strength::Kernel),
    ];
    if let Some(memory) = limits.memory {
        let strength = match memory.keeper {
            Keeper::Kernel => Strength::Kernel,
            Keeper::Watched => Strength::Watched,
        };
        caps.push(cap("memory", bytes(memory.bytes), strength));
    }
    if let Some(hundredths) = limits.processor_hundredths {
        let limit = format!("{}.{:02} processors", hundredths / 100, hundredths % 100);
        caps.push(cap("processor time", limit, Strength::Kernel));
    }
    let spending = spending(plan);
    let is_capped = |of: &str| spending.iter().any(|(capped, _)| *capped == of);
    let uncapped: Vec<_> = ["money", "tokens"]
        .into_iter()
        .filter(|of| !plan.routes.is_empty() && !is_capped(of))
        .collect();
    for (of, limit) in spending {
        caps.push(cap(of, limit, Strength::Gateway));
    }
    if let Some(disk) = plan.disk_bytes {
        let strength = if plan.own_disk {
            Strength::Kernel
        } else {
            Strength::Watched
        };
        caps.push(cap("disk", bytes(disk), strength));
    }
    let unlimited = [
        ("memory", limits.memory.is_none()),
        ("processor time", limits.processor_hundredths.is_none()),
        ("disk", plan.disk_bytes.is_none()),
    ];
    for (of, _) in unlimited.into_iter().filter(|(_, unlimited)| *unlimited) {
        caps.push(cap(of, "not capped".to_owned(), Strength::None));
    }
    for of in uncapped {
        caps.push(cap(of, "not capped".to_owned(), Strength::None));
    }
    if !plan.routes.is_empty() {
        let limits = breakers(&plan.caps.breakers);
        caps.extend(limits.map(|(of, limit)| cap(of, limit, Strength::Gateway)));
    }
    caps
}

/// What stops an agent that gets nowhere.
fn breakers(breakers: &Breakers) -> impl Iterator<Item = (&'static str, String)> {
    let count = |count: u64, what: &str| match count {
        0 => "not capped".to_owned(),
        count => format!("{count}{what}"),
    };
    [
        ("tokens", count(breakers.tokens_a_minute, " a minute")),
        (
            "tokens of a minute",
            count(breakers.times_the_average, " times the average"),
        ),
        (
            "model requests",
            count(breakers.requests_a_minute, " a minute"),
        ),
        (
            "turns without progress",
            count(breakers.turns_without_progress, ""),
        ),
    ]
    .into_iter()
}

/// The caps on what is spent, which the gateway keeps: of what, how much and
/// for whom.
fn spending(plan: &Plan) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for scope in Scope::ALL {
        let whose = match scope {
            Scope::Task => "",
            Scope::Repository => " a day in this repository",
            Scope::Agent => " a day of this agent",
            Scope::Day => " a day of all tasks",
            Scope::User => " of all tasks ever",
        };
        for (unit, limit) in plan.caps.get(scope).lines() {
            let of = match unit {
                Unit::Cost => "money",
                Unit::Requests => "model requests",
                _ => unit.name(),
            };
            lines.push((of, format!("{limit}{whose}")));
        }
    }
    lines
}

/// What nobody asked to be capped does not make a sandbox weaker; a cap that
/// is only watched does, and so does whatever the contract names as weaker.
fn assurance(caps: &[Cap], weaker: &[String]) -> Assurance {
    let soft = |cap: &Cap| cap.strength == Strength::Watched;
    if caps.iter().any(soft) || !weaker.is_empty() {
        Assurance::Reduced
    } else {
        Assurance::Full
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} KiB", count >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", count >> 20),
        _ => format!("{} GiB", count >> 30),
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
