//! Files in content codings: where they come from, which are used, and what is said with them.

use super::*;
use crate::store::compress;
use std::collections::BTreeMap;

/// Text that is worth compressing; `seed` tells one from another.
fn page(seed: usize) -> String {
    (0..400)
        .map(|n| format!("line {} of page {seed}\n", n % 7))
        .collect()
}

fn coded(coding: Coding, text: &str) -> Vec<u8> {
    compress::encode(coding, text.as_bytes()).unwrap()
}

fn put(root: &TempDir, name: &str, bytes: &[u8]) {
    fs::write(root.path().join(name), bytes).unwrap();
}

fn with(root: &TempDir, more: &str) -> Snapshot {
    snapshot(&format!("[[site]]\n{}{more}", static_site(root, "/")))
}

fn id(snapshot: &Snapshot, path: &str) -> ResponseId {
    match snapshot.find(b"h", path.as_bytes()).1 {
        Found::Response(id) => id,
        other => panic!("{path}: {other:?}"),
    }
}

fn codings(snapshot: &Snapshot, path: &str) -> Vec<Coding> {
    let variants = snapshot.variants(id(snapshot, path)).iter();
    let mut list: Vec<_> = variants.map(|&(coding, _)| coding).collect();
    list.sort();
    list
}

/// The head of a response, by name in lower case.
fn head(snapshot: &Snapshot, id: ResponseId) -> BTreeMap<String, String> {
    let head = Rendering {
        form: Form::Head,
        ..rendering(id)
    };
    let text = text(snapshot, &head);
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect()
}

#[test]
fn siblings_are_variants_and_files() {
    let text = page(1);
    let root = tree(&[("a.js", &text), ("b.js", &text), ("only.gz", "x")]);
    for coding in Coding::ALL {
        let name = format!("a.js{}", coding.extension());
        put(&root, &name, &coded(coding, &text));
    }
    put(&root, "b.js.br", &coded(Coding::Brotli, &text));
    let snapshot = with(&root, "headers = { X-Own = \"1\" }");
    assert_eq!(codings(&snapshot, "/a.js"), Coding::ALL);
    assert_eq!(codings(&snapshot, "/b.js"), [Coding::Brotli]);
    let plain = id(&snapshot, "/a.js");
    let own = head(&snapshot, plain);
    assert_eq!(own["vary"], "Accept-Encoding");
    assert!(!own.contains_key("content-encoding"));
    let mut tags = vec![own["etag"].clone()];
    let mut lengths = Vec::new();
    for &(coding, id) in snapshot.variants(plain) {
        let bytes = coded(coding, &text);
        assert_eq!(snapshot.response(id).body(), bytes, "{coding:?}");
        let mut variant = head(&snapshot, id);
        assert_eq!(
            variant.remove("content-encoding").as_deref(),
            Some(coding.token())
        );
        assert_eq!(variant["content-length"], bytes.len().to_string());
        lengths.push(bytes.len());
        tags.push(variant["etag"].clone());
        // All else is the same.
        for name in ["etag", "content-length"] {
            variant.insert(name.into(), own[name].clone());
        }
        assert_eq!(variant, own, "{coding:?}");
        // A cache that has it is told so with what it needs.
        let unchanged = Rendering {
            form: Form::NotModified,
            ..rendering(id)
        };
        let unchanged = super::text(&snapshot, &unchanged);
        assert!(unchanged.contains("\r\nVary: Accept-Encoding\r\n"));
        assert!(unchanged.contains(tags.last().unwrap()));
    }
    assert!(lengths.is_sorted(), "the shortest is first: {lengths:?}");
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4, "each has a tag of its own");
    // By its own path a sibling is a file like any other.
    let own = head(&snapshot, id(&snapshot, "/a.js.gz"));
    assert_eq!(own["content-type"], "application/gzip");
    assert!(!own.contains_key("content-encoding") && !own.contains_key("vary"));
    assert!(!head(&snapshot, id(&snapshot, "/only.gz")).contains_key("vary"));
}

#[test]
fn what_is_not_the_same_content_is_no_variant() {
    let root = tree(&[("a.txt", &page(1)), ("b.txt", &page(1)), ("c.txt", "short")]);
    // Of what the file held before; something else; longer than what it stands for.
    put(&root, "a.txt.gz", &coded(Coding::Gzip, &page(2)));
    put(&root, "a.txt.br", b"not brotli");
    put(&root, "c.txt.gz", &coded(Coding::Gzip, &page(1)));
    fs::create_dir(root.path().join("b.txt.gz")).unwrap();
    let outside = tree(&[]);
    put(&outside, "b", &coded(Coding::Brotli, &page(1)));
    symlink(outside.path().join("b"), root.path().join("b.txt.br")).unwrap();
    for more in ["", "compress = \"siblings\"", "compress = \"off\""] {
        let snapshot = with(&root, more);
        for path in ["/a.txt", "/b.txt", "/c.txt"] {
            assert_eq!(codings(&snapshot, path), [], "{path} {more}");
            assert!(!head(&snapshot, id(&snapshot, path)).contains_key("vary"));
        }
    }
    put(&root, "a.txt.gz", &coded(Coding::Gzip, &page(1)));
    assert_eq!(codings(&with(&root, ""), "/a.txt"), [Coding::Gzip]);
    assert_eq!(codings(&with(&root, "compress = \"off\""), "/a.txt"), []);
}

#[test]
fn what_pays_is_compressed_once() {
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = (0..5000).map(|_| random.u8(..)).collect();
    let root = tree(&[
        ("a.css", &page(1)),
        ("index.html", &page(2)),
        ("image.png", &page(3)),
        ("short.txt", "short"),
    ]);
    put(&root, "noise.txt", &noise);
    // What is there is not made.
    let mut own = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut own, page(1).as_bytes()).unwrap();
    let own = own.finish().unwrap();
    put(&root, "a.css.gz", &own);
    let config = format!("[[site]]\n{}compress = \"auto\"", static_site(&root, "/"));
    let built = snapshot(&config);
    for path in ["/a.css", "/", "/index.html"] {
        assert_eq!(codings(&built, path), Coding::ALL, "{path}");
    }
    for path in ["/image.png", "/short.txt", "/noise.txt"] {
        assert_eq!(codings(&built, path), [], "{path}");
    }
    for (path, page) in [("/a.css", page(1)), ("/", page(2))] {
        for &(coding, id) in built.variants(id(&built, path)) {
            let body = built.response(id).body();
            assert!(compress::decodes_to(coding, body, page.as_bytes()));
            if coding == Coding::Gzip {
                assert_eq!(body == own, path == "/a.css");
            }
        }
    }
}

#[test]
fn what_the_last_snapshot_compressed_is_not_compressed_again() {
    let root = tree(&[("a.txt", &page(1)), ("b.txt", &page(2))]);
    // A sibling that no setting here would make.
    let mut own = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut own, page(1).as_bytes()).unwrap();
    let own = own.finish().unwrap();
    put(&root, "a.txt.gz", &own);
    let text = format!("[[site]]\n{}compress = \"auto\"", static_site(&root, "/"));
    let last = snapshot(&text);
    fs::remove_file(root.path().join("a.txt.gz")).unwrap();
    put(&root, "b.txt", page(3).as_bytes());
    let next = last.rebuild(&Config::parse(&text, "t").unwrap()).unwrap();
    let gzip = |path: &str| {
        let variants = next.variants(id(&next, path));
        let is_gzip = |(coding, _): &&(Coding, ResponseId)| *coding == Coding::Gzip;
        let &(_, id) = variants.iter().find(is_gzip).unwrap();
        next.response(id).body().to_vec()
    };
    assert_eq!(gzip("/a.txt"), own, "taken over");
    assert_eq!(codings(&next, "/a.txt").len(), 3);
    let changed = page(3);
    assert!(compress::decodes_to(
        Coding::Gzip,
        &gzip("/b.txt"),
        changed.as_bytes()
    ));
}

#[test]
fn a_sibling_names_its_file() {
    use crate::store::load::of_sibling;
    assert_eq!(of_sibling(b"d/a.js.gz"), Some(&b"d/a.js"[..]));
    assert_eq!(of_sibling(b"a.br"), Some(&b"a"[..]));
    assert_eq!(of_sibling(b"a.zst"), Some(&b"a"[..]));
    assert_eq!(of_sibling(b"a.js"), None);
}
