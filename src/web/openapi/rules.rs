//! What follows from the shape of an operation: where a key can be sent, and which errors may be answered.

use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::{
    Modify,
    openapi::{
        self, Content, Header, HeaderBuilder, ObjectBuilder, RefOr, Required, ResponseBuilder,
        Type,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::{AllOfBuilder, Ref, Schema},
    },
};

use crate::web::problem::{CONTENT_TYPE_PROBLEM, ErrorCode};

/// Adds the key's header where there is one, and what is said of it in the answer.
pub struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                if let Some(required) = takes_key(path, method) {
                    add_key(operation, required);
                }
            }
        }
    }
}

/// Whether a route takes a key, and must have one.
fn takes_key(path: &str, method: &str) -> Option<Required> {
    let needs = ["orders", "payments", "refunds", "bookings"].map(|name| format!("/api/v1/{name}"));
    match method {
        "get" => None,
        // To clean up twice does no more than to clean up once.
        _ if is_admin(path) => None,
        "post" if needs.iter().any(|needs| needs == path) => Some(Required::True),
        _ => Some(Required::False),
    }
}

fn is_admin(path: &str) -> bool {
    path.starts_with("/api/v1/admin/")
}

fn add_key(operation: &mut Operation, required: Required) {
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[A-Za-z0-9._:-]{1,128}$"));
    let about = "New for each request, the same for each repeat; IDEMPOTENCY_HEADER, usually X-Idempotency-Key, names another header for it";
    let parameter = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some(about))
        .schema(Some(key))
        .build();
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(RefOr::T(parameter));
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else {
            continue;
        };
        let replayed = header(Type::String, "Whether this answer was given before");
        response
            .headers
            .insert("Idempotent-Replayed".to_owned(), replayed);
        if status == "201" {
            let location = header(Type::String, "Where it can be had");
            response.headers.insert("Location".to_owned(), location);
        }
    }
}

fn header(of: Type, about: &str) -> RefOr<Header> {
    let schema = ObjectBuilder::new().schema_type(of);
    let header = HeaderBuilder::new().schema(Some(schema));
    RefOr::T(header.description(Some(about)).build())
}

/// Adds to each operation the errors that it may answer.
pub struct Errors;

impl Modify for Errors {
    fn modify(&self, document: &mut openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            for (_, operation) in operations(item) {
                let codes = errors(path, operation);
                add_errors(operation, &codes);
            }
        }
    }
}

/// The errors that an operation may answer: they follow from where it is and what it takes.
fn errors(path: &str, operation: &Operation) -> BTreeSet<ErrorCode> {
    use ErrorCode::{
        BodyMalformed, BodyTooLarge, ContentTypeUnsupported, Internal, Overloaded, RateLimited,
        RequestProcessing, StoreUnavailable,
    };
    match path {
        "/health/live" => return BTreeSet::new(),
        "/health/ready" => return BTreeSet::from([Internal, StoreUnavailable]),
        _ => {}
    }
    let mut codes = BTreeSet::from([Internal, RateLimited]);
    if operation.request_body.is_some() {
        codes.extend([
            BodyMalformed,
            BodyTooLarge,
            ContentTypeUnsupported,
            Overloaded,
            StoreUnavailable,
        ]);
    }
    codes.extend(key_errors(operation));
    match operation.tags.iter().flatten().next().map(String::as_str) {
        Some("webhooks") => codes.extend(webhook_errors(operation)),
        // Whatever else asks for a token is for clients.
        _ if operation.security.is_some() => codes.extend(api_errors(path, operation)),
        _ => {}
    }
    if is_admin(path) {
        codes.insert(RequestProcessing);
    }
    codes
}

fn key_errors(operation: &Operation) -> Vec<ErrorCode> {
    use ErrorCode::{
        IdempotencyKeyInvalid, IdempotencyKeyMismatch, IdempotencyKeyRequired, RequestProcessing,
    };
    let mut headers = parameters(operation, ParameterIn::Header);
    match headers.next() {
        None => Vec::new(),
        Some(key) => {
            let mut codes = vec![
                IdempotencyKeyInvalid,
                IdempotencyKeyMismatch,
                RequestProcessing,
            ];
            codes.extend((key.required == Required::True).then_some(IdempotencyKeyRequired));
            codes
        }
    }
}

fn webhook_errors(operation: &Operation) -> Vec<ErrorCode> {
    use ErrorCode::{
        ProviderNotConfigured, SignatureInvalid, SignatureMissing, VerifyTokenMismatch,
    };
    match operation.request_body {
        Some(_) => vec![ProviderNotConfigured, SignatureMissing, SignatureInvalid],
        None => vec![ProviderNotConfigured, VerifyTokenMismatch],
    }
}

fn api_errors(path: &str, operation: &Operation) -> Vec<ErrorCode> {
    use ErrorCode::{
        IdempotencyKeyInvalid, NotFound, ScopeMissing, StoreUnavailable, TokenInvalid,
        TokenMissing, ValidationFailed,
    };
    let mut codes = vec![TokenMissing, TokenInvalid, ScopeMissing, StoreUnavailable];
    if path.ends_with("/{key}") {
        codes.push(IdempotencyKeyInvalid);
        return codes;
    }
    // A body may name what does not exist, too.
    let names = parameters(operation, ParameterIn::Path).next().is_some();
    if names || operation.request_body.is_some() {
        codes.extend([NotFound, ValidationFailed]);
    }
    if parameters(operation, ParameterIn::Query).next().is_some() {
        codes.push(ValidationFailed);
    }
    codes
}

fn parameters(operation: &Operation, place: ParameterIn) -> impl Iterator<Item = &Parameter> {
    let all = operation.parameters.iter().flatten();
    all.filter_map(move |parameter| match parameter {
        RefOr::T(parameter) if parameter.parameter_in == place => Some(parameter),
        _ => None,
    })
}

fn add_errors(operation: &mut Operation, codes: &BTreeSet<ErrorCode>) {
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes {
        let status = code.status().as_u16();
        by_status.entry(status).or_default().push(*code);
    }
    for (status, codes) in by_status {
        let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
        let content = Content::new(Some(problem_with(&names)));
        let mut response = ResponseBuilder::new()
            .description(names.join(", "))
            .content(CONTENT_TYPE_PROBLEM, content)
            .build();
        if codes.iter().any(|code| code.has_retry_after()) {
            let after = header(Type::Integer, "Seconds until it is worth coming again");
            response.headers.insert("Retry-After".to_owned(), after);
        }
        let responses = &mut operation.responses.responses;
        responses.insert(status.to_string(), RefOr::T(response));
    }
}

/// A problem with one of these codes.
fn problem_with(names: &[&str]) -> Schema {
    let code = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(names.iter().map(|name| json!(name))));
    AllOfBuilder::new()
        .item(Ref::from_schema_name("Problem"))
        .item(ObjectBuilder::new().property("error_code", code))
        .into()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("post", &mut item.post),
        ("put", &mut item.put),
        ("patch", &mut item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}
