//! The body of an answer, handed on piece by piece: actix would copy it whole, for each who does not read it.

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    web::Bytes,
};
use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{connections::Handle, limits::Limits};

/// A body that notes when it is handed over.
pub struct Answer {
    body: BoxBody,
    rest: Bytes,
    handle: Handle,
}

impl Answer {
    pub fn new(body: BoxBody, handle: Handle) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            handle,
        }
    }
}

impl MessageBody for Answer {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_next(cx)) {
                Some(Ok(bytes)) => self.rest = bytes,
                end => return Poll::Ready(end),
            }
        }
        let count = self.rest.len().min(Limits::PIECE);
        let piece = self.rest.split_to(count);
        self.handle.activity().adds(count);
        Poll::Ready(Some(Ok(piece)))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.handle.activity().answered();
    }
}
