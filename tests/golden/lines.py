"""10,000 lines of many scripts, and hashes of what a tokenizer makes of them; tests/text/tokens_test.cpp makes the same lines."""
import hashlib

WORDS = ["the", "The", "don't", "I'm", "it's", "HTTP", "x1", "2024", "3.14", "foo_bar", "if (x) {", "\t", "  ", "    ", "\n", "\n\n", "\r\n", " \n ", "...", "!?", "<|im_end|>", "<s>", "</s>",
         "[INST]", "na\u00efve", "\u00fcber", "\u4f60\u597d", "\u3053\u3093\u306b\u3061\u306f", "\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd", "\u041f\u0440\u0438\u0432\u0435\u0442",
         "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\uc548\ub155", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "e\u0301", "\u00a0", "\u2003",
         "\u00bd", "\u2167", "\u0663", "'ll", "'S", "\ufffd", "\u0000", "\u200b", "def f(a, b):", "=>", "//", "a" * 40, "-" * 30]
RANGES = [(0x20, 0x7e), (0x20, 0x7e), (0xa1, 0x17f), (0x370, 0x3ff), (0x400, 0x4ff), (0x5d0, 0x5ea), (0x620, 0x64a), (0x900, 0x97f), (0xe01, 0xe3a), (0x3041, 0x30ff), (0x4e00, 0x9fff),
          (0xac00, 0xd7a3), (0x2000, 0x206f), (0x2190, 0x21ff), (0x1f300, 0x1f64f)]


class Generator:
    def __init__(self, seed):
        self.state = (seed * 2654435761 + 12345) & 0xFFFFFFFFFFFFFFFF

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self.state >> 33) % n


def line(i):
    g = Generator(i)
    parts = []
    for _ in range(1 + g.below(12)):
        kind = g.below(4)
        if kind < 2:
            parts.append(WORDS[g.below(len(WORDS))])
        elif kind == 2:
            low, high = RANGES[g.below(len(RANGES))]
            parts.append("".join(chr(low + g.below(high - low + 1)) for _ in range(1 + g.below(8))))
        else:
            parts.append(" " * (1 + g.below(3)))
        if g.below(2):
            parts.append(" ")
    data = "".join(parts).encode()
    if g.below(10) == 0:  # invalid UTF-8: a byte dropped from somewhere
        at = g.below(len(data))
        data = data[:at] + data[at + 1:]
    return data.decode("utf-8", errors="replace")


def hashes(encode):
    blocks = []
    for block in range(20):
        h = hashlib.sha256()
        for i in range(block * 500, block * 500 + 500):
            h.update((",".join(map(str, encode(line(i)))) + "\n").encode())
        blocks.append(h.hexdigest())
    return blocks
