"""Quantised blocks of every GGUF type that we read, and the values that the gguf package (0.19.0) makes of them.

Writes tests/model/golden/blocks.gguf (a tensor of each type), blocks.f32 (their values, in the tensors' order, float32) and blocks.json (for
each type the SHA-256 of the values of 2,048 blocks whose bytes SplitMix64 draws, and where in a block half floats stand).
Run: .deps/reference/bin/python tests/golden/blocks.py
"""
import hashlib
import json
import pathlib

import gguf
import numpy

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "model" / "golden"
# Where in a block half floats stand; any other bytes are valid whatever they are.
HALVES = {"F32": [], "F16": [0], "BF16": [0], "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}
BLOCKS = 2048


def drawn_bytes(count):
    """SplitMix64 from state 1, eight bytes a step, little-endian."""
    state, words, mask = 1, [], 2 ** 64 - 1
    for _ in range(-(-count // 8)):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        words.append(z ^ (z >> 31))
    return numpy.array(words, dtype="<u8").view(numpy.uint8)[:count].copy()


def with_finite_halves(blocks, kind):
    """A half float's exponent of all ones (no finite number) loses its highest bit."""
    for at in HALVES[kind]:
        top = blocks[:, at + 1]
        infinite = (top & 0x7C) == 0x7C if kind != "BF16" else (top & 0x7F) == 0x7F
        blocks[:, at + 1] = numpy.where(infinite, top & 0xBF, top)
    return blocks


values, table = [], {}
writer = gguf.GGUFWriter(FOLDER / "blocks.gguf", "llama")
numpy.random.seed(1)
for kind, halves in HALVES.items():
    type_ = getattr(gguf.GGMLQuantizationType, kind)
    block, size = gguf.GGML_QUANT_SIZES[type_]
    if kind == "F32":
        data = plain = numpy.random.randn(2, 256).astype(numpy.float32)
    else:
        raw = with_finite_halves(drawn_bytes(BLOCKS * size).reshape(BLOCKS, size), kind)
        plain = gguf.quants.dequantize(raw, type_).astype("<f4")
        assert numpy.isfinite(plain).all()
        table[kind.lower()] = {"halves": halves, "sha256": hashlib.sha256(plain.tobytes()).hexdigest()}
        data = numpy.random.randint(0, 256, (512 // block, size), dtype=numpy.uint8)
        for at in halves:
            data[:, at:at + 2] = (numpy.random.randn(512 // block, 1) * 0.1).astype(numpy.float16).view(numpy.uint8)
        data = data.reshape(2, -1)
        plain = gguf.quants.dequantize(data, type_)
    writer.add_tensor(kind.lower(), data, raw_dtype=type_)
    values.append(plain.astype("<f4").reshape(-1))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
(FOLDER / "blocks.f32").write_bytes(numpy.concatenate(values).tobytes())
(FOLDER / "blocks.json").write_text(json.dumps({"blocks": BLOCKS, "types": table}, indent=1) + "\n")
