"""What the disk may hold after a power loss, made from the calls that fault_shim.c wrote down.

A file keeps what it held at its last sync, and any part of what was written after; a folder keeps the names of its last sync, and any of
the changes after. That is what POSIX promises, and less than any journalling file system gives."""
import os
import pathlib

CHANGES = {"write", "truncate", "create", "rename", "remove", "mkdir"}


def read_log(path, root):
    """The calls in order: (call, path, other, offset, bytes), paths relative to root."""
    data, at, calls = pathlib.Path(path).read_bytes(), 0, []

    def relative(name):
        return os.path.relpath(name, root) if name else ""

    while at < len(data):
        end = data.index(b"\n", at)
        call, name, other, offset, size = data[at:end].decode().split("\t")
        at = end + 1
        calls.append((call, relative(name), relative(other), int(offset), data[at:at + int(size)]))
        at += int(size)
    return calls


class Disk:
    """Files and folders as the kernel sees them, and what of them is surely on the disk."""

    def __init__(self):
        self.view = {}                        # path -> file number
        self.durable, self.pending = {}, {}   # file number -> bytes; -> [(offset, bytes) or (length, None)]
        self.folders = {".": [{}, []]}        # path -> [durable names, pending changes]

    def parent(self, path):
        return os.path.dirname(path) or "."

    def changed(self, path, kind, value):
        self.folders[self.parent(path)][1].append((kind, os.path.basename(path), value))

    def apply(self, call, path, other, offset, data):
        if call == "create":
            number = len(self.durable)
            self.durable[number], self.pending[number] = b"", []
            self.view[path] = number
            self.changed(path, "set", number)
        elif call == "write":
            self.pending[self.view[path]].append((offset, data))
        elif call == "truncate":
            self.pending[self.view[path]].append((offset, None))
        elif call in ("fsync", "fdatasync"):
            if path in self.folders:
                names, changes = self.folders[path]
                for change in changes:
                    change_names(names, change)
                self.folders[path][1] = []
            elif path in self.view:
                number = self.view[path]
                self.durable[number] = after(self.durable[number], self.pending[number])
                self.pending[number] = []
        elif call == "rename":
            number = self.view.pop(path)
            self.view[other] = number
            assert self.parent(path) == self.parent(other), "a move between folders is not modelled"
            self.folders[self.parent(path)][1].append(("rename", os.path.basename(path), (os.path.basename(other), number)))
        elif call == "remove":
            self.view.pop(path, None)
            self.folders.pop(path, None)
            self.changed(path, "remove", None)
        elif call == "mkdir" and path != ".":
            self.folders[path] = [{}, []]
            self.changed(path, "set", "folder")

    def write_out(self, root, rng, mode):
        """One possible state after the power went: `mode` none keeps nothing unsynced, all keeps everything, some draws."""
        def kept(changes):
            return [c for c in changes if mode == "all" or (mode == "some" and rng.random() < 0.5)]

        def folder(path, target):
            target.mkdir(exist_ok=True)
            durable, changes = self.folders.get(path, [{}, []])
            names = dict(durable)
            for change in kept(changes):
                change_names(names, change)
            for name, what in names.items():
                if what == "folder":
                    folder(name if path == "." else f"{path}/{name}", target / name)
                else:
                    pending = kept(self.pending[what])
                    if pending and mode == "some" and pending[-1][1] and rng.random() < 0.5:
                        offset, data = pending[-1]
                        pending[-1] = (offset, data[:rng.randrange(len(data))])  # torn
                    (target / name).write_bytes(after(self.durable[what], pending))

        folder(".", pathlib.Path(root))


def change_names(names, change):
    kind, name, value = change
    if kind == "set":
        names[name] = value
    elif kind == "remove":
        names.pop(name, None)
    else:
        names.pop(name, None)
        names[value[0]] = value[1]


def after(content, changes):
    content = bytearray(content)
    for offset, data in changes:
        if data is None:
            del content[offset:]
            content.extend(b"\0" * (offset - len(content)))
        else:
            content.extend(b"\0" * (offset - len(content)))
            content[offset:offset + len(data)] = data
    return bytes(content)
