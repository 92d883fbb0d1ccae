//! Answers as the kernel gives them, and cut anywhere.

use super::{Match, read};

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let len = 16 + body.len() as u32;
    let head = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10]].concat();
    [&head, body].concat()
}

fn error(errno: i32) -> Vec<u8> {
    message(2, &errno.wrapping_neg().to_ne_bytes())
}

fn socket(state: u8, attributes: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 72];
    body[1] = state;
    body.extend(attributes);
    message(20, &body)
}

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let len = 4 + payload.len() as u16;
    let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), payload].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn answers_are_told_apart() {
    // The flag of nesting is set on the outer one.
    let mptcp = [
        attribute(9, b"x"),
        attribute(19 | 1 << 15, &attribute(1, b"mptcp\0")),
    ]
    .concat();
    let tls = attribute(19, &attribute(1, b"tls\0"));
    let listener = |mptcp| Match::Listener { mptcp };
    for (message, expected) in [
        (error(libc::ENOENT), Match::Nobody),
        (socket(10, &[]), listener(false)),
        (socket(10, &tls), listener(false)),
        (socket(10, &mptcp), listener(true)),
        (socket(1, &[]), Match::Flow),
        (socket(6, &mptcp), Match::Flow),
    ] {
        assert_eq!(read(&message).expect("an answer"), expected);
        for cut in 0..message.len() {
            // No answer, or the same but for what the attributes say.
            if let Ok(found) = read(&message[..cut]) {
                assert!(found == expected || expected == listener(true));
            }
        }
    }
    let refused = read(&error(libc::EPERM)).expect_err("an error");
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    assert!(read(&message(99, &[0; 100])).is_err());
}
