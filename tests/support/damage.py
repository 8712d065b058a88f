"""Files spoilt at random, and how they were taken."""

DAMAGE = ("flip", "change", "cut", "insert", "drop", "copy", "zero", "ones", "swap", "join")


def spoil(whole, rng, other):
    """The content of a file with one to three kinds of damage, and their names."""
    content, kinds = whole, rng.choice(DAMAGE, rng.integers(1, 4))
    for kind in kinds:
        content = damage(kind, content, rng, other) if content else content
    return content, set(kinds)


def damage(kind, b, rng, other):
    i = rng.integers(len(b))
    j, k = i + rng.integers(1, 513), rng.integers(len(b) + 1)
    block = b[i:j]
    match kind:
        case "flip":
            return b[:i] + bytes([b[i] ^ 1 << rng.integers(8)]) + b[i + 1 :]
        case "change":
            return b[:i] + rng.bytes(min(len(block), 4)) + b[i + min(len(block), 4) :]
        case "cut":
            return b[:i]
        case "insert":
            return b[:i] + rng.bytes(j - i) + b[i:]
        case "drop":
            return b[:i] + b[j:]
        case "copy":
            return b[:k] + block + b[k:]
        case "zero" | "ones":
            return b[:i] + (b"\0" if kind == "zero" else b"\xff") * len(block) + b[j:]
        case "swap":
            p, q, r, s = sorted(rng.integers(0, len(b) + 1, 4))
            return b[:p] + b[r:s] + b[q:r] + b[p:q] + b[s:]
        case "join":
            return b + other if rng.random() < 0.5 else other + b


def rewrite(path, content):
    """As a new file: ext4 writes one that is emptied and filled again at once, in milliseconds."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


class Tally:
    """Of files that were opened:
    read right, refused as they should be, read wrong, anything else.
    """

    def __init__(self, refusal):
        self.refusal, self.right, self.refused, self.bad = refusal, 0, 0, []

    def count(self, name, check):
        try:
            check()
            self.right += 1
        except self.refusal:
            self.refused += 1
        except Exception as error:
            self.bad.append(f"{name}: {type(error).__name__}: {error}")

    def __str__(self):
        assert self.bad == [], f"{len(self.bad)} of {self.right + self.refused + len(self.bad)}: {self.bad[:5]}"
        return f"{self.right + self.refused:,}: {self.refused:,} refused, {self.right:,} read right; 0 wrong, 0 foreign"
