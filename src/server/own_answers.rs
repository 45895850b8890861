//! What is answered without the application: by this module where there is no room or a head does not come, and by actix
//! where a request cannot be read. Such answers have the headers that all have.

/// What keeps browsers from doing anything with an answer that is no page.
pub const NO_PAGE: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
];

/// An answer that closes its connection: `status` with its words, and headers beside those that all have.
pub fn closing(status: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\n");
    add(&mut answer, headers);
    add(&mut answer, &NO_PAGE);
    add(
        &mut answer,
        &[("connection", "close"), ("content-length", "0")],
    );
    answer.push_str("\r\n");
    answer.into_bytes()
}

/// For an answer that actix made itself: its first line with the headers that it lacks, and the length of that line.
/// `None` where `bytes`, the beginning of an answer, are the application's.
pub fn completed(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let first = b"HTTP/1.1 4";
    if !bytes.starts_with(first) {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?;
    let (head, _) = head.split_once("\r\n\r\n")?;
    let (status, headers) = head.split_once("\r\n")?;
    let (known, _) = NO_PAGE[0];
    if headers.contains(known) {
        return None;
    }
    let mut line = format!("{status}\r\n");
    let length = line.len();
    add(&mut line, &NO_PAGE);
    Some((line.into_bytes(), length))
}

fn add(answer: &mut String, headers: &[(&str, &str)]) {
    for (name, value) in headers {
        answer.push_str(name);
        answer.push_str(": ");
        answer.push_str(value);
        answer.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_lacks_the_headers_gets_them_behind_its_first_line() {
        let bare = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        let (line, length) = completed(bare).unwrap();
        let whole = [&line, &bare[length..]].concat();
        let whole = String::from_utf8(whole).unwrap();
        assert!(whole.starts_with("HTTP/1.1 400 Bad Request\r\ncontent-security-policy: "));
        assert!(whole.ends_with("\r\nreferrer-policy: no-referrer\r\ncontent-length: 0\r\n\r\n"));
        assert_eq!(completed(whole.as_bytes()), None);
        for other in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 400 Bad", "", "body"] {
            assert_eq!(completed(other.as_bytes()), None);
        }
    }
}
