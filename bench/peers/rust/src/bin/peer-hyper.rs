//! hyper 1 on one thread of tokio.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use peers::Files;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

fn answer(files: Files, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let Some(body) = files.get(request.uri().path()) else {
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

async fn serve(files: Files, port: u16) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
    let listener = listener.expect("the port");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| async move {
                Ok::<_, Infallible>(answer(files, &request))
            });
            // A connection that breaks is the client's business.
            let _ = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn main() {
    let (files, port) = peers::arguments();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), serve(files, port));
}
