//! How requests are told of.

use super::*;
use actix_web::{App, HttpResponse, middleware::from_fn, test, web};
use std::io;

async fn lose(
    _request: ServiceRequest,
    _next: Next<impl MessageBody>,
) -> Result<ServiceResponse, Error> {
    Err(Problem::internal(io::Error::other("the handler died")).into())
}

#[actix_web::test]
async fn an_error_that_took_its_request_along_has_an_id_too() {
    let app = App::new()
        .route("/", web::post().to(HttpResponse::Ok))
        .wrap(from_fn(lose))
        .wrap(from_fn(log_request));
    let app = test::init_service(app).await;
    let request = test::TestRequest::post().uri("/").to_request();
    let answer = test::try_call_service(&app, request).await;
    let error = answer.err().expect("an error");
    let response = error.error_response();
    assert_eq!(response.status(), 500);
    assert!(response.headers().contains_key(REQUEST_ID));
    let content_type = response.headers().get("Content-Type").unwrap();
    assert_eq!(content_type, "application/problem+json");
}
