"""Checks a run's evidence without the program that made it. Usage: python3 check.py [--key VKEY] (in the folder).

Exit code 0: everything holds; 1: something does not, and it is named; 2: it could not be checked.
"""
import argparse
import base64
import hashlib
import json
import os
import sys

BAD = []


def bad(words):
    BAD.append(words)
    print("BROKEN", words)


def sha256(data):
    return hashlib.sha256(data).digest()


def root_from(leaf, index, size, proof):
    """RFC 9162, section 2.1.3.2."""
    place, last, value = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            value = sha256(b"\x01" + step + value)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            value = sha256(b"\x01" + value + step)
        place, last = place >> 1, last >> 1
    return value if last == 0 else None


# Ed25519 (RFC 8032, section 5.1), written for clarity, not for speed.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def x_of(y, sign):
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def point(data):
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    x = x_of(y, sign) if y < P else None
    return None if x is None else (x, y, 1, x * y % P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(number, p):
    total = (0, 1, 1, 0)
    while number:
        if number & 1:
            total = add(total, p)
        p, number = add(p, p), number >> 1
    return total


def signed(public, message, signature):
    base_y = 4 * pow(5, P - 2, P) % P
    base = (x_of(base_y, 0), base_y, 1, x_of(base_y, 0) * base_y % P)
    key, r = point(public), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= L or len(signature) != 64:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    left, right = times(s, base), add(r, times(h, key))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


def read_key(vkey):
    name, key_id, encoded = vkey.strip().split("+", 2)
    key = base64.b64decode(encoded)
    if key[0] != 1 or sha256(name.encode() + b"\n" + key)[:4].hex() != key_id:
        sys.exit("this is no Ed25519 verifier key: " + vkey)
    return name, bytes.fromhex(key_id), key[1:]


def check_entries(manifest, proofs):
    """Steps 1 and 2."""
    lines = open("entries.ndjson", "rb").read().split(b"\n")[:-1]
    prev = None
    for number, line in enumerate(lines, 1):
        entry = json.loads(line)
        place = "run %s seq %s" % (manifest["run"], number)
        leaf = sha256(b"\x00" + line)
        if (entry["run"], entry["seq"]) != (manifest["run"], number):
            bad(place + ": another entry stands here")
        elif entry["prev"] != prev:
            bad(place + ": it does not link to the entry before it")
        proof = proofs["entries"][number - 1] if number <= len(proofs["entries"]) else {"proof": [], "index": 0}
        path = [bytes.fromhex(step) for step in proof["proof"]]
        root = root_from(leaf, proof["index"], proofs["size"], path)
        if root is None or root.hex() != proofs["root"]:
            bad(place + ": it is not the entry that was signed here")
        if entry["type"] == "run.closed" and entry["detail"]["count"] != number:
            bad(place + ": it states another count of entries")
        prev = leaf.hex()
    if len(lines) != manifest["entries"] or len(lines) != len(proofs["entries"]):
        bad("run %s seq %s: entries are missing" % (manifest["run"], len(lines) + 1))
    return len(lines)


def check_sealed():
    """Step 5."""
    given = {}
    if os.path.exists("disclosures.ndjson"):
        for line in open("disclosures.ndjson", encoding="utf-8"):
            value = json.loads(line)
            given.setdefault(value["seq"], []).append(value)
    for line in open("entries.ndjson", "rb").read().split(b"\n")[:-1]:
        entry = json.loads(line)
        values = given.pop(entry["seq"], [])
        place = "run %s seq %s" % (entry["run"], entry["seq"])
        if sorted(value["digest"] for value in values) != entry.get("_sd", []):
            bad(place + ": its sealed values are not those that disclosures.ndjson tells of")
        for value in values:
            text = value.get("disclosure")
            if text is None:
                continue
            digest = base64.urlsafe_b64encode(sha256(text.encode())).decode().rstrip("=")
            name = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))[1]
            if digest != value["digest"] or name != value["place"]:
                bad(place + ": the disclosure of " + value["place"] + " is not the one that was sealed")
    for seq in given:
        bad("disclosures.ndjson tells of an entry %s, which is not there" % seq)


def check_signature(proofs, vkey):
    """Steps 3 and 4."""
    text, signatures = open("checkpoint", encoding="utf-8", newline="").read().rsplit("\n\n", 1)
    text += "\n"
    origin, size, root = text.split("\n")[:3]
    if int(size) != proofs["size"] or base64.b64decode(root).hex() != proofs["root"]:
        bad("the checkpoint is not the one that the proofs lead to")
    name, key_id, public = read_key(vkey)
    for line in signatures.splitlines():
        _, signer, encoded = line.split(" ")
        signature = base64.b64decode(encoded)
        if signer == name == origin and signature[:4] == key_id:
            if not signed(public, text.encode(), signature[4:]):
                bad("the signature does not fit the checkpoint")
            return
    bad("the checkpoint is not signed with the key " + vkey.strip())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--key", help="the verifier key that you trust: NAME+ID+KEY")
    key = parser.parse_args().key
    manifest, proofs = json.load(open("manifest.json")), json.load(open("proofs.json"))
    for name, known in manifest["files"].items():
        if sha256(open(name, "rb").read()).hex() != known["sha256"]:
            print("NOTE", name, "is not the file that the manifest names")
    count = check_entries(manifest, proofs)
    check_sealed()
    check_signature(proofs, key or open("vkey").readline())
    if BAD:
        sys.exit(1)
    print("%d entries of run %s are in the log of %d entries." % (count, manifest["run"], proofs["size"]))
    if key:
        print("Its head is signed with the key that you gave.")
    else:
        print("Its head is signed with the key that came along, which proves nothing: give yours with --key.")


if __name__ == "__main__":
    main()
