//! Stylesheets, scripts, fonts and pictures, embedded in the binary.
//!
//! Owns `/static/{hash}/{path}`. The hash is one for the whole folder, so a stylesheet's relative addresses
//! resolve below it, and a browser may keep what it got for ever. Must never read a path that a request
//! names: only what was embedded can be served.

use actix_web::http::header::{self, AcceptEncoding, ContentEncoding, Encoding, Header};
use actix_web::web::{Bytes, Path};
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::LazyLock;

#[derive(RustEmbed)]
#[folder = "static/"]
struct Embedded;

struct Asset {
    content_type: &'static str,
    plain: Bytes,
    /// Made once, and only for text: fonts are compressed already.
    gzip: Option<Bytes>,
    tag: String,
}

struct Folder {
    hash: String,
    assets: BTreeMap<String, Asset>,
}

static FOLDER: LazyLock<Folder> = LazyLock::new(load);

const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The address of a file in `static/`, for example `css/app.css`.
pub fn url(path: &str) -> String {
    format!("/static/{}/{path}", FOLDER.hash)
}

/// An embedded text, for tests that ask whether what a page names exists. Binary files read as empty.
#[cfg(test)]
pub fn text(path: &str) -> Option<String> {
    FOLDER.assets.get(path).map(|asset| String::from_utf8(asset.plain.to_vec()).unwrap_or_default())
}

/// `GET /static/{hash}/{path:.*}`.
pub async fn serve(request: HttpRequest, path: Path<(String, String)>) -> HttpResponse {
    let (hash, name) = path.into_inner();
    let Some(asset) = FOLDER.assets.get(&name) else {
        return HttpResponse::NotFound().content_type("text/plain; charset=utf-8").body("No such file.\n");
    };
    // A page of another version (a rolling update) gets today's file, but must not keep it under its own hash.
    let keep = if hash == FOLDER.hash { FOR_EVER } else { "no-cache" };
    let gzip = asset.gzip.as_ref().filter(|_| accepts_gzip(&request));
    let tag = if gzip.is_some() { format!("\"{}-gz\"", asset.tag) } else { format!("\"{}\"", asset.tag) };
    let mut reply = if names_tag(&request, &tag) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    reply
        .insert_header((header::CACHE_CONTROL, keep))
        .insert_header((header::ETAG, tag.clone()))
        .insert_header((header::VARY, "Accept-Encoding"));
    if names_tag(&request, &tag) {
        return reply.finish();
    }
    reply.content_type(asset.content_type);
    match gzip {
        Some(gzip) => reply.insert_header(ContentEncoding::Gzip).body(gzip.clone()),
        None => reply.body(asset.plain.clone()),
    }
}

fn accepts_gzip(request: &HttpRequest) -> bool {
    let supported = [Encoding::gzip(), Encoding::identity()];
    AcceptEncoding::parse(request)
        .ok()
        .filter(|_| request.headers().contains_key(header::ACCEPT_ENCODING))
        .and_then(|accepted| accepted.negotiate(supported.iter()))
        .is_some_and(|chosen| chosen == Encoding::gzip())
}

fn names_tag(request: &HttpRequest, tag: &str) -> bool {
    request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|named| named.trim().trim_start_matches("W/") == tag)
}

fn load() -> Folder {
    let mut whole = Sha256::new();
    let mut assets = BTreeMap::new();
    let mut names: Vec<_> = Embedded::iter().collect();
    names.sort();
    for name in names {
        let file = Embedded::get(&name).expect("a listed file is embedded");
        let digest = Sha256::digest(&file.data);
        whole.update(name.as_bytes());
        whole.update(digest);
        let (content_type, is_text) = kind_of(&name);
        let plain = Bytes::from(file.data.into_owned());
        let gzip = is_text.then(|| Bytes::from(compress(&plain)));
        let tag = hex::encode(&digest[..8]);
        assets.insert(name.into_owned(), Asset { content_type, plain, gzip, tag });
    }
    Folder { hash: hex::encode(&whole.finalize()[..8]), assets }
}

/// Content type by extension, and whether the file is text.
fn kind_of(name: &str) -> (&'static str, bool) {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("css") => ("text/css; charset=utf-8", true),
        Some("js") => ("text/javascript; charset=utf-8", true),
        Some("svg") => ("image/svg+xml", true),
        Some("woff2") => ("font/woff2", false),
        Some("png") => ("image/png", false),
        _ => ("text/plain; charset=utf-8", true),
    }
}

fn compress(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;
    use std::io::Read;

    async fn get(hash: &str, name: &str, headers: &[(&str, &str)]) -> HttpResponse {
        let mut request = TestRequest::get();
        for header in headers {
            request = request.insert_header(*header);
        }
        serve(request.to_http_request(), Path::from((hash.to_owned(), name.to_owned()))).await
    }

    fn header_of(reply: &HttpResponse, name: header::HeaderName) -> String {
        reply.headers().get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    }

    #[actix_web::test]
    async fn file_is_served_to_be_kept_for_ever() {
        let reply = get(&FOLDER.hash, "css/app.css", &[]).await;
        assert_eq!(reply.status(), 200);
        assert_eq!(header_of(&reply, header::CACHE_CONTROL), FOR_EVER);
        assert_eq!(header_of(&reply, header::CONTENT_TYPE), "text/css; charset=utf-8");
        assert_eq!(header_of(&reply, header::CONTENT_ENCODING), "");
        assert!(to_bytes(reply.into_body()).await.unwrap().starts_with(b"/*"));
    }

    #[actix_web::test]
    async fn text_is_compressed_for_those_who_accept_it() {
        let reply = get(&FOLDER.hash, "css/app.css", &[("Accept-Encoding", "br, gzip")]).await;
        assert_eq!(header_of(&reply, header::CONTENT_ENCODING), "gzip");
        let body = to_bytes(reply.into_body()).await.unwrap();
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap();
        assert_eq!(&text[..], &FOLDER.assets["css/app.css"].plain[..]);

        let refused = get(&FOLDER.hash, "css/app.css", &[("Accept-Encoding", "gzip;q=0, identity")]).await;
        assert_eq!(header_of(&refused, header::CONTENT_ENCODING), "");
        let font = "uswds/fonts/source-sans-pro/sourcesanspro-regular-webfont.woff2";
        let font = get(&FOLDER.hash, font, &[("Accept-Encoding", "gzip")]).await;
        assert_eq!(header_of(&font, header::CONTENT_ENCODING), "");
        assert_eq!(header_of(&font, header::CONTENT_TYPE), "font/woff2");
    }

    #[actix_web::test]
    async fn unchanged_file_is_not_sent_again() {
        let first = get(&FOLDER.hash, "js/live.js", &[]).await;
        let tag = header_of(&first, header::ETAG);
        let second = get(&FOLDER.hash, "js/live.js", &[("If-None-Match", &tag)]).await;
        assert_eq!(second.status(), 304);
        assert_eq!(header_of(&second, header::ETAG), tag);
    }

    #[actix_web::test]
    async fn unknown_path_is_404_and_unknown_hash_is_not_kept() {
        for name in ["css/none.css", "../Cargo.toml", "css/../css/app.css", ""] {
            assert_eq!(get(&FOLDER.hash, name, &[]).await.status(), 404, "{name}");
        }
        let other = get("0000000000000000", "css/app.css", &[]).await;
        assert_eq!(header_of(&other, header::CACHE_CONTROL), "no-cache");
    }

    #[test]
    fn what_a_stylesheet_of_ours_names_is_embedded() {
        let app = String::from_utf8(FOLDER.assets["css/app.css"].plain.to_vec()).unwrap();
        for named in app.split("url(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let path = named.strip_prefix("../").map_or(format!("css/{named}"), str::to_owned);
            assert!(FOLDER.assets.contains_key(&path), "{path}");
        }
        assert!(url("css/app.css").starts_with("/static/"));
    }
}
