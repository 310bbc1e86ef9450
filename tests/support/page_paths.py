"""A run as the tests of the pages make it: its id, its name, its files."""

# An id as Airflow makes them, and the name of its run in the store.
RUN_ID = "scheduled__2026-01-04T03:00:00+00:00"
NAME = "scheduled__2026-01-04T03-00-00-00-00"
QUOTED = "scheduled__2026-01-04T03%3A00%3A00%2B00%3A00"
SECRET = b"what no page may show"
BUNDLE = {
    "model_card.html": b"<p>card",
    "model_card.md": b"# card",
    "policy.yaml": b"name: synthetic",
    "split/proof.csv": b"=cmd(),1\n",
    "evaluate/saliency/d2.png": b"\x89PNG\r\n\x1a\n",
    "evaluate/predictions.parquet": b"PAR1",
    "validate/drawing.svg": b"<svg onload='x()'/>",
    "validate/page.xhtml": b"<html/>",
    "plain": b"text",
}

# Pages by path, as a browser asks for them, and their content.
SERVED = {
    "report.html": b"<p>report",
    "quarantine.html": b"<p>quarantine",
    "validate/a1b2c3d4/data_docs/index.html": b"<p>docs",
    "validate/a1b2c3d4/data_docs/of/laws%20table.html": b"<p>laws",
    "evidence/model_card.html": b"<p>card",
    "evidence/split/proof.csv": b"=cmd(),1\n",
}
ASKED = [*SERVED, "", "evidence/", "evidence.zip", "data_docs", "absent.html", "evidence/absent"]
