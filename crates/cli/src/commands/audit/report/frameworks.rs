//! Which events are evidence of which control: one table for each framework. What a
//! control asks for is said in words of our own; its text is the framework's.

use stockade_types::EventKind;

use crate::arguments::Framework;

/// A control, and what of a record shows something of it.
#[derive(Debug)]
pub(super) struct Control {
    /// How the framework calls it.
    pub(super) id: &'static str,
    /// What it is about.
    pub(super) about: &'static str,
    /// What speaks for it.
    pub(super) evidence: &'static [Evidence],
    /// What no record of Stockade's shows of it.
    pub(super) not_shown: &'static str,
}

/// Events that say the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// What they say.
    pub(super) says: &'static str,
    /// What they are.
    pub(super) kinds: &'static [EventKind],
    /// What else they have.
    pub(super) only: Only,
}

/// What a body must have, by JSON pointers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Only {
    /// Anything.
    Any,
    /// Something there.
    Has(&'static str),
    /// This truth there.
    Is(&'static str, bool),
    /// A text there that begins so.
    Begins(&'static str, &'static str),
}

/// The table of a framework, and its whole name.
pub(super) fn table(framework: Framework) -> (&'static str, &'static [Control]) {
    match framework {
        Framework::Soc2 => ("SOC 2: Trust Services Criteria 2017, revised 2022", SOC2),
        Framework::Iso27001 => ("ISO/IEC 27001:2022, Annex A", ISO27001),
        Framework::EuAiAct => ("EU AI Act: Regulation (EU) 2024/1689", EU_AI_ACT),
    }
}

const fn evidence(says: &'static str, kinds: &'static [EventKind], only: Only) -> Evidence {
    Evidence { says, kinds, only }
}

const fn control(
    id: &'static str,
    about: &'static str,
    evidence: &'static [Evidence],
    not_shown: &'static str,
) -> Control {
    Control {
        id,
        about,
        evidence,
        not_shown,
    }
}

const CONTRACT: Evidence = evidence(
    "a task ran within a contract of what it may read, write, reach and spend",
    &[EventKind::TaskStarted],
    Only::Has("/contract"),
);
const WALLS: Evidence = evidence(
    "the walls of a sandbox were tried from inside and from outside before anything ran",
    &[EventKind::SandboxVerified],
    Only::Any,
);
const REFUSED: Evidence = evidence(
    "an action was refused by a rule",
    &[EventKind::Denied],
    Only::Any,
);
const REFUSED_HOST: Evidence = evidence(
    "a connection or request to a host was refused",
    &[EventKind::Denied],
    Only::Has("/host"),
);
const REFUSED_DATA: Evidence = evidence(
    "a request was refused for what it carried: a secret, a key, or the repository's own files",
    &[EventKind::Denied],
    Only::Begins("/rule", "scan."),
);
const ALARM: Evidence = evidence(
    "a refusal was an alarm",
    &[EventKind::Denied],
    Only::Is("/alarm", true),
);
const REACHED: Evidence = evidence(
    "a request left, by the rule that it names",
    &[EventKind::NetworkRequest],
    Only::Any,
);
const INBOUND: Evidence = evidence(
    "a port was published, or somebody on this machine connected to one",
    &[EventKind::Published, EventKind::InboundConnection],
    Only::Any,
);
const SECRET_USED: Evidence = evidence(
    "a secret was used by its name, without standing inside",
    &[EventKind::SecretUsed],
    Only::Any,
);
const SECRET_BACK: Evidence = evidence(
    "a person took a secret back",
    &[EventKind::SecretTakenBack],
    Only::Any,
);
const REDACTED: Evidence = evidence(
    "a secret was taken out of an event before it was recorded",
    &[
        EventKind::TaskStarted,
        EventKind::ExecStarted,
        EventKind::ExecEnded,
        EventKind::ProgramSeen,
        EventKind::NetworkRequest,
        EventKind::NetworkOutcome,
        EventKind::Denied,
        EventKind::Reviewed,
        EventKind::Checked,
        EventKind::Approved,
        EventKind::Merged,
        EventKind::Overridden,
        EventKind::Asked,
        EventKind::TaskEnded,
    ],
    Only::Has("/redacted"),
);
const COMMANDS: Evidence = evidence(
    "a command was recorded before it started",
    &[EventKind::ExecStarted],
    Only::Any,
);
const PROGRAMS: Evidence = evidence(
    "a program was seen as it started",
    &[EventKind::ProgramSeen],
    Only::Any,
);
const POLICY: Evidence = evidence(
    "other rules were put in force",
    &[EventKind::PolicyChanged],
    Only::Any,
);
const ASKED: Evidence = evidence(
    "a person was asked before an action",
    &[EventKind::Asked],
    Only::Any,
);
const ANSWERED: Evidence = evidence(
    "an approver's signed answer was taken",
    &[EventKind::Answered],
    Only::Any,
);
const USED: Evidence = evidence(
    "an approved action happened, once",
    &[EventKind::ApprovalUsed],
    Only::Any,
);
const REVIEWED: Evidence = evidence(
    "a person reviewed the work",
    &[EventKind::Reviewed],
    Only::Any,
);
const CHECKED: Evidence = evidence(
    "required checks ran on exactly what was to be merged",
    &[EventKind::Checked],
    Only::Any,
);
const APPROVED: Evidence = evidence(
    "a person approved exactly one result",
    &[EventKind::Approved],
    Only::Any,
);
const MERGED: Evidence = evidence(
    "an approved result was merged",
    &[EventKind::Merged],
    Only::Any,
);
const OVERRIDDEN: Evidence = evidence(
    "a person set a rule aside, knowingly",
    &[EventKind::Overridden],
    Only::Any,
);
const PAUSED: Evidence = evidence(
    "a task was frozen",
    &[EventKind::Paused],
    Only::Is("/paused", true),
);
const BUDGET: Evidence = evidence(
    "a cap was used up to a good part, or raised by a person",
    &[EventKind::Budget],
    Only::Any,
);
const ENDED: Evidence = evidence(
    "a task's record was closed with how it ended",
    &[EventKind::TaskEnded],
    Only::Any,
);
const SNAPSHOT: Evidence = evidence(
    "the work was saved so that it can be restored",
    &[EventKind::Snapshot],
    Only::Has("/commit"),
);

const SOC2: &[Control] = &[
    control(
        "CC6.1",
        "logical access is restricted to what is authorised",
        &[CONTRACT, WALLS, SECRET_USED, REFUSED],
        "accounts of people, and access to anything but tasks",
    ),
    control(
        "CC6.2/CC6.3",
        "access is granted and taken back by people who may do so",
        &[ANSWERED, USED, SECRET_BACK],
        "who decided which approvers are enrolled",
    ),
    control(
        "CC6.6",
        "boundaries are protected against what is outside of them",
        &[WALLS, REACHED, REFUSED_HOST, INBOUND],
        "the network of the machine itself",
    ),
    control(
        "CC6.7",
        "the movement of information is restricted",
        &[REFUSED_DATA, REACHED, REDACTED],
        "what is carried where nobody can read it: encrypted by the sender first",
    ),
    control(
        "CC6.8",
        "unauthorised software is prevented or found",
        &[WALLS, COMMANDS, PROGRAMS, REVIEWED],
        "programs inside where --record exec was not asked for",
    ),
    control(
        "CC7.2",
        "anomalies are watched for",
        &[ALARM, BUDGET, PAUSED],
        "whether somebody looked at them",
    ),
    control(
        "CC7.3",
        "events are judged, and failures acted upon",
        &[ANSWERED, PAUSED, OVERRIDDEN],
        "the judgement behind an answer beyond its reason",
    ),
    control(
        "CC7.4",
        "incidents are contained",
        &[PAUSED, SECRET_BACK, POLICY],
        "an incident process outside of tasks",
    ),
    control(
        "CC7.5",
        "what was lost can be recovered",
        &[SNAPSHOT],
        "copies on other machines",
    ),
    control(
        "CC8.1",
        "changes are authorised, tested, approved and then made",
        &[REVIEWED, CHECKED, APPROVED, MERGED, OVERRIDDEN, POLICY],
        "changes that did not come from a task, and their deployment",
    ),
    control(
        "CC1.4",
        "people are trained for what they do",
        &[],
        "nothing of it: no event tells of people's training",
    ),
];

const ISO27001: &[Control] = &[
    control(
        "A.5.15",
        "access control",
        &[CONTRACT, REFUSED],
        "access to anything but tasks",
    ),
    control(
        "A.5.17",
        "authentication information",
        &[SECRET_USED, SECRET_BACK, REDACTED],
        "how secrets were made and are kept elsewhere",
    ),
    control(
        "A.5.28",
        "collection of evidence",
        &[ENDED],
        "evidence outside of tasks",
    ),
    control(
        "A.8.2",
        "privileged access rights",
        &[ASKED, ANSWERED, USED],
        "rights of people on the machine",
    ),
    control(
        "A.8.9",
        "configuration management",
        &[POLICY, CONTRACT],
        "the configuration of the machine",
    ),
    control(
        "A.8.12",
        "data leakage prevention",
        &[REFUSED_DATA, REFUSED_HOST, REDACTED],
        "what is carried where nobody can read it: encrypted by the sender first",
    ),
    control(
        "A.8.13",
        "information backup",
        &[SNAPSHOT],
        "copies on other machines",
    ),
    control(
        "A.8.15",
        "logging",
        &[CONTRACT, COMMANDS, REACHED, ENDED],
        "logs of other programs",
    ),
    control(
        "A.8.16",
        "monitoring activities",
        &[ALARM, PAUSED, BUDGET],
        "whether somebody looked at them",
    ),
    control(
        "A.8.17",
        "clock synchronisation",
        &[],
        "nothing of it: records have the time of the machine's clock, and nothing compares that",
    ),
    control(
        "A.8.20/A.8.22",
        "networks are secured and segregated",
        &[WALLS, REACHED, REFUSED_HOST],
        "the network of the machine itself",
    ),
    control(
        "A.8.29",
        "security testing in development and acceptance",
        &[CHECKED, REVIEWED],
        "tests that are not required checks",
    ),
    control(
        "A.8.31",
        "separation of development, test and production",
        &[WALLS],
        "whether production is reached by other ways than tasks",
    ),
    control(
        "A.8.32",
        "change management",
        &[REVIEWED, CHECKED, APPROVED, MERGED, OVERRIDDEN],
        "changes that did not come from a task, and their deployment",
    ),
];

const EU_AI_ACT: &[Control] = &[
    control(
        "Article 12(1)",
        "events are recorded automatically over the lifetime of the system",
        &[CONTRACT, COMMANDS, REACHED, ENDED],
        "what happens inside a model",
    ),
    control(
        "Article 12(2)(a)",
        "situations that may be a risk can be identified",
        &[REFUSED, ALARM, PAUSED],
        "risks of what the work is used for",
    ),
    control(
        "Article 12(2)(c) and 26(5)",
        "operation is monitored",
        &[REACHED, BUDGET, OVERRIDDEN],
        "whether somebody looked at it",
    ),
    control(
        "Article 14(4)(a) to (d)",
        "people oversee: they are asked, may refuse, and decide about the result",
        &[ASKED, ANSWERED, REVIEWED, APPROVED],
        "that the people were able and trained to",
    ),
    control(
        "Article 14(4)(e)",
        "people can interrupt the system",
        &[PAUSED],
        "stops that nobody made use of",
    ),
    control(
        "Article 15(5)",
        "the system resists those who would change its use or behaviour",
        &[WALLS, REFUSED_HOST, REFUSED_DATA, ALARM],
        "attacks on a model itself",
    ),
    control(
        "Article 19(1) and 26(6)",
        "logs are kept, for at least six months",
        &[ENDED],
        "how long they will be kept: removed tasks are gone from the trash after 30 days",
    ),
    control(
        "Article 26(2)",
        "oversight is assigned to people with competence and authority",
        &[ANSWERED, APPROVED],
        "their competence, training and authority",
    ),
    control(
        "Article 4",
        "people have sufficient AI literacy",
        &[],
        "nothing of it: no event tells of people's training",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_framework_names_each_control_once_and_says_what_is_not_shown() {
        for framework in [Framework::Soc2, Framework::Iso27001, Framework::EuAiAct] {
            let (_, controls) = table(framework);
            let mut ids: Vec<_> = controls.iter().map(|control| control.id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), controls.len(), "{framework:?}");
            assert!(controls.iter().all(|control| !control.not_shown.is_empty()));
            // What no event can show is not left out.
            assert!(controls.iter().any(|control| control.evidence.is_empty()));
        }
    }
}
