//! TwiML, the XML with which an inbound message is answered.
//! Source: Twilio's "TwiML for Programmable Messaging" documentation.

use quick_xml::escape::escape;

use crate::provider::interface::DocumentForm;

/// How a message is answered.
pub(super) static FORM: DocumentForm = DocumentForm {
    content_type: "text/xml; charset=utf-8",
    write: response,
};

/// A response that sends `message` back to the customer, or nothing.
fn response(message: Option<&str>) -> String {
    let body = match message {
        None => "<Response/>".to_owned(),
        Some(text) => {
            let text: String = text.chars().filter(|c| is_xml_char(*c)).collect();
            format!("<Response><Message>{}</Message></Response>", escape(&text))
        }
    };
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}")
}

/// Whether XML 1.0 can hold it at all (production `Char`).
fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_escaped_and_stays_xml() {
        insta::assert_snapshot!(
            response(Some("Fish & <Chips>\n\"2\" × \u{0}\u{1b}\u{fffe}é 🍕")),
            @r#"
        <?xml version="1.0" encoding="UTF-8"?><Response><Message>Fish &amp; &lt;Chips&gt;
        &quot;2&quot; × é 🍕</Message></Response>
        "#
        );
    }

    #[test]
    fn no_message_is_an_empty_response() {
        insta::assert_snapshot!(response(None), @r#"<?xml version="1.0" encoding="UTF-8"?><Response/>"#);
    }
}
