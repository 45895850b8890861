//! Payments and refunds.

use actix_web::{HttpResponse, web::Payload};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    call::Call,
    envelope::Envelope,
    kind::Kind,
    money::decimal,
    schema::RequestBody,
    texts::{AmountText, CurrencyCode, Text},
    work::Created,
};
use crate::{
    shop::{
        amount::Amount,
        payments::{self, NewPayment, NewRefund},
    },
    store::{
        StoreError,
        payments::{Payment, PaymentMethod, Refund},
        types::Uuid,
    },
    web::problem::Problem,
};

/// A payment to take.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPayment)]
pub struct PaymentBody {
    /// What is paid.
    order_id: uuid::Uuid,
    /// More than zero, and never more than is owed.
    amount: AmountText,
    /// The order's currency.
    currency: CurrencyCode,
    /// How it is paid.
    method: Method,
}

impl RequestBody for PaymentBody {
    const SCHEMAS: &'static [&'static str] = &["NewPayment"];
}

/// How it is paid.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentMethod)]
enum Method {
    /// In cash, on delivery.
    Cod,
    /// By card.
    Card,
    /// By bank transfer.
    Transfer,
}

impl From<PaymentBody> for NewPayment {
    fn from(body: PaymentBody) -> Self {
        Self {
            order_id: Uuid(body.order_id),
            amount: Amount {
                amount: body.amount.0,
                currency: body.currency.0,
            },
            method: match body.method {
                Method::Cod => PaymentMethod::Cod,
                Method::Card => PaymentMethod::Card,
                Method::Transfer => PaymentMethod::Transfer,
            },
        }
    }
}

/// A payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub struct PaymentResource {
    id: uuid::Uuid,
    order_id: uuid::Uuid,
    retailer_id: uuid::Uuid,
    #[schema(example = "45.00")]
    amount: String,
    #[schema(example = "USD")]
    currency: String,
    method: Method,
    /// How much of it was given back.
    #[schema(example = "0.00")]
    refunded: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl PaymentResource {
    fn of(payment: Payment) -> Result<Self, StoreError> {
        Ok(Self {
            id: payment.id.0,
            order_id: payment.order_id.0,
            retailer_id: payment.retailer_id.0,
            amount: decimal(payment.amount_minor, &payment.currency)?,
            refunded: decimal(payment.refunded_minor, &payment.currency)?,
            currency: payment.currency,
            method: match payment.method {
                PaymentMethod::Cod => Method::Cod,
                PaymentMethod::Card => Method::Card,
                PaymentMethod::Transfer => Method::Transfer,
            },
            created_at: payment.created_at.to_string(),
        })
    }
}

/// Take a payment
///
/// Never more than is owed for the order.
#[utoipa::path(
    post, path = "/api/v1/payments", operation_id = "createPayment", tag = "payments",
    request_body = PaymentBody,
    responses((status = 201, description = "The payment", body = Envelope<'static, PaymentResource>)),
    security(("token" = ["payments:write"])),
)]
pub async fn pay(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    call.create(payload, Kind::Payments, |conn, body: PaymentBody, at| {
        let payment = payments::pay(conn, body.into(), at.tenants, at.now)?;
        Ok(Created {
            location: format!("/api/v1/payments/{}", payment.id),
            message: "Payment taken".to_owned(),
            retailer_id: Some(payment.retailer_id),
            order_id: Some(payment.order_id),
            data: PaymentResource::of(payment)?,
        })
    })
    .await
}

/// Show a payment
#[utoipa::path(
    get, path = "/api/v1/payments/{id}", operation_id = "getPayment", tag = "payments",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The payment", body = Envelope<'static, PaymentResource>)),
    security(("token" = ["payments:read"])),
)]
pub async fn show(call: Call) -> Result<HttpResponse, Problem> {
    let id = call.id("id")?;
    call.read("Payment", move |conn, at| {
        Ok(PaymentResource::of(payments::find(conn, id, at.tenants)?)?)
    })
    .await
}

/// A refund to give.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRefund)]
pub struct RefundBody {
    /// What is given back.
    payment_id: uuid::Uuid,
    /// More than zero, and never more than was paid.
    amount: AmountText,
    /// The payment's currency.
    currency: CurrencyCode,
    /// Why.
    reason: Text,
}

impl RequestBody for RefundBody {
    const SCHEMAS: &'static [&'static str] = &["NewRefund"];
}

impl From<RefundBody> for NewRefund {
    fn from(body: RefundBody) -> Self {
        Self {
            payment_id: Uuid(body.payment_id),
            amount: Amount {
                amount: body.amount.0,
                currency: body.currency.0,
            },
            reason: body.reason.0,
        }
    }
}

/// A refund.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refund)]
pub struct RefundResource {
    id: uuid::Uuid,
    payment_id: uuid::Uuid,
    order_id: uuid::Uuid,
    retailer_id: uuid::Uuid,
    #[schema(example = "45.00")]
    amount: String,
    #[schema(example = "USD")]
    currency: String,
    reason: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl RefundResource {
    fn of(refund: Refund) -> Result<Self, StoreError> {
        Ok(Self {
            id: refund.id.0,
            payment_id: refund.payment_id.0,
            order_id: refund.order_id.0,
            retailer_id: refund.retailer_id.0,
            amount: decimal(refund.amount_minor, &refund.currency)?,
            currency: refund.currency,
            reason: refund.reason,
            created_at: refund.created_at.to_string(),
        })
    }
}

/// Give a refund
///
/// Some or all of a payment, never more than was paid. What was refunded is owed again, unless the order is cancelled.
#[utoipa::path(
    post, path = "/api/v1/refunds", operation_id = "createRefund", tag = "payments",
    request_body = RefundBody,
    responses((status = 201, description = "The refund", body = Envelope<'static, RefundResource>)),
    security(("token" = ["refunds:write"])),
)]
pub async fn refund(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    call.create(payload, Kind::Refunds, |conn, body: RefundBody, at| {
        let refund = payments::refund(conn, body.into(), at.tenants, at.now)?;
        Ok(Created {
            location: format!("/api/v1/refunds/{}", refund.id),
            message: "Refund given".to_owned(),
            retailer_id: Some(refund.retailer_id),
            order_id: Some(refund.order_id),
            data: RefundResource::of(refund)?,
        })
    })
    .await
}

/// Show a refund
#[utoipa::path(
    get, path = "/api/v1/refunds/{id}", operation_id = "getRefund", tag = "payments",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The refund", body = Envelope<'static, RefundResource>)),
    security(("token" = ["refunds:read"])),
)]
pub async fn show_refund(call: Call) -> Result<HttpResponse, Problem> {
    let id = call.id("id")?;
    call.read("Refund", move |conn, at| {
        Ok(RefundResource::of(payments::find_refund(
            conn, id, at.tenants,
        )?)?)
    })
    .await
}
