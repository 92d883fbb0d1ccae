//! The shell in a virtual machine, behind a stream that loses nothing: commands to it, answers from it.
//!
//! ```text
//!   to it:    7 uname -r\n            number, command
//!   from it:  7 0 10\n7.2.12-dev\n    number, exit code, length in bytes; what was printed
//! ```

use crate::clock::Deadline;
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Bytes of one answer. Far more than a status or the tail of a log; a length beyond it is no length.
const ANSWER_MOST: usize = 16 << 20;

/// See the module.
pub struct Shell {
    stream: BufReader<UnixStream>,
    /// The number of the last command.
    number: u64,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// What it printed, on both outputs.
    pub said: String,
}

impl Shell {
    /// The one behind `stream`.
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
            number: 0,
        }
    }

    /// Waits for the shell's first line, at most for `limit`, and returns the kernel's release in it.
    ///
    /// # Errors
    /// The other side is gone, says something else, or `limit` has passed.
    pub fn up(&mut self, limit: Duration) -> io::Result<String> {
        let line = self.line(Deadline::after(limit))?;
        let release = line.strip_prefix("up ");
        release
            .map(str::to_owned)
            .ok_or_else(|| invalid(&format!("not a greeting: {line:?}")))
    }

    /// Runs `command`, which is one line, and waits for its answer at most for `limit`.
    ///
    /// # Errors
    /// As [`Shell::up`].
    pub fn ask(&mut self, command: &str, limit: Duration) -> io::Result<Answer> {
        let deadline = Deadline::after(limit);
        let number = self.tell(command)?;
        loop {
            let line = self.line(deadline)?;
            let (answers, code, length) =
                head(&line).ok_or_else(|| invalid(&format!("not an answer: {line:?}")))?;
            let said = self.bytes(length, deadline)?;
            // Smaller: of a command that nobody waited for to the end.
            if answers == number {
                let said = String::from_utf8_lossy(&said).trim_end().to_owned();
                return Ok(Answer { code, said });
            }
            if answers > number {
                return Err(invalid(&format!("an answer to {answers} of {number}")));
            }
        }
    }

    /// Sends `command` without waiting for its answer, and returns its number.
    ///
    /// # Errors
    /// The other side is gone, or it is not one line.
    pub fn tell(&mut self, command: &str) -> io::Result<u64> {
        if command.contains('\n') {
            return Err(Error::new(ErrorKind::InvalidInput, "more than one line"));
        }
        self.number += 1;
        let line = format!("{} {command}\n", self.number);
        self.stream.get_mut().write_all(line.as_bytes())?;
        Ok(self.number)
    }

    /// The next line, without its end.
    fn line(&mut self, deadline: Deadline) -> io::Result<String> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            self.wait(deadline)?;
            let buffer = self.stream.buffer();
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let length = end.map_or(buffer.len(), |end| end + 1);
            line.extend(&buffer[..length]);
            self.stream.consume(length);
        }
        line.pop();
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// The next `length` bytes.
    fn bytes(&mut self, length: usize, deadline: Deadline) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut at = 0;
        while at < length {
            self.wait(deadline)?;
            at += self.stream.read(&mut bytes[at..])?;
        }
        Ok(bytes)
    }

    /// Waits until there is something in the buffer.
    fn wait(&mut self, deadline: Deadline) -> io::Result<()> {
        // Zero would mean no limit.
        let left = deadline.left().max(Duration::from_millis(1));
        self.stream.get_ref().set_read_timeout(Some(left))?;
        loop {
            match self.stream.fill_buf() {
                Ok([]) => return Err(Error::new(ErrorKind::UnexpectedEof, "it is gone")),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Number, code and length of an answer.
fn head(line: &str) -> Option<(u64, i32, usize)> {
    let mut words = line.split(' ');
    let head = (
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
    );
    (words.next().is_none() && head.2 <= ANSWER_MOST).then_some(head)
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const SOON: Duration = Duration::from_millis(10);

    fn pair() -> (Shell, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Shell::new(ours), theirs)
    }

    #[test]
    fn an_answer_is_as_long_as_it_says() {
        let (mut shell, mut guest) = pair();
        guest.write_all(b"up 6.1\n1 0 4\na\nb\n2 1 0\n").unwrap();
        assert_eq!(shell.up(LIMIT).unwrap(), "6.1");
        let said = "a\nb".to_owned();
        let first = shell.ask("one", LIMIT).unwrap();
        assert_eq!(first, Answer { code: 0, said });
        let second = shell.ask("two", LIMIT).unwrap();
        assert_eq!(second.code, 1);
        let mut asked = [0; 12];
        guest.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"1 one\n2 two\n");
    }

    #[test]
    fn an_answer_that_comes_late_is_not_taken_for_the_next() {
        let (mut shell, mut guest) = pair();
        shell.ask("slow", SOON).unwrap_err();
        guest.write_all(b"1 0 5\nslow\n2 0 5\nnext\n").unwrap();
        assert_eq!(shell.ask("next", LIMIT).unwrap().said, "next");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for wrong in [
            "2 0 0\n",
            "1 0\n",
            "1 0 0 0\n",
            "1 x 0\n",
            "1 0 99999999\n",
            "\n",
        ] {
            let (mut shell, mut guest) = pair();
            guest.write_all(wrong.as_bytes()).unwrap();
            let error = shell.ask("one", LIMIT).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{wrong:?}");
        }
    }

    #[test]
    fn a_machine_that_is_gone_is_told_from_one_that_is_silent() {
        let (mut shell, guest) = pair();
        let silent = shell.up(SOON).unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::WouldBlock);
        drop(guest);
        let gone = shell.up(LIMIT).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_command_is_one_line() {
        let (mut shell, _guest) = pair();
        let error = shell.ask("one\ntwo", SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
