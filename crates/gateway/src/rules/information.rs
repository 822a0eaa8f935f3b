/// How many bits `text` can carry at most to one who reads how often each
/// byte is in it: its length times its entropy.
pub(crate) fn bits(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let length = f64::from(counts.iter().sum::<u32>());
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) * (length / f64::from(*count)).log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_chose_carry_less_than_encoded_data() {
        for name in ["", "www", "cdn-assets-eu-west-1", "d111111abcdef8"] {
            assert!(bits(name) < 100.0, "{name} {}", bits(name));
        }
        let encoded = "mzxw6ytboi4dsmrqgeydaobzgq3tmnjugi2dgmjxgyytcmrtgq2tmnzygm";
        assert!(bits(encoded) > 192.0, "{}", bits(encoded));
    }
}
