//! actix-web with one worker.

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use peers::Files;
use std::net::Ipv4Addr;

async fn answer(files: web::Data<Files>, request: HttpRequest) -> HttpResponse {
    match files.get(request.path()) {
        Some(body) => HttpResponse::Ok().content_type("text/plain").body(*body),
        None => HttpResponse::NotFound().finish(),
    }
}

fn main() -> std::io::Result<()> {
    let (files, port) = peers::arguments();
    actix_web::rt::System::new().block_on(
        HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(files))
                .default_service(web::to(answer))
        })
        .workers(1)
        .bind((Ipv4Addr::UNSPECIFIED, port))?
        .run(),
    )
}
