//! What every answer tells a browser: to load nothing, to be put into no frame, to guess no type, to name no referrer.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
};

use crate::server::own_answers::NO_PAGE;

/// For Swagger UI: its own scripts and no others; it writes style attributes, and its pictures are within its styles.
const PAGES: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

/// Adds the headers to every answer, those to requests that were lost in an error too.
///
/// # Errors
/// Those of what is inside, with the headers.
pub async fn add_security_headers(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let is_page = request.path().starts_with("/docs/");
    match next.call(request).await {
        Ok(mut response) => {
            add(response.headers_mut(), is_page);
            Ok(response)
        }
        Err(error) => {
            let mut response = error.error_response();
            add(response.headers_mut(), is_page);
            Err(InternalError::from_response(error, response).into())
        }
    }
}

fn add(headers: &mut HeaderMap, is_page: bool) {
    // A page of its own may bring a policy of its own.
    if is_page && !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, PAGES);
    }
    for (name, value) in NO_PAGE {
        let name = HeaderName::from_static(name);
        if name != CONTENT_SECURITY_POLICY || !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::problem::Problem;
    use actix_web::{
        App, HttpResponse, http::header::X_FRAME_OPTIONS, middleware::from_fn, test, web,
    };

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
