//! The requests of `tests/differential/requests.toml`.

use serde::Deserialize;
use std::collections::BTreeMap;

/// One request.
pub struct Request {
    /// What it is called: method, target and fields, or the name of a raw one.
    pub name: String,
    /// How it is spelled.
    pub form: Form,
}

/// How a request is spelled.
pub enum Form {
    /// In parts; fields may have placeholders.
    Parts {
        method: String,
        target: String,
        fields: Vec<String>,
    },
    /// As it is.
    Raw(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    group: Vec<Group>,
    raw: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "about")]
    _about: String,
    methods: Vec<String>,
    paths: Vec<String>,
    fields: Vec<Vec<String>>,
}

/// All of them, none twice.
///
/// # Panics
/// When the file is wrong.
pub fn all() -> Vec<Request> {
    let file: File = toml::from_str(include_str!("../../differential/requests.toml"))
        .unwrap_or_else(|error| panic!("tests/differential/requests.toml: {error}"));
    let mut requests = Vec::new();
    for group in &file.group {
        for path in &group.paths {
            for fields in &group.fields {
                for method in &group.methods {
                    let mut name = format!("{method} {path}");
                    for field in fields {
                        name += &format!(" | {field}");
                    }
                    requests.push(Request {
                        name,
                        form: Form::Parts {
                            method: method.clone(),
                            target: path.clone(),
                            fields: fields.clone(),
                        },
                    });
                }
            }
        }
    }
    requests.extend(file.raw.into_iter().map(|(name, bytes)| Request {
        name: format!("raw {name}"),
        form: Form::Raw(bytes),
    }));
    for (at, request) in requests.iter().enumerate() {
        let twice = requests[..at]
            .iter()
            .any(|other| other.name == request.name);
        assert!(!twice, "{} is there twice", request.name);
    }
    requests
}

impl Form {
    /// Its bytes; `fill` knows what the placeholder of a name stands for, given the target and Accept-Encoding.
    pub fn bytes(&self, mut fill: impl FnMut(&str, &str, &str) -> String) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone().into_bytes(),
            Self::Parts {
                method,
                target,
                fields,
            } => {
                let coding = fields
                    .iter()
                    .find_map(|field| field.strip_prefix("Accept-Encoding: "))
                    .unwrap_or_default();
                let mut text = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n");
                for field in fields {
                    let mut field = field.clone();
                    for name in ["etag", "date", "coded"] {
                        let place = format!("{{{name}}}");
                        if field.contains(&place) {
                            field = field.replace(&place, &fill(name, target, coding));
                        }
                    }
                    text += &format!("{field}\r\n");
                }
                (text + "\r\n").into_bytes()
            }
        }
    }

    /// Whether it asks for a head alone.
    pub fn is_head(&self) -> bool {
        match self {
            Self::Parts { method, .. } => method == "HEAD",
            Self::Raw(bytes) => bytes.starts_with("HEAD "),
        }
    }
}
