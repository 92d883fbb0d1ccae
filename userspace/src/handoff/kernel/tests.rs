//! What goes to the kernel, byte by byte.

use tcp_lite::{Addr, Endpoint, Flow};
use xdp_prog::OBJECT;

use super::{Ticket, attributes, calling, key};

fn ticket() -> Ticket {
    let end = |last, port| Endpoint {
        addr: Addr::v4([192, 0, 2, last]),
        port,
    };
    Ticket {
        flow: Flow {
            local: end(1, 80),
            remote: end(2, 40_000),
        },
        seq: 1,
        ack: 2,
        mss: 1460,
        snd_wscale: Some(7),
        rcv_wscale: 3,
        sack: true,
        ecn: false,
        timestamps: Some((0x0102_0304, 0x0506_0708)),
    }
}

#[test]
fn attributes_are_laid_out_as_the_kernel_has_them() {
    let bytes = |ticket: &Ticket| {
        let words = attributes(ticket).0.map(u32::to_ne_bytes);
        words.as_flattened().to_vec()
    };
    let clocks = [0x0102_0304_u32, 0x0506_0708].map(u32::to_ne_bytes);
    let mss = 1460_u16.to_ne_bytes();
    let all = [clocks.as_flattened(), &mss, &[3, 7, 0, 1, 1, 1], &[0; 4]].concat();
    assert_eq!(bytes(&ticket()), all);
    let none = Ticket {
        snd_wscale: None,
        sack: false,
        ecn: true,
        timestamps: None,
        ..ticket()
    };
    let few = [&[0; 8][..], &mss, &[0, 0, 1, 0, 0, 0], &[0; 4]].concat();
    assert_eq!(bytes(&none), few);
}

#[test]
fn the_key_is_that_of_a_segment_from_the_client() {
    let words = key(&ticket().flow).words();
    assert_eq!(words[3].to_ne_bytes(), [192, 0, 2, 2]);
    assert_eq!(words[7].to_ne_bytes(), [192, 0, 2, 1]);
    assert_eq!(words[8].to_ne_bytes(), [0x9c, 0x40, 0, 80]);
}

#[test]
fn the_embedded_object_calls_the_function_in_one_program_only() {
    let patched = calling(OBJECT, 0x0a0b_0c0d).expect("a call");
    let changed: Vec<_> = (0..OBJECT.len())
        .step_by(8)
        .filter(|&at| patched[at..].iter().take(8).ne(OBJECT[at..].iter().take(8)))
        .collect();
    assert!(
        (1..=2).contains(&changed.len()),
        "for each IP version: {changed:?}"
    );
    for at in changed {
        assert_eq!(
            patched[at..at + 8],
            [0x85, 0x20, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a]
        );
    }
    assert!(calling(&OBJECT[..64], 1).is_none());
}
