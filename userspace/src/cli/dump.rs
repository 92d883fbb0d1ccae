//! `sidestep dump`: the fast path's frames on standard output, for tcpdump or Wireshark.

use super::{FAILURE, OK, USAGE, fail};
use crate::control::dump::{FILE_HEADER, RECORD_HEADER, socket};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use std::io::{self, BufReader, IsTerminal, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Longest frame that is believed: the largest UMEM chunk is 4 KiB.
const MAX_FRAME: u32 = 64 << 10;

/// Which frames to write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filter {
    pub host: Option<IpAddr>,
    pub port: Option<u16>,
}

impl Filter {
    fn wants(&self, frame: &[u8]) -> bool {
        if self.host.is_none() && self.port.is_none() {
            return true;
        }
        let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else {
            return false;
        };
        let ends: Option<[IpAddr; 2]> = match &packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                Some([
                    header.source_addr().into(),
                    header.destination_addr().into(),
                ])
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                Some([
                    header.source_addr().into(),
                    header.destination_addr().into(),
                ])
            }
            _ => None,
        };
        let ports = match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => Some([tcp.source_port(), tcp.destination_port()]),
            _ => None,
        };
        self.host
            .is_none_or(|host| ends.is_some_and(|ends| ends.contains(&host)))
            && self
                .port
                .is_none_or(|port| ports.is_some_and(|ports| ports.contains(&port)))
    }
}

/// Writes frames until the daemon ends, nobody reads any more, or there were `count`.
pub(super) fn run(filter: Filter, count: Option<u64>, control: &Path) -> u8 {
    let out = io::stdout().lock();
    if out.is_terminal() {
        return fail(
            &"frames are not for a terminal\n  help: `sidestep dump | tcpdump -n -r -`, or `sidestep dump > file.pcap`",
            USAGE,
        );
    }
    let path = socket(control);
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(e) => {
            return fail(
                &format_args!(
                    "no sidestep daemon dumps on {}: {e}\n  help: start one with `sidestep attach`, or name its control socket with --socket",
                    path.display()
                ),
                FAILURE,
            );
        }
    };
    match copy(
        BufReader::new(stream),
        out,
        filter,
        count.unwrap_or(u64::MAX),
    ) {
        Ok(()) => OK,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => OK,
        Err(e) => fail(&format_args!("the dump has ended: {e}"), FAILURE),
    }
}

fn copy(mut from: impl Read, mut to: impl Write, filter: Filter, count: u64) -> io::Result<()> {
    let mut header = [0; FILE_HEADER.len()];
    from.read_exact(&mut header)?;
    to.write_all(&header)?;
    // So that tcpdump shows what it is about to show.
    to.flush()?;
    let mut record = Vec::new();
    let mut written = 0;
    while written < count && read_record(&mut from, &mut record)? {
        if filter.wants(&record[RECORD_HEADER..]) {
            to.write_all(&record)?;
            to.flush()?;
            written += 1;
        }
    }
    Ok(())
}

/// Reads the next frame with its header; `false` at the end.
fn read_record(from: &mut impl Read, record: &mut Vec<u8>) -> io::Result<bool> {
    record.resize(RECORD_HEADER, 0);
    if from.read(&mut record[..1])? == 0 {
        return Ok(false);
    }
    from.read_exact(&mut record[1..])?;
    let length = u32::from_le_bytes([record[8], record[9], record[10], record[11]]);
    if length > MAX_FRAME {
        let what = format!("a frame of {length} bytes: the daemon is of another version");
        return Err(io::Error::other(what));
    }
    record.resize(RECORD_HEADER + length as usize, 0);
    from.read_exact(&mut record[RECORD_HEADER..])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn frame(last: u8, port: u16) -> Vec<u8> {
        let packet = PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([10, 0, 0, last], [10, 0, 0, 9], 64)
            .tcp(port, 80, 1, 1000);
        let mut bytes = Vec::new();
        packet.write(&mut bytes, b"GET /").expect("a frame");
        bytes
    }

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut all = FILE_HEADER.to_vec();
        for frame in frames {
            let length = frame.len() as u32;
            for number in [1, 2, length, length] {
                all.extend(number.to_le_bytes());
            }
            all.extend(frame);
        }
        all
    }

    fn copied(all: &[u8], filter: Filter, count: u64) -> Vec<u8> {
        let mut out = Vec::new();
        copy(all, &mut out, filter, count).expect("copied");
        out
    }

    #[test]
    fn what_is_wanted_is_copied() {
        let frames = [frame(1, 1000), frame(2, 1000), frame(1, 2000), vec![0; 60]];
        let all = stream(&frames);
        let everything = Filter::default();
        assert_eq!(copied(&all, everything, u64::MAX), all);
        assert_eq!(copied(&all, everything, 2), stream(&frames[..2]));
        let filter = |host: Option<&str>, port| Filter {
            host: host.map(|host| host.parse().expect("an address")),
            port,
        };
        let pick = |wanted: &[usize]| {
            stream(
                &wanted
                    .iter()
                    .map(|&n| frames[n].clone())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            copied(&all, filter(Some("10.0.0.1"), None), 9),
            pick(&[0, 2])
        );
        assert_eq!(copied(&all, filter(None, Some(1000)), 9), pick(&[0, 1]));
        assert_eq!(
            copied(&all, filter(Some("10.0.0.9"), Some(80)), 9),
            pick(&[0, 1, 2])
        );
        assert_eq!(
            copied(&all, filter(Some("10.0.0.2"), Some(2000)), 9),
            pick(&[])
        );
        assert_eq!(copied(&all, filter(Some("fd00::1"), None), 9), pick(&[]));
    }

    #[test]
    fn a_stream_that_is_cut_off_or_absurd_is_an_error() {
        let all = stream(&[frame(1, 1)]);
        for length in [10, FILE_HEADER.len() + 3, all.len() - 1] {
            let cut = &all[..length];
            assert!(
                copy(cut, Vec::new(), Filter::default(), 9).is_err(),
                "{length}"
            );
        }
        let mut absurd = all.clone();
        absurd[FILE_HEADER.len() + 10] = 0xff;
        assert!(copy(&absurd[..], Vec::new(), Filter::default(), 9).is_err());
    }
}
