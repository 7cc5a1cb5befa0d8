//! `/acts/log/checkpoint`, `/acts/log/tile/…` and `/acts/log/key`.

use super::call::{Call, get, post};
use super::log::TAG;
use super::run_acts::Reason;
use crate::auth::policy::Permission;
use serde_json::json;

pub fn calls() -> Vec<Call> {
    vec![bundle(), disclose(), checkpoint(), tile(), key()]
}

fn bundle() -> Call {
    get("/acts/runs/{id}/bundle", "getBundle", "Get a run's evidence in one file")
        .about(
            "Its entries, the proof that each stands in the signed log, a report for people, and how to check all of it \
             with other software. What is sealed is withheld: it says which values, how long, and under which \
             exemption. Byte for byte the same while the run is and nothing in it is erased, but that it is proven under a later \
             head once the first has become old. Making one is an entry in the log.",
        )
        .needs(Permission::ReadLog)
        .path_run()
        .answer_text("The bundle.", &[("application/zip", "A zip file; its README.txt describes each file.")])
        .tag(TAG)
}

fn disclose() -> Call {
    post("/acts/runs/{id}/bundle", "discloseBundle", "Get a run's evidence with its sealed values")
        .about(
            "The same with the disclosures, which prove that the sealed values are those of the entries. Needs also \
             what reading sealed values needs, and is recorded as such a reading, with the reason, before it is answered.",
        )
        .needs(Permission::ReadLog)
        .path_run()
        .body::<Reason>(json!({"reason": "The court asked for it."}))
        .answer_text("The bundle.", &[("application/zip", "A zip file; its README.txt describes each file.")])
        .problem(409)
        .tag(TAG)
}

fn checkpoint() -> Call {
    get("/acts/log/checkpoint", "getCheckpoint", "Get the newest signed head of the log")
        .about(
            "Signed within a second of a change. The tree is that of RFC 6962; its leaves are the entries in the \
             bytes that are hashed.",
        )
        .needs(Permission::ReadLog)
        .answer_text("The checkpoint.", &[("text/plain", "A signed note (C2SP tlog-checkpoint).")])
        .problem(400)
        .tag(TAG)
}

fn tile() -> Call {
    get("/acts/log/tile/{tile}", "getTile", "Get a tile of the log's tree, or a bundle of its entries")
        .needs(Permission::ReadLog)
        .path_text(
            "tile",
            "The address as C2SP tlog-tiles writes it: `0/x001/067`, `1/000.p/8`, `entries/x001/067`.",
        )
        .answer_text(
            "The tile.",
            &[(
                "application/octet-stream",
                "Hashes of 32 bytes each; or entries, each after its length (16 bits).",
            )],
        )
        .problem(400)
        .tag(TAG)
}

fn key() -> Call {
    get("/acts/log/key", "getLogKey", "Get the key that checkpoints are checked with")
        .about("Ask for it once, and keep it: a key that comes along with what it signs proves nothing.")
        .needs(Permission::ReadLog)
        .answer_text(
            "The keys.",
            &[(
                "text/plain",
                "One verifier key a line (C2SP signed-note): the active one, then earlier ones.",
            )],
        )
        .problem(400)
        .tag(TAG)
}
