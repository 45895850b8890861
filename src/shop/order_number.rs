//! The number by which people speak of an order: short, unique, and silent about how many orders there are.

use rand::RngExt as _;

/// Crockford's base 32: no I, L, O or U, so that it survives being read aloud or written down.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A new random number such as `7K3M-Q9TX`: 40 bits. That it is free must be checked where it is kept.
pub fn random() -> String {
    let mut rng = rand::rng();
    let mut half = || -> String {
        (0..4)
            .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
            .collect()
    };
    format!("{}-{}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_do_not_follow_each_other() {
        let numbers: Vec<_> = (0..1000).map(|_| random()).collect();
        assert!(numbers.iter().all(|n| n.len() == 9));
        assert!(!numbers.is_sorted());
        let distinct: std::collections::HashSet<_> = numbers.iter().collect();
        assert_eq!(distinct.len(), numbers.len());
    }
}
