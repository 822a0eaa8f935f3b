//! The table's text, and what one model costs.

use std::collections::BTreeMap;

use serde::Deserialize;
use stockade_types::Money;

use super::{Api, MILLION, Prices};
use crate::error::BudgetError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) model: Vec<Model>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub(super) api: Api,
    pub(super) name: String,
    pub(super) context: u64,
    pub(super) output_max: u64,
    pub(super) rates: Rates,
    pub(super) long: Option<Long>,
    #[serde(default)]
    pub(super) tiers: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Long {
    pub(super) above: u64,
    pub(super) rates: Rates,
}

/// What a million tokens cost.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rates {
    pub(super) input: Money,
    pub(super) output: Money,
    pub(super) cache_read: Option<Money>,
    pub(super) cache_write: Option<Money>,
    pub(super) cache_write_hour: Option<Money>,
}

impl Rates {
    pub(super) fn cache_read(&self) -> Money {
        self.cache_read.unwrap_or(self.input)
    }

    pub(super) fn cache_write(&self) -> Money {
        self.cache_write.unwrap_or(self.input)
    }

    pub(super) fn cache_write_hour(&self) -> Money {
        self.cache_write_hour.unwrap_or(self.cache_write())
    }

    /// The dearest that an input token can be.
    pub(super) fn dearest_input(&self, hour_cache: bool) -> Money {
        let usual = self.input.max(self.cache_read()).max(self.cache_write());
        if hour_cache {
            usual.max(self.cache_write_hour())
        } else {
            usual
        }
    }

    /// The dearer of both, of each kind.
    pub(super) fn dearer(&self, other: &Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: Some(self.cache_read().max(other.cache_read())),
            cache_write: Some(self.cache_write().max(other.cache_write())),
            cache_write_hour: Some(self.cache_write_hour().max(other.cache_write_hour())),
        }
    }
}

impl Model {
    /// Whether `name` is this model's: the same, with a date, `-latest` or a
    /// bracketed variant at most.
    pub(super) fn is_named(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(self.name.as_str()) else {
            return false;
        };
        let rest = match rest.split_once('[') {
            Some((rest, variant)) if variant.ends_with(']') => rest,
            Some(_) => return false,
            None => rest,
        };
        let date = |text: &str| {
            let first = text.split('-').next().unwrap_or_default();
            // A shorter number would be another model's version.
            first.len() >= 4 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
        };
        match rest.strip_prefix('-') {
            None => rest.is_empty(),
            Some(suffix) => suffix == "latest" || date(suffix),
        }
    }

    pub(super) fn rates(&self, input: u64) -> &Rates {
        match &self.long {
            Some(long) if input > long.above => &long.rates,
            _ => &self.rates,
        }
    }

    /// A model as dear and as large as the dearer and larger of both, at any
    /// length.
    pub(super) fn dearest(mut self, other: &Self) -> Self {
        let longest = |model: &Self| model.long.map_or(model.rates, |long| long.rates);
        self.rates = longest(&self).dearer(&longest(other)).dearer(&other.rates);
        self.long = None;
        self.context = self.context.max(other.context);
        self.output_max = self.output_max.max(other.output_max);
        self
    }
}

pub(super) fn read(text: &str, name: &str) -> Result<Prices, BudgetError> {
    let wrong = |reason: String| BudgetError::Prices {
        name: name.to_owned(),
        reason,
    };
    let mut table: Table = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    // A longer name says more, and is looked at first.
    let length = |model: &Model| std::cmp::Reverse(model.name.len());
    table.model.sort_by_key(length);
    for model in &table.model {
        let empty = model.name.is_empty() || model.context == 0 || model.output_max == 0;
        if empty {
            let reason = "a model needs a name, and context and output_max above 0";
            return Err(wrong(format!("`{}`: {reason}", model.name)));
        }
        let all = [Some(model.rates), model.long.map(|long| long.rates)];
        for rate in all.iter().flatten().flat_map(|rates| {
            [
                rates.input,
                rates.output,
                rates.cache_read(),
                rates.cache_write(),
                rates.cache_write_hour(),
            ]
        }) {
            if rate.picos() % MILLION != 0 {
                let reason = "has more than six digits behind the point";
                return Err(wrong(format!("`{}`: {rate} {reason}", model.name)));
            }
        }
    }
    Ok(Prices {
        version: table.version,
        models: table.model,
    })
}
