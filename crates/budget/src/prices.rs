mod bedrock;
mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stockade_types::{Money, Usage};

use self::table::{Model, Rates, read};
use crate::{
    amount::{Amount, Unit},
    error::BudgetError,
    ledger::Charge,
};

/// Prices are said for this many tokens.
const MILLION: u64 = 1_000_000;
/// Service tiers that cost what the table says, or less.
const USUAL_TIERS: [&str; 7] = [
    "auto",
    "default",
    "standard",
    "standard_only",
    "flex",
    "normal",
    "global",
];

/// The model APIs that have prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Responses and Chat Completions.
    OpenAi,
    /// Google Gemini.
    Gemini,
    /// Amazon Bedrock, with the models of many makers.
    Bedrock,
}

/// What a request asks for, as far as its price depends on it.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The API.
    pub api: Api,
    /// The model.
    pub model: &'a str,
    /// The size of its body: no token stands for less than a byte.
    pub input_bytes: u64,
    /// Whether its size says nothing about its tokens: it holds pictures, or
    /// refers to what the provider keeps.
    pub whole_context: bool,
    /// Whether it asks for a cache that lasts an hour.
    pub hour_cache: bool,
    /// The most output tokens that it wants.
    pub output_limit: Option<u64>,
    /// How many answers it wants.
    pub answers: u64,
    /// Service tiers, speeds and places that it names.
    pub tiers: &'a [String],
    /// Whether the model may act on it.
    pub turn: bool,
}

/// The price table: our own, and the user's before it.
#[derive(Clone, Debug)]
pub struct Prices {
    version: String,
    models: Vec<Model>,
}

/// What one request can cost, and how to tell what it did.
#[derive(Clone, Debug)]
pub struct Quote {
    model: Model,
    percent: u64,
    reserve: Amount,
    name: String,
    version: String,
    is_known: bool,
}

impl Prices {
    /// The table that comes with this version.
    pub fn built_in() -> Result<Self, BudgetError> {
        read(include_str!("prices/prices.toml"), "built in")
    }

    /// The same with a user's own prices, `text` of the file `name`, before
    /// it.
    pub fn with_own(mut self, text: &str, name: &str) -> Result<Self, BudgetError> {
        let own = read(text, name)?;
        self.version = format!("{}+own {}", self.version, own.version);
        self.models.splice(0..0, own.models);
        Ok(self)
    }

    /// The version, as it stands beside each charge.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The most that `call` can cost. A model that the table does not know
    /// costs what the dearest of its API does.
    pub fn quote(&self, call: &Call<'_>) -> Quote {
        let name = call.model.strip_prefix("models/").unwrap_or(call.model);
        let (place, name) = match call.api {
            Api::Bedrock => bedrock::parts(name),
            _ => (None, name),
        };
        let mut own = self.models.iter().filter(|model| model.api == call.api);
        let known = own.find(|model| model.is_named(name)).cloned();
        let is_known = known.is_some();
        let model = known.unwrap_or_else(|| self.dearest(call.api));
        let tiers = call.tiers.iter().map(String::as_str).chain(place);
        let percent = tiers.fold(100, |percent: u64, tier| {
            percent.saturating_mul(self.tier(&model, tier)) / 100
        });
        let input = if call.whole_context {
            model.context
        } else {
            call.input_bytes.min(model.context)
        };
        let output = call
            .output_limit
            .map_or(model.output_max, |limit| limit.min(model.output_max))
            .saturating_mul(call.answers.max(1));
        let rates = model.rates(input);
        let cost = cost(
            &[
                (input, rates.dearest_input(call.hour_cache)),
                (output, rates.output),
            ],
            percent,
        );
        let reserve = Amount::NONE
            .with(Unit::Cost, cost.picos())
            .with(Unit::Tokens, input.saturating_add(output))
            .with(Unit::Requests, 1)
            .with(Unit::Turns, call.turn.into());
        Quote {
            percent,
            reserve,
            name: name.to_owned(),
            version: self.version.clone(),
            is_known,
            model,
        }
    }

    fn dearest(&self, api: Api) -> Model {
        let nothing = Model {
            api,
            name: String::new(),
            context: 0,
            output_max: 0,
            rates: Rates {
                input: Money::ZERO,
                output: Money::ZERO,
                cache_read: None,
                cache_write: None,
                cache_write_hour: None,
            },
            long: None,
            tiers: BTreeMap::new(),
        };
        let models = self.models.iter().filter(|model| model.api == api);
        models.fold(nothing, Model::dearest)
    }

    /// Per cent of the price that `tier` costs; an unknown tier costs what the
    /// dearest of that API does.
    fn tier(&self, model: &Model, tier: &str) -> u64 {
        if let Some(percent) = model.tiers.get(tier) {
            return *percent;
        }
        if USUAL_TIERS.contains(&tier) {
            return 100;
        }
        let models = self.models.iter().filter(|other| other.api == model.api);
        let tiers = models.flat_map(|model| model.tiers.values().copied());
        tiers.max().unwrap_or(100).max(100)
    }
}

fn cost(parts: &[(u64, Money)], percent: u64) -> Money {
    let picos = parts.iter().fold(0_u128, |sum, (tokens, rate)| {
        sum.saturating_add(u128::from(*tokens) * u128::from(rate.picos() / MILLION))
    });
    Money::from_picos(picos.saturating_mul(u128::from(percent)).div_ceil(100))
}

impl Quote {
    /// What is to be reserved.
    pub fn reserve(&self) -> Amount {
        self.reserve
    }

    /// Whether the model is in the price table.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// What a request came to whose usage was reported.
    pub fn reported(&self, usage: &Usage) -> Charge {
        let rates = self.model.rates(usage.whole_input());
        let cost = cost(
            &[
                (usage.input, rates.input),
                (usage.cache_read, rates.cache_read()),
                (usage.cache_write, rates.cache_write()),
                (usage.cache_write_hour, rates.cache_write_hour()),
                (usage.output, rates.output),
            ],
            self.percent,
        );
        let amount = Amount::NONE
            .with(Unit::Cost, cost.picos())
            .with(Unit::Tokens, usage.tokens());
        Charge {
            usage: *usage,
            estimated: !self.is_known,
            ..self.charge(amount.plus(&self.made()))
        }
    }

    /// What a request counts whose usage nobody reported: all of its reserve.
    pub fn unreported(&self) -> Charge {
        Charge {
            estimated: true,
            ..self.charge(self.reserve)
        }
    }

    /// A request that the provider refused, or that never reached it.
    pub fn free(&self) -> Charge {
        self.charge(self.made())
    }

    /// That the request was made at all.
    fn made(&self) -> Amount {
        [Unit::Requests, Unit::Turns]
            .into_iter()
            .fold(Amount::NONE, |made, unit| {
                made.with(unit, self.reserve.get(unit))
            })
    }

    fn charge(&self, amount: Amount) -> Charge {
        Charge {
            amount,
            model: self.name.clone(),
            prices: self.version.clone(),
            usage: Usage::default(),
            estimated: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn call(model: &str) -> Call<'_> {
        Call {
            api: Api::Anthropic,
            model,
            input_bytes: 1000,
            whole_context: false,
            hour_cache: false,
            output_limit: Some(100),
            answers: 1,
            tiers: &[],
            turn: true,
        }
    }

    fn prices() -> Prices {
        Prices::built_in().unwrap()
    }

    fn money(text: &str) -> u64 {
        text.parse::<Money>().unwrap().picos()
    }

    #[test]
    fn a_request_is_reserved_at_the_dearest_and_settled_at_what_was_reported() {
        let quote = prices().quote(&call("claude-sonnet-4-5-20250929"));
        // 1000 × $3.75 + 100 × $15, of a million.
        assert_eq!(quote.reserve().get(Unit::Cost), money("0.00525"));
        assert_eq!(quote.reserve().get(Unit::Tokens), 1100);
        let usage = Usage {
            input: 100,
            cache_read: 100,
            cache_write: 10,
            cache_write_hour: 10,
            output: 10,
        };
        let charge = quote.reported(&usage);
        // 100 × 3 + 100 × 0.3 + 10 × 3.75 + 10 × 6 + 10 × 15.
        assert_eq!(charge.amount.get(Unit::Cost), money("0.0005775"));
        assert!(!charge.estimated && quote.unreported().estimated);
        assert_eq!(quote.free().amount.get(Unit::Cost), 0);
    }

    #[test]
    fn an_hour_of_cache_pictures_and_several_answers_are_reserved_for() {
        let plain = prices().quote(&call("claude-sonnet-4-5"));
        let cost = |call: &Call<'_>| prices().quote(call).reserve().get(Unit::Cost);
        let mut dearer = call("claude-sonnet-4-5");
        dearer.hour_cache = true;
        assert_eq!(cost(&dearer), money("0.0075"));
        dearer.answers = 3;
        assert_eq!(cost(&dearer), money("0.0105"));
        let mut pictures = call("claude-sonnet-4-5");
        pictures.whole_context = true;
        assert_eq!(cost(&pictures), money("0.7515"));
        pictures.output_limit = None;
        assert_eq!(cost(&pictures), money("1.71"));
        assert!(cost(&pictures) > plain.reserve().get(Unit::Cost));
    }

    #[test]
    fn a_long_input_costs_the_long_rates_as_a_whole() {
        let mut long = call("gpt-5.4");
        long.api = Api::OpenAi;
        let usage = |input| Usage {
            input,
            ..Usage::default()
        };
        let quote = prices().quote(&long);
        let cost = |input| quote.reported(&usage(input)).amount.get(Unit::Cost);
        assert_eq!(cost(272_000), money("0.68"));
        assert_eq!(cost(272_001), money("1.360005"));
        long.input_bytes = 400_000;
        let reserve = prices().quote(&long).reserve().get(Unit::Cost);
        assert_eq!(reserve, money("2.00225"));
    }

    #[test]
    fn an_unknown_model_or_tier_costs_what_the_dearest_does_and_it_is_said() {
        let quote = prices().quote(&call("claude-sonnet-5-9"));
        assert!(!quote.is_known() && quote.reported(&Usage::default()).estimated);
        assert_eq!(
            quote.reserve(),
            prices().quote(&call("claude-mythos-5")).reserve()
        );
        let tiers = ["standard".to_owned(), "warp".to_owned()];
        let mut fast = call("claude-opus-5");
        fast.tiers = &tiers;
        let usual = prices().quote(&call("claude-opus-5")).reserve();
        assert_eq!(
            prices().quote(&fast).reserve().get(Unit::Cost),
            2 * usual.get(Unit::Cost)
        );
    }

    #[test]
    fn a_name_means_its_dates_and_variants_and_no_other_model() {
        let model = |name: &str| Model {
            name: name.to_owned(),
            ..prices().models[0].clone()
        };
        for name in [
            "m-5",
            "m-5-20250929",
            "m-5-2025-04-14",
            "m-5-latest",
            "m-5[1m]",
        ] {
            assert!(model("m-5").is_named(name), "{name}");
        }
        for name in [
            "m-5-5",
            "m-5-pro",
            "m-51",
            "m-5-123",
            "m-5[1m",
            "m-5-2025-pro",
            "m",
        ] {
            assert!(!model("m-5").is_named(name), "{name}");
        }
    }

    #[test]
    fn own_prices_come_first_and_a_mistake_names_file_and_line() {
        let own = "version = \"mine\"\n[[model]]\napi = \"anthropic\"\nname = \"claude-opus-5\"\n\
            context = 10\noutput_max = 10\nrates = { input = \"$0\", output = \"$0\" }\n";
        let prices = prices().with_own(own, "prices.toml").unwrap();
        assert_eq!(
            prices
                .quote(&call("claude-opus-5"))
                .reserve()
                .get(Unit::Cost),
            0
        );
        assert!(prices.version().contains("mine"));
        for wrong in [
            own.replace("context", "contxt"),
            own.replace("\"$0\"", "\"free\""),
        ] {
            let error = Prices::built_in().unwrap().with_own(&wrong, "prices.toml");
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("prices.toml") && error.contains("line"),
                "{error}"
            );
        }
        let small = own.replacen("$0", "$0.0000001", 1);
        assert!(
            Prices::built_in()
                .unwrap()
                .with_own(&small, "prices.toml")
                .is_err()
        );
    }

    #[test]
    fn every_model_of_the_table_costs_something_and_is_found_by_its_own_name() {
        let prices = prices();
        assert!(prices.models.len() > 50);
        for model in &prices.models {
            assert!(model.rates.input > Money::ZERO && model.rates.output > Money::ZERO);
            let found = prices.quote(&Call {
                api: model.api,
                ..call(&model.name)
            });
            assert_eq!(found.model.name, model.name);
        }
    }

    proptest! {
        #[test]
        fn no_usage_within_what_was_asked_costs_more_than_its_reserve(
            index: proptest::sample::Index,
            bytes in 0..2_000_000_u64,
            split in proptest::array::uniform4(0..=1_000_u64),
            output in 0..200_000_u64,
            limit in proptest::option::of(0..200_000_u64),
            unknown: bool,
        ) {
            let prices = prices();
            let model = &prices.models[index.index(prices.models.len())];
            let quote = prices.quote(&Call {
                api: model.api,
                model: if unknown { "new-model" } else { &model.name },
                input_bytes: bytes,
                whole_context: false,
                hour_cache: true,
                output_limit: limit,
                answers: 1,
                tiers: &[],
                turn: true,
            });
            let whole = bytes.min(model.context);
            let parts = split.iter().sum::<u64>().max(1);
            let part = |index: usize| whole * split[index] / parts;
            let usage = Usage {
                input: part(0),
                cache_read: part(1),
                cache_write: part(2),
                cache_write_hour: part(3),
                output: output.min(limit.unwrap_or(u64::MAX)).min(model.output_max),
            };
            prop_assert!(quote.reserve().covers(&quote.reported(&usage).amount));
        }
    }
}
