//! A request of a client: who sends it, what it says, and the ways in which it is answered.

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload as RawPayload,
    http::header::CONTENT_TYPE,
    web::{Bytes, Data, Payload},
};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

use super::{
    BOUNDS,
    envelope::Envelope,
    kind::Kind,
    largest_body,
    schema::RequestBody,
    work::{Changed, Context, Created},
};

use crate::{
    access::{Caller, Scope},
    idempotency::{
        Fingerprint, IdempotencyKey, KeyedRequest, StoredReply, fingerprint,
        transactional::{Rejection, Response},
    },
    json::Value,
    media_type,
    shop::{
        error::{FieldError, ShopError},
        tenant_scope::TenantScope,
    },
    store::{
        Conn, StoreError,
        types::{Json, Timestamp, Uuid},
    },
    web::{
        State, body, key,
        observer::ObservesRequest as _,
        origin,
        problem::{ErrorCode, Problem},
        reply,
        request_log::RequestNotes,
    },
};

/// What is to be known of a request's key.
#[derive(Clone, Copy)]
struct KeyTerms {
    /// Whether there must be one.
    is_needed: bool,
    /// For how long its answer is replayed.
    ttl: Duration,
}

/// A request of a client whose token was checked.
pub struct Call {
    /// The request itself.
    pub request: HttpRequest,
    /// Who sends it.
    pub caller: Caller,
    /// What the handlers share.
    pub state: Data<State>,
}

impl FromRequest for Call {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, _: &mut RawPayload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            Ok(Self {
                caller: Caller::extract(&request).await?,
                state: Data::extract(&request).await?,
                request,
            })
        })
    }
}

impl Call {
    /// Does what a POST asks for once for its key, and answers 201; or gives the answer that the key got before.
    ///
    /// # Errors
    /// Where it was not even tried, or something broke. What cannot be done is an answer, kept like any other.
    pub async fn create<T, R, W>(
        self,
        payload: Payload,
        kind: Kind,
        work: W,
    ) -> Result<HttpResponse, Problem>
    where
        T: RequestBody,
        R: Serialize,
        W: FnOnce(&mut Conn<'_>, T, &Context) -> Result<Created<R>, ShopError>
            + Clone
            + Send
            + 'static,
    {
        let terms = KeyTerms {
            is_needed: kind.needs_key(),
            ttl: kind.ttl(&self.state.config.load()),
        };
        let work = move |conn: &mut Conn<'_>, wanted, at: &Context| {
            let created = work(conn, wanted, at).map_err(undone)?;
            done(&created)
        };
        self.perform(payload, kind, terms, work).await
    }

    /// Does what a PATCH or PUT asks for, once for its key where it has one, and answers 200 with its result.
    ///
    /// # Errors
    /// As [`Call::create`].
    pub async fn change<T, R, W>(
        self,
        payload: Payload,
        kind: Kind,
        message: &'static str,
        work: W,
    ) -> Result<HttpResponse, Problem>
    where
        T: RequestBody,
        R: Serialize,
        W: FnOnce(&mut Conn<'_>, T, &Context) -> Result<Changed<R>, ShopError>
            + Clone
            + Send
            + 'static,
    {
        let terms = KeyTerms {
            is_needed: false,
            ttl: self.state.config.load().idempotency_ttl,
        };
        let work = move |conn: &mut Conn<'_>, wanted, at: &Context| {
            let changed = work(conn, wanted, at).map_err(undone)?;
            Ok(Response {
                reply: StoredReply {
                    status: reply::OK,
                    content_type: Some(reply::JSON.to_owned()),
                    body: enveloped(message, &changed.data)?.into(),
                    ..StoredReply::default()
                },
                retailer_id: Some(changed.retailer_id),
                order_id: changed.order_id,
            })
        };
        self.perform(payload, kind, terms, work).await
    }

    async fn perform<T, W>(
        self,
        payload: Payload,
        kind: Kind,
        terms: KeyTerms,
        work: W,
    ) -> Result<HttpResponse, Problem>
    where
        T: RequestBody,
        W: FnOnce(&mut Conn<'_>, T, &Context) -> Result<Response, Rejection>
            + Clone
            + Send
            + 'static,
    {
        let now = Timestamp::now();
        let deadline = self.deadline();
        let notes = RequestNotes::of(&self.request);
        notes.received();
        let body = self.body(payload, deadline).await?;
        let key = self.key(terms.is_needed)?;
        if !self.is_json() {
            return Err(self.not_json(kind, key, &body, now).await);
        }
        let read = self.examine(body).await?;
        let keyed = key.map(|key| KeyedRequest {
            body: Some(read.text),
            ..self.keyed(kind, key, read.fingerprint)
        });
        let wanted: Result<T, _> = read.wanted;
        let context = self.context(now);
        let work = move |conn: &mut Conn<'_>| {
            let wanted = wanted.map_err(ShopError::Invalid).map_err(undone)?;
            work(conn, wanted, &context)
        };
        let has_key = keyed.is_some();
        let answer = self
            .state
            .keys
            .perform(keyed, terms.ttl, now, deadline, work)
            .await?;
        if has_key {
            notes.reply(&answer.reply, answer.replayed);
        }
        if !answer.replayed {
            let is_order = kind == Kind::Orders && answer.reply.status == reply::CREATED;
            notes.made(u64::from(is_order), answer.retailer_id.as_slice());
        }
        reply::stored(&answer.reply, answer.replayed)
    }

    /// Answers 200 with what the database holds.
    ///
    /// # Errors
    /// Where there is nothing of the kind, or something broke.
    pub async fn read<R, W>(self, message: &'static str, work: W) -> Result<HttpResponse, Problem>
    where
        R: Serialize + Send + 'static,
        W: FnOnce(&mut Conn<'_>, &Context) -> Result<R, ShopError> + Send + 'static,
    {
        ok(message, &self.look_up(work).await?)
    }

    /// Gives what the database holds.
    ///
    /// # Errors
    /// As [`Call::read`].
    pub async fn look_up<R, W>(&self, work: W) -> Result<R, Problem>
    where
        R: Send + 'static,
        W: FnOnce(&mut Conn<'_>, &Context) -> Result<R, ShopError> + Send + 'static,
    {
        let context = self.context(Timestamp::now());
        let reading = self.state.store.read(move |conn| work(conn, &context));
        let found = tokio::time::timeout_at(self.deadline(), reading).await;
        Ok(found.map_err(Problem::unavailable)??)
    }

    /// Refuses a token that is bound to a retailer where all of them are concerned.
    ///
    /// # Errors
    /// Where it is.
    pub fn needs_unbound(&self, scope: Scope) -> Result<(), Problem> {
        if self.caller.retailer.is_none() {
            return Ok(());
        }
        let message = format!("this takes a token with {scope} that is not bound to a retailer");
        Err(Problem::new(ErrorCode::ScopeMissing, message))
    }

    /// The id that a part of the path names.
    ///
    /// # Errors
    /// Where it is no UUID.
    pub fn id(&self, name: &'static str) -> Result<Uuid, Problem> {
        let text = self.request.match_info().query(name);
        text.parse().map(Uuid).map_err(|_no_uuid| {
            let error = FieldError::new(name, "invalid", "must be a UUID");
            Problem::invalid(vec![error])
        })
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.state.config.load().request_timeout
    }

    fn context(&self, now: Timestamp) -> Context {
        Context {
            tenants: self
                .caller
                .retailer
                .map_or(TenantScope::All, TenantScope::Only),
            now,
            shops: self.state.shops.clone(),
        }
    }

    async fn body(&self, payload: Payload, deadline: Instant) -> Result<Bytes, Problem> {
        let limit = largest_body(&self.state.config.load());
        body::read(&self.request, payload, limit, deadline).await
    }

    /// The key that a header names; none where keys are ignored, or none is needed and given.
    fn key(&self, is_needed: bool) -> Result<Option<IdempotencyKey>, Problem> {
        let config = self.state.config.load();
        if !config.idempotency_enabled {
            return Ok(None);
        }
        match key::from_headers(self.request.headers(), &config.idempotency_header)? {
            None if is_needed => Err(Problem::key_required(&config.idempotency_header)),
            None => Ok(None),
            Some(key) => {
                RequestNotes::of(&self.request).key(&key);
                Ok(Some(key))
            }
        }
    }

    /// The request with its key.
    fn keyed(&self, kind: Kind, key: IdempotencyKey, fingerprint: Fingerprint) -> KeyedRequest {
        let config = self.state.config.load();
        let source_ip = origin::source_ip(&self.request, &config.trusted_proxies);
        KeyedRequest {
            scope: self.caller.key_scope().into(),
            key,
            webhook_type: kind.name(),
            method: self.request.method().to_string(),
            path: self.request.uri().path().to_owned(),
            fingerprint,
            body: None,
            source_ip: source_ip.map(|ip| ip.to_string()),
        }
    }

    /// Reads what a body says.
    async fn examine<T: RequestBody>(&self, body: Bytes) -> Result<Read<T>, Problem> {
        let (state, fingerprint) = (self.state.clone(), self.fingerprint());
        body::examine(body.len(), move || {
            let document = parse(&body)?;
            Ok(Read {
                fingerprint: fingerprint(&body),
                text: Json::of(&state.config.load().redact_fields.of(&document)),
                wanted: state.schemas.read(&document, &body),
            })
        })
        .await
    }

    /// What gives the request its fingerprint, once its body is there.
    fn fingerprint(&self) -> impl FnOnce(&[u8]) -> Fingerprint + Send + use<> {
        let method = self.request.method().to_string();
        let path = self.request.uri().path().to_owned();
        let query = self.request.uri().query().unwrap_or_default().to_owned();
        let content_type = self.content_type().to_owned();
        move |body| fingerprint(&method, &path, &query, &content_type, body)
    }

    /// Why a body that is not JSON is refused: it is another request than the one that its key stands for, if it
    /// stands for one.
    async fn not_json(
        &self,
        kind: Kind,
        key: Option<IdempotencyKey>,
        body: &[u8],
        now: Timestamp,
    ) -> Problem {
        if let Some(key) = key {
            let keyed = self.keyed(kind, key, self.fingerprint()(body));
            if let Err(error) = self.state.keys.check_key(keyed, now).await {
                return error.into();
            }
        }
        no_json()
    }

    fn is_json(&self) -> bool {
        media_type::is(self.content_type(), media_type::JSON)
    }

    fn content_type(&self) -> &str {
        let header = self.request.headers().get(CONTENT_TYPE);
        header
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// What a body says.
struct Read<T> {
    fingerprint: Fingerprint,
    /// All of it that is for the record.
    text: Json,
    /// What is asked for, or all that is wrong with it.
    wanted: Result<T, Vec<FieldError>>,
}

fn no_json() -> Problem {
    Problem::new(
        ErrorCode::ContentTypeUnsupported,
        "the body must be application/json",
    )
}

fn parse(body: &[u8]) -> Result<Value, Problem> {
    let bounded = BOUNDS.check(body);
    bounded
        .map_err(|error| Problem::new(ErrorCode::BodyMalformed, format!("the body: {error}")))?;
    let document = Value::parse(body).map_err(|error| {
        let message = format!("the body is not JSON: {error}");
        Problem::new(ErrorCode::BodyMalformed, message)
    })?;
    // Nobody could tell which of the two is meant, and whoever looked at the body before us may have taken the other.
    match document.duplicate() {
        Some(pointer) => Err(Problem::duplicate_member(pointer)),
        None => Ok(document),
    }
}

/// The answer to what was made.
fn done<R: Serialize>(created: &Created<R>) -> Result<Response, Rejection> {
    Ok(Response {
        reply: StoredReply {
            status: reply::CREATED,
            content_type: Some(reply::JSON.to_owned()),
            headers: BTreeMap::from([("Location".to_owned(), created.location.clone())]),
            body: enveloped(&created.message, &created.data)?.into(),
        },
        retailer_id: created.retailer_id,
        order_id: created.order_id,
    })
}

fn enveloped<R: Serialize>(message: &str, data: &R) -> Result<Vec<u8>, StoreError> {
    let envelope = Envelope {
        success: true,
        message,
        data,
    };
    serde_json::to_vec(&envelope).map_err(StoreError::unreadable)
}

fn undone(error: ShopError) -> Rejection {
    match error {
        ShopError::Store(error) => Rejection::Failed(error),
        refused => Rejection::Refused(Problem::from(refused).to_stored()),
    }
}

/// 200 with its result.
///
/// # Errors
/// `None`: as the handlers have it.
pub fn ok<R: Serialize>(message: &str, data: &R) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(Envelope {
        success: true,
        message,
        data,
    }))
}
