//! A WebSocket client (RFC 6455) for one echoed conversation.

use super::scenario::Fault;
use sidestep_tests::http::Client;

/// The key of RFC 6455 section 1.3, and the answer that it has there.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Lengths of messages, one for each form of a frame's length (section 5.2).
const LENGTHS: [usize; 3] = [5, 1_000, 70_000];

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// Any mask will do for a client that attacks nobody.
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// Upgrades the connection, has messages of all kinds of length sent back, and closes.
pub fn talk(mut client: Client) -> Result<(), Fault> {
    client.send(format!(
        "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    ))?;
    let answer = client.answer_to_head()?;
    if answer.status != 101 || answer.field("sec-websocket-accept") != Some(ACCEPT) {
        return Err(format!("not upgraded:\n{}", answer.head).into());
    }
    for length in LENGTHS {
        let message: Vec<u8> = (0..length).map(|at| b'a' + (at % 26) as u8).collect();
        client.send(frame(TEXT, &message))?;
        if next(&mut client)? != (TEXT, message) {
            return Err(format!("a message of {length} bytes came back as another").into());
        }
    }
    let normal = 1000_u16.to_be_bytes();
    client.send(frame(CLOSE, &normal))?;
    let (kind, payload) = next(&mut client)?;
    if kind != CLOSE || !payload.starts_with(&normal) {
        return Err(format!("closed with {kind:#x} {payload:?}").into());
    }
    Ok(())
}

/// A whole message from a client, which has to be masked (section 5.3).
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        medium @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// The next message of the server's, put together from its fragments, without pings in between.
fn next(client: &mut Client) -> Result<(u8, Vec<u8>), Fault> {
    let (mut kind, mut message) = (0, Vec::new());
    loop {
        let head = client.bytes(2)?;
        let length = match head[1] {
            126 => {
                let bytes = client.bytes(2)?;
                usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
            }
            127 => {
                let bytes = client.bytes(8)?;
                bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
            }
            short @ 0..126 => usize::from(short),
            masked => return Err(format!("a server's frame with a mask: {masked:#x}").into()),
        };
        let payload = client.bytes(length)?;
        if head[0] == PING {
            continue;
        }
        if head[0] & 0x0f != 0 {
            kind = 0x80 | head[0] & 0x0f;
        }
        message.extend(payload);
        if head[0] & 0x80 != 0 {
            return Ok((kind, message));
        }
    }
}
