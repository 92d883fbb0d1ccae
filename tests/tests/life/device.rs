//! Servers whose listener is bound to a device.

use super::{By, CONFIG, PONG, ask, client};
use nix::sys::socket::{Backlog, SockaddrStorage, bind, listen, setsockopt, sockopt};
use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::{Host, Net};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Listens at port 80 of all addresses, for what comes in by `device` alone.
fn listen_on(host: &Host, device: &str) -> TcpListener {
    host.enter(|| {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
        // SAFETY: a system call on plain values.
        let fd = unsafe { libc::socket(libc::AF_INET6, kind, 0) };
        assert!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
        // SAFETY: just made, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let any: SocketAddr = "[::]:80".parse().expect("an address");
        let set = || -> nix::Result<()> {
            setsockopt(&fd, sockopt::BindToDevice, &device.into())?;
            bind(fd.as_raw_fd(), &SockaddrStorage::from(any))?;
            listen(&fd, Backlog::new(64)?)
        };
        set().unwrap_or_else(|error| panic!("cannot listen on {device}: {error}"));
        fd.into()
    })
}

/// Answers each connection's first request.
fn serve(listener: &TcpListener) {
    let listener = listener.try_clone().expect("a copy");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let head = format!(
                "HTTP/1.1 200 OK\r\nServer: kernel\r\nContent-Length: {}\r\n\r\n",
                PONG.len()
            );
            let _ = stream.write_all((head + PONG).as_bytes());
        }
    });
}

#[test]
fn a_connection_moves_to_a_listener_on_the_nic_and_to_none_on_another() {
    let net = Net::new();
    let daemon = Daemon::start(&net.server, CONFIG);
    let elsewhere = listen_on(&net.server, "lo");
    for to in net.server.addresses(80) {
        let mut client = client(&net, to).expect("connects");
        assert_eq!(ask(&mut client, "/ping").expect("answered"), By::Sidestep);
        // As without us: who listens on another device does not listen here.
        assert_eq!(client.get("/other").expect("answered").status, 503);
        assert_eq!(ask(&mut client, "/ping").expect("answered"), By::Sidestep);
    }
    let here = listen_on(&net.server, net.server.device);
    serve(&here);
    for to in net.server.addresses(80) {
        let mut client = client(&net, to).expect("connects");
        assert_eq!(ask(&mut client, "/ping").expect("answered"), By::Sidestep);
        assert_eq!(ask(&mut client, "/other").expect("answered"), By::Kernel);
    }
    wait_for(PATIENCE, "both were counted", || {
        let status = daemon.status();
        let taken = status["workers"][0]["counters"]["handoff"]["taken"].as_u64();
        (taken == Some(2)).then_some(())
    });
    // Ends the thread that accepts.
    let _ = nix::sys::socket::shutdown(here.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    drop(elsewhere);
}
