//! WhatsApp Cloud API's routes.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::ContentType,
    web::{Data, Payload},
};

use super::{
    State,
    problem::{ErrorCode, Problem},
    rate_limit::mark_verified,
    signed_request::{self, SignedRequest},
};
use crate::{
    config::Config,
    provider::{
        Delivery, Provider,
        whatsapp::{self, signature},
    },
};

/// Answer Meta's handshake
///
/// By which Meta checks that the address is ours: echoes the challenge.
#[utoipa::path(
    get, path = "/webhooks/whatsapp", operation_id = "verifyWhatsApp", tag = "webhooks",
    params(
        ("hub.mode" = Option<String>, Query, description = "`subscribe`"),
        ("hub.verify_token" = Option<String>, Query, description = "The token that was entered at Meta"),
        ("hub.challenge" = Option<String>, Query, description = "What is echoed"),
    ),
    responses((status = 200, description = "The challenge", body = String, content_type = "text/plain")),
)]
pub async fn handshake(request: HttpRequest, state: Data<State>) -> Result<HttpResponse, Problem> {
    let config = state.config.load_full();
    let Some(ours) = &config.whatsapp_verify_token else {
        return Err(Problem::not_configured("WHATSAPP_VERIFY_TOKEN"));
    };
    let query = request.uri().query().unwrap_or_default();
    let parameter = |wanted: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find_map(|(name, value)| (name == wanted).then(|| value.into_owned()))
    };
    let theirs = parameter(signature::VERIFY_TOKEN);
    if theirs.is_some() {
        state.limits.count_guess(&request, &config)?;
    }
    let ours_alone = theirs.is_some_and(|theirs| signature::verify_token_matches(ours, &theirs));
    if ours_alone {
        mark_verified(&request);
    }
    match (parameter("hub.mode").as_deref(), parameter("hub.challenge")) {
        (Some("subscribe"), Some(challenge)) if ours_alone => Ok(HttpResponse::Ok()
            .insert_header(ContentType::plaintext())
            .body(challenge)),
        _ => Err(Problem::new(
            ErrorCode::VerifyTokenMismatch,
            "hub.mode, hub.verify_token and hub.challenge must be those of a subscription of ours",
        )),
    }
}

/// Receive a batch from Meta
///
/// Messages and statuses, each acted on once and reported on.
#[utoipa::path(
    post, path = "/webhooks/whatsapp", operation_id = "receiveWhatsApp", tag = "webhooks",
    request_body(content = Object, description = "Meta's envelope: object, entry[].changes[].value"),
    responses((status = 200, description = "What became of each event", body = super::reply::ReportSchema)),
    security(("whatsapp" = [])),
)]
pub async fn batches(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> Result<HttpResponse, Problem> {
    signed_request::receive(request, payload, state, Provider::WhatsApp, open).await
}

fn open(signed: &SignedRequest, config: &Config) -> Result<Result<Delivery, Problem>, Problem> {
    let secrets = &config.whatsapp_app_secrets;
    if secrets.is_empty() {
        return Err(Problem::not_configured("WHATSAPP_APP_SECRET"));
    }
    let at = signature::verify(secrets, signed.signature.as_deref(), &signed.body)?;
    signed.note_secret(at, secrets.len());
    Ok(read(signed))
}

fn read(signed: &SignedRequest) -> Result<Delivery, Problem> {
    if signed.media_type() != "application/json" {
        return Err(Problem::new(
            ErrorCode::ContentTypeUnsupported,
            "Meta sends application/json",
        ));
    }
    Ok(whatsapp::parse(&signed.body)?)
}
