//! Retailers, what they sell, and what is owed to them.

use actix_web::{HttpResponse, web::Payload};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    call::Call,
    envelope::{Envelope, Page},
    kind::Kind,
    money::decimal,
    parameters::{PageRequest, Parameters},
    schema::RequestBody,
    texts::{AmountText, CurrencyCode, Line, Phone},
    work::{Changed, Created},
};
use crate::{
    access::Scope,
    shop::{
        amount::money_error,
        error::ShopError,
        retailers::{self, Balance, NewProduct, NewRetailer},
        tenant_scope::TenantScope,
    },
    store::{Conn, StoreError, products::Product, retailers::Retailer, types::Uuid},
    web::problem::Problem,
};

/// What a retailer is to be.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRetailer)]
pub struct RetailerBody {
    /// What it is called.
    name: Line,
    /// The number that customers write to.
    phone: Phone,
    /// That number's id at Meta.
    phone_number_id: Option<Line>,
    /// The currency of all its prices, which stays as it is at first.
    currency: CurrencyCode,
}

impl RequestBody for RetailerBody {
    const SCHEMAS: &'static [&'static str] = &["NewRetailer"];
}

impl TryFrom<RetailerBody> for NewRetailer {
    type Error = ShopError;

    fn try_from(body: RetailerBody) -> Result<Self, ShopError> {
        let currency = body.currency.0.parse();
        Ok(Self {
            name: body.name.0,
            phone: body.phone.0,
            phone_number_id: body.phone_number_id.map(|id| id.0),
            currency: currency.map_err(|error| money_error("/currency", &error))?,
        })
    }
}

/// A retailer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Retailer)]
pub struct RetailerResource {
    id: uuid::Uuid,
    name: String,
    /// The number that customers write to.
    #[schema(example = "+14155238886")]
    phone: String,
    /// That number's id at Meta.
    #[schema(required)]
    phone_number_id: Option<String>,
    /// ISO 4217 code of all its prices.
    #[schema(example = "USD")]
    currency: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl From<Retailer> for RetailerResource {
    fn from(retailer: Retailer) -> Self {
        Self {
            id: retailer.id.0,
            name: retailer.name,
            phone: retailer.phone,
            phone_number_id: retailer.phone_number_id,
            currency: retailer.currency,
            created_at: retailer.created_at.to_string(),
            updated_at: retailer.updated_at.to_string(),
        }
    }
}

/// Which part of a list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // For the OpenAPI document; `PageRequest` reads them.
pub struct PartParameters {
    /// How many on a page.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
}

/// List retailers
///
/// The newest first; with a token that is bound to a retailer, that one.
#[utoipa::path(
    get, path = "/api/v1/retailers", operation_id = "listRetailers", tag = "catalogue",
    params(PartParameters),
    responses((status = 200, description = "A page of retailers", body = Page<'static, RetailerResource>)),
    security(("token" = ["catalogue:read"])),
)]
pub async fn list(call: Call) -> Result<HttpResponse, Problem> {
    let part = part(&call)?;
    let looking = call
        .look_up(move |conn, at| Ok(retailers::list(conn, at.tenants, part.after, part.fetch())?));
    let mut rows = looking.await?;
    let next_cursor = part.cut(&mut rows, |retailer| retailer.id);
    Ok(HttpResponse::Ok().json(Page::<RetailerResource> {
        success: true,
        message: "Retailers",
        data: rows.into_iter().map(Into::into).collect(),
        next_cursor,
    }))
}

fn part(call: &Call) -> Result<PageRequest, Problem> {
    let mut parameters = Parameters::of(call.request.query_string());
    let part = PageRequest::take(&mut parameters);
    parameters.finish()?;
    Ok(part)
}

/// Add a retailer
///
/// With a token that is not bound to one.
#[utoipa::path(
    post, path = "/api/v1/retailers", operation_id = "createRetailer", tag = "catalogue",
    request_body = RetailerBody,
    responses((status = 201, description = "The retailer", body = Envelope<'static, RetailerResource>)),
    security(("token" = ["catalogue:write"])),
)]
pub async fn add(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    call.needs_unbound(Scope::CatalogueWrite)?;
    call.create(payload, Kind::Retailers, |conn, body: RetailerBody, at| {
        let retailer = retailers::add(conn, body.try_into()?, at.now)?;
        Ok(Created {
            location: format!("/api/v1/retailers/{}", retailer.id),
            message: "Retailer added".to_owned(),
            retailer_id: Some(retailer.id),
            order_id: None,
            data: RetailerResource::from(retailer),
        })
    })
    .await
}

/// Show a retailer
#[utoipa::path(
    get, path = "/api/v1/retailers/{id}", operation_id = "getRetailer", tag = "catalogue",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The retailer", body = Envelope<'static, RetailerResource>)),
    security(("token" = ["catalogue:read"])),
)]
pub async fn show(call: Call) -> Result<HttpResponse, Problem> {
    let id = call.id("id")?;
    call.read("Retailer", move |conn, at| {
        Ok(RetailerResource::from(at.tenants.retailer(conn, id)?))
    })
    .await
}

/// Change a retailer
///
/// All of it but its currency.
#[utoipa::path(
    put, path = "/api/v1/retailers/{id}", operation_id = "changeRetailer", tag = "catalogue",
    params(("id" = uuid::Uuid, Path)),
    request_body = RetailerBody,
    responses((status = 200, description = "The retailer", body = Envelope<'static, RetailerResource>)),
    security(("token" = ["catalogue:write"])),
)]
pub async fn change(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let id = call.id("id")?;
    call.change(
        payload,
        Kind::Retailers,
        "Retailer changed",
        move |conn, body: RetailerBody, at| {
            let new = body.try_into()?;
            let retailer = retailers::change(conn, id, &new, at.tenants, at.now)?;
            Ok(Changed {
                retailer_id: retailer.id,
                order_id: None,
                data: RetailerResource::from(retailer),
            })
        },
    )
    .await
}

/// What is owed to a retailer, and how it came about: owed = ordered - cancelled - paid + refunded.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Balance)]
pub struct BalanceResource {
    retailer_id: uuid::Uuid,
    /// ISO 4217 code of all these.
    #[schema(example = "USD")]
    currency: String,
    /// The totals of all orders.
    #[schema(example = "120.00")]
    ordered: String,
    /// The totals of those that were cancelled.
    #[schema(example = "20.00")]
    cancelled: String,
    /// All payments.
    #[schema(example = "70.00")]
    paid: String,
    /// All refunds.
    #[schema(example = "0.00")]
    refunded: String,
    /// What is owed: the sum of the ledger.
    #[schema(example = "30.00")]
    owed: String,
}

impl BalanceResource {
    fn of(retailer: Uuid, balance: &Balance) -> Self {
        let show = |minor: i128| balance.currency.decimal(minor);
        Self {
            retailer_id: retailer.0,
            currency: balance.currency.code().to_owned(),
            ordered: show(balance.ordered),
            cancelled: show(balance.cancelled),
            paid: show(balance.paid),
            refunded: show(balance.refunded),
            owed: show(balance.owed),
        }
    }
}

/// Show the balance of a retailer
///
/// From its ledger.
#[utoipa::path(
    get, path = "/api/v1/retailers/{id}/balance", operation_id = "getBalance", tag = "catalogue",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The balance", body = Envelope<'static, BalanceResource>)),
    security(("token" = ["ledger:read"])),
)]
pub async fn balance(call: Call) -> Result<HttpResponse, Problem> {
    let id = call.id("id")?;
    call.read("Balance", move |conn, at| {
        Ok(BalanceResource::of(
            id,
            &retailers::balance(conn, id, at.tenants)?,
        ))
    })
    .await
}

/// What a product is to be.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProduct)]
pub struct ProductBody {
    /// A code, unique for the retailer.
    sku: Line,
    /// What it is called.
    name: Line,
    /// What else people call it.
    #[serde(default)]
    #[schema(max_items = 50)]
    aliases: Vec<Line>,
    /// The price of one.
    price: AmountText,
    /// The retailer's currency, where it is given.
    currency: Option<CurrencyCode>,
}

impl RequestBody for ProductBody {
    const SCHEMAS: &'static [&'static str] = &["NewProduct"];
}

impl From<ProductBody> for NewProduct {
    fn from(body: ProductBody) -> Self {
        Self {
            sku: body.sku.0,
            name: body.name.0,
            aliases: body.aliases.into_iter().map(|alias| alias.0).collect(),
            price: body.price.0,
            currency: body.currency.map(|code| code.0),
        }
    }
}

/// A product.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Product)]
pub struct ProductResource {
    id: uuid::Uuid,
    retailer_id: uuid::Uuid,
    #[schema(example = "PIZZA-M")]
    sku: String,
    name: String,
    aliases: Vec<String>,
    #[schema(example = "8.50")]
    price: String,
    #[schema(example = "USD")]
    currency: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl ProductResource {
    fn of(product: Product, currency: &str) -> Result<Self, StoreError> {
        let aliases = serde_json::from_str(product.aliases.as_str());
        Ok(Self {
            id: product.id.0,
            retailer_id: product.retailer_id.0,
            sku: product.sku,
            name: product.name,
            aliases: aliases.map_err(StoreError::unreadable)?,
            price: decimal(product.price_minor, currency)?,
            currency: currency.to_owned(),
            created_at: product.created_at.to_string(),
            updated_at: product.updated_at.to_string(),
        })
    }

    /// With the currency of its retailer.
    fn with_currency(
        conn: &mut Conn<'_>,
        product: Product,
        tenants: TenantScope,
    ) -> Result<Self, ShopError> {
        let retailer = tenants.retailer(conn, product.retailer_id)?;
        Ok(Self::of(product, &retailer.currency)?)
    }
}

/// List a retailer's products
///
/// The newest first.
#[utoipa::path(
    get, path = "/api/v1/retailers/{id}/products", operation_id = "listProducts", tag = "catalogue",
    params(("id" = uuid::Uuid, Path), PartParameters),
    responses((status = 200, description = "A page of products", body = Page<'static, ProductResource>)),
    security(("token" = ["catalogue:read"])),
)]
pub async fn list_products(call: Call) -> Result<HttpResponse, Problem> {
    let (id, part) = (call.id("id")?, part(&call)?);
    let looking = call.look_up(move |conn, at| {
        let retailer = at.tenants.retailer(conn, id)?;
        let rows = retailers::list_products(conn, id, at.tenants, part.after, part.fetch())?;
        Ok((rows, retailer.currency))
    });
    let (mut rows, currency) = looking.await?;
    let next_cursor = part.cut(&mut rows, |product| product.id);
    let show = |product| ProductResource::of(product, &currency);
    let data: Result<Vec<_>, _> = rows.into_iter().map(show).collect();
    Ok(HttpResponse::Ok().json(Page {
        success: true,
        message: "Products",
        data: data?,
        next_cursor,
    }))
}

/// Add a product to a retailer's catalogue
#[utoipa::path(
    post, path = "/api/v1/retailers/{id}/products", operation_id = "createProduct", tag = "catalogue",
    params(("id" = uuid::Uuid, Path)),
    request_body = ProductBody,
    responses((status = 201, description = "The product", body = Envelope<'static, ProductResource>)),
    security(("token" = ["catalogue:write"])),
)]
pub async fn add_product(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let id = call.id("id")?;
    call.create(
        payload,
        Kind::Products,
        move |conn, body: ProductBody, at| {
            let product = retailers::add_product(conn, id, &body.into(), at.tenants, at.now)?;
            Ok(Created {
                location: format!("/api/v1/retailers/{id}/products/{}", product.id),
                message: "Product added".to_owned(),
                retailer_id: Some(id),
                order_id: None,
                data: ProductResource::with_currency(conn, product, at.tenants)?,
            })
        },
    )
    .await
}

/// Show a product
#[utoipa::path(
    get, path = "/api/v1/retailers/{id}/products/{product_id}", operation_id = "getProduct", tag = "catalogue",
    params(("id" = uuid::Uuid, Path), ("product_id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The product", body = Envelope<'static, ProductResource>)),
    security(("token" = ["catalogue:read"])),
)]
pub async fn show_product(call: Call) -> Result<HttpResponse, Problem> {
    let (id, product) = (call.id("id")?, call.id("product_id")?);
    call.read("Product", move |conn, at| {
        let product = retailers::find_product(conn, id, product, at.tenants)?;
        ProductResource::with_currency(conn, product, at.tenants)
    })
    .await
}

/// Change a product
///
/// All of it. Orders keep the name and the price that they were made with.
#[utoipa::path(
    put, path = "/api/v1/retailers/{id}/products/{product_id}", operation_id = "changeProduct", tag = "catalogue",
    params(("id" = uuid::Uuid, Path), ("product_id" = uuid::Uuid, Path)),
    request_body = ProductBody,
    responses((status = 200, description = "The product", body = Envelope<'static, ProductResource>)),
    security(("token" = ["catalogue:write"])),
)]
pub async fn change_product(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let (id, product) = (call.id("id")?, call.id("product_id")?);
    call.change(
        payload,
        Kind::Products,
        "Product changed",
        move |conn, body: ProductBody, at| {
            let new = body.into();
            let product = retailers::change_product(conn, id, product, &new, at.tenants, at.now)?;
            Ok(Changed {
                retailer_id: product.retailer_id,
                order_id: None,
                data: ProductResource::with_currency(conn, product, at.tenants)?,
            })
        },
    )
    .await
}
