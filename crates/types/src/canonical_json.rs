//! JSON in one spelling: RFC 8785 (JCS), but that integers beyond 2^53, which
//! it cannot express, keep all their digits.

use std::{cmp::Ordering, fmt::Write as _};

use serde_json::{Number, Value};

/// The one spelling of `value`.
pub fn canonical_json(value: &Value) -> String {
    let mut text = String::new();
    write_canonical_json(value, &mut text);
    text
}

/// Appends the canonical form of `value`.
pub fn write_canonical_json(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => write_number(number, text),
        Value::String(string) => write_string(string, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical_json(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by(|(one, _), (other, _)| in_order(one, other));
            text.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(name, text);
                text.push(':');
                write_canonical_json(member, text);
            }
            text.push('}');
        }
    }
}

/// As ECMAScript prints numbers.
fn write_number(number: &Number, text: &mut String) {
    let float = match number.as_f64() {
        Some(float) if number.is_f64() => float,
        _ => return text.push_str(&number.to_string()),
    };
    if float == 0.0 {
        // Also what was negative.
        text.push('0');
    } else if (1e-6..1e21).contains(&float.abs()) {
        text.push_str(&float.to_string());
    } else {
        let digits = format!("{float:e}");
        let positive = digits.contains('e') && !digits.contains("e-");
        text.push_str(&if positive {
            digits.replace('e', "e+")
        } else {
            digits
        });
    }
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    // What needs no other spelling, which is nearly all, is taken as a whole.
    let mut rest = string;
    let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    while let Some(at) = rest.bytes().position(special) {
        let (plain, from) = rest.split_at(at);
        text.push_str(plain);
        match from.as_bytes().first().copied().unwrap_or_default() {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            0x8 => text.push_str("\\b"),
            0x9 => text.push_str("\\t"),
            0xa => text.push_str("\\n"),
            0xc => text.push_str("\\f"),
            0xd => text.push_str("\\r"),
            control => {
                let _ = write!(text, "\\u{control:04x}");
            }
        }
        rest = from.get(1..).unwrap_or_default();
    }
    text.push_str(rest);
    text.push('"');
}

/// The order of names (RFC 8785, 3.2.3): by units of UTF-16, which for ASCII are the bytes.
fn in_order(one: &str, other: &str) -> Ordering {
    if one.is_ascii() && other.is_ascii() {
        one.cmp(other)
    } else {
        one.encode_utf16().cmp(other.encode_utf16())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_example_of_rfc_8785_comes_out() {
        let value = json!({
            "numbers": [333_333_333.333_333_3, 1e30, 4.50, 2e-3, 1e-27],
            "string": "\u{20ac}$\u{f}\nA'B\"\\\\\"/",
            "literals": [null, true, false],
        });
        assert_eq!(
            canonical_json(&value),
            "{\"literals\":[null,true,false],\
             \"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
    }

    #[test]
    fn names_are_sorted_by_their_utf_16_units() {
        let value = json!({ "\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7 });
        assert_eq!(
            canonical_json(&value),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
    }

    #[test]
    fn whole_numbers_keep_all_their_digits() {
        assert_eq!(
            canonical_json(&json!([u64::MAX, i64::MIN, 1.0, -0.0])),
            "[18446744073709551615,-9223372036854775808,1,0]"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_it_was(text in ".*", number: i64, float in -1e30..1e30_f64) {
            let value = json!({ text.clone(): [text, number, null] });
            prop_assert_eq!(serde_json::from_str::<Value>(&canonical_json(&value)).unwrap(), value);
            let back: f64 = serde_json::from_str(&canonical_json(&json!(float))).unwrap();
            // Reading may be off by the last bit; writing is not.
            prop_assert!((back - float).abs() <= f64::EPSILON * float.abs());
        }
    }
}
