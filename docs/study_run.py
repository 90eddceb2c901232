"""Write the figures of the last `primage study` (folder study-results) into the documents that show them.

`make study-docs` runs the study first where it has not been run; `primage study --again` runs it again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = "study-results"
PAGES = (ROOT / "README.md", ROOT / "docs/tutorials/from-images-to-a-classifier.md")
PICTURE = "confusion-matrix.png"
SHOWN = re.compile(r"(<!-- study run -->\n\n```\n)(.*?)(```\n)", re.DOTALL)


def shown(text: str) -> str:
    """What the study printed, with the page alone of all the files it lists."""
    lines = text.splitlines()
    first_file = next(number for number, line in enumerate(lines) if line.startswith(f"{RESULTS}/"))
    return "\n".join(line.rstrip() for line in [*lines[:first_file], f"{RESULTS}/study.html"]) + "\n"


def main() -> None:
    """Both pages show one run, and the picture is that run's."""
    primage = str(Path(sys.executable).with_name("primage"))
    done = subprocess.run([primage, "study"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=1800)
    block = f"$ primage study\n{shown(done.stdout)}"
    for page in PAGES:
        text, count = SHOWN.subn(lambda found: found[1] + block + found[3], page.read_text())
        if count != 1:
            sys.exit(f"{page}: the page must show the study's run exactly once, after <!-- study run -->")
        page.write_text(text)
    shutil.copy(ROOT / RESULTS / PICTURE, ROOT / "docs/tutorials" / PICTURE)


if __name__ == "__main__":
    main()
