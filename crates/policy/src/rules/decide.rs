use std::collections::HashMap;

use cedar_policy::{
    Context, Decision as CedarDecision, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    Response, RestrictedExpression,
};
use stockade_types::{Confidence, Effect, EffectKind, FileClass, Mark, Reversible, Scope, Verdict};

use super::{Layer, Policy, PolicyError, Rule, Slice, schema::groups, strictest};

/// The rule that stands for what no rule permits.
const NOTHING_PERMITS: &str = "policy.nothing-permits";

/// The rule that stands for a rule that could not be evaluated.
const ERROR: &str = "policy.error";

/// What is decided about an action.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Decision {
    /// The strictest of the findings.
    pub verdict: Verdict,
    /// What is decided about each effect, the strictest first.
    pub findings: Vec<Finding>,
}

/// What is decided about one effect, and by what.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What would be done.
    pub effect: Effect,
    /// What is decided.
    pub verdict: Verdict,
    /// The rules that decided, the strictest first.
    pub rules: Vec<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// What to do instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

/// The names of what requests are made of, made once.
#[derive(Debug)]
pub(super) struct Names {
    agent: EntityUid,
    task: EntityUid,
    actions: HashMap<&'static str, EntityUid>,
    words: HashMap<(&'static str, &'static str), EntityUid>,
}

impl Names {
    pub(super) fn new() -> Result<Self, PolicyError> {
        let mut actions = HashMap::new();
        for kind in EffectKind::ALL {
            for name in groups(*kind).into_iter().chain([kind.name()]) {
                actions.insert(name, uid("Action", name)?);
            }
        }
        let mut words = HashMap::new();
        let mut add = |of: &'static str, names: Vec<&'static str>| -> Result<(), PolicyError> {
            for name in names {
                words.insert((of, name), uid(of, name)?);
            }
            Ok(())
        };
        add("Scope", Scope::ALL.iter().map(|word| word.name()).collect())?;
        add(
            "FileClass",
            FileClass::ALL.iter().map(|word| word.name()).collect(),
        )?;
        add("Mark", Mark::ALL.iter().map(|word| word.name()).collect())?;
        let reversible = [Reversible::Yes, Reversible::Undo, Reversible::No];
        add("Reversible", reversible.map(Reversible::name).to_vec())?;
        let confidence = [Confidence::Certain, Confidence::Likely, Confidence::Guessed];
        add("Confidence", confidence.map(Confidence::name).to_vec())?;
        Ok(Self {
            agent: uid("Agent", "agent")?,
            task: uid("Task", "task")?,
            actions,
            words,
        })
    }

    /// The action of `kind` and the groups that it is in.
    pub(super) fn actions_of(&self, kind: EffectKind) -> impl Iterator<Item = EntityUid> + '_ {
        let names = groups(kind).into_iter().chain([kind.name()]);
        names.filter_map(|name| self.actions.get(name).cloned())
    }

    fn word(&self, of: &'static str, name: &'static str) -> Option<RestrictedExpression> {
        let uid = self.words.get(&(of, name))?.clone();
        Some(RestrictedExpression::new_entity_uid(uid))
    }

    /// What a rule may ask of `effect`.
    fn context(&self, effect: &Effect) -> Option<Vec<(String, RestrictedExpression)>> {
        let marks = effect
            .marks
            .iter()
            .map(|mark| self.word("Mark", mark.name()));
        let marks: Option<Vec<_>> = marks.collect();
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        Some(vec![
            ("target".into(), text(&effect.target)),
            ("scope".into(), self.word("Scope", effect.scope.name())?),
            ("class".into(), self.word("FileClass", effect.class.name())?),
            ("marks".into(), RestrictedExpression::new_set(marks?)),
            ("program".into(), text(&effect.program)),
            (
                "outward".into(),
                RestrictedExpression::new_bool(effect.outward),
            ),
            (
                "reversible".into(),
                self.word("Reversible", effect.reversible.name())?,
            ),
            (
                "confidence".into(),
                self.word("Confidence", effect.confidence.name())?,
            ),
        ])
    }
}

fn uid(of: &str, name: &str) -> Result<EntityUid, PolicyError> {
    let of: EntityTypeName = of
        .parse()
        .map_err(|error| PolicyError::Cedar(format!("{error}")))?;
    Ok(EntityUid::from_type_name_and_id(of, EntityId::new(name)))
}

impl Policy {
    /// Decides about an action with `effects`.
    pub fn decide(&self, effects: &[Effect]) -> Decision {
        let mut findings: Vec<_> = effects
            .iter()
            .map(|effect| self.decide_one(effect))
            .collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        Decision {
            verdict: strictest(findings.iter().map(|finding| finding.verdict)),
            findings,
        }
    }

    /// The decision if the rules that come with Stockade did not count for those of
    /// `effects` that `set_aside` tells: somebody who may has decided about them.
    pub fn decide_beside(
        &self,
        effects: &[Effect],
        set_aside: impl Fn(&Effect) -> bool,
    ) -> Decision {
        let mut decision = self.decide(effects);
        for finding in &mut decision.findings {
            if set_aside(&finding.effect) {
                self.take_defaults_off(finding);
            }
        }
        decision
            .findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        decision.verdict = strictest(decision.findings.iter().map(|finding| finding.verdict));
        decision
    }

    /// Leaves what the rules of people decide. What stands for no rule stays.
    fn take_defaults_off(&self, finding: &mut Finding) {
        if finding.verdict == Verdict::Allow {
            return;
        }
        finding.rules.retain(|id| {
            self.rule(id)
                .is_none_or(|rule| rule.layer != Layer::Default)
        });
        match finding.rules.first().and_then(|id| self.rule(id)) {
            Some(rule) => {
                finding.verdict = rule.verdict;
                finding.reason.clone_from(&rule.reason);
                finding.instead.clone_from(&rule.instead);
            }
            None if finding.rules.is_empty() => {
                finding.verdict = Verdict::Allow;
                finding.reason.clear();
                finding.instead = None;
            }
            None => {}
        }
    }

    fn decide_one(&self, effect: &Effect) -> Finding {
        let finding =
            |verdict, rules: Vec<String>, reason: &str, instead: Option<&String>| Finding {
                effect: effect.clone(),
                verdict,
                rules,
                reason: reason.to_owned(),
                instead: instead.cloned(),
            };
        let failed = |reason: &str| finding(Verdict::Deny, vec![ERROR.to_owned()], reason, None);
        let Some(slice) = self.by_kind.get(&effect.kind) else {
            return failed("no rules are known for this effect.");
        };
        let answer = match self.ask(effect, &slice.deciding) {
            Ok(answer) => answer,
            Err(error) => return failed(&error),
        };
        let mut applied = self.named(&answer);
        if answer.decision() == CedarDecision::Allow {
            return finding(Verdict::Allow, ids(&applied), "", None);
        }
        if let Err(error) = self.lift(effect, slice, &mut applied) {
            return failed(&error);
        }
        applied.sort_by_key(|rule| std::cmp::Reverse((rule.verdict, rule.layer)));
        match applied.first() {
            Some(rule) => finding(
                rule.verdict,
                ids(&applied),
                &rule.reason,
                rule.instead.as_ref(),
            ),
            None if answer.diagnostics().reason().next().is_some() => {
                finding(Verdict::Allow, Vec::new(), "", None)
            }
            None => finding(
                Verdict::Deny,
                vec![NOTHING_PERMITS.to_owned()],
                "no rule permits this.",
                None,
            ),
        }
    }

    /// Takes out of `applied` what a higher layer lifted.
    fn lift(&self, effect: &Effect, slice: &Slice, applied: &mut Vec<&Rule>) -> Result<(), String> {
        if slice.lifting.is_empty() {
            return Ok(());
        }
        let answer = self.ask(effect, &slice.lifting)?;
        let lifting = self.named(&answer);
        applied.retain(|rule| {
            !lifting
                .iter()
                .any(|other| other.layer > rule.layer && other.lifts.contains(&rule.id))
        });
        Ok(())
    }

    fn named(&self, answer: &Response) -> Vec<&Rule> {
        let ids = answer.diagnostics().reason();
        ids.filter_map(|id| self.rules.get(AsRef::<str>::as_ref(id)))
            .collect()
    }

    /// Whether `rule` applies to `effect`, whatever other rules say.
    pub(super) fn applies(&self, rule: &Rule, effect: &Effect) -> Result<bool, String> {
        let set =
            PolicySet::from_policies([rule.policy.clone()]).map_err(|error| error.to_string())?;
        let answer = self.ask(effect, &set)?;
        Ok(answer.diagnostics().reason().next().is_some())
    }

    /// What Cedar answers. A rule that cannot be evaluated would be passed over,
    /// so that one which forbids would vanish: it is an error.
    pub(super) fn ask(&self, effect: &Effect, rules: &PolicySet) -> Result<Response, String> {
        let context = self
            .names
            .context(effect)
            .ok_or("an effect has a word without a name.")?;
        let action = self.names.actions.get(effect.kind.name());
        let action = action.ok_or("an effect has no action.")?;
        let context = Context::from_pairs(context).map_err(|error| error.to_string())?;
        let request = Request::new(
            self.names.agent.clone(),
            action.clone(),
            self.names.task.clone(),
            context,
            Some(&self.schema),
        )
        .map_err(|error| error.to_string())?;
        let answer = self
            .authorizer
            .is_authorized(&request, rules, &self.entities);
        if let Some(error) = answer.diagnostics().errors().next() {
            return Err(format!("a rule cannot be evaluated: {error}."));
        }
        Ok(answer)
    }

    /// Decides by all rules at once, as Cedar does without an index; benches
    /// compare the two.
    #[doc(hidden)]
    pub fn decide_unindexed(&self, effect: &Effect, all: &PolicySet) -> Verdict {
        match self.ask(effect, all) {
            Ok(answer) if answer.decision() == CedarDecision::Allow => Verdict::Allow,
            Ok(answer) => {
                let rules = self.named(&answer);
                rules
                    .iter()
                    .map(|rule| rule.verdict)
                    .max()
                    .unwrap_or(Verdict::Deny)
            }
            Err(_) => Verdict::Deny,
        }
    }

    /// All rules as one set, for [`Self::decide_unindexed`].
    #[doc(hidden)]
    pub fn all_rules(&self) -> Result<PolicySet, PolicyError> {
        let policies = self.rules.values().map(|rule| rule.policy.clone());
        PolicySet::from_policies(policies).map_err(|error| PolicyError::Cedar(error.to_string()))
    }
}

fn ids(rules: &[&Rule]) -> Vec<String> {
    rules.iter().map(|rule| rule.id.clone()).collect()
}
