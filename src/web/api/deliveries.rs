//! Deliveries: what was received, of providers and of clients alike, and its result.

use actix_web::HttpResponse;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

use super::{
    call::Call,
    envelope::{Envelope, Page, with_document},
    orders::OrderResource,
    parameters::{self, Cursor as _, PageRequest, Parameters},
    received::{self, FoundDelivery},
    senders::{self, DeliveryProvider},
};
use crate::{
    access::Token,
    idempotency::{IdempotencyKey, StoredReply},
    json::Value,
    shop::outcomes,
    store::{
        StoreError,
        deliveries::{Delivery, DeliveryFilter},
        events::Outcome,
        idempotency::RecordStatus,
        types::Json,
    },
    web::{problem::Problem, report::EventReportSchema},
};

/// A request under its key, of a provider or of a client.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryResource {
    id: uuid::Uuid,
    #[schema(value_type = DeliveryProvider)]
    provider: String,
    /// What kind of request.
    #[schema(example = "twilio_message")]
    webhook_type: String,
    /// The idempotency key, of a header or derived.
    key: String,
    #[schema(value_type = DeliveryStatus)]
    status: &'static str,
    /// The outcomes of its events, each once; empty for requests of clients.
    #[schema(value_type = Vec<EventOutcome>)]
    outcomes: Vec<String>,
    #[schema(example = "POST")]
    method: String,
    /// Without its query.
    #[schema(example = "/webhooks/twilio")]
    path: String,
    /// Whose it is, where that is known, and all of it is one retailer's.
    #[schema(required)]
    retailer_id: Option<uuid::Uuid>,
    /// The order that it made or is about; of several the first.
    #[schema(required)]
    order_id: Option<uuid::Uuid>,
    /// The HTTP status that was answered.
    #[schema(required)]
    response_status: Option<i16>,
    /// How often the answer was given again.
    replay_count: i64,
    #[schema(required)]
    source_ip: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it last came.
    #[schema(format = DateTime)]
    last_accessed_at: String,
    /// Until when its answer is given again.
    #[schema(format = DateTime)]
    expires_at: String,
    /// What went wrong, where it failed.
    #[schema(required)]
    error: Option<String>,
}

/// How far a request has come.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code)] // For the OpenAPI document.
enum DeliveryStatus {
    /// Claimed, and not answered yet.
    InProgress,
    /// Answered.
    Completed,
    /// Failed; it never blocks its key.
    Failed,
}

/// What may become of an event.
fn all_outcomes() -> Vec<Outcome> {
    let own = [Outcome::DUPLICATE, Outcome::IGNORED, Outcome::CONFLICT];
    outcomes::ALL.iter().cloned().chain(own).collect()
}

/// The outcome of an event.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code)] // For the OpenAPI document.
enum EventOutcome {
    /// It made an order.
    OrderCreated,
    /// It was known before.
    Duplicate,
    /// A text that orders nothing.
    NotAnOrder,
    /// Written to a number that no retailer has.
    UnknownRetailer,
    /// An order of something that the retailer does not sell, or that was not understood.
    UnknownProduct,
    /// How far a message of ours has come.
    StatusRecorded,
    /// A message that made an order says something else now: noted on the order.
    EditNoted,
    /// A message that made an order was taken back: noted on the order.
    RevokeNoted,
    /// Stored, and nothing else.
    Ignored,
    /// Its id is known with another content: nothing was done.
    Conflict,
}

impl DeliveryResource {
    fn of(delivery: Delivery, events: &[EventReportSchema]) -> Self {
        let mut outcomes: Vec<String> = Vec::new();
        for event in events {
            if !outcomes.contains(&event.outcome) {
                outcomes.push(event.outcome.clone());
            }
        }
        Self {
            id: delivery.id.0,
            provider: senders::of_scope(&delivery.scope).to_owned(),
            webhook_type: delivery.webhook_type,
            key: Token::masked_in(&delivery.idempotency_key),
            status: delivery.status.as_str(),
            outcomes,
            method: delivery.method,
            path: Token::masked_in(&delivery.path),
            retailer_id: delivery.retailer_id.map(|id| id.0),
            order_id: delivery.order_id.map(|id| id.0),
            response_status: delivery.response_status,
            replay_count: delivery.replay_count,
            source_ip: delivery.source_ip,
            created_at: delivery.created_at.to_string(),
            last_accessed_at: delivery.last_accessed_at.to_string(),
            expires_at: delivery.expires_at.to_string(),
            error: delivery.error_message,
        }
    }

    fn listed(delivery: Delivery) -> Result<Self, StoreError> {
        let events = events(&delivery)?;
        Ok(Self::of(delivery, &events))
    }
}

/// A request with its answer, its events and its order.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryInFull)]
pub struct FullResource {
    #[serde(flatten)]
    delivery: DeliveryResource,
    request: RequestResource,
    /// Null where it was not answered yet, or failed.
    #[schema(required)]
    reply: Option<ReplyResource>,
    /// In the order of the delivery; empty for requests of clients.
    events: Vec<EventReportSchema>,
    /// The order that it made or is about; of several the first.
    #[schema(required)]
    order: Option<OrderResource>,
}

/// What was sent.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryRequest)]
struct RequestResource {
    method: String,
    path: String,
    /// As JSON, with what REDACT_FIELDS names masked: a form is an object, any other text a string. Null where there was none.
    #[schema(required)]
    body: Option<serde_json::Value>,
}

/// What was answered.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryReply)]
struct ReplyResource {
    /// HTTP status.
    #[schema(example = 200)]
    status: i16,
    #[schema(required)]
    content_type: Option<String>,
    /// The other headers that are given again.
    headers: BTreeMap<String, String>,
    encoding: BodyEncoding,
    /// As it was sent. Null where there was none.
    #[schema(required)]
    body: Option<String>,
}

/// How a body is shown.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeliveryEncoding)]
enum BodyEncoding {
    /// As it is.
    Text,
    /// In base64, for it is no text.
    Base64,
}

impl FullResource {
    /// Without the request's body, which is put in as it is stored.
    fn of(received: FoundDelivery) -> Result<Self, StoreError> {
        let delivery = received.delivery;
        let events = events(&delivery)?;
        let delivery = DeliveryResource::of(delivery, &events);
        Ok(Self {
            request: RequestResource {
                method: delivery.method.clone(),
                path: delivery.path.clone(),
                body: None,
            },
            reply: received.reply.map(ReplyResource::of),
            events,
            order: received.order.map(OrderResource::of).transpose()?,
            delivery,
        })
    }
}

impl ReplyResource {
    fn of(reply: StoredReply) -> Self {
        let (encoding, body) = match std::str::from_utf8(&reply.body) {
            Ok(text) => (BodyEncoding::Text, text.to_owned()),
            Err(_no_text) => (BodyEncoding::Base64, BASE64.encode(&reply.body)),
        };
        Self {
            status: reply.status,
            content_type: reply.content_type,
            headers: reply.headers,
            encoding,
            body: (!body.is_empty()).then_some(body),
        }
    }
}

fn events(delivery: &Delivery) -> Result<Vec<EventReportSchema>, StoreError> {
    let events = delivery.events.as_ref().map(read).transpose()?;
    let mut events: Vec<EventReportSchema> = events.unwrap_or_default();
    // The order that the record names has its number alone here.
    let named = events
        .iter_mut()
        .filter(|event| event.order_number.is_some());
    for event in named.filter(|event| event.order_id.is_none()) {
        event.order_id = delivery.order_id.map(|id| id.0);
    }
    Ok(events)
}

fn read<T: serde::de::DeserializeOwned>(json: &Json) -> Result<T, StoreError> {
    serde_json::from_str(json.as_str()).map_err(StoreError::unreadable)
}

/// Which deliveries.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // For the OpenAPI document; `list` reads each by itself, to tell all that is wrong.
pub struct ListParameters {
    /// From there.
    #[param(inline)]
    provider: Option<DeliveryProvider>,
    /// In this status.
    #[param(inline)]
    status: Option<DeliveryStatus>,
    /// Of this retailer.
    retailer_id: Option<uuid::Uuid>,
    /// Under this idempotency key, whoever sent it.
    #[param(pattern = "^[A-Za-z0-9._:-]{1,128}$")]
    key: Option<String>,
    /// With an event of which this became.
    #[param(inline)]
    outcome: Option<EventOutcome>,
    /// Created then or later.
    #[param(format = DateTime)]
    created_from: Option<String>,
    /// Created before then.
    #[param(format = DateTime)]
    created_before: Option<String>,
    /// How many on a page.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^0[0-3][0-9a-f]{46}$")]
    cursor: Option<String>,
}

/// List deliveries
///
/// Requests under their keys, of providers and of clients, the newest first. At most some 10,000 are looked at for a page:
/// it may hold fewer than asked for, or none, and still have a `next_cursor` to go on with.
#[utoipa::path(
    get, path = "/api/v1/deliveries", operation_id = "listDeliveries", tag = "deliveries",
    params(ListParameters),
    responses((status = 200, description = "A page of deliveries", body = Page<'static, DeliveryResource>)),
    security(("token" = ["deliveries:read"])),
)]
pub async fn list(call: Call) -> Result<HttpResponse, Problem> {
    let mut parameters = Parameters::of(call.request.query_string());
    let part = PageRequest::take(&mut parameters);
    let filter = DeliveryFilter {
        sender: parameters.take("provider", senders::parse),
        status: parameters.take("status", |text| parameters::word(text, RecordStatus::ALL)),
        retailer_id: parameters.take("retailer_id", parameters::uuid),
        key: parameters.take("key", key),
        outcome: parameters.take("outcome", |text| parameters::word(text, &all_outcomes())),
        created_from: parameters.take("created_from", parameters::instant),
        created_before: parameters.take("created_before", parameters::instant),
        ..DeliveryFilter::default()
    };
    parameters.finish()?;
    let looking = call.look_up(move |conn, at| {
        let found = received::list(conn, &filter, at.tenants, part.after, part.limit)?;
        let data = found.deliveries.into_iter().map(DeliveryResource::listed);
        Ok(Page {
            success: true,
            message: "Deliveries",
            data: data.collect::<Result<_, StoreError>>()?,
            next_cursor: found.looked_to.map(|position| position.write()),
        })
    });
    Ok(HttpResponse::Ok().json(looking.await?))
}

fn key(text: &str) -> Result<String, String> {
    let key: Result<IdempotencyKey, _> = text.parse();
    key.map(|key| key.to_string())
        .map_err(|_no_key| "must be 1 to 128 characters of A-Z a-z 0-9 - _ . :".to_owned())
}

/// Show a delivery
///
/// With the request as it is kept, the answer as it was sent, the outcome of each event, and the order.
#[utoipa::path(
    get, path = "/api/v1/deliveries/{id}", operation_id = "getDelivery", tag = "deliveries",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The delivery", body = Envelope<'static, FullResource>)),
    security(("token" = ["deliveries:read"])),
)]
pub async fn show(call: Call) -> Result<HttpResponse, Problem> {
    let id = call.id("id")?;
    let looking = call.look_up(move |conn, at| {
        let mut received = received::find(conn, id, at.tenants)?;
        let body = received.body.take();
        let body = body.map_or(Ok(Value::Null), |json| json.as_str().parse());
        let body = body.map_err(StoreError::unreadable)?;
        Ok((FullResource::of(received)?, body))
    });
    let (data, body) = looking.await?;
    let answer = Envelope {
        success: true,
        message: "Delivery",
        data,
    };
    with_document(&answer, &["data", "request", "body"], body)
}
