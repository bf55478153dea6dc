"""Image archives as `docker save` writes them, made by hand."""

import hashlib
import io
import json
import tarfile


def layer(files, *special):
    """The archive of a layer: `files` by path, and further entries (`tarfile.TarInfo`)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            archive.addfile(info, io.BytesIO(content))
        for info in special:
            archive.addfile(info)
    return out.getvalue()


def saved(tag, *layers):
    """The archive of an image called `tag`; of one without a name if that is `None`."""
    digests = [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers]
    config = {"architecture": "amd64", "os": "linux", "config": {},
              "rootfs": {"type": "layers", "diff_ids": digests}}
    names = [f"{index}.tar" for index, _ in enumerate(layers)]
    manifest = [{"Config": "config.json", "RepoTags": tag and [tag], "Layers": names}]
    files = {"manifest.json": json.dumps(manifest).encode(), "config.json": json.dumps(config).encode()}
    return layer({**files, **dict(zip(names, layers))})
