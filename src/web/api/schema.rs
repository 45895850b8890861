//! Reads the body of a request by the very schema that the OpenAPI document shows, and tells what is wrong with it: all of
//! it, or the first of very much.

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use utoipa::openapi::OpenApi;

use super::instance::{ErrorLimit, Instance, View, is_belated};
use crate::{
    json::{Value, escaped},
    shop::error::FieldError,
    web::problem::MOST_ERRORS,
};

/// The most errors that the validator finds: alternatives and keywords each have their own about one thing, so that there
/// are several of them for one that is told.
const MOST_FOUND: usize = 4 * MOST_ERRORS;

/// Where a document has its schemas.
const REFERENCE: &str = "#/components/schemas/";

/// A schema that is none.
#[derive(Debug, thiserror::Error)]
#[error("the schema {name} is no JSON Schema: {message}")]
pub struct BadSchema {
    name: String,
    message: String,
}

/// A body that a request may have.
pub trait RequestBody: DeserializeOwned + Clone + Send + 'static {
    /// The names of its schemas in the OpenAPI document.
    const SCHEMAS: &'static [&'static str];

    /// The schema to check a document by, of those that its type allows.
    fn choose(_document: &Value) -> &'static str {
        Self::SCHEMAS[0]
    }
}

/// The schemas of a document, ready to hold values against.
pub struct Schemas {
    components: serde_json::Value,
    validators: HashMap<String, Validator<Instance>>,
}

impl Schemas {
    /// The schemas of the bodies of an OpenAPI document's requests. A validator takes much memory: there is one for each of
    /// these, and it knows no more than its schema refers to.
    ///
    /// # Errors
    /// Where one of them is no JSON Schema.
    pub fn of(document: &OpenApi) -> Result<Self, BadSchema> {
        let document = json!(document);
        let all = &document["components"]["schemas"];
        let mut bodies = BTreeSet::new();
        for operation in document["paths"].as_object().into_iter().flatten() {
            let methods = operation.1.as_object().into_iter().flatten();
            methods.for_each(|(_, method)| add_references(&method["requestBody"], &mut bodies));
        }
        let components = with_references(all, bodies);
        let names = components.keys();
        let validator = |name: &String| Ok((name.clone(), validator(all, name)?));
        let validators = names.map(validator).collect::<Result<_, BadSchema>>()?;
        Ok(Self {
            components: json!({"components": {"schemas": components}}),
            validators,
        })
    }

    /// Reads the body of a request, which is this document.
    ///
    /// # Errors
    /// What is wrong with it, and that there is more where not all of it was looked for.
    pub fn read<T: RequestBody>(
        &self,
        document: &Value,
        body: &[u8],
    ) -> Result<T, Vec<FieldError>> {
        let limit = ErrorLimit::new(MOST_FOUND);
        let errors = self.errors(T::choose(document), document, &limit);
        if !errors.is_empty() {
            return Err(errors);
        }
        // What the schema lets through can be read; should it not be, that is told and nothing breaks.
        serde_json::from_slice(body)
            .map_err(|error| vec![FieldError::new("", "invalid", error.to_string())])
    }

    fn errors(&self, schema: &str, document: &Value, limit: &ErrorLimit) -> Vec<FieldError> {
        let Some(validator) = self.validators.get(schema) else {
            // Nothing passes unchecked.
            let message = format!("cannot be checked: there is no schema {schema}");
            return vec![FieldError::new("", "invalid", message)];
        };
        let mut errors: Vec<FieldError> = Vec::new();
        let found = validator.iter_errors(View::new(document, limit));
        let found = found.take_while(|error| !is_belated(error.instance()));
        for error in found.flat_map(|error| self.field_errors(&error)) {
            if errors.last().is_none_or(|last| !says_all(last, &error)) {
                errors.push(error);
            }
            if errors.len() > MOST_ERRORS {
                return errors;
            }
        }
        if limit.has_ended() {
            errors.push(FieldError::new("", "invalid", "has more that is wrong"));
        }
        errors
    }

    /// What a value must be by the schema of a keyword, where the schema says it: as `texts` do.
    fn form(&self, keyword: &str) -> Option<&str> {
        let (schema, _) = keyword.rsplit_once('/')?;
        let description = self.components.pointer(schema)?.get("description")?;
        let description = description.as_str()?;
        description
            .starts_with(char::is_lowercase)
            .then_some(description)
    }

    fn field_errors(&self, error: &ValidationError<'_>) -> Vec<FieldError> {
        let at = error.instance_path().as_str().to_owned();
        let one = |code, message: String| vec![FieldError::new(at.clone(), code, message)];
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
                .iter()
                .map(|name| {
                    FieldError::new(below(&at, name), "unknown_member", "is not known here")
                })
                .collect(),
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                vec![FieldError::new(below(&at, name), "missing", "is required")]
            }
            ValidationErrorKind::OneOfNotValid { context } => match nearest(error, context) {
                Some(branch) => branch
                    .iter()
                    .take_while(|error| !is_belated(error.instance()))
                    .flat_map(|error| self.field_errors(error))
                    .collect(),
                None => one("wrong_type", "is of another type".to_owned()),
            },
            ValidationErrorKind::Type { .. } => one("wrong_type", without_value(error)),
            ValidationErrorKind::Pattern { .. }
            | ValidationErrorKind::Format { .. }
            | ValidationErrorKind::MinLength { .. }
            | ValidationErrorKind::MaxLength { .. }
            | ValidationErrorKind::Enum { .. } => {
                let described = self.form(error.schema_path().as_str());
                let described = described.map(|form| format!("must be {form}"));
                one("invalid", described.unwrap_or_else(|| without_value(error)))
            }
            _ => one("invalid", without_value(error)),
        }
    }
}

/// Whether an error adds nothing to the one before it: two keywords may find fault with one thing, such as a text that is
/// too long and of the wrong form; and what is of the wrong type cannot be right otherwise.
fn says_all(last: &FieldError, error: &FieldError) -> bool {
    last == error || (last.field == error.field && last.code == "wrong_type")
}

fn validator(all: &serde_json::Value, name: &str) -> Result<Validator<Instance>, BadSchema> {
    let schemas = with_references(all, BTreeSet::from([name.to_owned()]));
    let schema = json!({
        "$ref": format!("{REFERENCE}{name}"),
        "components": {"schemas": schemas},
    });
    let options = jsonschema::options_for::<Instance>().should_validate_formats(true);
    options.build(&schema).map_err(|error| BadSchema {
        name: name.to_owned(),
        message: error.to_string(),
    })
}

/// These schemas, and all that they refer to.
fn with_references(
    all: &serde_json::Value,
    mut names: BTreeSet<String>,
) -> serde_json::Map<String, serde_json::Value> {
    let mut found = serde_json::Map::new();
    while let Some(name) = names.pop_first() {
        if let Some(schema) = all.get(&name)
            && !found.contains_key(&name)
        {
            add_references(schema, &mut names);
            found.insert(name, schema.clone());
        }
    }
    found
}

/// Adds the names of the schemas that a part of a document refers to.
fn add_references(part: &serde_json::Value, names: &mut BTreeSet<String>) {
    match part {
        serde_json::Value::Object(members) => {
            let reference = members.get("$ref").and_then(serde_json::Value::as_str);
            names.extend(reference.and_then(|it| Some(it.strip_prefix(REFERENCE)?.to_owned())));
            members
                .values()
                .for_each(|member| add_references(member, names));
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| add_references(item, names))
        }
        _ => {}
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

/// The pointer of a member.
fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", escaped(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::openapi;

    fn errors(items: &[String], limit: &ErrorLimit) -> Vec<FieldError> {
        let body = format!(
            r#"{{"customer":{{"name":"Ana"}},"items":[{}]}}"#,
            items.join(",")
        );
        let schemas = Schemas::of(&openapi::document()).unwrap();
        let document = Value::parse(body.as_bytes()).unwrap();
        schemas.errors("NewOrder", &document, limit)
    }

    #[test]
    fn of_very_much_that_is_wrong_the_first_is_told_and_the_rest_is_not_looked_for() {
        // As many values as there may be, each of them wrong.
        let members: Vec<_> = (0..18).map(|n| format!(r#""m{n}":1"#)).collect();
        let kinds = [
            r#"{"sku":7,"quantity":"x"}"#.to_owned(),
            format!("{{{}}}", members.join(",")),
            "7".to_owned(),
            r#"{"sku":"","quantity":-1.5}"#.to_owned(),
            "null".to_owned(),
        ];
        let all: Vec<String> = kinds.iter().cycle().take(200).cloned().collect();
        let few = errors(&all[..7], &ErrorLimit::new(usize::MAX));
        assert!((20..100).contains(&few.len()), "{}", few.len());
        let unbounded = ErrorLimit::new(usize::MAX);
        let many = errors(&all, &unbounded);
        assert_eq!(many[..few.len()], few);
        assert_eq!(many.len(), MOST_ERRORS + 1);
        assert!(unbounded.found() > 400, "{}", unbounded.found());

        let limit = ErrorLimit::new(150);
        let first = errors(&all, &limit);
        assert_eq!(first, many);
        assert!((150..160).contains(&limit.found()), "{}", limit.found());
    }

    #[test]
    fn what_was_not_shown_is_not_told_as_missing() {
        let all = vec![r#"{"sku":7,"quantity":1}"#.to_owned(); 200];
        for most in 1..20 {
            let limit = ErrorLimit::new(most);
            let mut told = errors(&all, &limit);
            let last = told.pop().unwrap();
            assert_eq!((&*last.field, last.code), ("", "invalid"));
            assert_eq!(told.len(), most);
            for (n, error) in told.iter().enumerate() {
                assert_eq!(error.field, format!("/items/{n}/sku"), "{error}");
            }
        }
        let right = vec![r#"{"sku":"COLA","quantity":1}"#.to_owned(); 200];
        assert_eq!(errors(&right, &ErrorLimit::new(1)), []);
    }
}
