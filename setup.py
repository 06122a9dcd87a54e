"""The rest is in pyproject.toml; here only what it cannot say: a wheel carries the recording of data_samples."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithSamples(build_py):
    """Puts the recording into the package, where `ivekit.io.read_samples` looks; an editable install needs none."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            place = Path(self.build_lib, "ivekit", "samples")
            self.mkpath(str(place))
            for path in sorted(Path("data_samples").glob("sub-*")):
                self.copy_file(str(path), str(place / path.name))


setup(cmdclass={"build_py": WithSamples})
