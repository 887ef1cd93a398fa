#!/usr/bin/env python3
"""Writes tests/data/golden/{prompts,pairs}.parquet with pyarrow: columns as texts, lists and structures, several row groups, an absent value."""
import datetime
import pathlib

import pyarrow
import pyarrow.parquet

OUT = pathlib.Path(__file__).resolve().parent.parent / "data/golden"


def write(name, rows, compression):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), OUT / name, row_group_size=2, compression=compression)


def said(role, text):
    return {"role": role, "content": text}


OUT.mkdir(parents=True, exist_ok=True)
write("prompts.parquet", [{"prompt": "How do I bake bread?", "tags": ["ordinary", "cooking"], "written": datetime.datetime(2024, 1, 2), "score": 0.5},
                          {"prompt": "Name a river, \"please\".\nNow.", "tags": [], "written": None, "score": float("nan")},
                          {"prompt": "Grüße – 你好?", "tags": None, "written": None, "score": None}], "zstd")
write("pairs.parquet", [{"prompt": "Name a river.", "chosen": [said("user", "Name a river."), said("assistant", "The Rhine.")],
                         "rejected": [said("user", "Name a river."), said("assistant", answer)]} for answer in ("No.", "", "Ask.")], "snappy")
