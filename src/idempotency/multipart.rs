//! The parts of a multipart body (RFC 2046, section 5.1.1), whatever boundary is between them.

use memchr::memmem::Finder;

use crate::media_type;

/// The parts, each as its bytes: headers, an empty line, content. `None` if the body is not multipart.
pub(super) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let boundary = boundary(content_type)?;
    let delimiter = format!("\r\n--{boundary}");
    let finder = Finder::new(&delimiter);
    // The first may stand at the very beginning; what is before it says nothing.
    let mut rest = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
        Some(rest) => rest,
        None => &body[finder.find(body)? + delimiter.len()..],
    };
    let mut parts = Vec::new();
    while !rest.starts_with(b"--") {
        let padding = rest.iter().take_while(|byte| b" \t".contains(byte)).count();
        let line_end = rest[padding..]
            .starts_with(b"\r\n")
            .then_some(&rest[padding..])?;
        let at = finder.find(line_end)?;
        parts.push(&line_end[..at]);
        rest = &line_end[at + delimiter.len()..];
    }
    Some(parts)
}

fn boundary(content_type: &str) -> Option<&str> {
    const MULTIPART: &[u8] = b"multipart/";
    let essence = media_type::essence(content_type)
        .as_bytes()
        .get(..MULTIPART.len())?;
    let boundary = media_type::parameter(content_type, "boundary")?;
    let is_one = essence.eq_ignore_ascii_case(MULTIPART) && (1..=70).contains(&boundary.len());
    is_one.then_some(boundary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Option<Vec<&str>> {
        let parts = parts("multipart/mixed; charset=x; Boundary=b", body.as_bytes())?;
        let text = |part| std::str::from_utf8(part).unwrap();
        Some(parts.into_iter().map(text).collect())
    }

    #[test]
    fn parts_are_what_stands_between_boundaries() {
        assert_eq!(
            of("--b\r\nA: 1\r\n\r\nx\r\n--b--"),
            Some(vec!["\r\nA: 1\r\n\r\nx"])
        );
        let two = of("before\r\n--b \t\r\n\r\nx\r\n--b\r\n\r\n\r\n--b--after");
        assert_eq!(two, Some(vec!["\r\n\r\nx", "\r\n\r\n"]));
        assert_eq!(of("--b--"), Some(vec![]));
    }

    #[test]
    fn what_is_no_such_body_has_none() {
        for body in [
            "",
            "x",
            "--b",
            "--b\r\nx",
            "--bb\r\nx\r\n--bb--",
            "--b\nx\n--b--",
            "--b\r\nx\r\n--bb\r\n--b--",
        ] {
            assert_eq!(of(body), None, "{body}");
        }
        for content_type in [
            "multipart/mixed",
            "multipart/mixed; boundary=",
            "multipart/mixed; boundary=\"\"",
        ] {
            assert_eq!(parts(content_type, b"--b--"), None);
        }
    }
}
