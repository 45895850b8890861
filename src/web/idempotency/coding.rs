//! Content codings that can be undone (RFC 9110, section 8.4.1): gzip and deflate.

use actix_web::http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use std::{borrow::Cow, io::Read};

/// The body without its codings, which `Content-Encoding` lists. `None` where one of them is not known here or does not fit,
/// or where more than `most` bytes come out.
pub(super) fn undo<'a>(codings: &str, body: &'a [u8], most: usize) -> Option<Cow<'a, [u8]>> {
    let mut body = Cow::Borrowed(body);
    // The last was applied last.
    for coding in codings
        .rsplit(',')
        .map(str::trim)
        .filter(|it| !it.is_empty())
    {
        let is = |name| coding.eq_ignore_ascii_case(name);
        body = match () {
            () if is("identity") => body,
            () if is("gzip") || is("x-gzip") => all(MultiGzDecoder::new(&*body), most)?.into(),
            () if is("deflate") => all(ZlibDecoder::new(&*body), most)?.into(),
            () => return None,
        };
    }
    Some(body)
}

fn all(decoder: impl Read, most: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let limit = u64::try_from(most).ok()?.checked_add(1)?;
    decoder.take(limit).read_to_end(&mut plain).ok()?;
    (plain.len() <= most).then_some(plain)
}

/// Whether a client reads all of these codings. One that does not say so reads none.
pub(super) fn is_read_by(headers: &HeaderMap, codings: &str) -> bool {
    let accepted = text(headers, &ACCEPT_ENCODING).unwrap_or_default();
    let accepts = |coding: &str| {
        let mut weights = accepted.split(',').filter_map(|one| weight(one, coding));
        // What is named counts more than what is not.
        let named = weights
            .clone()
            .find_map(|(is_named, reads)| is_named.then_some(reads));
        named
            .or_else(|| weights.next().map(|(_, reads)| reads))
            .unwrap_or(coding.eq_ignore_ascii_case("identity"))
    };
    let mut codings = codings
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty());
    codings.all(accepts)
}

/// Whether an item of `Accept-Encoding` names this coding, and whether it wants it. `None` where it is about others.
fn weight(item: &str, coding: &str) -> Option<(bool, bool)> {
    let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
    let name = name.trim();
    let is_named = name.eq_ignore_ascii_case(coding);
    let weight = parameters
        .trim()
        .strip_prefix("q=")
        .map(|q| q.trim().parse::<f32>());
    let reads = !matches!(weight, Some(Ok(0.0)));
    (is_named || name == "*").then_some((is_named, reads))
}

/// Leaves of the codings that a client reads those that can be undone for another one.
pub(super) fn narrow(headers: &mut HeaderMap) {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return;
    }
    let known = ["gzip", "deflate"].into_iter();
    let known: Vec<_> = known.filter(|coding| is_read_by(headers, coding)).collect();
    headers.remove(ACCEPT_ENCODING);
    if let Ok(value) = HeaderValue::from_str(&known.join(", "))
        && !known.is_empty()
    {
        headers.insert(ACCEPT_ENCODING, value);
    }
}

/// All values of a header, as one list. Those that are no UTF-8 cannot be kept.
pub(super) fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values = headers.get_all(name);
    let values: Vec<_> = values
        .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{
        Compression,
        read::{GzEncoder, ZlibEncoder},
    };

    fn gzip(body: &[u8], level: u32) -> Vec<u8> {
        all(
            GzEncoder::new(body, Compression::new(level)),
            usize::MAX - 1,
        )
        .unwrap()
    }

    #[test]
    fn codings_are_undone_from_the_last_to_the_first() {
        let body = b"{\"a\":1}".repeat(100);
        let zlib = all(
            ZlibEncoder::new(&*gzip(&body, 9), Compression::fast()),
            10_000,
        )
        .unwrap();
        assert_eq!(undo("gzip, Deflate", &zlib, 1_000).as_deref(), Some(&*body));
        assert_eq!(
            undo("X-GZip", &gzip(&body, 0), 1_000).as_deref(),
            Some(&*body)
        );
        for none in ["", " ", "identity", ","] {
            assert_eq!(undo(none, b"x", 0).as_deref(), Some(&b"x"[..]));
        }
    }

    #[test]
    fn what_does_not_fit_or_is_too_large_is_left_as_it_is() {
        let bomb = gzip(&vec![0; 5_000_000], 9);
        assert_eq!(undo("gzip", &bomb, 1_000_000), None);
        assert!(undo("gzip", &bomb, 5_000_000).is_some());
        let cut = gzip(b"body", 6);
        assert_eq!(undo("gzip", &cut[..cut.len() - 1], 100), None);
        for unknown in ["br", "gzip, br", "deflate", "gzip"] {
            assert_eq!(undo(unknown, b"body", 100), None, "{unknown}");
        }
    }

    #[test]
    fn a_client_reads_what_it_says_and_nothing_where_it_says_nothing() {
        let reads = |accepted: Option<&str>, codings| {
            let mut headers = HeaderMap::new();
            if let Some(accepted) = accepted {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(accepted).unwrap());
            }
            let reads = is_read_by(&headers, codings);
            narrow(&mut headers);
            let left = text(&headers, &ACCEPT_ENCODING);
            (reads, left)
        };
        let left = |text: &str| Some(text.to_owned());
        assert_eq!(reads(None, "gzip"), (false, None));
        assert_eq!(reads(Some("br, gzip"), "gzip"), (true, left("gzip")));
        assert_eq!(reads(Some("br"), "gzip"), (false, None));
        assert_eq!(reads(Some("*"), "gzip"), (true, left("gzip, deflate")));
        assert_eq!(reads(Some("*, GZIP;q=0"), "gzip"), (false, left("deflate")));
        assert_eq!(
            reads(Some("gzip; q=0.5"), "deflate, gzip"),
            (false, left("gzip"))
        );
        assert_eq!(reads(Some("gzip;q=0"), "identity"), (true, None));
    }
}
