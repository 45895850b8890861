//! How many requests are taken apart at once. Actix takes apart all that it is given, and each request takes some
//! kilobytes from then on, be it of twenty bytes.

use memchr::memchr_iter;

/// The most heads that are handed on at once.
const MOST: usize = 16;

/// How much of what was read may be handed on: all, or what ends with the last head that may. In a body it finds heads
/// that are none, which costs a little time and nothing else.
pub fn within_bound(bytes: &[u8]) -> usize {
    let head_ends = memchr_iter(b'\n', bytes).filter_map(|at| match &bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    });
    let mut head_ends = head_ends.skip(MOST - 1);
    head_ends.next().unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_heads_are_handed_on_and_no_more() {
        for head in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\n\n"] {
            let many = head.repeat(100);
            assert_eq!(within_bound(many.as_bytes()), MOST * head.len());
            let few = head.repeat(MOST - 1) + "GET / HT";
            assert_eq!(within_bound(few.as_bytes()), few.len());
        }
        assert_eq!(within_bound(b"{\"a\": 1,\r\n\"b\": 2}"), 17);
        assert_eq!(within_bound(b""), 0);
    }
}
