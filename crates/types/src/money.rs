use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Pico-dollars of one dollar.
const DOLLAR: u64 = 1_000_000_000_000;
/// Digits behind the point that are kept.
const DIGITS: usize = 12;

/// An amount of US dollars, in whole pico-dollars: prices a token are whole
/// numbers of them, so that nothing is ever rounded.
///
/// It is at most 2⁶³ − 1, about nine million dollars, which any database
/// stores.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Money(u64);

/// Why a text is not an amount of money.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount of dollars such as $2 or 0.50, at most $9000000")]
pub struct MoneyError(String);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(Self::MAX_PICOS);
    /// The pico-dollars of the largest amount.
    pub const MAX_PICOS: u64 = i64::MAX as u64;

    /// An amount of so many pico-dollars; what is more than [`Self::MAX`] is
    /// that.
    pub fn from_picos(picos: u128) -> Self {
        u64::try_from(picos).map_or(Self::MAX, |picos| Self(picos.min(Self::MAX.0)))
    }

    /// Pico-dollars.
    pub fn picos(self) -> u64 {
        self.0
    }

    /// The sum, at most [`Self::MAX`].
    pub fn saturating_add(self, other: Self) -> Self {
        Self::from_picos(u128::from(self.0) + u128::from(other.0))
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MoneyError(text.chars().take(40).collect());
        let number = text.strip_prefix('$').unwrap_or(text);
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > DIGITS {
            return Err(error());
        }
        let picos: u128 = format!("{whole}{part:0<DIGITS$}")
            .parse()
            .map_err(|_| error())?;
        match u64::try_from(picos) {
            Ok(picos) if picos <= Self::MAX.0 => Ok(Self(picos)),
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for Money {
    type Error = MoneyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Money> for String {
    fn from(money: Money) -> Self {
        money.to_string()
    }
}

/// `$1.50`: exact, with two digits behind the point or as many as it takes.
/// With a precision of at most twelve (`{:.4}`) it is rounded up, never down.
impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = formatter.precision().unwrap_or(DIGITS).min(DIGITS);
        let unit = 10_u64.pow(u32::try_from(DIGITS - places).unwrap_or_default());
        let rounded = self.0.div_ceil(unit).saturating_mul(unit);
        let (dollars, rest) = (rounded / DOLLAR, rounded % DOLLAR);
        let digits = format!("{rest:0DIGITS$}");
        let shown = match formatter.precision() {
            Some(_) => &digits[..places],
            None => &digits[..digits.trim_end_matches('0').len().max(2)],
        };
        let point = if shown.is_empty() { "" } else { "." };
        write!(formatter, "${dollars}{point}{shown}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn amounts_are_read_with_and_without_a_sign_and_a_point() {
        assert_eq!(money("$1.50").picos(), 1_500_000_000_000);
        assert_eq!(money("2"), money("$2.00"));
        assert_eq!(money("0.000000000001").picos(), 1);
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            "$",
            "-1",
            "+1",
            "1e3",
            "1.",
            ".5",
            "1,5",
            "$ 1",
            "1.2.3",
            "0x1",
            "0.0000000000001",
            "9223373",
            "99999999999999999999999999999999999999999",
        ] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_shortened_amount_is_never_less_than_the_exact_one() {
        assert_eq!(format!("{:.2}", money("0.001")), "$0.01");
        assert_eq!(format!("{:.4}", money("1.99999")), "$2.0000");
        assert_eq!(money("1.5").to_string(), "$1.50");
        assert_eq!(format!("{:.0}", money("1.5")), "$2");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(picos in 0..=Money::MAX.picos()) {
            let money = Money(picos);
            prop_assert_eq!(money.to_string().parse::<Money>(), Ok(money));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,48}") {
            let _ = text.parse::<Money>();
        }

        #[test]
        fn sums_stay_within_the_largest_amount(one: u64, other: u64) {
            let sum = Money::from_picos(one.into()).saturating_add(Money::from_picos(other.into()));
            prop_assert!(sum <= Money::MAX);
        }
    }
}
