#!/usr/bin/env python3
"""Scores pictures on a Ray cluster: Parquet files with one row a picture, of path, score, anomalous and error.

A file's name is of any bytes, a column of text is not: bytes that are none are shown as U+FFFD, and path_bytes has all of them,
percent-encoded, as `ckaad score --format json` has it.

Needs `pip install -r requirements.txt` and ckaad (../README.md) on every machine; pictures,
model and OUT lie where all machines see them.

    python ray_data.py --model model.safetensors --pictures photos/ --out scores/ --workers 2
"""

import argparse
import glob
import os
import pathlib
import sys
import urllib.parse

import pyarrow as pa
import pyarrow.dataset
import ray

import ckaad

# Pictures in a task: what is scored again when a worker dies, and the rows of a file.
SHARD = 200
TEXT = pa.string()
ROW = pa.schema(
    [("path", TEXT), ("path_bytes", TEXT), ("score", pa.float64()), ("anomalous", pa.bool_()), ("error", TEXT)]
)


class Scorer:
    """A worker: a process of its own, which loads the detector once."""

    def __init__(self, model):
        # Ray counts a worker as one CPU. With a GPU: device "cuda", num_gpus=1 below, and as many threads as decode for it.
        ckaad.set_threads(1)
        self.detector = ckaad.Detector.load(model, "cpu", batch_size=8, maps=False)

    def __call__(self, table):
        paths = table["path"].to_pylist()
        # What is wrong with one picture is its row's error; what is wrong with the machine is raised, and ends the run.
        found = self.detector.score(map(os.fsdecode, paths), errors="return")
        return pa.Table.from_pylist([row(*one) for one in zip(paths, found)], schema=ROW)


def row(path, found):
    named = {"path": path.decode("utf-8", "replace")}
    if named["path"].encode() != path:
        named["path_bytes"] = urllib.parse.quote(path)
    if isinstance(found, Exception):
        return {**named, "error": str(found)}
    return {**named, "score": found.score, "anomalous": found.anomalous}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="file that `ckaad train` wrote")
    parser.add_argument("--pictures", required=True, help="folder, or a pattern such as 'photos/*/*.jpg'")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder to write, which must not exist")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    if asked.workers < 1:
        parser.error("--workers: expected 1 or more")
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
    partial.mkdir(parents=True)

    ray.init()
    # A task of a worker that died goes to another worker, and its rows to the file that has the task's number.
    items = [{"path": os.fsencode(os.path.abspath(path))} for path in paths]
    pictures = ray.data.from_items(items, override_num_blocks=-(-len(paths) // SHARD))
    scored = pictures.map_batches(
        Scorer,
        fn_constructor_args=(model,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=asked.workers),
        num_cpus=1,
    )
    # The workers hold all CPUs: a task that writes must not wait for one.
    scored.write_parquet(str(partial.absolute()), ray_remote_args={"num_cpus": 0})
    rows = pyarrow.dataset.dataset(partial, format="parquet").count_rows()
    if rows != len(paths):
        sys.exit(f"{partial}: expected {len(paths)} rows, found {rows}")
    partial.rename(asked.out)
    print(f"{rows} pictures in {asked.out}")


if __name__ == "__main__":
    main()
