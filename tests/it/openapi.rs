//! The OpenAPI document: what is served is what is printed, every error is in it, and the pages that show it need
//! nothing from elsewhere.

use hookonce::web::problem::ErrorCode;
use serde_json::Value;
use std::collections::BTreeSet;

use crate::support::{app::App, database::Engine, process::Program};

async fn printed() -> String {
    Program::bare().must(&["openapi"]).await
}

/// Other programs are generated from it: look at each change twice.
#[actix_web::test]
async fn the_published_document_is_the_current_one() {
    let published = include_str!("../../docs/openapi.json");
    let printed = printed().await;
    let lines = published.lines().zip(printed.lines());
    for (number, (published, printed)) in (1..).zip(lines) {
        assert_eq!(
            published, printed,
            "line {number}: review what `hookonce openapi > docs/openapi.json` changes"
        );
    }
    assert_eq!(published.lines().count(), printed.lines().count());
}

#[actix_web::test]
async fn what_is_served_is_what_is_printed() {
    let app = App::new(Engine::Sqlite).await;
    let printed: Value = serde_json::from_str(&printed().await).expect("JSON");
    assert_eq!(app.get("/openapi.json").await.json(), printed);
    assert!(printed["openapi"].as_str().unwrap().starts_with("3.1"));
}

#[actix_web::test]
async fn every_error_code_is_in_the_document() {
    let document: Value = serde_json::from_str(&printed().await).expect("JSON");
    let mut documented = BTreeSet::new();
    for operation in operations(&document) {
        for response in operation["responses"].as_object().unwrap().values() {
            let schema = &response["content"]["application/problem+json"]["schema"];
            let codes = &schema["allOf"][1]["properties"]["error_code"]["enum"];
            for code in codes.as_array().into_iter().flatten() {
                documented.insert(code.as_str().unwrap());
            }
        }
    }
    for code in ErrorCode::ALL {
        // Belongs to the methods that a path does not have.
        let is_nowhere = code == ErrorCode::MethodNotAllowed;
        assert_ne!(documented.contains(code.name()), is_nowhere, "{code:?}");
    }
}

#[actix_web::test]
async fn every_route_that_asks_for_a_token_says_which_scope_it_needs() {
    let document: Value = serde_json::from_str(&printed().await).expect("JSON");
    for (path, item) in document["paths"].as_object().unwrap() {
        let is_api = path.starts_with("/api/v1/") && !path.starts_with("/api/v1/whatsapp/");
        for operation in item.as_object().unwrap().values() {
            let scopes = &operation["security"][0]["token"];
            assert_eq!(
                scopes.as_array().is_some_and(|s| s.len() == 1),
                is_api,
                "{path}"
            );
        }
    }
}

fn operations(document: &Value) -> impl Iterator<Item = &Value> {
    let paths = document["paths"].as_object().unwrap().values();
    paths.flat_map(|item| item.as_object().unwrap().values())
}

#[actix_web::test]
async fn the_pages_that_show_it_bring_all_that_they_need() {
    let app = App::new(Engine::Sqlite).await;
    let page = app.get("/docs").await;
    assert_eq!(page.status, 200, "followed to /docs/");
    let sources = page.body.split(['"', '\'']).filter(|text| {
        [".js", ".css", ".png"]
            .iter()
            .any(|end| text.ends_with(end))
    });
    let sources: Vec<_> = sources.collect();
    assert!(sources.len() >= 4, "{sources:?}");
    for source in sources {
        assert!(!source.contains("//"), "{source} is from elsewhere");
        let path = format!("/docs/{}", source.trim_start_matches("./"));
        assert_eq!(app.get_bytes(&path).await.0, 200, "{path}");
    }
    let settings = app.get("/docs/swagger-initializer.js").await.body;
    assert!(settings.contains(r#""url": "/openapi.json""#), "{settings}");
    assert!(settings.contains(r#""validatorUrl": "none""#), "{settings}");
}
