"""Safe retraining of a skin-lesion classifier: a package for each stage, a file for each step.

    raw/ ── ingest ── validate ── split ─┬─ check_balance ─┐
                                         ├───────────────── oversample ─┐
                                         └───────────────────────────── train ─┐
                                                                               │
                                                 register ── gate ── evaluate ─┘

A step is a function from records to a record. It reads records, writes artifacts, and commits its
own ``record.json`` last: a step without a record did not happen.
``pipeline.py`` holds the table of the steps; ``python -m tasks --help`` runs them.
``docs/architecture.md`` says what each package holds, and what may import what.

This package never imports Airflow, and ``import tasks`` imports no other module.
"""
