//! How many requests there are, and how long they take: the outermost middleware.
//!
//! Must never use what was sent as a label: a caller could fill the memory with invented ones.

use crate::scheduler::figures;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use std::time::Instant;

/// # Errors
/// What is inside fails with.
pub async fn measure<B: MessageBody + 'static>(
    req: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let began = Instant::now();
    let method = name(req.method());
    let route = req.match_pattern().unwrap_or_else(|| "none".to_owned());
    let answer = next.call(req).await;
    let status = match &answer {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    figures::answered(method, route, status.as_u16(), began.elapsed());
    answer
}

fn name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
