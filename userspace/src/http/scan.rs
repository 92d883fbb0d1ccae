//! Runs of bytes: all that the parser does byte by byte. Where runs are long, as those of field values, 16 bytes are looked
//! at with a few vector instructions each; the table of classes says what these must come to.

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const VALUE: u8 = 4;
const REG_NAME: u8 = 8;

/// The classes of each byte.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte: u8 = 0;
    loop {
        let mut class = 0;
        // tchar (RFC 9110, 5.6.2)
        if byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            class |= TOKEN;
        }
        // More than RFC 3986 allows: browsers send `|`, `{` and the like as they are (WHATWG URL, "query
        // percent-encode set"). Never a fragment, never what is not ASCII.
        if byte.is_ascii_graphic() && byte != b'#' {
            class |= TARGET;
        }
        // field-content and the spaces in it (RFC 9110, 5.5)
        if byte == b'\t' || byte == b' ' || byte.is_ascii_graphic() || byte >= 0x80 {
            class |= VALUE;
        }
        // unreserved, sub-delims, and the percent sign of an escape (RFC 3986, 3.2.2)
        if byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
                    | b'%'
            )
        {
            class |= REG_NAME;
        }
        table[byte as usize] = class;
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

fn run(bytes: &[u8], class: u8) -> usize {
    bytes
        .iter()
        .position(|&byte| CLASSES[usize::from(byte)] & class == 0)
        .unwrap_or(bytes.len())
}

/// Bytes of whole blocks at the start of `bytes` all of which `fits` takes. There is no branch within a block, of which
/// the compiler makes vector instructions.
#[inline]
fn blocks(bytes: &[u8], fits: impl Fn(u8) -> bool) -> usize {
    let (blocks, _) = bytes.as_chunks::<16>();
    let all_fit = |block: &&[u8; 16]| block.iter().fold(true, |all, &b| all & fits(b));
    16 * blocks.iter().take_while(all_fit).count()
}

/// Length of the token that `bytes` begin with.
pub(super) fn token(bytes: &[u8]) -> usize {
    run(bytes, TOKEN)
}

/// Length of the request target that `bytes` begin with.
pub(super) fn target(bytes: &[u8]) -> usize {
    let whole = blocks(bytes, |b| (b > b' ') & (b < 0x7f) & (b != b'#'));
    whole + run(&bytes[whole..], TARGET)
}

/// Length of the field value that `bytes` begin with, spaces around it included.
pub(super) fn value(bytes: &[u8]) -> usize {
    let whole = blocks(bytes, |b| ((b >= b' ') & (b != 0x7f)) | (b == b'\t'));
    whole + run(&bytes[whole..], VALUE)
}

/// Length of the registered name, or IPv4 address, that `bytes` begin with.
pub(super) fn reg_name(bytes: &[u8]) -> usize {
    run(bytes, REG_NAME)
}

/// Where a head ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadEnd {
    /// Its empty line ends in front of this offset.
    At(usize),
    /// Not yet.
    Missing,
    /// A line feed without carriage return stands in it.
    BareLf,
}

/// Looks for the end of the head that begins at `start`, which is no line end, in `buf[from..]`; before `from` there
/// is none.
pub(super) fn head_end(buf: &[u8], start: usize, from: usize) -> HeadEnd {
    let from = from.max(start);
    for offset in memchr::memchr_iter(b'\n', &buf[from..]) {
        match &buf[start..from + offset] {
            [.., b'\n', b'\r'] => return HeadEnd::At(from + offset + 1),
            [.., b'\r'] => {}
            _ => return HeadEnd::BareLf,
        }
    }
    HeadEnd::Missing
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte at each place of runs of up to three blocks.
    #[test]
    fn blocks_end_where_the_table_says() {
        for len in 0..50 {
            for place in 0..len {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'a'; len];
                    bytes[place] = byte;
                    assert_eq!(value(&bytes), run(&bytes, VALUE), "{byte} at {place}");
                    assert_eq!(target(&bytes), run(&bytes, TARGET), "{byte} at {place}");
                }
            }
        }
    }
}
