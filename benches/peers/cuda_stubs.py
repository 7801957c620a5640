"""PyTorch's wheel for Linux links CUDA libraries of 2 GB, of which nothing is used on a CPU. This makes libraries that
have their names and the symbols that are looked for, all of which are a function that fails."""

import re
import subprocess
import sysconfig
from collections import defaultdict
from pathlib import Path


def make_stubs(libraries):
    """Adds the libraries that those in the folder `libraries` need and that the system does not have."""
    sonames, symbols = defaultdict(set), defaultdict(set)
    defined = set()
    existing = sorted(libraries.glob("*.so*"))
    for library in existing:
        file = None
        for line in read("readelf", "-dVW", library):
            if match := re.search(r"NEEDED.*\[(lib(?:cu|nccl|nv).*)\]", line):
                sonames[match[1]]
            elif match := re.search(r"File: (\S+)", line):
                file = match[1]
            elif match := re.search(r"Name: (\S+)\s+Flags", line):
                sonames[file].add(match[1])
        for line in read("nm", "-D", library):
            *_, kind, symbol = line.split()
            name, _, version = symbol.partition("@")
            if kind in "Uwv":
                symbols[version].add(name)
            else:
                defined.add(name)
    unversioned = {name for name in symbols[""] if re.match("cu|nccl|nv", name)} - defined
    present = {library.name for library in existing}
    for soname, versions in sonames.items():
        if re.match("lib(cu|nccl|nv)", soname) and soname not in present:
            build(libraries / soname, {version: symbols[version] for version in versions} or {"": unversioned})


def build(path, versions):
    """A library with these functions, by the version of their symbols."""
    source, script = path.with_suffix(".c"), path.with_suffix(".map")
    names = sorted(name for symbols in versions.values() for name in symbols)
    source.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in names))
    versions = {version: "".join(f"{name}; " for name in sorted(symbols)) for version, symbols in versions.items()}
    script.write_text("".join(f"{version} {{ global: {names}}};\n" for version, names in versions.items()))
    options = [f"-Wl,--version-script={script}"] if "" not in versions else []
    command = ["gcc", "-w", "-fno-builtin", "-shared", f"-Wl,-soname,{path.name}", *options, "-o", path, source]
    subprocess.run(command, check=True)
    source.unlink()
    script.unlink()


def read(*command):
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line for line in output.splitlines() if line.strip()]


if __name__ == "__main__":
    # Run by the Python that PyTorch was installed for.
    make_stubs(Path(sysconfig.get_path("purelib")) / "torch/lib")
