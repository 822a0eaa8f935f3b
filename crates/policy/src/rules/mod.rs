//! A policy: rules in Cedar that decide over effects.
//!
//! Cedar answers yes or no. A `forbid` with `@verdict("ask")` makes a question of
//! its no, and one with `@verdict("contain")` a yes without anything outward; the
//! strictest of those that apply decides. What no rule permits is denied, and so
//! is everything if a rule cannot be evaluated.

mod decide;
mod example;
mod layers;
mod packs;
mod problem;
mod rule;
mod schema;

use std::collections::{BTreeMap, HashMap, HashSet};

use cedar_policy::{
    ActionConstraint, Authorizer, Entities, PolicySet, Schema, ValidationMode, Validator,
};
use miette::Diagnostic;
use stockade_types::{EffectKind, Verdict};

use self::{decide::Names, rule::place_of};
pub use self::{
    decide::{Decision, Finding},
    layers::{Layer, Source},
    packs::defaults,
    problem::{PolicyError, Problem},
    rule::Rule,
    schema::schema,
};

/// The most rules that a policy may have.
const MOST_RULES: usize = 5_000;

/// Rules in force, ready to decide.
#[derive(Debug)]
pub struct Policy {
    rules: BTreeMap<String, Rule>,
    schema: Schema,
    authorizer: Authorizer,
    entities: Entities,
    names: Names,
    /// The rules that can apply to an effect, by its kind: most cannot.
    by_kind: HashMap<EffectKind, Slice>,
}

/// The rules for one kind of effect.
#[derive(Debug, Default)]
struct Slice {
    deciding: PolicySet,
    /// Permits that take rules of lower layers out of force.
    lifting: PolicySet,
}

impl Policy {
    /// The policy that Stockade has by itself.
    pub fn builtin() -> Result<Self, PolicyError> {
        Self::load(&[])
    }

    /// The default rules and those of `sources`. If any of them cannot stand,
    /// none is in force.
    pub fn load(sources: &[Source]) -> Result<Self, PolicyError> {
        let mut all = defaults();
        all.extend_from_slice(sources);
        Self::of(&all)
    }

    /// The rules of `sources` and no others. If any of them cannot stand, none is
    /// in force.
    pub fn of(sources: &[Source]) -> Result<Self, PolicyError> {
        let (schema, _) = Schema::from_cedarschema_str(&schema()).map_err(cedar)?;
        let mut problems = Vec::new();
        let mut rules: BTreeMap<String, Rule> = BTreeMap::new();
        for source in sources {
            for rule in rule::read(source, &mut problems) {
                if let Some(other) = rules.get(&rule.id) {
                    let what = format!(
                        "{} is the name of a rule in {} as well",
                        rule.id, other.file
                    );
                    problems.push(rule::problem(
                        source,
                        rule.line,
                        what,
                        "give it another name",
                    ));
                } else {
                    rules.insert(rule.id.clone(), rule);
                }
            }
        }
        if rules.len() > MOST_RULES {
            return Err(PolicyError::TooMuch {
                path: "the policy".into(),
                what: "more rules",
                most: MOST_RULES,
            });
        }
        validate(&rules, &schema, sources, &mut problems)?;
        if !problems.is_empty() {
            return Err(PolicyError::Rules(problems));
        }
        let entities = schema.action_entities().map_err(cedar)?;
        let names = Names::new()?;
        let mut policy = Self {
            by_kind: index(&rules, &names)?,
            rules,
            schema,
            authorizer: Authorizer::new(),
            entities,
            names,
        };
        // What comes with Stockade is tried by its own tests.
        policy.try_examples(|rule| rule.layer != Layer::Default)?;
        Ok(policy)
    }

    /// All rules, by name.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }

    /// The rule `id`.
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.get(id)
    }

    /// Tries the examples of all rules, those that come with Stockade as well.
    pub fn check_examples(&mut self) -> Result<(), PolicyError> {
        self.try_examples(|_| true)
    }

    fn try_examples(&mut self, wanted: impl Fn(&Rule) -> bool) -> Result<(), PolicyError> {
        let rules = self.rules.values().filter(|rule| wanted(rule));
        let problems: Vec<_> = rules
            .flat_map(|rule| example::problems(self, rule))
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(PolicyError::Rules(problems))
        }
    }
}

/// Checks every rule against the schema, strictly.
fn validate(
    rules: &BTreeMap<String, Rule>,
    schema: &Schema,
    sources: &[Source],
    problems: &mut Vec<Problem>,
) -> Result<(), PolicyError> {
    let policies = rules.values().map(|rule| rule.policy.clone());
    let set = PolicySet::from_policies(policies).map_err(cedar)?;
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    for error in result.validation_errors() {
        let Some(rule) = rules.get(AsRef::<str>::as_ref(error.policy_id())) else {
            continue;
        };
        let source = sources.iter().find(|source| source.name == rule.file);
        let line = source
            .and_then(|source| place_of(source, error))
            .unwrap_or(rule.line);
        let help = error.help().map(|help| help.to_string());
        problems.push(Problem {
            file: rule.file.clone(),
            line,
            what: error.to_string(),
            fix: help.unwrap_or_else(|| {
                "`stockade policy schema` lists what a rule may name".to_owned()
            }),
        });
    }
    for rule in rules.values() {
        for lifted in &rule.lifts {
            let lower = rules
                .get(lifted)
                .is_some_and(|other| other.layer < rule.layer);
            if !lower {
                problems.push(Problem {
                    file: rule.file.clone(),
                    line: rule.line,
                    what: format!(
                        "{} lifts {lifted}, which is no rule of a lower layer",
                        rule.id
                    ),
                    fix: "name a rule that `stockade policy ls` shows below this layer".to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// The rules that can apply to each kind of effect.
fn index(
    rules: &BTreeMap<String, Rule>,
    names: &Names,
) -> Result<HashMap<EffectKind, Slice>, PolicyError> {
    let mut by_kind = HashMap::new();
    for kind in EffectKind::ALL {
        let own: HashSet<_> = names.actions_of(*kind).collect();
        let mut slice = Slice::default();
        for rule in rules.values() {
            let applies = match rule.policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(action) => own.contains(&action),
                ActionConstraint::In(actions) => actions.iter().any(|action| own.contains(action)),
            };
            if !applies {
                continue;
            }
            if !rule.lifts.is_empty() {
                slice.lifting.add(rule.policy.clone()).map_err(cedar)?;
            }
            slice.deciding.add(rule.policy.clone()).map_err(cedar)?;
        }
        by_kind.insert(*kind, slice);
    }
    Ok(by_kind)
}

fn cedar(error: impl std::fmt::Display) -> PolicyError {
    PolicyError::Cedar(error.to_string())
}

/// The strictest of `verdicts`.
fn strictest(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    verdicts.into_iter().max().unwrap_or(Verdict::Allow)
}
