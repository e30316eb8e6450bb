"""Package metadata: two import packages from two source roots, one distribution.

`rackactor` lies beside this file and `rackactor_runtime` in `runtime/`, so that application code and
what runs behind it stay apart in the tree as they do at run time.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
#: Where the project lives: what links in the package's description lead to.
HOME = "https://github.com/rackactor/rackactor"


def read_version() -> str:
    """Return `__version__` from its one home, without importing the package."""
    found = re.search(r'^__version__ = "([^"]+)"$', (HERE / "rackactor/_version.py").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise RuntimeError("rackactor/_version.py: no __version__ line")
    return found[1]


def read_description() -> str:
    """Return the README with links that work on any page: PyPI shows it without the files beside it."""
    text = (HERE / "README.md").read_text("utf-8")
    return re.sub(r"\]\((?![a-z]+:|#)([^)\s]+)\)", rf"]({HOME}/blob/main/\1)", text)


INSTALL = [
    # Pinned: its reference object is not a published interface, so each release is checked before it is allowed.
    "thespian==4.0.1",
    "pyzmq>=26",
    "msgpack>=1.0",
    "lmdb>=1.4",
    "cloudpickle>=3",
    "PyYAML>=6",
    "cliff>=4.3",
    "rich>=13",
    "fsspec>=2024.10",
]

OPENSTACK = ["openstacksdk>=3"]
TEST = [
    "coverage>=7.10",
    "gevent>=24.2",
    "numpy>=1.26",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "pytest-xdist>=3.6",
    "pandas>=2",
    "psutil>=5.9",
    "setuptools>=77",  # which makes wheels without another package
]
DEV = ["ruff>=0.6", "mypy>=1.11", "import-linter>=2.16", "types-psutil"]
# Only what `python -m benchmarks` compares with; nothing else imports them.
BENCH = ["ray>=2.30", "distributed>=2024.5", "redis>=5", "fsspec>=2024.3"]

# The sub-commands of `rack`: "words_with_underscores = module:Class".
# ---- rack.commands: begin (kept by the command line's author) ----
RACK_COMMANDS = [
    "fs_cat = rackactor.cli.commands.files:FsCat",
    "fs_cp = rackactor.cli.commands.files:FsCp",
    "fs_ls = rackactor.cli.commands.files:FsLs",
    "fs_mkdir = rackactor.cli.commands.files:FsMkdir",
    "fs_mv = rackactor.cli.commands.files:FsMv",
    "fs_rm = rackactor.cli.commands.files:FsRm",
    "gc = rackactor.cli.commands.clouds:Gc",
    "group_delete = rackactor.cli.commands.groups:GroupDelete",
    "group_list = rackactor.cli.commands.groups:GroupList",
    "group_show = rackactor.cli.commands.groups:GroupShow",
    "image_build = rackactor.cli.commands.images:ImageBuild",
    "image_list = rackactor.cli.commands.images:ImageList",
    "image_upload = rackactor.cli.commands.images:ImageUpload",
    "kill = rackactor.cli.commands.processes:Kill",
    "logs = rackactor.cli.commands.processes:Logs",
    "pipe_list = rackactor.cli.commands.pipes:PipeList",
    "pipe_read = rackactor.cli.commands.pipes:PipeRead",
    "pipe_write = rackactor.cli.commands.pipes:PipeWrite",
    "pipeline = rackactor.cli.commands.pipelines:Pipeline",
    "ps = rackactor.cli.commands.processes:Ps",
    "run = rackactor.cli.commands.run:Run",
    "shm_cas = rackactor.cli.commands.memory:ShmCas",
    "shm_get = rackactor.cli.commands.memory:ShmGet",
    "shm_incr = rackactor.cli.commands.memory:ShmIncr",
    "shm_ls = rackactor.cli.commands.memory:ShmLs",
    "shm_rm = rackactor.cli.commands.memory:ShmRm",
    "shm_set = rackactor.cli.commands.memory:ShmSet",
    "shm_watch = rackactor.cli.commands.memory:ShmWatch",
    "wait = rackactor.cli.commands.processes:Wait",
    "why = rackactor.cli.commands.why:Why",
]
# ---- rack.commands: end ----

PROVIDERS = [
    "local = rackactor_runtime.providers.local:LocalProvider",
    "nova = rackactor_runtime.providers.nova.provider:NovaProvider",
]

FILE_SYSTEMS = [
    "rack = rackactor.ipc.files.filesystem:RackFileSystem",
    "swift = rackactor_runtime.providers.nova.swift.filesystem:SwiftFileSystem",
]

# How guest images are made: data that `rack image build` runs, not a package that anybody imports.
RECIPE = "rackactor_runtime.recipe"

setup(
    name="rackactor",
    version=read_version(),
    description="fork, wait, kill and pipe that mean virtual machines: an actor runtime for a laptop and for OpenStack",
    long_description=read_description(),
    long_description_content_type="text/markdown",
    url=HOME,
    project_urls={
        "Documentation": f"{HOME}/tree/main/docs",
        "Source": HOME,
        "Changelog": f"{HOME}/blob/main/CHANGELOG.md",
        "Issues": f"{HOME}/issues",
    },
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[
        *find_packages(".", include=["rackactor", "rackactor.*"]),
        *find_packages("runtime", include=["rackactor_runtime", "rackactor_runtime.*"]),
        RECIPE,
    ],
    package_dir={
        "rackactor": "rackactor",
        "rackactor_runtime": "runtime/rackactor_runtime",
        RECIPE: "images",
    },
    package_data={
        "rackactor": ["py.typed"],
        "rackactor_runtime": ["py.typed"],
        RECIPE: ["README.md", "build", "requirements.txt", "guest/*", "elements/*/*", "elements/*/*/*"],
    },
    zip_safe=False,
    install_requires=INSTALL,
    extras_require={
        "openstack": OPENSTACK,
        "test": TEST,
        "dev": DEV,
        "bench": BENCH,
        "all": [*OPENSTACK, *TEST, *DEV],
    },
    entry_points={
        "console_scripts": [
            "rack = rackactor.cli.main:main",
            "rackactor-guest = rackactor_runtime.guest.program:main",
        ],
        "rack.commands": RACK_COMMANDS,
        "rackactor.providers": PROVIDERS,
        "fsspec.specs": FILE_SYSTEMS,
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: OpenStack",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
)
