//! `/acts/log/checkpoint`, `/acts/log/tile/…`, `/acts/log/key`: the log as C2SP tlog-tiles serves one, so that existing
//! clients read it. Reading them is not logged: what they hold is there to be looked at.

use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::query::Query;
use crate::audit::tile::{Resource as TileResource, TILE_WIDTH};
use crate::auth::policy::{Permission, Resource};
use crate::store::tree::{self, checkpoints, keys};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};

/// `GET /acts/log/checkpoint`: the newest signed head.
pub async fn checkpoint(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    permit(&req, &site).await?;
    let head = site.read_behind(checkpoints::latest).await?;
    let head = head.ok_or_else(|| AppError::Unavailable {
        detail: "The log is not signed yet; its first checkpoint comes within a second of the start."
            .to_owned(),
        retry_after: 1,
    })?;
    Ok(text(head.note))
}

/// `GET /acts/log/key`: what the signatures are checked with, as C2SP signed-note writes keys. The first line is the
/// key that signs now; those after it signed before.
pub async fn key(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    permit(&req, &site).await?;
    let keys = site.read_behind(keys::all).await?;
    Ok(text(keys.into_iter().map(|key| key.vkey + "\n").collect()))
}

/// `GET /acts/log/tile/{tile}`: `<L>/<N>` hashes, or `entries/<N>` the entries themselves; `.p/<W>` the first so many.
pub async fn tile(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
) -> Result<HttpResponse, AppError> {
    permit(&req, &site).await?;
    let missing = || AppError::NotFound(format!("The log has no tile at {}.", req.path()));
    let (resource, width) = TileResource::parse(&path).ok_or_else(missing)?;
    let bytes = site.read_behind(move |connection| match resource {
        TileResource::Tile(id) => {
            let hashes = tree::tile(connection, id)?;
            Ok(hashes.get(..width as usize).map(|hashes| hashes.concat()))
        }
        TileResource::Entries { index } => {
            if tree::entries_in_bundle(index, tree::size(connection)?) < width {
                return Ok(None);
            }
            let leaves = tree::leaves(connection, index * TILE_WIDTH, width)?;
            // There are so many, so the others left the log.
            Ok(Some(if leaves.len() as u64 == width { bundle(&leaves) } else { Vec::new() }))
        }
    });
    let bytes = bytes.await?.ok_or_else(missing)?;
    if bytes.is_empty() {
        return Err(AppError::Gone(
            "Entries of this bundle were moved to the archive, where the same path has them. Their hashes are in the \
             tiles here, as ever."
                .to_owned(),
        ));
    }
    // A full tile never changes, and of a partial one the same hashes always come first.
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .insert_header((header::CACHE_CONTROL, "private, max-age=31536000, immutable"))
        .body(bytes))
}

/// Each entry with its length before it, two bytes, big-endian.
fn bundle(leaves: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(leaves.iter().map(|leaf| leaf.len() + 2).sum());
    for leaf in leaves {
        let length = u16::try_from(leaf.len()).expect("a leaf has at most 65,535 bytes");
        bytes.extend(length.to_be_bytes());
        bytes.extend(leaf);
    }
    bytes
}

fn text(text: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(text)
}

async fn permit(req: &HttpRequest, site: &Site) -> Result<(), AppError> {
    let who = authenticate(req).await?;
    site.permit(&who, Permission::ReadLog, Resource::Any).await?;
    Query::of(req)?.finish()
}
