//! Reads the parameters of Twilio's forms, and the addresses in them.

use crate::{
    json::Value,
    provider::{event::Address, value::digest},
};

/// Parameters that Twilio adds when it sends something again: they say nothing about what is sent.
const REPEAT_PARAMETERS: [&str; 3] = ["ErrorCode", "ErrorUrl", "RetryCount"];

/// SHA-256 of what a form says, as far as its signature tells it and however often it was sent.
pub(super) fn form_digest(params: &Value) -> String {
    let mut params = params.clone();
    if let Value::Object(members) = &mut params {
        members.retain(|(name, _)| !REPEAT_PARAMETERS.contains(&name.as_str()));
        // The signature does not tell in which order the values of one parameter came.
        for values in members
            .iter_mut()
            .filter_map(|(_, value)| value.as_array_mut())
        {
            values.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
    digest(&params)
}

/// A parameter that is given once, and can be part of an id.
pub(super) fn word<'a>(params: &'a Value, name: &str) -> Option<&'a str> {
    param(params, name).filter(|text| is_word(text))
}

pub(super) fn is_word(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A parameter that is given once.
pub(super) fn param<'a>(params: &'a Value, name: &str) -> Option<&'a str> {
    params.get(name)?.as_str()
}

/// An address without the channel before it: `whatsapp:+1…` is `+1…`.
pub(super) fn bare_address(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or(address)
}

/// The number of ours that an address is. `None`: it is a short code, a page, or the like.
pub(super) fn our_number(address: &str) -> Option<Address> {
    bare_address(address).parse().ok().map(Address::Phone)
}
