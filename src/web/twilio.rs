//! Twilio's routes.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload},
};

use super::{
    State,
    problem::{ErrorCode, Problem},
    signed_request::{self, SignedRequest},
};
use crate::{
    config::Config,
    provider::{
        Delivery, Malformed, Provider,
        twilio::{self, form::Form, shared_key::Keys, signature},
    },
};

/// Receive a message from Twilio
///
/// Or whatever else Twilio sends there. Answers TwiML to a message, and nothing to anything else.
#[utoipa::path(
    post, path = "/webhooks/twilio", operation_id = "receiveTwilio", tag = "webhooks",
    request_body(content(
        (Object = "application/x-www-form-urlencoded"), (serde_json::Value = "application/json"),
    )),
    responses(
        (status = 200, description = "TwiML", body = String, content_type = "text/xml"),
        (status = 204, description = "A status callback or another event was taken"),
    ),
    security(("twilio" = [])),
)]
pub async fn messages(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> Result<HttpResponse, Problem> {
    signed_request::receive(
        request,
        payload,
        state,
        Provider::Twilio,
        |signed, config| open(signed, config, twilio::parse_form),
    )
    .await
}

/// Receive a message from Twilio (alias)
///
/// The same as `/webhooks/twilio`.
#[utoipa::path(
    post, path = "/api/v1/whatsapp/webhook", operation_id = "receiveTwilioAlias", tag = "webhooks",
    request_body(content(
        (Object = "application/x-www-form-urlencoded"), (serde_json::Value = "application/json"),
    )),
    responses(
        (status = 200, description = "TwiML", body = String, content_type = "text/xml"),
        (status = 204, description = "A status callback or another event was taken"),
    ),
    security(("twilio" = [])),
)]
pub async fn messages_alias(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> Result<HttpResponse, Problem> {
    messages(request, payload, state).await
}

/// Receive a status callback from Twilio
#[utoipa::path(
    post, path = "/webhooks/twilio/status", operation_id = "receiveTwilioStatus", tag = "webhooks",
    request_body(content = Object, content_type = "application/x-www-form-urlencoded"),
    responses((status = 204, description = "Taken")),
    security(("twilio" = [])),
)]
pub async fn statuses(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> Result<HttpResponse, Problem> {
    signed_request::receive(
        request,
        payload,
        state,
        Provider::Twilio,
        |signed, config| open(signed, config, twilio::parse_status),
    )
    .await
}

fn open(
    signed: &SignedRequest,
    config: &Config,
    parse_form: fn(&Form<'_>) -> Result<Delivery, Malformed>,
) -> Result<Result<Delivery, Problem>, Problem> {
    let (tokens, shared) = (&config.twilio_auth_tokens, &config.twilio_shared_keys);
    if tokens.is_empty() && shared.is_empty() {
        return Err(Problem::not_configured("TWILIO_AUTH_TOKEN"));
    }
    let keys = Keys::of(tokens, shared, signed.signature_settings.as_deref());
    let secrets = &keys.secrets;
    // A shared key is not there to be replaced by the token that stands first.
    let note = |at| {
        if at < tokens.len() {
            signed.note_secret(at, tokens.len());
        }
    };
    let signature = signed.signature.as_deref();
    let media_type = signed.media_type();
    // The content type says what the signature is over, so it comes first.
    if media_type == "application/x-www-form-urlencoded" {
        let form = Form::parse(&signed.body)?;
        let at = signature::verify_form(secrets, signature, &signed.url, &form)?;
        note(at);
        Ok(parse_form(&form).map_err(Problem::from))
    } else if media_type.ends_with("json") {
        let at = signature::verify_json(secrets, signature, &signed.url, &signed.body)?;
        note(at);
        Ok(twilio::parse_json(&signed.body).map_err(Problem::from))
    } else {
        Err(Problem::new(
            ErrorCode::ContentTypeUnsupported,
            "Twilio sends application/x-www-form-urlencoded or application/json",
        ))
    }
}
