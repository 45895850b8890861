//! Reads the value of a `Content-Type` header (RFC 9110, section 8.3.1).

/// The media type of a form.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// The media type of a JSON document.
pub const JSON: &str = "application/json";

/// The media type without its parameters, as written.
pub fn essence(content_type: &str) -> &str {
    let essence = content_type.split(';').next();
    essence.unwrap_or_default().trim()
}

/// Whether the media type is `wanted`, whatever its case.
pub fn is(content_type: &str, wanted: &str) -> bool {
    essence(content_type).eq_ignore_ascii_case(wanted)
}

/// Whether a body of this type is read as JSON: `application/json`, `application/cloudevents+json`, `text/json`.
pub fn is_json(content_type: &str) -> bool {
    const END: &[u8] = b"json";
    let essence = essence(content_type).as_bytes();
    let end = essence.len().checked_sub(END.len());
    end.is_some_and(|at| essence[at..].eq_ignore_ascii_case(END))
}

/// The value of a parameter, without the quotes around it.
pub fn parameter<'a>(content_type: &'a str, wanted: &str) -> Option<&'a str> {
    let mut parameters = content_type.split(';').skip(1);
    let value = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_wanted = name.trim().eq_ignore_ascii_case(wanted);
        is_wanted.then_some(value.trim())
    })?;
    let unquoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Some(unquoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_are_no_part_of_a_media_type() {
        assert!(is("Application/JSON ; charset=utf-8", JSON));
        assert!(is(FORM, FORM) && !is("", FORM));
        assert_eq!(essence(" text/plain;x"), "text/plain");
    }

    #[test]
    fn whatever_ends_in_json_is_read_as_json() {
        for json in [
            "application/json",
            "application/CloudEvents+JSON;q=1",
            "json",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "son", "application/json5", "text/plain; json", "é"] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn a_parameter_is_found_by_its_name_and_freed_of_quotes() {
        let content_type = "multipart/mixed; charset=x; Boundary=\"b c\"";
        assert_eq!(parameter(content_type, "boundary"), Some("b c"));
        assert_eq!(parameter(content_type, "charset"), Some("x"));
        assert_eq!(parameter(content_type, "b c"), None);
        assert_eq!(parameter("boundary=x", "boundary"), None);
    }
}
