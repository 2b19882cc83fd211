#!/usr/bin/env python3
"""Scores pictures on a Spark cluster: Parquet files with one row a picture, of path, score, anomalous and error.

A file's name is of any bytes, a column of text is not: bytes that are none are shown as U+FFFD, and path_bytes has all of them,
percent-encoded, as `ckaad score --format json` has it.

Needs Java 17 or later, and `pip install -r requirements.txt` and ckaad (../README.md) on every machine; pictures,
model and OUT lie where all machines see them.

    python spark.py --model model.safetensors --pictures photos/ --out scores/ --master 'local-cluster[2,1,1024]'
"""

import argparse
import functools
import glob
import os
import pathlib
import sys
import urllib.parse

import pandas as pd
import pyarrow.dataset
from pyspark.sql import SparkSession

import ckaad

# Pictures in a task: what is scored again when a worker dies, and the rows of a file.
SHARD = 200
COLUMNS = ["path", "path_bytes", "score", "anomalous", "error"]
ROW = "path string, path_bytes string, score double, anomalous boolean, error string"


@functools.cache
def detector(model):
    """Of this process, which does one task after another."""
    # Spark counts a task as one core.
    ckaad.set_threads(1)
    return ckaad.Detector.load(model, "cpu", batch_size=8, maps=False)


def score(model, tables):
    for table in tables:
        paths = [bytes(path) for path in table["path"]]
        # What is wrong with one picture is its row's error; what is wrong with the machine is raised, and the task tried elsewhere.
        found = detector(model).score(map(os.fsdecode, paths), errors="return")
        yield pd.DataFrame([row(*one) for one in zip(paths, found)], columns=COLUMNS)


def row(path, found):
    text = path.decode("utf-8", "replace")
    path_bytes = None if text.encode() == path else urllib.parse.quote(path)
    if isinstance(found, Exception):
        return text, path_bytes, None, None, str(found)
    return text, path_bytes, found.score, found.anomalous, None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="file that `ckaad train` wrote")
    parser.add_argument("--pictures", required=True, help="folder, or a pattern such as 'photos/*/*.jpg'")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder to write, which must not exist")
    parser.add_argument("--master", default="local[2]", help="Spark's [default: two threads of this machine]")
    asked = parser.parse_args()
    model = os.path.abspath(asked.model)
    of_folder = os.path.isdir(asked.pictures)
    paths = ckaad.list_pictures(asked.pictures) if of_folder else sorted(glob.glob(asked.pictures, recursive=True))
    if not paths:
        sys.exit(f"{asked.pictures}: expected a folder of pictures or a pattern that some match, found none")
    # A model that cannot be used ends the run here, before all workers say so.
    ckaad.Detector.load(model, "cpu")
    # OUT is there once it is whole: until then all is written beside it.
    partial = asked.out.with_name(asked.out.name + ".partial")
    for there in (asked.out, partial):
        if there.exists():
            sys.exit(f"{there} exists: expected a new folder, or that of a run that did not end to be removed")

    # That of this environment, which workers on this machine need, too; elsewhere PYSPARK_PYTHON says which.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = SparkSession.builder.master(asked.master).appName("ckaad").getOrCreate()
    session.sparkContext.addPyFile(__file__)
    # Divided without a shuffle: a task that is tried again has the same pictures. Spark's committer takes the files of one try.
    items = [(os.fsencode(os.path.abspath(path)),) for path in paths]
    shards = session.sparkContext.parallelize(items, -(-len(paths) // SHARD))
    pictures = session.createDataFrame(shards, "path binary")
    pictures.mapInPandas(lambda tables: score(model, tables), ROW).write.parquet(str(partial.absolute()))
    session.stop()
    rows = pyarrow.dataset.dataset(partial, format="parquet").count_rows()
    if rows != len(paths):
        sys.exit(f"{partial}: expected {len(paths)} rows, found {rows}")
    partial.rename(asked.out)
    print(f"{rows} pictures in {asked.out}")


if __name__ == "__main__":
    # Workers import this file by its name, too: a detector that is cached in it stays from task to task.
    import spark

    spark.main()
