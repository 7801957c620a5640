"""Installs the peers into a folder of their own. What is there is kept; what cannot be had is absent, with the reason."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
# For making the models.
TOOLS = ["numpy==2.*", "onnx==1.*", "protobuf", "pyyaml", "safetensors==0.8.*", "sentencepiece==0.2.*"]
TORCH = ["filelock", "fsspec", "jinja2", "networkx", "numpy==2.*", "safetensors==0.8.*", "sympy", "typing_extensions"]


class Absent(Exception):
    """A peer is not there, and why."""


class Installer:
    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def install(self, peer):
        """The command that starts the peer's worker."""
        return getattr(self, peer)()

    def once(self, name, *commands):
        """Runs commands that together install `name`, unless they have done so before."""
        done = self.folder / f"{name}.installed"
        recipe = "\n".join(" ".join(map(str, command)) for command in commands)
        if done.exists() and done.read_text() == recipe:
            return
        self.run(name, *commands)
        done.write_text(recipe)

    def run(self, name, *commands):
        print(f"installing {name}", flush=True)
        log = self.folder / f"{name}.log"
        with open(log, "w") as file:
            for command in commands:
                if subprocess.run(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL).returncode:
                    lines = [line for line in log.read_text().splitlines() if line.strip()]
                    raise Absent(f"{lines[-1].strip() if lines else command} (see {log})")

    def environment(self, name, python=sys.executable):
        """A Python of its own, and the command by which packages are added to it."""
        folder = self.folder / name
        pip = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        self.once(f"{name}-python", [python, "-m", "venv", folder])
        return folder / "bin/python", lambda *arguments: [*pip, *arguments]

    def python(self, peer, *packages):
        """Shared by the peers that do not disturb each other."""
        python, pip = self.environment("python")
        self.once(peer, pip(*packages))
        return [python, HERE / f"workers/{peer}_worker.py"]

    def tools(self):
        return self.python("tools", *TOOLS)[:1]

    def ctranslate2(self):
        return self.python("ctranslate2", "ctranslate2==4.8.5")

    def onnxruntime(self):
        return self.python("onnxruntime", "onnxruntime==1.32.*")

    def torch(self):
        # Apart from the others: CTranslate2 would load it, and use its memory.
        python, pip = self.environment("torch")
        self.once("torch", pip(*TORCH), pip("--no-deps", "torch==2.15.*"), [python, HERE / "cuda_stubs.py"])
        return [python, HERE / "workers/torch_worker.py"]

    def bergamot(self):
        python, pip = self.environment("bergamot", python310())
        self.once("bergamot", pip("--no-deps", "bergamot==0.4.5"))
        return [python, HERE / "workers/bergamot_worker.py"]

    def cargo(self, package, binary, *options):
        manifest = HERE / "rust" / package / "Cargo.toml"
        target = self.folder / "cargo"
        build = ["cargo", "build", "--release", "--locked", "--manifest-path", manifest, "--target-dir", target, *options]
        # Cargo knows what is there.
        self.run(binary, build)
        return [target / "release" / binary]

    def siskin(self):
        return self.cargo("ours", "worker")

    def rten(self):
        return self.cargo("others", "rten", "--features", "rten", "--bin", "rten")

    def candle(self):
        return self.cargo("others", "candle", "--features", "candle", "--bin", "candle")


def python310():
    """The only Python that Bergamot's wheel is for: on the path, or where pyenv and uv put it."""
    found = [os.environ.get("PYTHON310"), shutil.which("python3.10")]
    for pattern in [".pyenv/versions/3.10*/bin/python", ".local/share/uv/python/cpython-3.10*/bin/python3.10"]:
        found += sorted(Path.home().glob(pattern))
    for python in filter(None, found):
        # A shim of pyenv is there even where the version is not.
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return str(python)
    raise Absent("its wheel needs Python 3.10, which is not here (PYTHON310 may name one)")
