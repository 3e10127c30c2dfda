"""Verify an exported month of the activity log with only Python and openssl. This file can be copied and run alone.

    python verify_export.py 2026-11.gz [--key seal.pem.pub] [--heads heads.jsonl]

It implements the documented format (`src/maintenance/log_archives.py`, `src/services/history/chain.py`) and shares no
code with the program that wrote the file, so that both implementations check each other. Exit code 0: no findings,
1: findings, 2: wrong arguments or file not found.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORMAT = ("speech-to-information/history", 1)
Line = dict[str, Any]


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def printable(text: str) -> str:
    """Return a text in which nothing acts on a terminal: the values come from the file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def root_of(leaves: list[bytes]) -> bytes:
    """Return the Merkle root of RFC 6962: the left subtree has the largest power of two below the number of leaves."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01", root_of(leaves[:split]), root_of(leaves[split:]))


def check_entry(line: Line) -> Iterator[str]:
    entry_id, payload_hash = line["entry"], bytes.fromhex(line["payload_hash"])
    salted = None if line["payload"] is None else bytes.fromhex(line["salt"]) + line["payload"].encode("utf-8")
    if salted is not None and sha256(salted) != payload_hash:
        yield f"entry {entry_id}: the payload does not match payload_hash"
    if sha256(b"\x00", line["head"].encode("utf-8"), payload_hash).hex() != line["leaf_hash"]:
        yield f"entry {entry_id}: head and payload_hash do not match leaf_hash"
    if json.loads(line["head"])[0] != entry_id:
        yield f"entry {entry_id}: the head contains the id of another entry"


def check_seal(line: Line, entries: list[Line]) -> Iterator[str]:
    seal_id = line["seal"]
    leaves = [bytes.fromhex(entry["leaf_hash"]) for entry in sorted(entries, key=lambda entry: int(entry["entry"]))]
    if len(leaves) != line["entry_count"]:
        yield f"seal {seal_id}: entry_count is {line['entry_count']}, the file contains {len(leaves)} of its entries"
    if root_of(leaves).hex() != line["root"]:
        yield f"seal {seal_id}: the entries do not match the root"
    fields = [
        seal_id, line["previous_id"], line["month"], line["epoch"], line["low_xid"], line["high_xid"], line["next_xid"],
        line["entry_count"], line["root"], line["sealed_at_us"],
    ]  # fmt: skip
    before = bytes.fromhex(line["previous_hash"]) if line["previous_hash"] else bytes(32)
    if sha256(b"\x02", before, json.dumps(fields).encode("ascii")).hex() != line["seal_hash"]:
        yield f"seal {seal_id}: the fields do not match seal_hash"


def check_signature(line: Line, key: Path) -> Iterator[str]:
    if not line["signature"]:
        yield f"seal {line['seal']}: no signature"
        return
    with tempfile.TemporaryDirectory() as folder:
        message, signature = Path(folder, "message"), Path(folder, "signature")
        message.write_bytes(bytes.fromhex(line["seal_hash"]))
        signature.write_bytes(bytes.fromhex(line["signature"]))
        files = ["-inkey", str(key), "-in", str(message), "-sigfile", str(signature)]
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", *files]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        yield f"seal {line['seal']}: the signature does not verify with the key"


def check(lines: list[Line], key: Path | None, heads: dict[int, str]) -> Iterator[str]:
    """Yield a message for each finding in an export."""
    head = lines[0] if lines else {}
    if (head.get("format"), head.get("version")) != FORMAT:
        yield "the file is not an exported month in a format that this program supports"
        return
    entries = [line for line in lines if "entry" in line]
    if len(entries) != head["entries"] or len({line["entry"] for line in entries}) != len(entries):
        yield f"the header declares {head['entries']} entries, the file contains {len(entries)}, or duplicates"
    for line in entries:
        yield from check_entry(line)
    hashes: dict[int, str] = {}
    for seal in (line for line in lines if "seal" in line):
        yield from check_seal(seal, [line for line in entries if _is_in(seal, json.loads(line["head"]))])
        if key is not None:
            yield from check_signature(seal, key)
        if heads.get(seal["seal"], seal["seal_hash"]) != seal["seal_hash"]:
            yield f"seal {seal['seal']}: seal_hash differs from the exported head"
        if hashes.get(seal["previous_id"], seal["previous_hash"]) != seal["previous_hash"]:
            yield f"seal {seal['seal']}: previous_hash does not match seal {seal['previous_id']}"
        hashes[seal["seal"]] = seal["seal_hash"]


def unsealed(lines: list[Line]) -> int:
    """Return the number of entries without a seal in the file: they are newer than the last seal."""
    seals = [line for line in lines if "seal" in line]
    heads = [json.loads(line["head"]) for line in lines if "entry" in line]
    return sum(not any(_is_in(seal, head) for seal in seals) for head in heads)


def _is_in(seal: Line, head: list[Any]) -> bool:
    epoch, transaction = head[12], int(head[11])
    return bool(epoch == seal["epoch"] and seal["low_xid"] <= transaction < seal["high_xid"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify an exported month of the activity log.")
    parser.add_argument("export", type=Path)
    parser.add_argument("--key", type=Path, help="the public key (PEM) to verify the signatures with")
    parser.add_argument("--heads", type=Path, help="the file of exported heads")
    options = parser.parse_args()
    if options.key and not options.key.is_file():
        parser.error(f"--key: file not found: {options.key}")
    try:
        with gzip.open(options.export, "rt", encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        exported = options.heads.read_text(encoding="ascii").splitlines() if options.heads else []
        heads = {line["seal"]: line["seal_hash"] for line in map(json.loads, exported)}
        findings = list(check(lines, options.key, heads))
        loose = unsealed(lines)
    except FileNotFoundError as error:
        print(printable(f"verify_export: {error}"), file=sys.stderr)
        return 2
    except (OSError, EOFError, zlib.error, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        findings = [f"the file is damaged: {error!r}"]
    for finding in findings:
        print(printable(finding))
    print(
        f"{len(findings)} findings" if findings else f"{len(lines)} lines, no findings; {loose} entries not sealed yet"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
