#!/usr/bin/env python3
"""Writes the directory ROOT as a one-layer OCI image archive, with neither a registry nor a container engine.

The same tree gives the same bytes: names are sorted, times and owners zeroed. Prints the image's digest.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import tarfile

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PATH = "PATH=/usr/local/bin:/usr/bin:/bin"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", help="the file to write")
    parser.add_argument("name", help="NAME:TAG")
    parser.add_argument("root", help="the directory that becomes /")
    parser.add_argument("--entrypoint", action="append", default=[], help="once for each word")
    parser.add_argument("--env", action="append", default=[PATH], help="NAME=VALUE")
    parser.add_argument("--label", action="append", default=[], help="NAME=VALUE")
    parser.add_argument("--user", default="", help="UID[:GID]")
    parser.add_argument("--workdir", default="/")
    return parser.parse_args()


def scrubbed(entry):
    """The tar entry without what differs from one build to the next."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def layer_of(root):
    """The tree below `root` as an uncompressed tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for at, directories, files in os.walk(root):
            directories.sort()
            for name in sorted(directories + files):
                path = os.path.join(at, name)
                tar.add(path, arcname=os.path.relpath(path, root), recursive=False, filter=scrubbed)
    return buffer.getvalue()


class Blobs:
    """Content by its digest."""

    def __init__(self):
        self.content = {}

    def add(self, media_type, data):
        """Keeps `data` and returns the descriptor that names it."""
        if not isinstance(data, bytes):
            data = json.dumps(data, sort_keys=True).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.content[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def image(args, blobs):
    """Adds layer, configuration and manifest to `blobs`; returns the manifest's descriptor."""
    target = {"architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()], "os": "linux"}
    layer = blobs.add(LAYER, layer_of(args.root))
    run = {"Entrypoint": args.entrypoint, "Env": args.env, "User": args.user, "WorkingDir": args.workdir}
    if args.label:
        run["Labels"] = dict(label.split("=", 1) for label in args.label)
    config = blobs.add(CONFIG, {**target, "config": run, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}})
    manifest = blobs.add(
        MANIFEST, {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    )
    tag = args.name.rsplit(":", 1)[1]
    names = {"io.containerd.image.name": args.name, "org.opencontainers.image.ref.name": tag}
    return {**manifest, "platform": target, "annotations": names}


def write(archive, manifest, blobs):
    """Writes the OCI layout as one tar, so that a reader never sees half of it."""
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]}, sort_keys=True
        ).encode(),
    }
    files.update((f"blobs/sha256/{digest}", blobs.content[digest]) for digest in sorted(blobs.content))
    unfinished = f"{archive}.part"
    with tarfile.open(unfinished, "w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    os.replace(unfinished, archive)


def main():
    args = arguments()
    blobs = Blobs()
    manifest = image(args, blobs)
    write(args.archive, manifest, blobs)
    print(manifest["digest"])


if __name__ == "__main__":
    main()
