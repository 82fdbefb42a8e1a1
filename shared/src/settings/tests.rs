use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use super::*;
use crate::Host;

#[derive(Debug, Deserialize, Serialize)]
#[serde(default)]
struct All {
    data_dir: PathBuf,
    name: String,
    edge: Edge,
    database: Url,
    redis: Option<Url>,
    internal: Internal,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(default)]
struct Edge {
    listen: SocketAddr,
    threads: u16,
    ratio: f64,
    verbose: bool,
    on_stale: OnStale,
    home: Option<Host>,
    trusted_proxies: Vec<IpAddr>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Url {
    url: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Internal {
    token: Option<String>,
    pin: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum OnStale {
    Serve,
    Refuse,
}

impl Default for All {
    fn default() -> Self {
        let (edge, internal) = (Edge::default(), Internal::default());
        let (data_dir, name) = ("./carom-data".into(), "carom".into());
        Self {
            data_dir,
            name,
            edge,
            database: Url::default(),
            redis: Some(Url::default()),
            internal,
        }
    }
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            threads: 2,
            ratio: 0.5,
            verbose: false,
            on_stale: OnStale::Serve,
            home: None,
            trusted_proxies: Vec::new(),
            labels: BTreeMap::new(),
        }
    }
}

const SECRETS: &[&str] = &["database.url", "internal.token", "internal.pin"];

fn read(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("/run/secret") => Ok("s3cret\r\n".into()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    }
}

fn load(
    file: &str,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Settings<All>, SettingsError> {
    let env = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let mut layers = Layers::new(SECRETS).file("carom.toml", file)?.env(env, read)?;
    for (path, text) in flags {
        layers = layers.flag(path, text);
    }
    layers.finish()
}

fn shown(settings: &Settings<All>, setting: &str) -> (String, String) {
    let found = settings.effective().find(|of| of.setting == setting).expect(setting);
    (found.value.clone().unwrap_or_default(), found.origin.to_string())
}

#[test]
fn each_layer_lies_over_the_one_before() {
    let file = "name = 'file'\n[edge]\nthreads = 3\nlisten = '127.0.0.1:1'\nverbose = true";
    let env =
        [("CAROM_EDGE__THREADS", "4"), ("CAROM_EDGE__LISTEN", "127.0.0.1:2"), ("PATH", "/bin")];
    let flags = [("edge.threads", "5")];
    let settings = load(file, &env, &flags).unwrap();
    assert_eq!(settings.value.edge.threads, 5);
    for (setting, value, origin) in [
        ("edge.threads", "5", "flag"),
        ("edge.listen", "\"127.0.0.1:2\"", "environment variable CAROM_EDGE__LISTEN"),
        ("edge.verbose", "true", "file carom.toml"),
        ("name", "\"file\"", "file carom.toml"),
        ("edge.ratio", "0.5", "default"),
        ("redis.url", "", "default"),
    ] {
        assert_eq!(shown(&settings, setting), (value.into(), origin.into()), "{setting}");
    }
}

#[test]
fn every_setting_is_known_also_those_without_a_default() {
    let settings = load("", &[], &[]).unwrap();
    let names: Vec<_> = settings.effective().map(|of| of.setting.as_str()).collect();
    let expected = [
        "data_dir", "database.url", "edge.home", "edge.labels", "edge.listen", "edge.on_stale",
        "edge.ratio", "edge.threads", "edge.trusted_proxies", "edge.verbose", "internal.pin",
        "internal.token", "name", "redis.url",
    ];
    assert_eq!(names, expected);
}

#[test]
fn text_becomes_what_the_setting_wants() {
    for (setting, text, value) in [
        ("name", "123", "\"123\""),
        ("name", "true", "\"true\""),
        ("name", "1979-05-27", "\"1979-05-27\""),
        ("name", "[1]", "\"[1]\""),
        ("name", "a # b", "\"a # b\""),
        ("name", "\"quoted\"", "'\"quoted\"'"),
        ("edge.threads", "7", "7"),
        ("edge.ratio", "1", "1.0"),
        ("edge.verbose", "true", "true"),
        ("edge.on_stale", "refuse", "\"refuse\""),
        ("edge.home", "1.2.3.4", "\"1.2.3.4\""),
        ("edge.home", "Go.example.com:80", "\"go.example.com\""),
        ("edge.trusted_proxies", "['10.0.0.1', '::1']", "[\"10.0.0.1\", \"::1\"]"),
        ("edge.labels", "{ zone = 'a' }", "{ zone = \"a\" }"),
    ] {
        let settings = load("", &[], &[(setting, text)]);
        let found = settings.map(|settings| shown(&settings, setting).0);
        assert_eq!(found.map_err(|error| error.to_string()), Ok(value.into()), "{setting}={text}");
    }
    let two = load("", &[("CAROM_NAME", "1"), ("CAROM_DATA_DIR", "2")], &[]).unwrap().value;
    assert_eq!((two.name, two.data_dir), ("1".into(), "2".into()));
}

#[test]
fn a_map_takes_any_name() {
    let settings = load("[edge.labels]\nzone = 'a'\n'x.y' = 'b'", &[], &[]).unwrap();
    assert_eq!(settings.value.edge.labels.len(), 2);
}

type Pairs = &'static [(&'static str, &'static str)];
/// File, environment, flags, and the error that they are.
const BAD: &[(&str, Pairs, Pairs, &str)] = &[
    (
        "",
        &[("CAROM_EDGE__LISTEN", "here")],
        &[],
        "setting edge.listen (environment variable CAROM_EDGE__LISTEN): invalid socket address \
         syntax",
    ),
    (
        "[edge]\nthreads = 'x'",
        &[],
        &[],
        "setting edge.threads (file carom.toml): invalid type: string \"x\", expected u16",
    ),
    (
        "",
        &[],
        &[("edge.threads", "70000")],
        "setting edge.threads (flag): invalid type: string \"70000\", expected u16",
    ),
    (
        "[edge]\ntrusted_proxies = ['::1', 'x']",
        &[],
        &[],
        "setting edge.trusted_proxies (file carom.toml): invalid IP address syntax",
    ),
    (
        "[edge]\non_stale = 'perhaps'",
        &[],
        &[],
        "setting edge.on_stale (file carom.toml): unknown variant `perhaps`, expected `serve` \
         or `refuse`",
    ),
    (
        "[edge]\nlisen = '127.0.0.1:1'",
        &[],
        &[],
        "setting edge.lisen (file carom.toml) does not exist; the nearest name is edge.listen",
    ),
    (
        "",
        &[("CAROM_EDGE__TREADS", "1")],
        &[],
        "setting edge.treads (environment variable CAROM_EDGE__TREADS) does not exist; the \
         nearest name is edge.threads",
    ),
    (
        "",
        &[],
        &[("reds.url", "x")],
        "setting reds.url (flag) does not exist; the nearest name is redis.url",
    ),
    (
        "edge = 3",
        &[],
        &[],
        "setting edge (file carom.toml): is a group of settings and has no value of its own",
    ),
    (
        "",
        &[("CAROM_NAME_FILE", "/run/secret")],
        &[],
        "setting name_file (environment variable CAROM_NAME_FILE) does not exist; the nearest \
         name is name",
    ),
    (
        "",
        &[("CAROM_INTERNAL__TOKEN_FILE", "/gone")],
        &[],
        "setting internal.token (environment variable CAROM_INTERNAL__TOKEN_FILE): cannot read \
         /gone: no such file",
    ),
    (
        "",
        &[("CAROM_INTERNAL__TOKEN_FILE", "/run/secret"), ("CAROM_INTERNAL__TOKEN", "x")],
        &[],
        "setting internal.token (environment variable CAROM_INTERNAL__TOKEN): is also given by \
         environment variable CAROM_INTERNAL__TOKEN_FILE; keep one of the two",
    ),
    (
        "",
        &[("CAROM_INTERNAL__PIN", "hunter2")],
        &[],
        "setting internal.pin (environment variable CAROM_INTERNAL__PIN): is not valid; its \
         value is a secret and not shown",
    ),
];

#[test]
fn errors_name_setting_origin_and_what_is_wrong() {
    for (file, env, flags, expected) in BAD {
        let error = load(file, env, flags).unwrap_err();
        assert_eq!(error.to_string(), *expected);
    }
}

#[test]
fn syntax_errors_name_the_line_and_quote_nothing() {
    let error = load("name = 'x'\n[internal]\ntoken = hunter2", &[], &[]).unwrap_err().to_string();
    assert!(error.starts_with("settings file carom.toml, line 3: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn secrets_come_from_files_and_are_not_shown() {
    let env = [("CAROM_INTERNAL__TOKEN_FILE", "/run/secret"), ("DATABASE_URL_FILE", "/run/secret")];
    let settings = load("[internal]\npin = 1234", &env, &[]).unwrap();
    assert_eq!(settings.value.internal.token.as_deref(), Some("s3cret"));
    assert_eq!(settings.value.database.url.as_deref(), Some("s3cret"));
    for secret in SECRETS {
        assert_eq!(shown(&settings, secret).0, "[redacted]", "{secret}");
    }
}

#[test]
fn aliases_serve_programs_that_have_the_setting_and_yield_to_the_own_name() {
    let env = [("REDIS_URL", "redis://a"), ("CLICKHOUSE_URL", "http://b"), ("DATABASE_URL", "c")];
    let settings = load("", &env, &[]).unwrap();
    assert_eq!(settings.value.redis.unwrap().url.as_deref(), Some("redis://a"));
    assert_eq!(settings.value.database.url.as_deref(), Some("c"));
    for env in [
        [("REDIS_URL", "a"), ("CAROM_REDIS__URL", "b")],
        [("CAROM_REDIS__URL", "b"), ("REDIS_URL", "a")],
    ] {
        let settings = load("", &env, &[]).unwrap();
        assert_eq!(settings.value.redis.unwrap().url.as_deref(), Some("b"));
    }
}

#[test]
fn empty_variables_and_service_links_are_no_settings() {
    let env = [
        ("CAROM_NAME", ""),
        ("CAROM_NONSENSE", ""),
        ("CAROM_PORT", "tcp://10.0.0.1:80"),
        ("CAROM_SERVICE_HOST", "10.0.0.1"),
        ("CAROM_EDGE_SERVICE_PORT_HTTP", "80"),
        ("CAROM_EDGE_PORT", "tcp://10.0.0.1:80"),
        ("CAROM_EDGE_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(load("", &env, &[]).unwrap().value.name, "carom");
    assert!(load("", &[("CAROM_NONSENSE", "1")], &[]).is_err());
}
