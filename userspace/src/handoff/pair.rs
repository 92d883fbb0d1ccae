//! A client's socket and one to the server, and what goes between them: both ways, with half-close and back pressure.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};

use super::exchange::{CLOSE, Exchanges, Stand};
use crate::reason::ProxyEnd;

/// Buffers of one direction carried in a row, so that a large transfer lets others have their turn.
const ROUNDS: usize = 16;

/// What the client gets where the server has gone before it was given anything of the request.
const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What a turn has led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// It goes on with the next event.
    Waits,
    /// It may go on at once.
    Busy,
    /// All is said; only the client's end is waited for from now on.
    Lingers,
    /// Both have ended.
    Ended(ProxyEnd),
}

/// See the module's documentation. Dropping it resets both connections, unless it has ended in order.
pub(super) struct Pair {
    client: TcpStream,
    server: TcpStream,
    there: Way,
    back: Way,
    exchanges: Exchanges,
    /// How it has ended, while the client's end is waited for: what it says still is read and dropped, since a socket
    /// that is closed with unread bytes sends a reset, which may overtake our last words.
    lingering: Option<ProxyEnd>,
    /// Something was carried since this was last looked at.
    moved: bool,
}

impl Pair {
    /// Two non-blocking sockets, connected.
    pub(super) fn new(client: TcpStream, server: TcpStream) -> Self {
        // However the daemon ends, half an answer never looks like a whole one.
        for socket in [&client, &server] {
            linger(socket, true);
        }
        Self {
            client,
            server,
            there: Way::default(),
            back: Way::default(),
            exchanges: Exchanges::default(),
            lingering: None,
            moved: false,
        }
    }

    pub(super) fn sockets(&self) -> [&TcpStream; 2] {
        [&self.client, &self.server]
    }

    /// Whether something was carried since it was last asked.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Whether it is between two exchanges: closed now, it ends in order.
    pub(super) fn is_idle(&self) -> bool {
        self.lingering.is_none()
            && self.exchanges.stand() == Stand::Between
            && self.there.held.is_empty()
            && self.back.held.is_empty()
    }

    /// Carries what there is. With `last`, the client is told with its next answer that it is the last, and the
    /// connection ends behind that.
    pub(super) fn turn(&mut self, buffer: &mut [u8], last: bool) -> Turn {
        if let Some(end) = self.lingering {
            return self.discard(buffer, end);
        }
        // No request behind the one that will get the last answer: who pipelines on and on would never have one.
        let hold = last && self.exchanges.waits() && self.there.held.is_empty();
        let exchanges = &mut self.exchanges;
        let moved = &mut self.moved;
        let there = match hold {
            true => Ok(false),
            false => self.there.carry(
                (&self.client, &self.server),
                self.back.cut,
                buffer,
                &mut |bytes| {
                    *moved = true;
                    (exchanges.client_says(bytes), None)
                },
            ),
        };
        let Ok(there) = there else {
            return Turn::Ended(ProxyEnd::ClientReset);
        };
        let back = self.back.carry(
            (&self.server, &self.client),
            self.there.cut,
            buffer,
            &mut |bytes| {
                *moved = true;
                (bytes.len(), exchanges.server_says(bytes, last))
            },
        );
        let Ok(back) = back else {
            return self.server_gone();
        };
        if self.there.ended && self.back.ended {
            return self.finished();
        }
        let said = self.there.held.is_empty() && self.back.held.is_empty();
        if said && self.exchanges.stand() == Stand::Over {
            return self.end(ProxyEnd::Drained);
        }
        // What was held back came before this turn, and no event tells of it again.
        let let_go = hold && !self.exchanges.waits();
        match there || back || let_go {
            true => Turn::Busy,
            false => Turn::Waits,
        }
    }

    /// Both directions have been carried to their ends.
    fn finished(&mut self) -> Turn {
        // A client whose end was read has nothing more to say.
        match self.there.cut {
            true => self.end(ProxyEnd::Finished),
            false => {
                self.close();
                Turn::Ended(ProxyEnd::Finished)
            }
        }
    }

    fn server_gone(&mut self) -> Turn {
        if self.there.taken || self.back.taken {
            return match self.exchanges.answered() {
                // It has given its answer, and did not read all that was said behind: the client shall have that answer,
                // which a reset may overtake.
                true => self.end(ProxyEnd::ServerReset),
                false => Turn::Ended(ProxyEnd::ServerReset),
            };
        }
        // Nothing was sent on this socket: there is room, unless the client takes nothing.
        match (&self.client).write(UNAVAILABLE) {
            Ok(taken) if taken == UNAVAILABLE.len() => self.end(ProxyEnd::Unavailable),
            Ok(_) | Err(_) => Turn::Ended(ProxyEnd::ServerReset),
        }
    }

    /// Ends it in order, as far as we are concerned.
    pub(super) fn end(&mut self, end: ProxyEnd) -> Turn {
        self.lingering = Some(end);
        for socket in self.sockets() {
            // Who has gone needs no end.
            let _ = socket.shutdown(Shutdown::Write);
        }
        Turn::Lingers
    }

    fn discard(&mut self, buffer: &mut [u8], end: ProxyEnd) -> Turn {
        for _ in 0..ROUNDS {
            match (&self.client).read(buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Waits,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.close();
        Turn::Ended(end)
    }

    /// Where it can be closed in order, lets dropping it do so, and tells as what it counts then.
    pub(super) fn give_up(&self) -> Option<ProxyEnd> {
        let idle = self.is_idle().then_some(ProxyEnd::Drained);
        let end = self.lingering.or(idle)?;
        self.close();
        Some(end)
    }

    /// From now on dropping it is an end in order.
    fn close(&self) {
        for socket in self.sockets() {
            linger(socket, false);
        }
    }
}

/// Whether closing the socket resets the connection.
fn linger(socket: &TcpStream, reset: bool) {
    let how = libc::linger {
        l_onoff: reset.into(),
        l_linger: 0,
    };
    if let Err(error) = setsockopt(&socket.as_fd(), sockopt::Linger, &how) {
        log::debug!("SO_LINGER: {error}");
    }
}

/// What is seen of the bytes of one direction: how many of them go on, and where [`CLOSE`] is put in.
type Look<'a> = &'a mut dyn FnMut(&[u8]) -> (usize, Option<usize>);

/// One direction.
#[derive(Default)]
struct Way {
    /// Read, and not taken yet.
    held: Vec<u8>,
    /// Nothing more goes this way.
    ended: bool,
    /// It has ended because the sink is gone.
    cut: bool,
    /// The sink has taken something.
    taken: bool,
}

impl Way {
    /// Carries what there is; true if there may be more. An error is one of the source: what it had to say was said up
    /// to there, and is cut off. A sink that takes no more may still have something to say; when it comes to its end
    /// `source_gone` tells that this was no end in order, since a write has met the error that a read would have.
    fn carry(
        &mut self,
        (mut source, sink): (&TcpStream, &TcpStream),
        source_gone: bool,
        buffer: &mut [u8],
        look: Look<'_>,
    ) -> io::Result<bool> {
        for _ in 0..ROUNDS {
            if self.ended {
                return Ok(false);
            }
            if self.held.is_empty() {
                let len = match source.read(buffer) {
                    Ok(0) if source_gone => return Err(ErrorKind::ConnectionReset.into()),
                    Ok(0) => {
                        self.ended = true;
                        // If the sink has gone, reading from it says so.
                        let _ = sink.shutdown(Shutdown::Write);
                        return Ok(false);
                    }
                    Ok(len) => len,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                match look(&buffer[..len]) {
                    (0, _) => continue,
                    (len, None) => {
                        let taken = self.write(sink, &buffer[..len]);
                        if !self.ended {
                            self.held.extend_from_slice(&buffer[taken..len]);
                        }
                        continue;
                    }
                    (len, Some(at)) => {
                        self.held.extend_from_slice(&buffer[..at]);
                        self.held.extend_from_slice(CLOSE);
                        self.held.extend_from_slice(&buffer[at..len]);
                    }
                }
            }
            let held = std::mem::take(&mut self.held);
            let taken = self.write(sink, &held);
            if taken < held.len() && !self.ended {
                self.held = held;
                self.held.drain(..taken);
                if taken == 0 {
                    return Ok(false);
                }
            }
        }
        Ok(!self.ended)
    }

    /// Writes what `sink` takes. One that is gone ends this way.
    fn write(&mut self, mut sink: &TcpStream, bytes: &[u8]) -> usize {
        loop {
            match sink.write(bytes) {
                Ok(taken) => {
                    self.taken |= taken > 0;
                    return taken;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    (self.ended, self.cut) = (true, true);
                    return 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
