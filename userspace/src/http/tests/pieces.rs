//! However the bytes arrive, and whatever they are.

use super::*;

/// What a sender of `bytes` gets to see, fed in pieces that end at `cuts`.
fn in_pieces(bytes: &[u8], cuts: impl Iterator<Item = usize>, max: usize) -> Parsed<'_> {
    let mut scanned = 0;
    for end in cuts.chain([bytes.len()]) {
        match parse(&bytes[..end], scanned, max) {
            Parsed::Partial { scanned: next } => {
                assert!(next <= end);
                scanned = next;
            }
            done => return done,
        }
    }
    Parsed::Partial { scanned }
}

#[test]
fn pieces_give_what_the_whole_gives() {
    for text in corpus() {
        for max in [MAX, 40] {
            let whole = parse(&text, 0, max);
            if text.len() < 1000 {
                for cut in 0..text.len() {
                    let split = in_pieces(&text, [cut].into_iter(), max);
                    assert_eq!(
                        split,
                        whole,
                        "{:?} at {cut}",
                        String::from_utf8_lossy(&text)
                    );
                }
            }
            let bytewise = in_pieces(&text, 0..text.len(), max);
            assert_eq!(bytewise, whole, "{:?}", String::from_utf8_lossy(&text));
        }
    }
}

#[test]
fn pipelines_give_what_single_requests_give() {
    let joined: String = GOOD.iter().cycle().take(1000).copied().collect();
    let mut rest = joined.as_bytes();
    for text in GOOD.iter().cycle().take(1000) {
        let Parsed::Complete { head: found, len } = parse(rest, 0, MAX) else {
            panic!("{text:?} is not complete");
        };
        assert_eq!((found, len), (head(text), text.len()));
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
}

/// Heads of the corpus with bytes changed, taken out and put in: nothing panics, and pieces still agree.
#[test]
fn mutated_heads_do_no_harm() {
    let corpus = corpus();
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut text = corpus[random.usize(..corpus.len())].clone();
        text.truncate(300);
        for _ in 0..random.usize(1..4) {
            let byte = *random
                .choice(b"\r\n\0 \t:/aG,*%\x80\xff")
                .expect("not empty");
            match (random.u8(..3), random.usize(..text.len().max(1))) {
                (0, at) if at < text.len() => text[at] = byte,
                (1, at) if at < text.len() => {
                    text.remove(at);
                }
                (_, at) => text.insert(at.min(text.len()), byte),
            }
        }
        let cuts: Vec<usize> = (0..text.len()).filter(|_| random.u8(..8) == 0).collect();
        let whole = parse(&text, 0, 200);
        assert_eq!(
            in_pieces(&text, cuts.into_iter(), 200),
            whole,
            "seed {seed}: {text:?}"
        );
    }
}

/// Heads of every kind, good and bad, each whole.
fn corpus() -> Vec<Vec<u8>> {
    let mut corpus: Vec<Vec<u8>> = GOOD.iter().map(|text| text.as_bytes().to_vec()).collect();
    corpus.extend(bad().into_iter().map(|(text, _)| text));
    corpus
}
