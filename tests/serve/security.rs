//! Who may ask.

use crate::scores::{bytes, pictures};
use crate::server::*;
use crate::support::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::path::{Path, PathBuf};
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

#[test]
fn a_token() {
    let dir = folder();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret-token\n").unwrap();
    let server = Server::new(&["--token-file", text(&file)]);
    let picture = bytes(&pictures()[0]);
    let ask = |value: &str| {
        let request = server.agent.post(server.at("/score"));
        answer(request.header("Authorization", value).send(&picture[..]).unwrap())
    };
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer s3cret-toke",
        "Bearer s3cret-tokem",
        "Bearer s3cret-token2",
        "Basic s3cret-token",
    ] {
        ask(wrong).refused(401, &["Authorization: Bearer"]);
        ask("Bearer s3cret-token").ok();
    }
    ask("bearer s3cret-token").ok();
    server.score(&picture).refused(401, &["token"]);
    for path in ["/metrics", "/v2", "/v2/models/model", "/nowhere", "/v2/health", "//", "/v2/health/../models/model"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    for path in ["/", "/v2/health/live", "/v2/health/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let log = server.log();
    assert!(log.contains("401") && !log.contains("s3cret"), "{log}");
    // The environment's, too.
    let mut command = serving(&["--model", text(model())]);
    command.env("CKAAD_TOKEN", "another");
    Server::start(command).score(&picture).refused(401, &["token"]);
}

#[test]
fn others_can_only_reach_it_where_it_is_said_who_may_ask() {
    let dir = folder();
    let file = dir.path().join("token");
    std::fs::write(&file, "two words").unwrap();
    let args = ["serve", "--device", "cpu", "--model", text(model())];
    ckaad(&[&args[..], &["--listen", "0.0.0.0:0"]].concat())
        .fails(2, &["--token-file", "CKAAD_TOKEN", "--client-ca", "--insecure"]);
    ckaad(&[&args[..], &["--listen", "0.0.0.0:0", "--token-file", text(&file)]].concat())
        .fails(2, &["--token-file", "without blanks"]);
    ckaad(&[&args[..], &["--client-ca", text(&file)]].concat()).fails(2, &["--tls-cert"]);
    ckaad(&[&args[..], &["--tls-cert", text(&file), "--tls-key", text(&file)]].concat())
        .fails(2, &["token", "certificate"]);
    let server = Server::new(&["--listen", "0.0.0.0:0", "--insecure"]);
    assert!(server.url.starts_with("http://0.0.0.0:"), "{}", server.url);
    std::fs::write(&file, "one-word").unwrap();
    let server = Server::new(&["--listen", "0.0.0.0:0", "--token-file", text(&file)]);
    server.until_told("the token can be read");
}

/// In somebody's browser, who can reach the server.
#[test]
fn pages_of_other_sites() {
    let server = Server::new(&["--allow-load"]);
    let ask = |server: &Server, line: &str, headers: &str| {
        server.raw(format!("{line}\r\n{headers}Connection: close\r\nContent-Length: 0\r\n\r\n").as_bytes())
    };
    let ours = format!("Host: {}\r\n", server.host());
    for (headers, word) in [
        (format!("{ours}Origin: http://evil.example\r\n"), "another site"),
        (format!("{ours}Origin: http://127.0.0.1:1\r\n"), "another site"),
        (format!("{ours}Origin: null\r\n"), "another site"),
        (format!("{ours}Sec-Fetch-Site: cross-site\r\n"), "another site"),
        ("Host: evil.example\r\nOrigin: http://evil.example\r\n".into(), "evil.example"),
        ("Host: evil.example\r\n".into(), "evil.example"),
        ("Host: 127.0.0.1.evil.example:80\r\n".into(), "evil.example"),
        (format!("{ours}Host: evil.example\r\n"), "evil.example"),
    ] {
        let told = ask(&server, "POST /v2/repository/models/model/unload HTTP/1.1", &headers);
        assert!(told.starts_with("HTTP/1.1 403 ") && told.contains(word), "{headers}: {told}");
        let told = ask(&server, "GET /v2/health/live HTTP/1.1", &headers);
        assert!(told.starts_with("HTTP/1.1 200 "), "{headers}: {told}");
    }
    let own = format!("{ours}Origin: {}\r\nSec-Fetch-Site: same-origin\r\n", server.url);
    let told = ask(&server, "POST /v2/repository/index HTTP/1.1", &own);
    assert!(told.starts_with("HTTP/1.1 200 ") && told.contains("READY"), "{told}");
    for host in ["localhost", "LOCALHOST:1", "127.9.9.9:80", "[::1]:8080"] {
        let told = ask(&server, "GET /v2 HTTP/1.1", &format!("Host: {host}\r\n"));
        assert!(told.starts_with("HTTP/1.1 200 "), "{host}: {told}");
    }
    assert!(ask(&server, "GET /v2 HTTP/1.0", "").contains(" 200 "));
    // Where others may ask it has names that it does not know.
    let server = Server::new(&["--listen", "0.0.0.0:0", "--insecure", "--allow-load"]);
    let host = "Host: camera.example\r\n";
    assert!(ask(&server, "GET /v2 HTTP/1.1", host).starts_with("HTTP/1.1 200 "));
    let told = ask(
        &server,
        "POST /v2/repository/models/model/unload HTTP/1.1",
        &format!("{host}Origin: http://evil.example\r\n"),
    );
    assert!(told.starts_with("HTTP/1.1 403 "), "{told}");
}

/// A root, and a certificate of each side that it has signed.
struct Certificates {
    root: String,
    server: (String, String),
    client: (String, String),
}

fn certificates() -> Certificates {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let signed = |name: &str, purpose: ExtendedKeyUsagePurpose| {
        let (mut params, key) = (CertificateParams::new(vec![name.into()]).unwrap(), KeyPair::generate().unwrap());
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &root).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    Certificates {
        server: signed("localhost", ExtendedKeyUsagePurpose::ServerAuth),
        client: signed("camera", ExtendedKeyUsagePurpose::ClientAuth),
        root: root.pem(),
    }
}

fn client(root: &str, shown: Option<&(String, String)>) -> Agent {
    let root = Certificate::from_pem(root.as_bytes()).unwrap();
    let shown = shown.map(|(certificate, key)| {
        let certificate = Certificate::from_pem(certificate.as_bytes()).unwrap();
        ClientCert::new_with_certs(&[certificate], PrivateKey::from_pem(key.as_bytes()).unwrap())
    });
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[root])).client_cert(shown).build();
    Agent::config_builder().http_status_as_error(false).timeout_global(Some(LONG)).tls_config(tls).build().into()
}

#[test]
fn tls_and_clients_with_certificates() {
    let dir = folder();
    let (ours, theirs) = (certificates(), certificates());
    let write = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let [root, cert, key] =
        [("root", &ours.root), ("cert", &ours.server.0), ("key", &ours.server.1)].map(|(name, pem)| write(name, pem));
    let picture = bytes(&pictures()[0]);
    let tls = ["--tls-cert", text(&cert), "--tls-key", text(&key), "--header-timeout", "1"];
    let ask = |server: &Server, agent: &Agent| {
        let url = server.at("/score").replace("127.0.0.1", "localhost");
        agent.post(url).send(&picture[..]).map(answer)
    };
    let said = Server::new(&[]).score(&picture).ok();

    let server = Server::new(&tls);
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    assert_eq!(ask(&server, &client(&ours.root, None)).unwrap().ok(), said);
    assert!(ask(&server, &client(&theirs.root, None)).is_err());
    // Who speaks no TLS, or nothing at all, hears nothing and keeps nobody waiting.
    let silent = server.send(b"");
    assert!(!server.raw(&head("GET", "/v2/health/live", "")).contains("HTTP/1.1 200"));
    assert_eq!(ask(&server, &client(&ours.root, None)).unwrap().ok(), said);
    assert_eq!(rest(silent), "");

    let mutual = Server::new(&[&tls[..], &["--client-ca", text(&root), "--listen", "0.0.0.0:0"]].concat());
    let asked = |shown: Option<&(String, String)>| {
        let url = format!("https://localhost:{}/score", mutual.host().rsplit_once(':').unwrap().1);
        client(&ours.root, shown).post(url).send(&picture[..]).map(answer)
    };
    assert_eq!(asked(Some(&ours.client)).unwrap().ok(), said);
    assert!(asked(None).is_err() && asked(Some(&theirs.client)).is_err());
    assert_eq!(asked(Some(&ours.client)).unwrap().ok(), said);
}

/// A name is all that a client can give.
#[test]
fn no_file_of_the_disk() {
    let server = Server::new(&["--allow-load"]);
    let absolute = text(model()).replace('/', "%2f");
    for path in
        ["/etc/passwd", "/../Cargo.toml", "/page.html", "/..%2f..%2fetc/passwd", &format!("/v2/models/{absolute}")]
    {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    let stem = Path::new(text(model())).with_extension("");
    for name in [text(&stem).replace('/', "%2f"), absolute] {
        assert_eq!(server.post(&format!("/v2/repository/models/{name}/load"), b"").status, 404);
    }
}
