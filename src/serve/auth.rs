//! Who may ask: everybody, or whoever has the token. Pages of other sites may not, whoever looks at them.
//!
//! Browsers send `Sec-Fetch-Site` to HTTPS and to this machine alone; `Origin` they send with every POST. A site whose name
//! leads to this machine for a moment (DNS rebinding) is its own origin, but the `Host` is its name.

use super::errors::{Refusal, cut};
use super::{App, Settings};
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// What every client may have: the page, which holds nothing, and whether the server lives.
fn open_to_all(path: &str) -> bool {
    ["/", "/v2/health/live", "/v2/health/ready"].contains(&path)
}

/// Browsers say so, and pages cannot change it.
fn of_another_site(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let is_other = |origin: &HeaderValue| {
        // "null", of files and of pages that are shut in, has no host.
        let at = origin.as_bytes().windows(3).position(|w| w == b"://");
        let from = at.map(|at| &origin.as_bytes()[at + 3..]);
        !from.zip(host).is_some_and(|(from, host)| from.eq_ignore_ascii_case(host))
    };
    headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
        || headers.get_all(header::ORIGIN).iter().any(is_other)
}

/// Whether nothing but the address keeps others from asking.
fn is_for_this_machine(settings: &Settings) -> bool {
    let certificates = settings.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
    settings.listen.ip().is_loopback() && settings.token.is_none() && !certificates
}

/// Whether a `Host` is a name of this machine that no other can have.
fn is_this_machine(host: &HeaderValue) -> bool {
    let Ok(host) = Authority::try_from(host.as_bytes()) else { return false };
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Lets a request through, or refuses it.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, Refusal> {
    if open_to_all(request.uri().path()) {
        return Ok(next.run(request).await);
    }
    if of_another_site(request.headers()) {
        let message = "asked for by a page of another site, or by way of a proxy that does not hand on the Host";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    if is_for_this_machine(&app.settings) {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        if let Some(host) = hosts.find(|host| !is_this_machine(host)) {
            let host = String::from_utf8_lossy(host.as_bytes());
            let message = format!(
                "asked for as {:?}: without a token this machine alone may ask, as localhost, 127.0.0.1 or [::1]",
                cut(&host, 100)
            );
            return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
        }
    }
    if let Some(token) = &app.settings.token {
        let given = request.headers().get(header::AUTHORIZATION).map(|v| v.as_bytes());
        let bearer =
            given.and_then(|v| v.split_at_checked(7)).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        if !bearer.is_some_and(|(_, given)| given.trim_ascii().ct_eq(token.as_bytes()).into()) {
            let message = "a token is needed: send the header Authorization: Bearer TOKEN";
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "token", message));
        }
    }
    Ok(next.run(request).await)
}
