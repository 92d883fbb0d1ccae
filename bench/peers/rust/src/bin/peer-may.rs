//! may_minihttp with one worker.

use may_minihttp::{HttpServer, HttpService, Request, Response};
use peers::Files;
use std::io;
use std::net::Ipv4Addr;

#[derive(Clone)]
struct Answer(Files);

impl HttpService for Answer {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        match self.0.get(request.path()) {
            Some(body) => response.header("Content-Type: text/plain").body(body),
            None => {
                response.status_code(404, "Not Found");
            }
        }
        Ok(())
    }
}

fn main() {
    let (files, port) = peers::arguments();
    may::config().set_workers(1);
    let server = HttpServer(Answer(files)).start((Ipv4Addr::UNSPECIFIED, port));
    server.expect("the port").join().expect("a server that runs");
}
