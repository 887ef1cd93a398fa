#!/usr/bin/env python3
"""Prints the rows of a Parquet file as JSON Lines. A file that cannot be read gives one JSON text that says why.

cai calls it (src/io/parquet.cpp) with the Python of .deps/parquet, which scripts/parquet makes; pyarrow does the reading."""
import base64
import datetime
import json
import math
import sys

import pyarrow
import pyarrow.parquet

ROWS = 1024  # at once: memory stays bounded whatever the file's row groups are


def plain(value):
    """What JSON has no type for: times as texts, bytes in base64, numbers that are none as null."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)


def main():
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        with pyarrow.parquet.ParquetFile(sys.argv[1]) as file:
            for batch in file.iter_batches(batch_size=ROWS):
                for row in batch.to_pylist():
                    print(json.dumps(plain(row), ensure_ascii=False, allow_nan=False))
    except (OSError, pyarrow.ArrowException) as error:
        print(json.dumps("not a Parquet file that can be read: " + str(error).split("\n")[0]))


if __name__ == "__main__":
    main()
