//! Reads the body of a request by the very schema that the OpenAPI document shows, and tells all that is wrong with it.

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{collections::HashMap, sync::LazyLock};

use crate::{commerce::error::FieldError, web::openapi};

/// A body that a request may have.
pub trait RequestBody: DeserializeOwned + Send + 'static {
    /// The names of its schemas in the OpenAPI document.
    const SCHEMAS: &'static [&'static str];

    /// The schema that a document is to be held against, of those that it may have.
    fn choose(_document: &Value) -> &'static str {
        Self::SCHEMAS[0]
    }
}

/// The schemas of all bodies, and the document in which their parts refer to each other.
struct Schemas {
    document: Value,
    validators: HashMap<String, Validator>,
}

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::new);

impl Schemas {
    fn new() -> Self {
        let document = json!(openapi::document());
        let names = openapi::BODIES.iter().map(|name| (*name).to_owned());
        let validators = names.map(|name| (name.clone(), validator(&document, &name)));
        Self {
            validators: validators.collect(),
            document,
        }
    }

    /// What a value must be by the schema of a keyword, where the schema says it: as `texts` do.
    fn form(&self, keyword: &str) -> Option<&str> {
        let (schema, _) = keyword.rsplit_once('/')?;
        let description = self
            .document
            .pointer(schema)?
            .get("description")?
            .as_str()?;
        description
            .starts_with(char::is_lowercase)
            .then_some(description)
    }
}

fn validator(document: &Value, name: &str) -> Validator {
    let root = json!({
        "$ref": format!("#/components/schemas/{name}"),
        "components": document["components"],
    });
    jsonschema::options()
        .should_validate_formats(true)
        .build(&root)
        .unwrap_or_else(|error| panic!("the schema {name} of this program is none: {error}"))
}

/// Reads a document.
///
/// # Errors
/// All that is wrong with it.
pub fn read<T: RequestBody>(document: Value) -> Result<T, Vec<FieldError>> {
    let errors = errors(T::choose(&document), &document);
    if !errors.is_empty() {
        return Err(errors);
    }
    // What the schema lets through can be read; should it not be, that is told and nothing breaks.
    serde_json::from_value(document)
        .map_err(|error| vec![FieldError::new("", "invalid", error.to_string())])
}

fn errors(schema: &str, document: &Value) -> Vec<FieldError> {
    let validator = &SCHEMAS.validators[schema];
    let mut errors: Vec<FieldError> = Vec::new();
    for error in validator
        .iter_errors(document)
        .flat_map(|e| field_errors(&e))
    {
        // Two keywords may find fault with one thing, such as a text that is too long and of the wrong form.
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
    errors
}

fn field_errors(error: &ValidationError<'_>) -> Vec<FieldError> {
    let at = error.instance_path().as_str().to_owned();
    let one = |code, message: String| vec![FieldError::new(at.clone(), code, message)];
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| FieldError::new(below(&at, name), "unknown_member", "is not known here"))
            .collect(),
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![FieldError::new(below(&at, name), "missing", "is required")]
        }
        ValidationErrorKind::OneOfNotValid { context } => match nearest(error, context) {
            Some(branch) => branch.iter().flat_map(field_errors).collect(),
            None => one("wrong_type", "is of another type".to_owned()),
        },
        ValidationErrorKind::Type { .. } => one("wrong_type", without_value(error)),
        ValidationErrorKind::Pattern { .. }
        | ValidationErrorKind::Format { .. }
        | ValidationErrorKind::MinLength { .. }
        | ValidationErrorKind::MaxLength { .. }
        | ValidationErrorKind::Enum { .. } => {
            let described = SCHEMAS.form(error.schema_path().as_str());
            let described = described.map(|form| format!("must be {form}"));
            one("invalid", described.unwrap_or_else(|| without_value(error)))
        }
        _ => one("invalid", without_value(error)),
    }
}

/// Of the alternatives that a value failed, the errors of the one whose type it has.
fn nearest<'a>(
    error: &ValidationError<'_>,
    alternatives: &'a [Vec<ValidationError<'static>>],
) -> Option<&'a Vec<ValidationError<'static>>> {
    let at = error.instance_path();
    let is_other_type = |error: &ValidationError<'_>| {
        matches!(error.kind(), ValidationErrorKind::Type { .. }) && error.instance_path() == at
    };
    alternatives
        .iter()
        .find(|errors| !errors.iter().any(is_other_type))
}

/// The error without the value, which may be long or private.
fn without_value(error: &ValidationError<'_>) -> String {
    let message = error.masked().to_string();
    message.trim_start_matches("value ").to_owned()
}

/// The pointer of a member (RFC 6901).
fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}
