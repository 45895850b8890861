//! Describes the routes of the providers, by what they say of them.

use utoipa::{
    Modify,
    openapi::{
        self, Content, HttpMethod, ObjectBuilder, Ref, RefOr, Required, Response, ResponseBuilder,
        Schema, SecurityRequirement, Type,
        path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::{RequestBody, RequestBodyBuilder},
        schema::SchemaType,
    },
};

use crate::{
    media_type,
    provider::{
        Provider, REGISTRY,
        handshake::Handshake,
        route::{Answer, AnswerBody, Route},
    },
};

/// Adds the routes of all providers.
pub struct Webhooks;

impl Modify for Webhooks {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let paths = &mut document.paths;
        for &provider in REGISTRY {
            for route in provider.routes() {
                paths.add_path_operation(route.path, vec![HttpMethod::Post], post(provider, route));
            }
            if let Some(handshake) = provider.handshake() {
                let operation = get(handshake);
                paths.add_path_operation(handshake.path, vec![HttpMethod::Get], operation);
            }
        }
    }
}

fn post(provider: &dyn Provider, route: &Route) -> Operation {
    let scopes: [&str; 0] = [];
    let mut operation = operation(route.operation_id, route.summary, route.description)
        .request_body(Some(request_body(route)))
        .security(SecurityRequirement::new(provider.name(), scopes));
    for answer in route.answers {
        operation = operation.response(answer.status.to_string(), response(answer));
    }
    operation.build()
}

fn get(handshake: &Handshake) -> Operation {
    let challenge = Content::new(Some(text()));
    let response = ResponseBuilder::new()
        .description("The challenge")
        .content("text/plain", challenge);
    let mut operation = operation(
        handshake.operation_id,
        handshake.summary,
        handshake.description,
    )
    .response("200", response);
    for (name, about) in handshake.parameters {
        let parameter = ParameterBuilder::new()
            .name(*name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(*about))
            .schema(Some(text()));
        operation = operation.parameter(parameter);
    }
    operation.build()
}

fn operation(id: &str, summary: &str, description: &str) -> OperationBuilder {
    let description = Some(description).filter(|text| !text.is_empty());
    OperationBuilder::new()
        .tag("webhooks")
        .operation_id(Some(id))
        .summary(Some(summary))
        .description(description)
}

fn request_body(route: &Route) -> RequestBody {
    let description = Some(route.body).filter(|text| !text.is_empty());
    let mut body = RequestBodyBuilder::new()
        .description(description)
        .required(Some(Required::True));
    for (media_type, is_object) in route.media_types {
        let content = match is_object {
            true => schema(Type::Object.into()),
            // Anything.
            false => schema(SchemaType::AnyValue),
        };
        body = body.content(*media_type, Content::new(Some(content)));
    }
    body.build()
}

fn response(answer: &Answer) -> Response {
    let response = ResponseBuilder::new().description(answer.description);
    match answer.body {
        AnswerBody::Empty => response,
        AnswerBody::Text(media_type) => response.content(media_type, Content::new(Some(text()))),
        AnswerBody::Report => {
            let report = Content::new(Some(Ref::from_schema_name("Report")));
            response.content(media_type::JSON, report)
        }
    }
    .build()
}

fn text() -> RefOr<Schema> {
    schema(Type::String.into())
}

fn schema(of: SchemaType) -> RefOr<Schema> {
    RefOr::T(ObjectBuilder::new().schema_type(of).into())
}
