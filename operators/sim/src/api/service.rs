//! The HTTP face: a tower service for [`kube::Client`].

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use kube::client::Body;

use super::ApiServer;

/// Serves the requests of one caller.
#[derive(Clone)]
pub struct Service {
    server: ApiServer,
    actor: String,
}

impl Service {
    pub(super) fn new(server: ApiServer, actor: &str) -> Self {
        Self {
            server,
            actor: actor.into(),
        }
    }
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let _ = (&self.server, &self.actor);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
        ready(Ok(response))
    }
}
