//! The body of a request, as its handler takes it.

use actix_http::h1;
use actix_web::{error::PayloadError, web::Bytes};
use futures_util::Stream;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use super::connections::Handle;

/// A body that notes how much of it is taken.
pub struct RequestBody {
    payload: h1::Payload,
    handle: Handle,
    /// What is still to come, where that was announced.
    left: Option<u64>,
}

impl RequestBody {
    /// A body of so many bytes, where that was announced.
    pub fn new(payload: h1::Payload, handle: Handle, left: Option<u64>) -> Self {
        Self {
            payload,
            handle,
            left,
        }
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.payload).poll_next(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            let count = bytes.len() as u64;
            self.left = self.left.map(|left| left.saturating_sub(count));
        }
        let mut activity = self.handle.activity();
        match &polled {
            // The whole of an announced body has come, and its reader need not ask for more.
            Poll::Ready(Some(Ok(_))) if self.left == Some(0) => activity.has_body(),
            Poll::Ready(Some(Ok(bytes))) => activity.took(bytes.len()),
            Poll::Ready(Some(Err(_))) => {}
            Poll::Ready(None) => activity.has_body(),
            Poll::Pending => activity.waits(),
        }
        drop(activity);
        polled
    }
}
