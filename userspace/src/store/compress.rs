//! The same content in a coding: made here, or found beside a file and checked.

use super::Coding;
use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use std::io::{self, Read, Write as _};

/// Below this, content is not compressed: with its head it leaves in one segment of an Ethernet either way (1,460
/// bytes), and clients would only have work from it. Far above, pages of a few KiB would take more segments than they
/// need.
pub(super) const MIN: usize = 1024;

/// How hard each coding tries, once for each file that is loaded. 18 MB of 2,148 pages, scripts and texts of 1 to 64 KiB
/// took one core 0.26 s with gzip 6 (to 32.4 %), 0.93 s with brotli 5 (30.3 %) and 0.27 s with zstd 6 (32.3 %):
/// some 12 MB/s for all three. Less saves time that nobody waits for; the next step that makes a difference is
/// brotli 11, at 0.7 MB/s for 26.6 %: who wants that makes it once and puts it beside the file.
const GZIP: u32 = 6;
const BROTLI: u32 = 5;
const ZSTD: i32 = 6;
/// Window of brotli as a power of two: 4 MiB; its own default.
const BROTLI_WINDOW: u32 = 22;
/// Window of zstd that any client must be able to keep, as a power of two: 8 MiB (RFC 9659).
const ZSTD_WINDOW: u32 = 23;

/// `body` in `coding`, if that is worth it.
pub(super) fn encode(coding: Coding, body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < MIN {
        return None;
    }
    let coded = match coding {
        Coding::Gzip => gzip(body),
        Coding::Brotli => brotli(body),
        Coding::Zstd => zstd::bulk::compress(body, ZSTD),
    };
    match coded {
        Ok(coded) => is_worth_it(coded.len(), body.len()).then_some(coded),
        Err(error) => {
            log::warn!("cannot compress with {}: {error}", coding.token());
            None
        }
    }
}

/// Whether a variant of `coded` bytes is smaller enough than the `plain` to make up for its head, which is longer, and
/// the client's work.
fn is_worth_it(coded: usize, plain: usize) -> bool {
    coded + 64 < plain - plain / 16
}

fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP));
    encoder.write_all(body)?;
    encoder.finish()
}

fn brotli(body: &[u8]) -> io::Result<Vec<u8>> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: BROTLI as i32,
        lgwin: BROTLI_WINDOW as i32,
        size_hint: body.len(),
        ..Default::default()
    };
    let mut coded = Vec::new();
    brotli::BrotliCompress(&mut &body[..], &mut coded, &params)?;
    Ok(coded)
}

/// Whether `coded` is exactly `body` in `coding`, and nothing besides.
pub(super) fn decodes_to(coding: Coding, coded: &[u8], body: &[u8]) -> bool {
    let mut rest = Rest(body);
    let whole = match coding {
        Coding::Gzip => rest.take_all(flate2::read::MultiGzDecoder::new(coded)),
        Coding::Brotli => rest.take_brotli(coded),
        Coding::Zstd => zstd::Decoder::with_buffer(coded)
            .and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW)?;
                Ok(decoder)
            })
            .is_ok_and(|decoder| rest.take_all(decoder)),
    };
    whole && rest.0.is_empty()
}

/// What is still to come.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// False if something else came.
    fn take(&mut self, part: &[u8]) -> bool {
        let rest = self.0.strip_prefix(part);
        self.0 = rest.unwrap_or_default();
        rest.is_some()
    }

    /// False if something else came, or not all could be decoded.
    fn take_all(&mut self, mut decoded: impl Read) -> bool {
        let mut buf = [0; 8192];
        loop {
            match decoded.read(&mut buf) {
                Ok(0) => return true,
                Ok(len) if self.take(&buf[..len]) => {}
                Ok(_) | Err(_) => return false,
            }
        }
    }

    /// The same; its reader would not tell of what is behind the end.
    fn take_brotli(&mut self, coded: &[u8]) -> bool {
        let alloc = StandardAlloc::default;
        let mut state = BrotliState::new_strict(alloc(), alloc(), alloc());
        let (mut unread, mut read, mut total) = (coded.len(), 0, 0);
        let mut buf = [0; 8192];
        loop {
            let (mut room, mut len) = (buf.len(), 0);
            let result = BrotliDecompressStream(
                &mut unread,
                &mut read,
                coded,
                &mut room,
                &mut len,
                &mut buf,
                &mut total,
                &mut state,
            );
            if !self.take(&buf[..len]) {
                return false;
            }
            match result {
                BrotliResult::ResultSuccess => return unread == 0,
                BrotliResult::NeedsMoreOutput => {}
                BrotliResult::NeedsMoreInput | BrotliResult::ResultFailure => return false,
            }
        }
    }
}

/// Whether content of this type gets much smaller. Images, sound, video, archives and web fonts are compressed already.
pub(super) fn pays(essence: &str) -> bool {
    const OTHERS: [&str; 11] = [
        "application/javascript",
        "application/json",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/xml",
        "font/collection",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/x-icon",
    ];
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || OTHERS.contains(&essence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::media;

    fn text() -> Vec<u8> {
        let words = ["alpha", "beta", "gamma", "delta", "\n"];
        let mut random = fastrand::Rng::with_seed(1);
        let text: Vec<&str> = (0..4000)
            .map(|_| *random.choice(&words).expect("not empty"))
            .collect();
        text.join(" ").into_bytes()
    }

    #[test]
    fn what_is_made_decodes_to_what_it_was_made_of() {
        let text = text();
        for coding in Coding::ALL {
            let coded = encode(coding, &text).expect("worth it");
            assert!(coded.len() < text.len() / 2, "{coding:?}");
            assert!(decodes_to(coding, &coded, &text), "{coding:?}");
        }
    }

    #[test]
    fn what_is_anything_else_is_noticed() {
        let text = text();
        for coding in Coding::ALL {
            let coded = encode(coding, &text).expect("worth it");
            let no = |coded: &[u8], body: &[u8], what: &str| {
                assert!(!decodes_to(coding, coded, body), "{coding:?} {what}");
            };
            no(&coded, &text[..text.len() - 1], "longer");
            no(&coded, &[&text[..], b"x"].concat(), "shorter");
            no(&coded, b"", "of nothing");
            let mut other = text.clone();
            other[5000] ^= 1;
            no(&coded, &other, "of another");
            no(&coded[..coded.len() - 1], &text, "cut off");
            no(
                &[&coded[..], b"behind"].concat(),
                &text,
                "with something behind",
            );
            no(&text, &text, "not coded");
            no(b"", &text, "empty");
            no(b"", b"", "empty of nothing");
            for wrong in Coding::ALL.into_iter().filter(|other| *other != coding) {
                assert!(!decodes_to(wrong, &coded, &text), "{coding:?} as {wrong:?}");
            }
        }
    }

    #[test]
    fn members_and_frames_may_be_several() {
        let text = text();
        for coding in [Coding::Gzip, Coding::Zstd] {
            let coded = encode(coding, &text).expect("worth it");
            let (coded, body) = ([&coded[..], &coded].concat(), [&text[..], &text].concat());
            assert!(decodes_to(coding, &coded, &body), "{coding:?}");
        }
    }

    #[test]
    fn a_window_that_clients_need_not_have_is_refused() {
        let body = vec![7; 20 << 20];
        let coded = |window| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window).unwrap();
            encoder.write_all(&body).unwrap();
            encoder.finish().unwrap()
        };
        assert!(decodes_to(Coding::Zstd, &coded(23), &body));
        assert!(!decodes_to(Coding::Zstd, &coded(24), &body));
    }

    #[test]
    fn what_gains_nothing_is_not_kept() {
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..5000).map(|_| random.u8(..)).collect();
        for coding in Coding::ALL {
            assert_eq!(encode(coding, &noise), None);
            assert_eq!(encode(coding, &[b'a'; MIN - 1]), None);
            assert!(encode(coding, &[b'a'; MIN]).is_some());
        }
    }

    #[test]
    fn compressible_types() {
        for name in [
            "html", "js", "mjs", "json", "svg", "wasm", "xml", "txt", "css", "ttf", "map",
        ] {
            let essence = media::essence(format!("a.{name}").as_bytes());
            assert!(pays(essence), "{name}: {essence}");
        }
        for name in [
            "png", "jpg", "woff2", "gz", "br", "zst", "mp4", "zip", "pdf", "bin",
        ] {
            let essence = media::essence(format!("a.{name}").as_bytes());
            assert!(!pays(essence), "{name}: {essence}");
        }
    }
}
