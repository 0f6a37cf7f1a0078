"""Writes the members' page for a static host: the bundle, and an index.html that names the functions and the project.

python -m deploy.dashboard --api-url URL --supabase-url URL --key sb_publishable_…
"""

import html
import json
import shutil
import subprocess
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

import click

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "web" / "dashboard"
BUNDLE = ROOT / "web" / "dist" / "dashboard"


def files() -> dict[str, Path]:
    """The files beside index.html, by name. Those with a hash in their name never change."""
    bundled = (path for path in BUNDLE.iterdir() if not path.name.startswith("."))
    return {path.name: path for path in (*bundled, SOURCE / "favicon.svg")}


def index(api_url: str, supabase_url: str, key: str) -> str:
    """The page for these functions and the Auth of this project, with its anon or publishable key.

    Its policy allows requests to their origins only.
    """
    parts = [urlsplit(url) for url in (api_url, supabase_url)]
    origins = dict.fromkeys(f"{part.scheme}://{part.netloc}" for part in parts)
    config = {"api_url": api_url.rstrip("/"), "supabase_url": supabase_url.rstrip("/"), "supabase_key": key}
    page = Template((SOURCE / "index.html").read_text(encoding="utf-8"))
    # JSON in a script element: only its end could be mistaken.
    return page.substitute(origins=html.escape(" ".join(origins)), config=json.dumps(config).replace("<", "\\u003c"))


@click.command(help="Write the members' page for a static host.")
@click.option("--api-url", required=True, help="The functions' address.")
@click.option("--supabase-url", required=True, help="The project's address.")
@click.option("--key", required=True, help="The project's anon or publishable key, which is public.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "build" / "dashboard", show_default=True)
def main(api_url: str, supabase_url: str, key: str, out: Path) -> None:
    """Write the files, replacing those of an earlier run."""
    subprocess.run(["npm", "run", "--silent", "build:dashboard"], cwd=ROOT, check=True)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name, path in files().items():
        shutil.copy(path, out / name)
    (out / "index.html").write_text(index(api_url, supabase_url, key), encoding="utf-8")
    click.echo(f"Wrote {out}. Serve it as it is; add the header `Content-Security-Policy: frame-ancestors 'none'`.")


if __name__ == "__main__":
    main()
