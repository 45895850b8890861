//! Pages that show the OpenAPI document and, where asked for, try it, with all that they need.

use actix_web::{
    HttpResponse,
    http::header::{CONTENT_ENCODING, ContentEncoding},
    web::{Bytes, Data, Path},
};
use std::{borrow::Cow, io};
use utoipa_swagger_ui::Config;

use super::{not_found_here, problem::Problem};

/// What the pages show, and whether requests may be tried out on them.
pub fn settings(can_try: bool) -> Data<Config<'static>> {
    // Its validator would send the document's address to somebody else's server.
    let config = Config::from("/openapi.json").validator_url("none");
    Data::new(match can_try {
        true => config,
        false => config.supported_submit_methods([""; 0]),
    })
}

/// A file of the pages. The large ones are sent from the program itself, without a copy for each request.
///
/// # Errors
/// Where there is no such file.
pub async fn serve(
    path: Path<String>,
    settings: Data<Config<'static>>,
) -> Result<HttpResponse, Problem> {
    let found = utoipa_swagger_ui::serve(&path, settings.into_inner());
    let found = found.map_err(|error| Problem::internal(io::Error::other(error.to_string())))?;
    let file = found.ok_or_else(not_found_here)?;
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let mut response = HttpResponse::Ok();
    if file.gzpipped {
        response.insert_header((CONTENT_ENCODING, ContentEncoding::Gzip));
    }
    Ok(response.content_type(file.content_type).body(bytes))
}
