//! The rules that come with Stockade do what their examples say.

use stockade_policy::Policy;

#[test]
fn every_default_rule_applies_to_its_example_and_not_to_the_other() {
    let mut policy = Policy::builtin().unwrap_or_else(|error| panic!("{error}"));
    policy
        .check_examples()
        .unwrap_or_else(|error| panic!("{error}"));
    let rules: Vec<_> = policy.rules().collect();
    assert!(rules.len() >= 100, "only {} rules", rules.len());
    for rule in rules {
        assert!(!rule.matches.is_empty(), "{} has no example", rule.id);
        assert!(
            !rule.not_matches.is_empty(),
            "{} has no other example",
            rule.id
        );
    }
}
