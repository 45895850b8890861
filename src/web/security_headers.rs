//! What every answer tells a browser: to load nothing, to be put into no frame, to guess no type, to name no referrer.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::header::{
        CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
    middleware::Next,
};

/// For whatever is no page.
const NOTHING: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

/// For Swagger UI: its own scripts and no others; it writes style attributes, and its pictures are within its styles.
const PAGES: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

const ALWAYS: [(HeaderName, HeaderValue); 3] = [
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Adds the headers to every answer, those to requests that were lost in an error too.
///
/// # Errors
/// Those of what is inside, with the headers.
pub async fn add_security_headers(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let policy = policy(request.path());
    match next.call(request).await {
        Ok(mut response) => {
            add(response.headers_mut(), policy);
            Ok(response)
        }
        Err(error) => {
            let mut response = error.error_response();
            add(response.headers_mut(), policy);
            Err(InternalError::from_response(error, response).into())
        }
    }
}

fn policy(path: &str) -> HeaderValue {
    match path.starts_with("/docs/") {
        true => PAGES,
        false => NOTHING,
    }
}

fn add(headers: &mut HeaderMap, policy: HeaderValue) {
    // A page of its own may bring a policy of its own.
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in ALWAYS {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::problem::Problem;
    use actix_web::{App, HttpResponse, middleware::from_fn, test, web};

    async fn lose(
        _request: ServiceRequest,
        _next: Next<impl MessageBody>,
    ) -> Result<ServiceResponse, Error> {
        Err(Problem::internal(std::io::Error::other("the handler died")).into())
    }

    #[actix_web::test]
    async fn an_error_that_took_its_request_along_has_them_too() {
        let app = App::new()
            .route("/", web::get().to(HttpResponse::Ok))
            .wrap(from_fn(lose))
            .wrap(from_fn(add_security_headers));
        let app = test::init_service(app).await;
        let request = test::TestRequest::get().uri("/").to_request();
        let error = test::try_call_service(&app, request).await.err();
        let response = error.expect("an error").error_response();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers().get(X_FRAME_OPTIONS).unwrap(), "DENY");
        let policy = response.headers().get(CONTENT_SECURITY_POLICY).unwrap();
        assert!(policy.to_str().unwrap().starts_with("default-src 'none'"));
    }
}
