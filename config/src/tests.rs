use super::*;

/// A configuration with `more` in front of the least that is needed.
fn with(more: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("{more}\n[[site]]\n"), "t.toml")
}

fn site(text: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("[[site]]\n{text}"), "t.toml")
}

#[track_caller]
fn message(result: Result<Config, ConfigError>) -> String {
    result.expect_err("should be refused").to_string()
}

#[test]
fn everything_has_a_default() {
    let config = with("").unwrap();
    assert_eq!(
        config.interface,
        Interface {
            name: None,
            queues: Queues::All,
            mode: Mode::Auto,
            busy_poll: false,
            spin: Duration::from_micros(50),
            interrupts: Interrupts::On,
            umem_frames: 8192
        }
    );
    assert_eq!(
        config.listen,
        [Listen {
            address: ListenAddress::Interface,
            port: 80,
            fallback: Fallback::Kernel,
            fallback_mode: FallbackMode::Auto,
            proxy_protocol: ProxyProtocol::Off
        }]
    );
    assert_eq!(config.sites[0].hosts, [HostPattern::Any]);
    assert_eq!(config.limits.connections, 1_000_000);
    assert_eq!(config.limits.header_bytes, 16 * 1024);
    assert_eq!(config.limits.header_timeout, Duration::from_secs(10));
    assert_eq!(config.limits.idle_timeout, Duration::from_secs(60));
    assert_eq!(config.control.metrics.to_string(), "127.0.0.1:9469");
}

#[test]
fn sample_states_the_defaults() {
    let mut sample = Config::parse(Config::sample(), "sample.toml").unwrap();
    assert_eq!(sample.sites[0].responses[0].status, 200);
    sample.sites[0].responses.clear();
    assert_eq!(sample, with("").unwrap());

    // What the sample shows behind comment signs is right as well, and says what leaving it out means.
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("404.html"), "gone").unwrap();
    let uncomment = |keep: fn(&str) -> bool| -> Config {
        let text: String = Config::sample()
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(toml) if toml.starts_with("[[") || (toml.contains(" = ") && keep(toml)) => {
                    toml
                }
                _ => line,
            })
            .map(|line| line.replace("/var/www", root.path().to_str().unwrap()) + "\n")
            .collect();
        Config::parse(&text, "sample.toml").unwrap_or_else(|e| panic!("{e}\n{text}"))
    };
    let full = uncomment(|_| true);
    assert_eq!(full.interface.name.as_deref(), Some("eth0"));
    let needed = uncomment(|line| line.contains("# no default") || line.starts_with("name"));
    assert_eq!(full, needed);
}

#[test]
fn the_schema_of_the_design_parses() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("c.toml");
    std::fs::create_dir(root.path().join("www")).unwrap();
    std::fs::write(root.path().join("www/404.html"), "gone").unwrap();
    let header = |name: &str, value: &str| Header {
        name: name.into(),
        value: value.into(),
    };
    std::fs::write(
        &file,
        r#"
        [interface]
        name = "eth0"
        queues = [1, 0]
        mode = "zero-copy"
        busy_poll = true
        spin = "20us"
        interrupts = "deferred"
        umem_frames = 4096
        [[listen]]
        address = "192.0.2.10"
        port = 80
        fallback = "none"
        fallback_mode = "proxy"
        [[listen]]
        address = "2001:db8::1"
        proxy_protocol = "v2"
        [[site]]
        hosts = ["Example.org.", "*.example.org", "[::1]"]
        [[site.static]]
        path = "/a%20b"
        root = "www"
        index = "home.html"
        max_object = "1MiB"
        compress = "auto"
        charset = "iso-8859-1"
        headers = { "Cache-Control" = "max-age=60", X-A = "b c" }
        not_found = "404.html"
        follow_symlinks = true
        hidden = true
        [[site.response]]
        path = "/ping"
        status = 201
        content_type = "application/json"
        body = '{"status":"ok"}'
        [site.response.headers]
        Location = "/here"
        [[site.cache]]
        path = "/author/*"
        origin = "http://127.0.0.1:8000"
        ttl = "1s"
        stale_while_revalidate = "1m 30s"
        stale_if_error = "1d"
        negative_ttl = "2s"
        write_hold = "500ms"
        max_object = "64KiB"
        public = true
        [limits]
        connections = 10
        header_bytes = 300
        requests_per_connection = 5
        header_timeout = "500ms"
        idle_timeout = "1h"
        cache_memory = "1GiB"
        [control]
        socket = "/tmp/s"
        metrics = "[::1]:1"
        "#,
    )
    .unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.interface.queues, Queues::List(vec![0, 1]));
    assert_eq!(config.interface.mode, Mode::ZeroCopy);
    assert_eq!(config.interface.spin, Duration::from_micros(20));
    assert_eq!(config.interface.interrupts, Interrupts::Deferred);
    assert_eq!(
        config.listen[1].address,
        ListenAddress::Ip("2001:db8::1".parse().unwrap())
    );
    assert_eq!(config.listen[1].proxy_protocol, ProxyProtocol::V2);
    assert_eq!(config.listen[1].fallback_mode, FallbackMode::Proxy);
    let site = &config.sites[0];
    let hosts: Vec<String> = site.hosts.iter().map(HostPattern::to_string).collect();
    assert_eq!(hosts, ["example.org", "*.example.org", "[::1]"]);
    assert_eq!(
        site.statics,
        [StaticRoute {
            path: b"/a b/".to_vec(),
            root: root.path().join("www"),
            index: "home.html".into(),
            max_object: 1 << 20,
            compress: Compress::Auto,
            charset: Charset::Is("iso-8859-1".into()),
            headers: vec![header("Cache-Control", "max-age=60"), header("X-A", "b c")],
            not_found: Some("404.html".into()),
            follow_symlinks: true,
            hidden: true
        }]
    );
    assert_eq!(site.responses[0].headers, [header("Location", "/here")]);
    assert_eq!(
        site.caches,
        [CacheRoute {
            path: CachePath::Prefix(b"/author/".to_vec()),
            origin: Origin {
                host: "127.0.0.1".into(),
                port: 8000
            },
            ttl: Ttl::Fixed(Duration::from_secs(1)),
            stale_while_revalidate: Duration::from_secs(90),
            stale_if_error: Duration::from_secs(86_400),
            negative_ttl: Duration::from_secs(2),
            write_hold: Duration::from_millis(500),
            max_object: 64 << 10,
            public: true
        }]
    );
    assert_eq!(config.limits.header_timeout, Duration::from_millis(500));
    assert_eq!(config.limits.cache_memory, 1 << 30);
}

#[test]
fn an_error_has_place_and_fix() {
    assert_eq!(
        message(with("[interface]\n  colour = 1")),
        "t.toml:2:3: unknown key `colour`\n  help: the keys here are: \
         `name`, `queues`, `mode`, `busy_poll`, `spin`, `interrupts`, `umem_frames`"
    );
    assert_eq!(
        message(with("[limits]\nheader_bytes = \"64KB\"")),
        "t.toml:2:16: `64KB` is not a size\n  help: write bytes as a whole number, or with a unit \
         B, KiB, MiB or GiB: \"64KiB\""
    );
    // Columns count characters.
    assert!(
        message(site("# é\nhosts = [\"é\", \"a b\"]"))
            .starts_with("t.toml:3:10: `é` is not a host name\n")
    );
    assert!(message(site("hosts = [\"ok\", \"a b\"]")).starts_with("t.toml:2:16: `a b`"));
}

#[test]
fn a_proxy_header_needs_a_proxy_and_a_server() {
    let listen = |keys: &str| with(&format!("[[listen]]\n{keys}\nproxy_protocol = \"v2\""));
    for mode in ["auto", "proxy"] {
        let config = listen(&format!("fallback_mode = \"{mode}\"")).unwrap();
        assert_eq!(config.listen[0].fallback_mode, FallbackMode::Proxy);
        assert_eq!(config.listen[0].proxy_protocol, ProxyProtocol::V2);
    }
    assert_eq!(
        message(listen("fallback_mode = \"handoff\"")),
        "t.toml:3:18: with fallback_mode = \"handoff\" the server accepts the client's own connection, without a PROXY \
         header\n  help: remove proxy_protocol: the server sees the client's address; or write fallback_mode = \"proxy\""
    );
    assert_eq!(
        message(listen("fallback = \"none\"")),
        "t.toml:3:18: proxy_protocol tells a server who the client is, and with fallback = \"none\" there is no server\n  \
         help: remove proxy_protocol, or write fallback = \"kernel\""
    );
    assert!(message(with("[[listen]]\nproxy_protocol = \"v1\"")).starts_with("t.toml:2:18: "));
    let off = "[[listen]]\nfallback = \"none\"\nproxy_protocol = \"off\"";
    assert_eq!(
        with(off).unwrap().listen[0].proxy_protocol,
        ProxyProtocol::Off
    );
}

#[test]
fn several_errors_come_together_in_the_order_of_the_file() {
    let text = "[limits]\nheader_bytes = 100\n[[site]]\n[[site.static]]\npath = \"x\"\nroot = \"/does/not/exist\"\n\
                [interface]\numem_frames = 100";
    let error = Config::parse(text, "t").unwrap_err();
    let lines: Vec<_> = error
        .problems()
        .iter()
        .map(|p| p.at.unwrap().line)
        .collect();
    assert_eq!(lines, [2, 5, 6, 8]);
    assert_eq!(error.to_string().matches("\n  help: ").count(), 4);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let error = Config::load("/does/not/exist.toml")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/does/not/exist.toml: cannot read"),
        "{error}"
    );
}

#[test]
fn general_keys_are_checked() {
    let table = [
        ("[interface]\nname = \"\"", "2:8: `` cannot be the name"),
        (
            "[interface]\nname = \"0123456789abcdef\"",
            "cannot be the name",
        ),
        ("[interface]\nname = \"a/b\"", "cannot be the name"),
        ("[interface]\nqueues = \"some\"", "does not name queues"),
        ("[interface]\nqueues = []", "no queue is listed"),
        ("[interface]\nqueues = [0, 0]", "listed twice"),
        ("[interface]\nqueues = [-1]", "2:11: invalid value"),
        ("[interface]\nmode = \"fast\"", "unknown variant `fast`"),
        ("[interface]\nbusy_poll = 1", "invalid type"),
        (
            "[interface]\nspin = \"2ms\"",
            "write a duration of at most 1ms",
        ),
        ("[interface]\nspin = true", "invalid type"),
        ("[interface]\ninterrupts = \"off\"", "unknown variant `off`"),
        (
            "[interface]\ninterrupts = \"deferred\"",
            "2:14: nobody would look at the queues",
        ),
        (
            "[interface]\nbusy_poll = true\ninterrupts = \"suspended\"",
            "3:14: a worker that never sleeps",
        ),
        (
            "[interface]\numem_frames = 3000",
            "not a power of two\n  help: write 4096",
        ),
        ("[interface]\numem_frames = 0", "out of range"),
        ("[interface", "t.toml:1:"),
        (
            "[interface]\nname = \"a\"\nname = \"b\"",
            "3:1: duplicate key",
        ),
        ("[surprise]", "unknown key `surprise`"),
        (
            "[[listen]]\naddress = \"10.0.0.1:80\"",
            "2:11: `10.0.0.1:80` is not an address",
        ),
        (
            "[[listen]]\naddress = \"0.0.0.0\"",
            "not the address of one host",
        ),
        (
            "[[listen]]\naddress = \"::\"",
            "not the address of one host",
        ),
        (
            "[[listen]]\naddress = \"224.0.0.1\"",
            "not the address of one host",
        ),
        ("[[listen]]\nport = 0", "port = 0 is out of range"),
        (
            "[[listen]]\nport = 65536",
            "out of range\n  help: write a number from 1 to 65535",
        ),
        ("[[listen]]\nfallback = \"nginx\"", "unknown variant"),
        ("[[listen]]\n[[listen]]", "2:1: port 80"),
        (
            "[[listen]]\naddress = \"10.0.0.1\"\n[[listen]]\naddress = \"::ffff:10.0.0.1\"",
            "3:1: port 80",
        ),
        (
            "[[listen]]\naddress = \"10.0.0.1\"\n[[listen]]",
            "3:1: port 80",
        ),
        (
            "[limits]\nheader_bytes = \"61KiB\"",
            "header_bytes of 61KiB is out of range",
        ),
        ("[limits]\nheader_bytes = -1", "is not a size"),
        (
            "[limits]\nheader_bytes = \"99999999999999999999B\"",
            "is not a size",
        ),
        ("[limits]\nconnections = 0", "out of range"),
        ("[limits]\nrequests_per_connection = -1", "out of range"),
        ("[limits]\nidle_timeout = 60", "`60` has no unit"),
        ("[limits]\nidle_timeout = \"60\"", "is not a duration"),
        ("[limits]\nidle_timeout = \"0s\"", "out of range"),
        ("[limits]\nheader_timeout = \"2d\"", "out of range"),
        (
            "[control]\nsocket = \"run/x\"",
            "cannot be the path of a socket",
        ),
        (
            "[control]\nmetrics = \"localhost\"",
            "not an address with a port",
        ),
    ];
    for (text, expected) in table {
        let message = message(with(text));
        assert!(message.contains(expected), "{text:?} gave {message}");
        assert!(message.contains("\n  help: "), "{message}");
    }
    assert!(message(Config::parse("", "t.toml")).contains("there is no [[site]]"));
}

#[test]
fn sites_are_checked() {
    let answer = |more: &str| format!("[[site.response]]\npath = \"/p\"\n{more}");
    let at = |path: &str| format!("[[site.response]]\npath = {path:?}");
    let cache =
        |path: &str, origin: &str| format!("[[site.cache]]\npath = {path:?}\norigin = {origin:?}");
    let root = tempfile::tempdir().unwrap();
    let tree = |path: &str| {
        format!(
            "[[site.static]]\npath = {path:?}\nroot = {:?}\n",
            root.path()
        )
    };
    let table: Vec<(String, &str)> = vec![
        (
            "hosts = [\"a\", \"A.\"]".into(),
            "the host `a` was given before, in line 2",
        ),
        (
            "[[site]]".into(),
            "the host `*` was given before, in line 1",
        ),
        ("hosts = [\"example.org:80\"]".into(), "not a host name"),
        ("hosts = []".into(), "2:9: the list of hosts is empty"),
        ("hosts = [\"a.*\"]".into(), "not a host name"),
        ("hosts = [\"*.\"]".into(), "not a host name"),
        ("hosts = [\"\"]".into(), "not a host name"),
        ("hosts = [\"[::g]\"]".into(), "not an IPv6 address"),
        ("colour = 1".into(), "unknown key `colour`"),
        (
            "[[site.response]]\nbody = \"\"".into(),
            "the key `path` is missing",
        ),
        (at("ping"), "does not begin with a slash"),
        (at("/a?b"), "contains `?`"),
        (at("/a/*"), "contains"),
        (at("/a//b"), "empty or dot segment"),
        (at("/a/../b"), "empty or dot segment"),
        (at("/%2e%2E"), "empty or dot segment"),
        (at("/%2f"), "escape that cannot be matched"),
        (at("/%zz"), "escape that cannot be matched"),
        (at("/%1"), "escape that cannot be matched"),
        (at("/%00"), "control character"),
        (
            at("/a") + "\n" + &at("/%61"),
            "the path `/%61` was given before, in line 3",
        ),
        (answer("status = 199"), "out of range"),
        (answer("status = 304"), "cannot be a fixed answer"),
        (answer("status = 204\nbody = \"x\""), "has no body"),
        (answer("content_type = \"text\""), "not a media type"),
        (
            answer("content_type = \"text/plain\\r\\nX: y\""),
            "not a media type",
        ),
        (
            "[[site.static]]\npath = \"/\"\nroot = \"/nowhere\"".into(),
            "4:8: the root `/nowhere` is not a directory",
        ),
        (tree("/a") + &tree("/a/"), "the path `/a/` was given before"),
        (
            tree("/") + &cache("/*", "http://a"),
            "the path `/*` was given before",
        ),
        (tree("/") + "index = \"a/b\"", "not the name of a file"),
        (tree("/") + "max_object = 0", "out of range"),
        (
            tree("/") + "compress = \"gzip\"",
            "5:12: unknown variant `gzip`",
        ),
        (
            tree("/") + "charset = \"utf 8\"",
            "5:11: `utf 8` is not the name of a charset",
        ),
        (
            tree("/") + "not_found = \"404.html\"",
            "5:13: the page `404.html` is not a file below the root",
        ),
        (
            tree("/") + "not_found = \"../etc/passwd\"",
            "not a file below the root",
        ),
        (
            tree("/") + "not_found = \"/etc/passwd\"",
            "not a file below the root",
        ),
        (
            tree("/") + "headers = { A = \"b\\r\\nC: d\" }",
            "5:17: `b\\r\\nC: d` cannot be the value of a field",
        ),
        (
            tree("/") + "headers = { A = \"é\" }",
            "cannot be the value of a field",
        ),
        (
            tree("/") + "headers = { A = \" b\" }",
            "cannot be the value of a field",
        ),
        (
            answer("headers = { \"A:\" = \"b\" }"),
            "4:13: `A:` is not the name of a field",
        ),
        (
            answer("headers = { \"\" = \"b\" }"),
            "is not the name of a field",
        ),
        (
            answer("headers = { \"A\\r\\nB\" = \"b\" }"),
            "is not the name of a field",
        ),
        (
            answer("headers = { content-length = \"5\" }"),
            "the field `content-length` is set by sidestep",
        ),
        (
            answer("headers = { Transfer-Encoding = \"chunked\" }"),
            "belongs to the connection",
        ),
        (
            answer("headers = { B = \"1\", b = \"2\" }"),
            "4:22: the field `b` was given before, in line 4",
        ),
        (
            answer(&format!("headers = {{ A = \"{}\" }}", "x".repeat(4096))),
            "take 4101 bytes",
        ),
        (
            at("/a") + "\n" + &cache("/a", "http://a"),
            "the path `/a` was given before",
        ),
        (cache("/a*", "http://a"), "ends within a path segment"),
        (cache("/a", "https://a"), "not an http:// URL"),
        (cache("/a", "http://a/b"), "has a path"),
        (cache("/a", "http://u@a"), "no plain host"),
        (cache("/a", "a:80"), "not an http:// URL"),
        (
            cache("/a", "http://a") + "\nttl = \"soon\"",
            "not a time to live",
        ),
        (
            cache("/a", "http://a") + "\nstale_while_revalidate = \"32d\"",
            "5:26: stale_while_revalidate of 1month 1day",
        ),
        (
            cache("/a", "http://a") + "\nstale_if_error = 5",
            "5:18: `5` has no unit",
        ),
        (
            cache("/a", "http://a") + "\nstale_if_error = \"1y\"",
            "stale_if_error of 1year is out of range",
        ),
        (
            cache("/a", "http://a") + "\nnegative_ttl = \"90d\"",
            "5:16: negative_ttl of",
        ),
        (
            cache("/a", "http://a") + "\nwrite_hold = \"61m\"",
            "5:14: write_hold of 1h 1m is out of range",
        ),
        (
            cache("/a", "http://a") + "\nmax_object = 0",
            "5:14: max_object of 0B is out of range",
        ),
        (
            "[limits]\ncache_memory = \"1KiB\"".into(),
            "3:16: cache_memory of 1KiB is out of range",
        ),
    ];
    for (text, expected) in table {
        let message = message(site(&text));
        assert!(message.contains(expected), "{text:?} gave {message}");
        assert!(message.contains("\n  help: "), "{message}");
    }
}

#[test]
fn routes_of_different_kind_may_nest() {
    let root = tempfile::tempdir().unwrap();
    let text = format!(
        "[[site.static]]\npath = \"/\"\nroot = {0:?}\n[[site.static]]\npath = \"/a\"\nroot = {0:?}\n\
         [[site.response]]\npath = \"/\"\n[[site.cache]]\npath = \"/b/*\"\norigin = \"http://[::1]:1\"",
        root.path()
    );
    let config = site(&text).unwrap();
    assert_eq!(config.sites[0].caches[0].origin.host, "[::1]");
    assert_eq!(config.sites[0].statics[1].path, b"/a/");
}
