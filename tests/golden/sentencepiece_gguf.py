"""The vocabulary of tests/text/golden/llama2.model as GGUF files, and what sentencepiece 0.2.3 and llama.cpp make of 10,000 lines.

Writes tests/text/golden/llama2.gguf (the same vocabulary), added.gguf (no space before a text, and added tokens: spaces, a word, <|im_start|>)
and sentencepiece_gguf.json (SHA-256 of the ids of each block of 500 lines, as in tokens.json). llama.cpp has to agree on every line.
Run: .deps/reference/bin/python tests/golden/sentencepiece_gguf.py (with protobuf)
"""
import json
import pathlib

import gguf
import llama_cpp
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

import lines

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "text" / "golden"
CONTROL, USER_DEFINED = 3, 4
ADDED = [("  ", USER_DEFINED), ("    ", USER_DEFINED), ("foo_bar", USER_DEFINED), ("<|im_start|>", CONTROL), ("<|im_end|>", CONTROL)]


def write(model, path, prefix):
    """As llama.cpp's converter writes it: the spaces of added tokens as they are."""
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in ((writer.add_block_count, 0), (writer.add_context_length, 64), (writer.add_embedding_length, 8), (writer.add_head_count, 1),
                       (writer.add_feed_forward_length, 8), (writer.add_layer_norm_rms_eps, 1e-5), (writer.add_vocab_size, len(model.pieces))):
        add(value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([p.piece.replace("\u2581", " ") if p.type == USER_DEFINED else p.piece for p in model.pieces])
    writer.add_token_scores([p.score for p in model.pieces])
    writer.add_token_types([p.type for p in model.pieces])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ids_of(model, path):
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    other = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    differing = [0]

    def encode(text):
        ids = theirs.encode(text)
        if "\0" not in text and ids != other.tokenize(text.encode(), add_bos=False, special=False):
            differing[0] += 1
        return ids

    hashes = lines.hashes(encode)
    print(path.name, "llama.cpp gives other ids on", differing[0], "of 10,000 lines")
    return hashes


plain = sentencepiece_model_pb2.ModelProto.FromString((OUT / "llama2.model").read_bytes())
added = sentencepiece_model_pb2.ModelProto.FromString((OUT / "llama2.model").read_bytes())
for text, kind in ADDED:
    added.pieces.add(piece=text.replace(" ", "\u2581"), score=-1000.0, type=kind)
added.normalizer_spec.add_dummy_prefix = False
golden = {}
for model, name, prefix in ((plain, "llama2.gguf", True), (added, "added.gguf", False)):
    write(model, OUT / name, prefix)
    golden[name] = ids_of(model, OUT / name)
(OUT / "sentencepiece_gguf.json").write_text(json.dumps(golden, indent=1) + "\n")
