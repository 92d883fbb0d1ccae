//! The daemon's life beside a server: what it tells of itself, and what becomes of connections when it comes, goes,
//! crashes or is stuck.

#[path = "life/crash.rs"]
mod crash;
#[path = "life/degraded.rs"]
mod degraded;
#[path = "life/device.rs"]
mod device;
#[path = "life/doctor.rs"]
mod doctor;
#[path = "life/drain.rs"]
mod drain;
#[path = "life/hang.rs"]
mod hang;
#[path = "life/interrupts.rs"]
mod interrupts;
#[path = "life/nic.rs"]
mod nic;
#[path = "life/notify.rs"]
mod notify;
#[path = "life/reload.rs"]
mod reload;
#[path = "life/routes.rs"]
mod routes;

use sidestep_tests::clock::PATIENCE;
use sidestep_tests::http::Client;
use sidestep_tests::net::Net;
use std::io;
use std::net::SocketAddr;

/// Who gave the right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Sidestep,
    Kernel,
}

/// `/ping` is sidestep's while it is there, and the kernel's server's otherwise.
const CONFIG: &str = r#"
[[listen]]
address = "interface"
port = 80

[[site]]
hosts = ["*"]

[[site.response]]
path = "/ping"
body = "pong"
"#;

/// The body of both.
const PONG: &str = "pong";

fn client(net: &Net, to: SocketAddr) -> io::Result<Client> {
    net.client.connect(to, PATIENCE).map(Client::new)
}

/// Asks for `path`, and checks the answer.
fn ask(client: &mut Client, path: &str) -> io::Result<By> {
    let answer = client.get(path)?;
    let by = match answer.field("server") {
        Some("sidestep") => By::Sidestep,
        Some("kernel") => By::Kernel,
        _ => return Err(io::Error::other(format!("whose is it?\n{}", answer.head))),
    };
    if answer.status != 200 || answer.body != PONG.as_bytes() {
        return Err(io::Error::other(format!("wrong:\n{}", answer.head)));
    }
    Ok(by)
}
