//! The first bytes of a proxied connection, where they are asked for: who the client is.
//!
//! The PROXY protocol, version 2, as its authors publish it
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, section 2.2).

use std::net::IpAddr;

use tcp_lite::{Endpoint, Flow};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and the command PROXY: on behalf of another.
const VERSION_AND_COMMAND: u8 = 0x21;
/// Address family, and the transport STREAM.
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header that says between whom `flow` is.
pub(super) fn header(flow: &Flow) -> Vec<u8> {
    let (client, local) = (flow.remote, flow.local);
    let mut addresses = Vec::with_capacity(36);
    for end in [client, local] {
        match IpAddr::from(end.addr) {
            IpAddr::V4(ip) => addresses.extend(ip.octets()),
            IpAddr::V6(ip) => addresses.extend(ip.octets()),
        }
    }
    let port = |end: Endpoint| end.port.to_be_bytes();
    addresses.extend([port(client), port(local)].concat());
    let family = match flow.is_v4() {
        true => TCP_OVER_IPV4,
        false => TCP_OVER_IPV6,
    };
    let mut header = SIGNATURE.to_vec();
    header.extend([VERSION_AND_COMMAND, family]);
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}

#[cfg(test)]
mod tests {
    use super::header;
    use std::net::IpAddr;
    use tcp_lite::{Endpoint, Flow};

    fn flow(local: (&str, u16), remote: (&str, u16)) -> Flow {
        let end = |(ip, port): (&str, u16)| Endpoint {
            addr: ip.parse::<IpAddr>().expect("an address").into(),
            port,
        };
        Flow {
            local: end(local),
            remote: end(remote),
        }
    }

    #[test]
    fn the_header_is_that_of_the_specification() {
        let v4 = header(&flow(("192.0.2.1", 443), ("198.51.100.7", 56_324)));
        let expected = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c\
            \xc6\x33\x64\x07\xc0\x00\x02\x01\xdc\x04\x01\xbb";
        assert_eq!(v4, expected);
        let v6 = header(&flow(("2001:db8::1", 80), ("2001:db8::ff", 1024)));
        let ip = |last| [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[last]].concat();
        let expected = [
            b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x21\x00\x24".to_vec(),
            ip(0xff),
            ip(1),
            vec![4, 0, 0, 80],
        ];
        assert_eq!(v6, expected.concat());
    }
}
