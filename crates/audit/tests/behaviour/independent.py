"""Checks a log against its checkpoint, the checkpoint against a public key, and
a proof against both: RFC 6962, RFC 8032, C2SP tlog-tiles, signed-note and
tlog-proof, with nothing but Python's own library."""

import base64
import hashlib
import os
import sys

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def recover_x(y, odd):
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0, "no point of the curve"
    return P - x if x & 1 != odd else x


def point(x, y):
    return (x, y, 1, x * y % P)


def add(one, other):
    a = (one[1] - one[0]) * (other[1] - other[0]) % P
    b = (one[1] + one[0]) * (other[1] + other[0]) % P
    c = 2 * one[3] * other[3] * D % P
    d = 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(number, of):
    result = (0, 1, 1, 0)
    while number:
        if number & 1:
            result = add(result, of)
        of = add(of, of)
        number >>= 1
    return result


def decode(data):
    y = int.from_bytes(data, "little")
    odd, y = y >> 255, y & (2**255 - 1)
    return point(recover_x(y, odd), y)


def same(one, other):
    return (one[0] * other[2] - other[0] * one[2]) % P == 0 and (
        one[1] * other[2] - other[1] * one[2]
    ) % P == 0


def signed(public, text, signature):
    base_y = 4 * pow(5, P - 2, P) % P
    base = point(recover_x(base_y, 0), base_y)
    half, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    assert scalar < ORDER, "not a signature"
    digest = hashlib.sha512(half + public + text).digest()
    challenge = int.from_bytes(digest, "little") % ORDER
    right = add(decode(half), multiply(challenge, decode(public)))
    return same(multiply(scalar, base), right)


def leaf(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root(leaves):
    if len(leaves) == 1:
        return leaves[0]
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return node(root(leaves[:middle]), root(leaves[middle:]))


def path_root(index, size, entry, path):
    """The root that an audit path leads to, by RFC 6962's recursion."""
    if size == 1:
        assert not path, "the path is too long"
        return entry
    middle = 1
    while middle * 2 < size:
        middle *= 2
    if index < middle:
        return node(path_root(index, middle, entry, path[:-1]), path[-1])
    return node(path[-1], path_root(index - middle, size - middle, entry, path[:-1]))


def open_note(note, key):
    name, hash_, encoded = key.strip().split("+", 2)
    kind = base64.b64decode(encoded)
    assert kind[0] == 1, "not Ed25519"
    key_id = hashlib.sha256(name.encode() + b"\n" + kind).digest()[:4]
    assert key_id.hex() == hash_, "the key's hash"
    text, signatures = note.split("\n\n", 1)
    for line in signatures.strip().split("\n"):
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature)
        if dash == "\u2014" and signer == name and signature[:4] == key_id:
            assert signed(kind[1:], (text + "\n").encode(), signature[4:]), "the signature"
            origin, size, tree = text.split("\n")[:3]
            return origin, int(size), base64.b64decode(tree)
    raise AssertionError("nobody signed")


def entries(log, size):
    found = []
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        part = "" if width == 256 else ".p/%d" % width
        with open(os.path.join(log, "tile/entries/%03d%s" % (index, part)), "rb") as file:
            data = file.read()
        while data:
            length = int.from_bytes(data[:2], "big")
            assert len(data) >= 2 + length, "an unfinished entry"
            found.append(data[2 : 2 + length])
            data = data[2 + length :]
    assert len(found) == size, "the number of entries"
    return found


def main(log, key, proof):
    key = open(key).read()
    _, size, tree = open_note(open(os.path.join(log, "checkpoint"), encoding="utf-8").read(), key)
    leaves = [leaf(entry) for entry in entries(log, size)]
    assert root(leaves) == tree, "the root"
    for index in range(len(leaves) // 256):
        with open(os.path.join(log, "tile/0/%03d" % index), "rb") as file:
            assert file.read() == b"".join(leaves[index * 256 : index * 256 + 256]), "a tile"
    head, note = open(proof, encoding="utf-8").read().split("\n\n", 1)
    lines = head.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1" and lines[1].startswith("extra ")
    entry = leaf(base64.b64decode(lines[1][6:]))
    index = int(lines[2].removeprefix("index "))
    _, size, tree = open_note(note, key)
    path = [base64.b64decode(line) for line in lines[3:]]
    assert path_root(index, size, entry, path) == tree, "the proof"


main(*sys.argv[1:])
