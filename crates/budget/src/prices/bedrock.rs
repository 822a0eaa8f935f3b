//! How Amazon Bedrock names models: `us.anthropic.claude-sonnet-4-5-20250929-v1:0`
//! is the model of another API, the place where it runs before it and a version
//! behind it.

/// Places that the name of an inference profile begins with. What one costs
/// stands among a model's tiers.
const PLACES: [&str; 11] = [
    "apac", "au", "ca", "eu", "global", "in", "jp", "me", "sa", "us", "us-gov",
];

/// The place that `name` begins with, and the model without place and version.
pub(super) fn parts(name: &str) -> (Option<&str>, &str) {
    let (place, name) = match name.split_once('.') {
        Some((place, rest)) if PLACES.contains(&place) => (Some(place), rest),
        _ => (None, name),
    };
    let name = name.split(':').next().unwrap_or_default();
    let is_version = |text: &str| {
        text.strip_prefix('v')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let model = match name.rsplit_once('-') {
        Some((model, version)) if is_version(version) => model,
        _ => name,
    };
    (place, model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Api, Call, Prices, prices::tests::call};

    #[test]
    fn a_model_is_priced_by_its_makers_name_and_by_its_place() {
        let cost = |model: &str| {
            let quote = Prices::built_in().unwrap().quote(&Call {
                api: Api::Bedrock,
                ..call(model)
            });
            assert!(quote.is_known(), "{model}");
            quote.reserve().cost()
        };
        // 1000 × $3.75 + 100 × $15, of a million, and a tenth more in one place.
        let plain = cost("anthropic.claude-sonnet-4-5-20250929-v1:0");
        assert_eq!(plain, "0.00525".parse().unwrap());
        assert_eq!(
            cost("global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
            plain
        );
        let placed = cost("us.anthropic.claude-sonnet-4-5-20250929-v1:0");
        assert_eq!(placed, "0.005775".parse().unwrap());
    }

    #[test]
    fn place_and_version_are_told_from_the_model() {
        for (name, parts_of_it) in [
            (
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                (Some("us"), "anthropic.claude-sonnet-4-5-20250929"),
            ),
            (
                "global.anthropic.claude-opus-4-6-v1",
                (Some("global"), "anthropic.claude-opus-4-6"),
            ),
            ("amazon.nova-pro-v1:0:300k", (None, "amazon.nova-pro")),
            ("openai.gpt-oss-120b-1:0", (None, "openai.gpt-oss-120b-1")),
            ("anthropic.claude-v", (None, "anthropic.claude-v")),
            ("deepseek.v3.2", (None, "deepseek.v3.2")),
        ] {
            assert_eq!(parts(name), parts_of_it, "{name}");
        }
    }
}
