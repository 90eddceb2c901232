"""The study's results as one HTML file that needs nothing else: to look at, to send, to keep."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from primage.operations.study_table import PAPER_TABLE_3, Study

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Breast histology study</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
  h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
  table { border-collapse: collapse; } th, td { padding: .35rem .9rem; text-align: right; border-bottom: 1px solid #d8dee6; }
  th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #1c2430; }
  .ours { background: #eef5fc; } .figures { display: flex; flex-wrap: wrap; gap: 1.5rem; }
  img { max-width: min(100%, 29rem); align-self: start; }
  .numbers { display: flex; flex-wrap: wrap; gap: 2rem; } .numbers b { display: block; font-size: 1.8rem; }
  pre { background: #f5f7f9; padding: 1rem; overflow-x: auto; } small { color: #5b6672; }
</style>
</head>
<body>
<h1>Breast histology study</h1>
<p>Training, testing by consumers of a queue, and a report, after section 5.2 of Segrelles Quilis et al. 2022.
Data: {{ report.data.wanted.source }}.</p>
<div class="numbers">
  <span><b>{{ "{:,}".format(report.patches) }}</b> test patches</span>
  <span><b>{{ "{:,}".format(report.predictions) }}</b> predictions, each patch in its orientations</span>
  <span><b>{{ report.accuracy }}</b> accuracy</span>
  <span><b>{{ report.sensitivity }}</b> sensitivity</span>
  <span><b>{{ report.specificity }}</b> specificity</span>
  <span><b>{{ report.majority_class_accuracy }}</b> accuracy of always saying the commoner class</span>
</div>
<h2>Table 3, in seconds</h2>
<table>
  <thead>
    <tr><th></th><th colspan="3">paper</th><th colspan="3" class="ours">here</th></tr>
    <tr><th></th>{% for name in columns %}<th>{{ name }}</th>{% endfor %}
      {% for name in columns %}<th class="ours">{{ name }}{% if name == "HTC" %} ({{ consumers }}){% endif %}</th>{% endfor %}</tr>
  </thead>
  <tbody>
  {% for row, cells in paper.items() %}
    <tr><td>{{ row }}</td>{% for name in columns %}<td>{{ number(cells[name]) }}</td>{% endfor %}
      {% for name in columns %}<td class="ours">{{ number(seconds[name][row]) }}</td>{% endfor %}</tr>
  {% endfor %}
  </tbody>
</table>
{% if speedup %}<p>HTC is <b>{{ speedup.execution }}</b> times faster than one batch job in execution and
<b>{{ speedup.total }}</b> times in total; the paper's, with four consumers, 3.3 and 2.2 times.</p>{% endif %}
<p><small>Testing the trained model: as a plain process, as one batch job, and by {{ consumers }} consumers, which took
{{ shares|join(" and ") }} partitions; the same code on one core each. Execution is from the first process's start to the last
prediction; the total also has what Kubernetes takes to start containers and to see that they ended. The paper's HTC
column adds to 67. {% if seconds["local"]["total"] %}All three{% else %}Batch and HTC{% endif %} predict the same, byte for
byte.</small></p>
<h2>What the classifier is worth</h2>
<div class="figures">
  {% for name, data in figures.items() %}<img alt="{{ name }}" src="data:image/png;base64,{{ data }}">{% endfor %}
</div>
<pre>{{ text }}</pre>
<p><small>Trained on {{ report.training.machine.cores }} cores of {{ report.training.machine.processor }}
({{ report.training.machine.instructions }}). On another kind of machine training rounds otherwise: the accuracy may differ by
up to {{ report.training.accuracy_varies_by }}.</small></p>
<p><small>The notebook that shows more of it, with its output: results.ipynb and results.html, beside this page.</small></p>
</body>
</html>
"""


def write_page(study: Study, path: Path) -> Path:
    """Write the page beside the files it shows; returns its path."""
    from jinja2 import Environment, StrictUndefined

    folder = path.parent
    figures = {
        name: base64.b64encode((folder / name).read_bytes()).decode() for name in ("confusion-matrix.png", "training-curve.png")
    }
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE)
    html = template.render(
        report=study.report,
        seconds=study.seconds,
        speedup=study.speedup,
        consumers=study.consumers,
        shares=study.shares,
        paper=PAPER_TABLE_3,
        columns=("local", "batch", "HTC"),
        figures=figures,
        text=(folder / "classification-report.txt").read_text(),
        number=cell,
    )
    write_whole(path, html)
    return path


def cell(value: float | None) -> str:
    """A number as the table has it; a dash where there is none."""
    return "-" if value is None else f"{value:g}"


def write_json(path: Path, document: Any) -> None:
    """A JSON file that a reader never sees half of."""
    write_whole(path, json.dumps(document, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write beside, then rename."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
