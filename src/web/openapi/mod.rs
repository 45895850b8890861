//! The OpenAPI document, made from the code: routes and bodies from where they are handled, errors from the one table.

mod rules;
mod webhooks;

use actix_web::{HttpResponse, http::header::ContentType, web::Bytes};
use serde_json::json;
use std::sync::LazyLock;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        self,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use self::{
    rules::{Errors, Keys},
    webhooks::Webhooks,
};
use super::{
    api::{admin, bookings, deliveries, orders, payments, retailers, stats},
    health, metrics,
    problem::ErrorCode,
    report::ReportSchema,
};

use crate::provider::{REGISTRY, Signing};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "hookonce",
        description = "Receives webhooks and acts on each exactly once; the same holds for the API behind it.\n\n\
            Send `Idempotency-Key`, new for each request and the same for each repeat: a repeat gets the first answer, \
            byte for byte, with `Idempotent-Replayed: true`. Every error is `application/problem+json` (RFC 9457)."
    ),
    paths(
        orders::create, orders::list, orders::show, orders::change, orders::key_status::show,
        payments::pay, payments::show, payments::refund, payments::show_refund,
        bookings::book, bookings::show,
        retailers::list, retailers::add, retailers::show, retailers::change, retailers::balance,
        retailers::list_products, retailers::add_product, retailers::show_product, retailers::change_product,
        deliveries::list, deliveries::show,
        stats::show, admin::clean_up,
        health::configured, health::live, health::ready, metrics::show, serve,
    ),
    components(schemas(ProblemSchema, FieldErrorSchema, ReportSchema, orders::bodies::ItemsBody, orders::bodies::WorkBody)),
    modifiers(&Security, &Webhooks, &Keys, &Errors, &Codes),
    tags(
        (name = "orders"), (name = "payments"), (name = "bookings"), (name = "catalogue"),
        (name = "deliveries"), (name = "webhooks"), (name = "operations"),
    ),
)]
struct ApiDoc;

/// The document.
pub fn document() -> openapi::OpenApi {
    ApiDoc::openapi()
}

/// Show this document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "getOpenApi", tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub async fn serve() -> HttpResponse {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| json!(document()).to_string().into());
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(TEXT.clone())
}

/// An error (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[allow(dead_code)] // Shows what `problem` writes.
struct ProblemSchema {
    /// Always `about:blank`.
    r#type: String,
    /// What the error code means.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request.
    detail: String,
    /// Always false.
    success: bool,
    /// What went wrong, for programs.
    error_code: String,
    /// The same as `detail`.
    message: String,
    /// Each part of the request that is wrong.
    errors: Option<Vec<FieldErrorSchema>>,
}

/// One part of a request that is wrong.
#[derive(ToSchema)]
#[schema(as = FieldError)]
#[allow(dead_code)] // Shows what `problem` writes.
struct FieldErrorSchema {
    /// The JSON Pointer of a member of the body, or the name of a parameter.
    #[schema(example = "/items/0/sku")]
    field: String,
    /// What is wrong, for programs.
    #[schema(example = "unknown_product")]
    code: String,
    /// What is wrong, for people.
    message: String,
}

/// Lists what the error codes mean.
struct Codes;

impl Modify for Codes {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let row = |code: ErrorCode| {
            let status = code.status().as_u16();
            format!("\n| `{}` | {status} | {} |", code.name(), code.title())
        };
        let rows: String = ErrorCode::ALL.into_iter().map(row).collect();
        let description = document.info.description.get_or_insert_default();
        description.push_str("\n\n| error_code | status | |\n| --- | --- | --- |");
        description.push_str(&rows);
    }
}

/// Says how requests show that they are genuine.
struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        for provider in REGISTRY {
            let Signing { header, about, .. } = *provider.signing();
            let header = ApiKey::Header(ApiKeyValue::with_description(header, about));
            components.add_security_scheme(provider.name(), SecurityScheme::ApiKey(header));
        }
    }
}
