//! Where a proxied connection stands between its exchanges, read along from what goes through.
//!
//! Nothing depends on it while the daemon runs. When it ends, it tells where a connection can be
//! closed in order: behind an answer, never within one. What is not plainly HTTP/1.1 is not guessed at: such a connection
//! has no such place.

mod framing;
mod reader;

use std::collections::VecDeque;

use framing::{Answer, Asked};
use reader::{Event, Reader};

/// The field that is put into the last answer (RFC 9112, 9.6). Right behind the status line, since some clients look at
/// the first `Connection` field only.
pub(super) const CLOSE: &[u8] = b"Connection: close\r\n";

/// Requests without an answer of which the methods are kept. Clients that pipeline send tens of them; with more, the
/// connection is no longer understood, which costs it nothing before the end.
const ASKED_MOST: usize = 256;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stand {
    /// Every request has had its answer, and no other has begun.
    Between,
    /// A request or an answer is under way.
    Within,
    /// The answer that was said to be the last has been given.
    Over,
    /// Not known: it was upgraded, or is not HTTP/1.1.
    Unknown,
}

/// What goes through one connection. It begins with a request.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    requests: Reader,
    responses: Reader,
    /// Requests that have had no whole answer, the oldest first.
    asked: VecDeque<Asked>,
    lost: bool,
    /// The client was told that the answer under way is the last.
    told: bool,
}

impl Exchanges {
    pub(super) fn stand(&self) -> Stand {
        let between = self.requests.between() && self.answered();
        match (self.lost, between, self.told) {
            (true, _, _) => Stand::Unknown,
            (false, true, true) => Stand::Over,
            (false, true, false) => Stand::Between,
            (false, false, _) => Stand::Within,
        }
    }

    /// All that was asked has had its answer, whether or not the last request's body has come.
    pub(super) fn answered(&self) -> bool {
        !self.lost && !self.requests.in_head() && self.responses.between() && self.asked.is_empty()
    }

    /// A request waits for its answer, and no other has begun.
    pub(super) fn waits(&self) -> bool {
        !self.lost && self.requests.between() && !self.asked.is_empty()
    }

    /// The client said this. Returns how much of it is for the server: a client that was told that the answer is the
    /// last gets none to what it asks behind it.
    pub(super) fn client_says(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.lost {
            if self.told && self.requests.between() {
                return at;
            }
            let (used, event) = self.requests.take(&bytes[at..]);
            at += used;
            match event {
                Event::More | Event::FirstLine | Event::End => {}
                Event::Head => match framing::request(self.requests.head()) {
                    Some((asked, body)) if self.asked.len() < ASKED_MOST => {
                        self.asked.push_back(asked);
                        self.requests.begin(body);
                    }
                    Some(_) | None => self.lose(),
                },
                Event::Lost => self.lose(),
            }
        }
        bytes.len()
    }

    /// The server said this. With `last` the client shall be told of the last answer as soon as there is one: then the
    /// result is where in `bytes` [`CLOSE`] goes.
    pub(super) fn server_says(&mut self, bytes: &[u8], last: bool) -> Option<usize> {
        let mut at = 0;
        let mut tell = None;
        while at < bytes.len() && !self.lost {
            let (used, event) = self.responses.take(&bytes[at..]);
            at += used;
            match event {
                Event::More => {}
                Event::FirstLine => {
                    let only = self.asked.len() <= 1;
                    if last && !self.told && only && framing::is_final(self.responses.head()) {
                        self.told = true;
                        tell = Some(at);
                    }
                }
                Event::Head => {
                    match framing::response(self.responses.head(), self.asked.front().copied()) {
                        Some(Answer::Interim) => self.responses.skip(),
                        Some(Answer::Final(body)) => {
                            self.responses.begin(body);
                            if self.responses.between() {
                                self.asked.pop_front();
                            }
                        }
                        None => self.lose(),
                    }
                }
                Event::End => drop(self.asked.pop_front()),
                Event::Lost => self.lose(),
            }
        }
        tell
    }

    /// From now on nothing is understood.
    fn lose(&mut self) {
        *self = Self {
            lost: true,
            told: self.told,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests;
