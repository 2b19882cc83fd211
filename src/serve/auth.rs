//! Who may ask: everybody, or whoever has the token. Pages of other sites may not, whoever looks at them.

use super::App;
use super::errors::Refusal;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// What every client may have: the page, which holds nothing, and whether the server lives.
fn open_to_all(path: &str) -> bool {
    path == "/" || path.starts_with("/v2/health/")
}

/// Lets a request through, or refuses it.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, Refusal> {
    // Browsers say so of what other sites' pages send, and pages cannot change it.
    let site = request.headers().get("sec-fetch-site");
    if site.is_some_and(|site| site == "cross-site") && !open_to_all(request.uri().path()) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", "asked for by a page of another site"));
    }
    if let Some(token) = &app.settings.token
        && !open_to_all(request.uri().path())
    {
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
