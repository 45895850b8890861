//! Listens, and serves HTTP on what is let in.

use actix_http::{HttpServiceBuilder, Payload, Protocol, Request, Response, error::DispatchError};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory,
    map_config,
};
use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{AppConfig, ServiceResponse},
    http::header::CONTENT_LENGTH,
};
use futures_util::future::{AbortRegistration, Abortable};
use std::{
    fmt::Debug,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    answer::Answer,
    connections::{Connections, Handle},
    limits::Limits,
    own_answers,
    request_body::RequestBody,
    stream::Stream,
};

/// How many may wait until they are accepted.
const BACKLOG: u32 = 1024;

/// How long the rest of a body that no route takes is read and discarded, so that its sender gets the answer.
const LINGER: Duration = Duration::from_secs(1);

/// How long it may take to tell that there is no room.
const REFUSING: Duration = Duration::from_secs(1);

/// Serves an application at an address, with so many threads; gives the address that it took.
///
/// # Errors
/// Where the address is not usable.
pub fn listen<F, I, S, B>(
    address: SocketAddr,
    threads: usize,
    connections: &Arc<Connections>,
    app: F,
) -> io::Result<(Server, SocketAddr)>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<
            Request,
            Config = AppConfig,
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let listener = listener(address)?;
    let address = listener.local_addr()?;
    tokio::spawn(Connections::watch(Arc::downgrade(connections)));
    // More than are let in, for a refusal takes a moment. Beyond it nothing is accepted until there are fewer, so that
    // never so many are accepted at once that the descriptors run out.
    let limits = connections.limits();
    let accepted = limits.most.saturating_add(Limits::REFUSING);
    let server = Server::build()
        .workers(threads)
        .max_concurrent_connections(accepted.div_ceil(threads))
        .shutdown_timeout(limits.stop.as_secs())
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let connections = connections.clone();
    let serve = move || {
        let http = protocol(connections.limits(), address, stopping.clone());
        let http = http.finish(noted(app().into_factory()));
        let connections = connections.clone();
        apply_fn_factory(http, move |stream: TcpStream, http| {
            let entered = enter(stream, &connections).map(|(stream, peer, aborted)| {
                let handle = stream.handle().clone();
                let serving = http.call((stream, Protocol::Http1, Some(peer)));
                (serving, handle, aborted)
            });
            async move {
                match entered {
                    Ok((serving, handle, aborted)) => run(serving, &handle, aborted).await,
                    Err(stream) => refuse(stream).await,
                }
                Ok::<(), DispatchError>(())
            }
        })
    };
    let server = server.listen(format!("http-{address}"), listener, serve)?;
    Ok((server.run(), address))
}

fn listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Its connections inherit it.
    socket.set_send_buffer_size(Limits::SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// HTTP/1.1 as actix has it.
fn protocol<S>(
    limits: &Limits,
    address: SocketAddr,
    stopping: GracefulShutdownSignal,
) -> HttpServiceBuilder<Stream, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: Debug,
    <S::Service as Service<Request>>::Future: 'static,
{
    HttpServiceBuilder::default()
        .keep_alive(limits.keep_alive)
        // Answers 408, which whoever ends the connection cannot.
        .client_request_timeout(limits.timeout)
        .client_disconnect_timeout(LINGER)
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .local_addr(address)
        .on_connect_ext(|stream: &Stream, data| {
            data.insert(stream.handle().clone());
        })
}

/// Admits a connection. Gives it back where there is no room, or where the client has gone.
fn enter(
    stream: TcpStream,
    connections: &Arc<Connections>,
) -> Result<(Stream, SocketAddr, AbortRegistration), TcpStream> {
    let Ok(peer) = stream.peer_addr() else {
        return Err(stream);
    };
    match connections.admit(peer) {
        Ok((handle, aborted)) => Ok((Stream::new(stream, handle), peer, aborted)),
        Err(_bound) => Err(stream),
    }
}

/// Serves a connection until it is over, or ended.
async fn run<T>(
    serving: impl Future<Output = Result<(), T>>,
    handle: &Handle,
    aborted: AbortRegistration,
) {
    let mut serving = pin!(serving);
    let polled = poll_fn(|cx| {
        handle.activity().looked();
        serving.as_mut().poll(cx)
    });
    // Actix logs its errors; ended connections are counted.
    let _ = Abortable::new(polled, aborted).await;
}

async fn refuse(mut stream: TcpStream) {
    // A client that does not read it sees that the connection is closed.
    let refusal = own_answers::closing("503 Service Unavailable", &[("retry-after", "1")]);
    let _ = timeout(REFUSING, stream.write_all(&refusal)).await;
}

/// The application, with what it does noted at its connection.
fn noted<S, B>(
    app: S,
) -> impl ServiceFactory<
    Request,
    Config = (),
    Response = Response<BoxBody>,
    Error = HttpResponse,
    InitError = (),
    Service = impl Service<
        Request,
        Response = Response<BoxBody>,
        Error = HttpResponse,
        Future = impl Future<Output = Result<Response<BoxBody>, HttpResponse>> + 'static,
    >,
>
where
    S: ServiceFactory<
            Request,
            Config = AppConfig,
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let app =
        map_config(app, |()| AppConfig::default()).map_err(|error: Error| error.error_response());
    apply_fn_factory(app, |mut request: Request, app| {
        let handle = request.conn_data::<Handle>().cloned();
        let has_body = handle
            .as_ref()
            .is_some_and(|handle| note_body(&mut request, handle));
        let answering = app.call(request);
        async move {
            if let Some(handle) = &handle {
                begin(handle, has_body).await;
            }
            let answered = answering.await;
            let Some(handle) = handle else {
                return answered.map(|response| response.map_into_boxed_body().into());
            };
            handle.activity().answers();
            match answered {
                Ok(response) => {
                    let response: Response<_> = response.map_into_boxed_body().into();
                    Ok(response.map_body(|_, body| BoxBody::new(Answer::new(body, handle))))
                }
                Err(response) => {
                    Err(response.map_body(|_, body| BoxBody::new(Answer::new(body, handle))))
                }
            }
        }
    })
}

/// Wraps the request's body so that what is taken of it is noted. `false` where there is no body.
fn note_body(request: &mut Request, handle: &Handle) -> bool {
    match request.take_payload() {
        Payload::H1 { payload } => {
            let length = request.head().headers().get(CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
            let body = RequestBody::new(payload, handle.clone(), length);
            let payload = Box::pin(body);
            *request.payload() = Payload::Stream { payload };
            true
        }
        other => {
            *request.payload() = other;
            false
        }
    }
}

/// Waits until enough of the answers before it is sent for a request to begin.
async fn begin(handle: &Handle, has_body: bool) {
    poll_fn(|cx| match handle.activity().may_begin(cx.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
    handle.activity().begins(has_body, Instant::now());
}
