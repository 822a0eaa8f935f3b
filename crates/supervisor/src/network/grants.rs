use std::time::Duration;

use stockade_gateway::{Destination, HostPattern, HostRule};
use stockade_vault::SecretName;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    control::{Answer, ShownRule},
    error::SupervisorError,
    gateway::GatewayLink,
    task::Plan,
};

/// The longest time for which something can be allowed: later it is forgotten.
const LASTING_MAX: Duration = Duration::from_hours(24 * 7);

/// What a person has allowed a task that runs, beside its plan.
pub(crate) struct Grants {
    link: GatewayLink,
    given: Vec<Given>,
}

struct Given {
    rule: HostRule,
    until: Option<OffsetDateTime>,
}

impl Grants {
    pub(crate) fn new(link: GatewayLink) -> Self {
        Self {
            link,
            given: Vec::new(),
        }
    }

    /// Ends the gateway.
    pub(crate) fn hang_up(&self) {
        self.link.hang_up();
    }

    /// Why `rule` would allow nothing, or could not be.
    pub(crate) fn objection(plan: &Plan, rule: &HostRule, seconds: Option<u64>) -> Option<String> {
        if seconds.is_some_and(|seconds| seconds > LASTING_MAX.as_secs()) {
            return Some("a host is allowed for at most seven days at once".to_owned());
        }
        let HostPattern::Name(name) = &rule.host else {
            return rule.objection();
        };
        if plan.routes.iter().any(|route| route.host == *name) {
            return Some(format!(
                "{name} is the model's host, of which only what model requests need is passed on"
            ));
        }
        let whole = |deny: &&HostRule| {
            let bare = deny.path.is_none() && deny.methods.is_none() && deny.ports.is_none();
            bare && deny.scheme.is_none() && deny.covers(Destination::Name(name))
        };
        let deny = plan.deny.iter().find(whole)?;
        Some(format!(
            "the task was started with `--deny {deny}`, which wins"
        ))
    }

    /// Allows what `rule` says, for a while or until the task ends.
    pub(crate) fn give(
        &mut self,
        rule: HostRule,
        seconds: Option<u64>,
    ) -> Result<(), SupervisorError> {
        self.link.grant(&rule, seconds)?;
        let now = OffsetDateTime::now_utc();
        let holds = |given: &Given| given.until.is_none_or(|until| now < until);
        self.given
            .retain(|given| holds(given) && given.rule != rule);
        self.given.push(Given {
            rule,
            until: seconds.map(|seconds| now + Duration::from_secs(seconds)),
        });
        Ok(())
    }

    /// Lets a secret be used no more.
    pub(crate) fn take_back(&mut self, secret: &SecretName) -> Result<(), SupervisorError> {
        self.link.take_back(secret)
    }

    /// The rules that are in force.
    pub(crate) fn list(&self, plan: &Plan) -> Answer {
        let now = OffsetDateTime::now_utc();
        let planned = plan.allow.iter().map(|rule| ShownRule {
            rule: rule.clone(),
            until: None,
        });
        let holds = |given: &&Given| given.until.is_none_or(|until| now < until);
        let given = self.given.iter().filter(holds).map(|given| ShownRule {
            rule: given.rule.clone(),
            until: given.until.and_then(|until| until.format(&Rfc3339).ok()),
        });
        Answer::Rules {
            allow: planned.chain(given).collect(),
            deny: plan.deny.clone(),
        }
    }
}
