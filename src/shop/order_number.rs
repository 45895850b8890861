//! The number by which people speak of an order: short, unique, and silent about how many orders there are.

use rand::RngExt as _;

use crate::store::types::Timestamp;

/// Crockford's base 32: no I, L, O or U, so that it survives being read aloud or written down.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A new number such as `7K3M-Q9TX` for an order that is made at `now`: three characters by the time, five random ones (25
/// bits). That it is free must be checked where it is kept.
///
/// Orders of the same two seconds have neighbouring numbers, so that the index of millions of numbers is changed in a few
/// pages at a time, and not in one for each order. The times are shuffled, and come again after 18 hours.
pub fn new(now: Timestamp) -> String {
    // An odd factor maps the 2^15 times onto each other.
    let time = now.seconds().div_euclid(2).wrapping_mul(0x5a3d);
    let mut rng = rand::rng();
    let digits = [10, 5, 0].map(|shift| (time >> shift) as usize % ALPHABET.len());
    let others = [(); 5].map(|()| rng.random_range(0..ALPHABET.len()));
    let mut number = String::with_capacity(9);
    for (at, digit) in digits.into_iter().chain(others).enumerate() {
        if at == 4 {
            number.push('-');
        }
        number.push(char::from(ALPHABET[digit]));
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, time::Duration};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::beginning().after(Duration::from_secs(seconds))
    }

    #[test]
    fn numbers_are_short_and_do_not_follow_each_other() {
        let numbers: Vec<_> = (0..1000).map(|_| new(at(1))).collect();
        assert!(
            numbers
                .iter()
                .all(|n| n.len() == 9 && n.find('-') == Some(4))
        );
        assert!(!numbers.is_sorted());
        // By chance two of them are the same now and then.
        assert!(HashSet::<&String>::from_iter(&numbers).len() > 990);
        let times: Vec<_> = (0..1000).map(|n| new(at(2 * n))).collect();
        assert!(!times.is_sorted());
    }

    #[test]
    fn orders_of_one_moment_are_neighbours_and_of_others_are_not() {
        let begins = |seconds| new(at(seconds))[..3].to_owned();
        assert_eq!(begins(1_800_000_000), begins(1_800_000_001));
        let lap = 2 << 15;
        let all: HashSet<_> = (0..lap).step_by(2).map(begins).collect();
        assert_eq!(all.len(), 1 << 15);
        assert_eq!(begins(7), begins(7 + lap));
    }
}
